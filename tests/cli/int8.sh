#!/bin/sh
# --compute int8 from the command line.
# shellcheck source=tests/cli/lib.sh
. "${PESC_SRC:?}/tests/cli/lib.sh"
make_base
pesc craft base/init -o B --experts 2 --adapter-dim 4 --seed 3
ok $? "a small model"
run='--max-steps 2 --batch-size 2 --max-seq-length 32 --json'

for command in "eval B --data heldout.json" "train B --data tune.json -o no --max-steps 1" \
    "plan B --data tune.json" "generate B --prompt a"; do
    # shellcheck disable=SC2086 # a list of words
    DNNL_MAX_CPU_ISA=AVX2 "$PESC" $command --compute int8 >out 2>err
    exits 7 E-COMPUTE-ISA "${command%% *} on a CPU without int8 products"
    has err "use --compute f32" "which is told what it has"
done
[ ! -e no ]
ok $? "nothing is left"
pesc eval B --data heldout.json --compute int4
exits 2 E-USAGE-VALUE "a type that there is not"
pesc craft base/init -o Q --experts 2 --adapter-dim 4 --base-dtype int8
pesc eval Q --data heldout.json --json
! grep -q '"compute":"int8"' out
ok $? "auto is never int8"

DNNL_MAX_CPU_ISA='' "$PESC" eval B --data heldout.json --compute int8 --json >out 2>err
rc=$?
if [ $rc -eq 7 ]; then
    (exit $rc)
    exits 7 E-COMPUTE-ISA "no int8 on this CPU"
    plan
fi
rest=bf16
"$PESC" eval B --data heldout.json --compute bf16 --json >out 2>err || rest=f32
pesc eval B --data heldout.json --compute $rest --json
strip out | sed 's/"compute":"[a-z0-9]*"//' >rest.json
pesc eval B --data heldout.json --compute int8 --json
has out '"compute":"int8"' "eval says so"
strip out | sed 's/"compute":"[a-z0-9]*"//' >int8.json
same rest.json int8.json "matrices of fewer than 65536 weights are $rest"
pesc plan B --data tune.json --compute int8
has out "all matrices are small: all is $rest" "which plan tells"
pesc train base/init --data tune.json -o no --trainable full --max-steps 1 --compute int8
exits 2 E-USAGE-VALUE "where every weight is trained"

# A layer of real size: its loss is that of guessing, so a difference shows in the adapters.
"${PESC%/pesc}/experiments/bench/make-shape" smollm2-135m s --layers 2 >/dev/null 2>err
ok $? "a model with large matrices"
pesc craft s -o M --experts 2 --top-k 1 --adapter-dim 4 --seed 3
echo '{"text": "The quick brown fox jumps over the lazy dog, 3 times; and then again, but not so high."}' >d.jsonl
# shellcheck disable=SC2086 # lists of words
{
    pesc train M --data d.jsonl -o wide $run --compute $rest
    ok $? "train in $rest"
    grep '"event": *"step"' out >wide.steps
    pesc train M --data d.jsonl -o int8 $run --compute int8
    ok $? "train in int8"
    grep '"event": *"step"' out >int8.steps
    has int8/run.json '"compute": *"int8' "run.json says so"
    for step in 1 2; do
        a=$(sed -n ${step}p wide.steps | number ce) b=$(sed -n ${step}p int8.steps | number ce)
        awk "BEGIN { d = $b / $a - 1; exit !(d < 0.01 && d > -0.01) }"
        ok $? "step $step: a loss of $b, in $rest $a"
    done
    cmp -s wide/adapter.safetensors int8/adapter.safetensors
    [ $? -eq 1 ]
    ok $? "and adapters of its own"
    pesc train M --data d.jsonl -o streamed $run --compute int8 --resident-layers 0
    ok $? "train with streamed layers"
    same streamed/adapter.safetensors int8/adapter.safetensors "to the same bits"
    pesc craft s -o C --experts 2 --top-k 1 --adapter-dim 4 --seed 3 --base-dtype int8
    pesc train C --data d.jsonl -o codes $run --compute int8
    ok $? "train on an int8 base"
    same codes/adapter.safetensors int8/adapter.safetensors \
        "whose codes are those that it would have made"
    pesc train M --data d.jsonl -o int8 $run --max-steps 3 --compute $rest --resume auto
    exits 7 E-CK-MISMATCH "going on in another type"
    pesc plan M --data d.jsonl --compute int8 --json
    has out '"compute": *"int8"' "plan"
    pesc generate M --pack int8 --prompt "The quick" -n 2 --compute int8
    ok $? "generate"
    "${PESC%/pesc}/experiments/bench/bench" smollm2-135m --layers 2 --tokens 96 --sample 40 \
        --experts 4 --dim 8 --steps 1 --probe_ms 1 --compute int8 --dir . >out 2>err
    ok $? "bench"
    has out '"type": "int8"' "with int8 products in its bound"
}
plan
