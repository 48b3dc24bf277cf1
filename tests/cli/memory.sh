#!/bin/sh
# Where weights and activations are changes memory and time, and no bit of any result.
. "$PESC_SRC/tests/cli/lib.sh"
make_base
pesc craft base/init -o M --experts 4 --top-k 2 --adapter-dim 4 --seed 3 || exit 99
layers=$(grep -o '"num_hidden_layers": *[0-9]*' base/init/config.json | grep -o '[0-9]*$')

opts="--data tune.json --eval-data heldout.json --batch-size 4 --max-seq-length 48 \
--learning-rate 1e-2 --max-steps 6 --seed 7 --json"
steps() { # FILE: what its steps and evaluations found
    grep -E '"event":"(step|eval)"' "$1" | sed -E "s/\"(seconds|[a-z_]*per_s|peak_rss_bytes)\":[^,}]*//g"
}
pesc train M $opts -o R
ok $? "train"
cp out plain.json
steps plain.json >plain.steps
has plain.json '"weights_bytes_read":0' "what is in memory is not read again"
place() { # WHAT OPTIONS...
    what=$1
    shift
    rm -rf S
    pesc train M $opts "$@" -o S
    ok $? "train, $what"
    cp out placed.json
    steps placed.json >placed.steps
    same R/adapter.safetensors S/adapter.safetensors "$what: the same adapters"
    same plain.steps placed.steps "$what: the same figures on the way"
}
mkdir spill
place "moments and gradients on disk" --optimizer-state disk
place "every layer streamed" --resident-layers 0
has placed.json '"weights_bytes_read":[1-9]' "and the bytes that were read are reported"
place "one layer streamed" --resident-layers $((layers - 1))
place "one layer kept" --keep-layers 1
place "all layers kept" --keep-layers 99
place "activations in a file" --keep-on-disk 99
place "some kept, some in a file" --keep-layers 1 --keep-on-disk 2
place "inputs spilled" --spill-activations spill
place "all at once" --resident-layers 1 --keep-layers 1 --spill-activations spill --threads 1
place "all of it on disk" --resident-layers 0 --spill-activations spill --optimizer-state disk
[ -z "$(ls -A spill)" ]
ok $? "nothing is left in the folder for spilling"
pesc train M $opts --memory 1MiB -o X
exits 8 E-MEMORY-BUDGET "a budget that cannot do"
least=$(sed -n 's/.*too few: \([0-9]*\) (.*/\1/p' err)
whole=$(sed -n 's/.* and \([0-9]*\) with whole batches.*/\1/p' err)
[ "$least" -lt "$whole" ]
ok $? "which in passes is smaller than with whole batches"
place "the smallest with whole batches" --memory $((whole + (1 << 20)))
place "much memory" --memory 4GiB
for form in nf4 int8; do
    pesc craft base/init -o "Q-$form" --experts 4 --top-k 2 --adapter-dim 4 --seed 3 --base-dtype $form
    few="--optimizer adamw8bit --freeze-router"
    pesc train "Q-$form" $opts $few -o "R-$form"
    ok $? "train, $form, moments as bytes, frozen routers"
    steps out >want.steps
    rm -rf S
    pesc train "Q-$form" $opts $few --resident-layers 0 --keep-layers 1 --spill-activations spill \
        --optimizer-state disk -o S
    steps out >got.steps
    same "R-$form/adapter.safetensors" S/adapter.safetensors "$form: all on disk, the same adapters"
    same want.steps got.steps "$form: the same figures on the way"
done
pesc train M $opts --resident-layers 1 -o T
ok $? "a run"
pesc train M --config T/config.yaml -o U --json
ok $? "and another by its config.yaml"
same T/adapter.safetensors U/adapter.safetensors "which ends the same"
pesc train M $opts --save-steps 3 -o W
rm -f W/adapter.safetensors W/ckpt/ckpt-0000000006-*
pesc train M $opts --save-steps 3 -o W --resume auto --resident-layers 0 --keep-layers 1
ok $? "resumed with another choice"
same R/adapter.safetensors W/adapter.safetensors "ends as it would have"

