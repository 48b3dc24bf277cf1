#!/bin/sh
# Shapes for measuring: what make-shape writes can be read, computed with, and made again.
: "${PESC:?}"
: "${PESC_SRC:?}"
make=${PESC%/pesc}/experiments/bench/make-shape
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
n=0
check() { # NAME, then a command that is to succeed
    name=$1
    shift
    n=$((n + 1))
    if "$@"; then echo "ok $n - $name"; else echo "not ok $n - $name"; sed 's/^/# /' err; fi
}
run() { # exit status, then a command
    want=$1
    shift
    "$@" >out 2>err
    test $? = "$want"
}
has() { grep -qE -- "$1" out; }

check "--list" run 0 "$make" --list
check "five shapes and a heading" test "$(wc -l <out)" = 6
check "with their sizes" has '^llama2-7b +4096 +11008 +32 +32/32 +32000$'
check "an unknown shape: status 2" run 2 "$make" smollm3 s
check "and nothing is written" test ! -e s
check "an option without its value: status 2" run 2 "$make" smollm2-135m s --layers
check "no layers: status 2" run 2 "$make" smollm2-135m s --layers 0

check "smollm2-135m of one layer" run 0 "$make" smollm2-135m s --layers 1
check "is one file" test -f s/model.safetensors
check "of the size that it must have" \
    test "$((($(wc -c <s/model.safetensors) - 2 * 31852224) / 4096))" = 0
check "a second time into the same folder: status 2" run 2 "$make" smollm2-135m s --layers 1
check "and says so" grep -q 'E-USAGE-EXISTS' err

check "the same in shards" run 0 "$make" smollm2-135m t --layers 1 --file-mb 60
check "of several files" test -f t/model-00002-of-00002.safetensors
check "with an index" grep -q '"model.norm.weight": "model-00002-of-00002.safetensors"' \
    t/model.safetensors.index.json
check "another seed" run 0 "$make" smollm2-135m u --layers 1 --seed 7

echo '{"text": "The quick brown fox jumps over the lazy dog, 3 times; na\u00efve \u72ac."}' >d.jsonl
evaluate() { # FOLDER
    OMP_NUM_THREADS=1 "$PESC" eval "$1" --data d.jsonl --compute f32 --json --db h.db 2>err |
        grep -oE '"loss": ?[0-9.]+' | head -n 1
}
evaluate s >s.loss
evaluate t >t.loss
evaluate u >u.loss
check "random weights know nothing: the loss is that of 49152 equal choices" \
    awk '{ d = $2 - log(49152); if (NF == 2 && d > -1 && d < 1) good = 1 } END { exit !good }' \
    FS='[: ]+' s.loss
check "shards hold the same weights" cmp s.loss t.loss
check "another seed holds others" eval '! cmp -s s.loss u.loss'
check "the tokenizer takes any text" run 0 "$PESC" data inspect s --data d.jsonl
check "and gives it back" has 'quick brown fox jumps'

check "craft" run 0 "$PESC" craft s -o crafted --experts 2 --top-k 1 --adapter-dim 4
train() { # RUN, further options
    "$PESC" train crafted --data d.jsonl -o "$@" --max-steps 2 --compute f32 --db h.db >out 2>err
}
check "train --profile --json" train r1 --profile --json
check "says where the time went in the closing object" \
    has '"event": ?"end".*"profile": ?\{"seconds": ?[0-9.]+.*"recompute_flops": ?[0-9]+'
check "train --profile" train r2 --profile
check "says it in a table" grep -qE '^ffn +[0-9.]+ +[0-9.]+%' err
check "train without it" train r3
check "says nothing of it" eval '! grep -q recompute err'

bench=${PESC%/pesc}/experiments/bench/bench
check "bench without a shape: status 2" run 2 "$bench"
check "bench with an option that it has not: status 2" run 2 "$bench" smollm2-135m --speed 9
# Status 0 says that its products are those of the shapes, and its stages the whole step.
check "bench on two layers" run 0 "$bench" smollm2-135m --layers 2 --tokens 96 --sample 40 \
    --experts 4 --dim 8 --steps 3 --probe_ms 5 --compute f32 --dir .
check "says how fast" has '"tokens_per_s": [0-9.]+'
check "and how near to the bound" has '"bound_fraction": 0\.[0-9]+'
check "and how much memory" has '"peak_rss_bytes": [0-9]{9}'
check "and where the time went" has '"ffn": \{"seconds": [0-9.e-]+'
check "and makes the folder for the next time" test -f smollm2-135m-2-layers/config.json
check "a shape that is there is not made again" run 0 "$bench" smollm2-135m --layers 2 \
    --tokens 33 --experts 4 --dim 8 --steps 1 --probe_ms 1 --compute f32 --dir .
decode=${PESC%/pesc}/experiments/bench/decode
check "decode without a shape: status 2" run 2 "$decode"
check "decode with an option that it has not: status 2" run 2 "$decode" smollm2-135m --steps 9
check "decode on two layers" run 0 "$decode" smollm2-135m --layers 2 --decode 3 --rounds 2 \
    --prompt 2 --experts 4 --dim 8 --compute f32 --dir .
check "says how fast" has '"tokens_per_s": [0-9.]+'
check "and how near to the speed of reading" has '"bound_fraction": [0-9.]+'
# Layers of 576 x (576 + 192 + 192 + 576) + 3 x 576 x 1536, a head of 49152 x 576, 5 norms; in each
# layer 4 + 2 x 8 x 2 rows of adapters; keys and values of 2 + 3.5 tokens on average.
check "and how many bytes a token reads" has \
    '"bytes_per_token": 141752064, "weight_bytes": 141569280, "adapter_bytes": 165888'
check "run.sh" env BENCH_OPTIONS="--layers 2 --tokens 64 --steps 1 --probe_ms 1" CACHE=. \
    COMPUTES=f32 sh "$PESC_SRC/experiments/bench/run.sh" "$bench" all.json 2>err
check "gives an array" test "$(tr -d ' \n' <all.json | cut -c1-10)" = '[{"shape":'
echo "1..$n"