# Passes change the last bits, so a run keeps to those that it began with.
pesc train M $opts --micro-batch-tokens 48 --save-steps 3 -o P
ok $? "train, in passes"
has out '"micro_batch_tokens":48' "which the closing object tells"
steps out >passes.steps
near() { # FILE FILE: step by step, the losses
    grep -o '"ce":[0-9.]*' "$1" | cut -d: -f2 >a.ce
    grep -o '"ce":[0-9.]*' "$2" | cut -d: -f2 >b.ce
    paste a.ce b.ce | awk '{ d = $1 - $2; if (d > 1e-3 || d < -1e-3) bad = 1 } END { exit bad || NR != 6 }'
}
near passes.steps plain.steps
ok $? "and has the losses of whole batches"
cmp -s P/adapter.safetensors R/adapter.safetensors
[ $? -eq 1 ]
ok $? "but not to the bit"
pesc train M $opts --micro-batch-tokens 48 --optimizer-state disk --resident-layers 0 -o D
ok $? "in passes with layers and state on disk"
same P/adapter.safetensors D/adapter.safetensors "to the same bits"
for how in '' '--memory 4GiB' '--micro-batch-tokens 48'; do
    rm -f P/adapter.safetensors P/ckpt/ckpt-0000000006-*
    pesc train M $opts --save-steps 3 -o P --resume auto $how
    ok $? "resumed, $how"
    grep -q W-RES-PASSES err
    [ $? -eq 1 ]
    ok $? "with nothing to note"
    same D/adapter.safetensors P/adapter.safetensors "in the same passes"
done
rm -f W/adapter.safetensors W/ckpt/ckpt-0000000006-*
pesc train M $opts --save-steps 3 -o W --resume auto --micro-batch-tokens 48
ok $? "resumed in other passes"
has err W-RES-PASSES "is noted"
rm -rf S
small=$(((least + whole) / 2))
pesc train M $opts --memory $small -o S
ok $? "a budget for passes only"
has out '"micro_batch_tokens":[1-9]' "which the closing object tells"
steps out >small.steps
near small.steps plain.steps
ok $? "and has the losses of whole batches"
pesc train M $opts --save-steps 3 -o W2 --max-steps 3
pesc train M $opts --save-steps 3 -o W2 --resume auto --memory $small
ok $? "a run of whole batches goes on with that budget"
has err W-RES-PASSES "which is noted"
rm -rf S
pesc train M ${opts% --json} --memory $small -o S
has err "^memory .* at most .* of .* allowed.*, passes of at most [0-9]* tokens" "the header tells passes"
rm -rf S
pesc train M ${opts% --json} -o S
has err "^memory .* at most .* of .* free, $layers layers keep their activations" \
    "without a budget it tells what is free, and activations are kept"
pesc train M $opts --micro-batch-tokens 8 -o X
exits 2 E-USAGE-VALUE "passes that are smaller than a sample"
[ ! -e X ]
ok $? "leave nothing"

pesc eval M --pack R --data heldout.json --max-seq-length 48 --json
strip out >want.json
pesc eval M --pack R --data heldout.json --max-seq-length 48 --json --resident-layers 0
strip out >got.json
same want.json got.json "eval with streamed layers"
pesc generate M --pack R --prompt "Name" --max-new-tokens 12 --json
ids out >want.ids
pesc generate M --pack R --prompt "Name" --max-new-tokens 12 --json --resident-layers 0
ids out >got.ids
same want.ids got.ids "generate with streamed layers"

pesc train M $opts --spill-activations nowhere -o X
exits 9 E-IO-MISSING "no folder to spill to"
pesc train base/init $opts --trainable full --resident-layers 0 -o X
exits 2 E-UNSUPPORTED "weights that train are not streamed"
[ ! -e X ]
ok $? "and nothing is left of the run"
plan
