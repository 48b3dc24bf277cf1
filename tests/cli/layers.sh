#!/bin/sh
# Adapters on some layers only: craft, train, packs, evaluation; and what the frozen layers below
# them make of samples, kept in a file: the same figures to the last digit with and without.
. "$PESC_SRC/tests/cli/lib.sh"
make_base
craft="--experts 4 --top-k 2 --adapter-dim 4 --seed 3"

# --- craft ---
pesc craft base/init -o M $craft || exit 99
pesc craft base/init -o U $craft --layers 2- --json
ok $? "craft --layers"
has out '"layers":"2-3"' "says which"
has U/pesc.json '"layers": "2-3"' "and keeps it"
! grep -q layers M/pesc.json
ok $? "all layers are not worth a word"
for value in 4 2-4 3-2 x -1 2-x; do
    pesc craft base/init -o X $craft "--layers=$value"
    exits 2 E-USAGE-VALUE "craft --layers=$value"
done
[ ! -e X ]
ok $? "which makes nothing"
pesc craft base/init -o All $craft --layers 0-3
same M/adapter.safetensors All/adapter.safetensors "all layers named are all layers"
same M/pesc.json All/pesc.json "in every word"
cp -r U Bad
sed 's/"layers": "2-3"/"layers": "2-4"/' U/pesc.json >Bad/pesc.json
pesc eval Bad --data heldout.json
exits 3 E-CFG-CRAFT "a folder with adapters on a layer that there is not"
sed 's/"layers": "2-3"/"layers": 2/' U/pesc.json >Bad/pesc.json
pesc eval Bad --data heldout.json
exits 3 E-CFG-CRAFT "or with layers that are no text"
pesc eval base/init --data heldout.json --max-seq-length 48 --json
strip out >dense.json
pesc eval U --data heldout.json --max-seq-length 48 --json
strip out >crafted.json
same dense.json crafted.json "crafted, it evaluates as the dense base, bit for bit"

# --- train ---
opts="--data tune.json --eval-data heldout.json --eval-steps 4 --batch-tokens 140 --packing best-fit \
--max-seq-length 48 --learning-rate 1e-2 --num-epochs 4 --router-steps 5 --seed 7 --adapter-dropout 0.1"
steps() { # FILE: what its steps and evaluations found
    grep -E '"event":"(step|eval)"' "$1" | sed -E "s/\"(seconds|[a-z_]*per_s|peak_rss_bytes)\":[^,}]*//g"
}
pesc train U $opts -o R --json
ok $? "train"
cp out plain.json
cp err talk
steps plain.json >plain.steps
has plain.json '"prefix_samples_kept":16,"prefix_samples_read":48' "each sample's prefix is computed once"
[ -z "$(find R -name '.tmp-*')" ] && [ -z "$(find R/ckpt -type f ! -name 'ckpt-*')" ]
ok $? "and nothing of it is left"
pesc train U $opts -o N
has err '^adapters .*, layers 2-3; balance' "the header says which layers have adapters"
has err '^prefix .*layers 0-1 .*free disk .*100 %' "and what is kept of those below"
has R/run.json '"layers": *"2-3"' "so does run.json"
pesc train M $opts --layers 2- -o S --json
ok $? "train --layers, of a model with adapters everywhere"
steps out >got.steps
same R/adapter.safetensors S/adapter.safetensors "ends in the same adapters"
same plain.steps got.steps "with the same figures"
[ "$(sql "SELECT value FROM param p JOIN run r ON r.id = p.run_id WHERE r.name = 'S' AND p.key = 'layers'")" = 2- ]
ok $? "and the history has the option"
[ "$(sql "SELECT DISTINCT layer FROM router_layer l JOIN run r ON r.id = l.run_id WHERE r.name = 'S'" | tr '\n' ' ')" = "2 3 " ]
ok $? "and routing of layers 2 and 3 alone"
pesc runs routing S --layer 3
ok $? "runs routing of one of them"
pesc runs routing S --layer 1
exits 10 E-DB-RUN "and of another"
pesc train U $opts --layers 0- -o W --json
ok $? "train --layers wider than the model's"
[ "$(wc -c <W/adapter.safetensors)" = "$(wc -c <M/adapter.safetensors)" ]
ok $? "has adapters everywhere"
pesc train M $opts -o A --json
cp out all.json
same A/adapter.safetensors W/adapter.safetensors "the same as of a model that had them"
! grep -q prefix all.json
ok $? "and no prefix"
for value in 4- 9 2-1 all; do
    pesc train M $opts --layers $value -o X
    exits 2 E-USAGE-VALUE "train --layers $value"
done
pesc train base/init --trainable full --layers 1- --data tune.json -o X --max-steps 1
exits 2 E-USAGE-VALUE "a dense model has no adapters to place"
[ ! -e X ]
ok $? "refused before a folder is made"
pesc train M $opts --layers 1-2 -o Mid --json
ok $? "layers in the middle"
steps out >mid.steps
pesc train M $opts --layers 1-2 -o Mid2 --json --keep-layers 1 --optimizer-state disk
steps out >got.steps
same mid.steps got.steps "one layer kept, moments on disk: the same figures"

# --- the file ---
place() { # WHAT OPTIONS...
    what=$1
    shift
    rm -rf P
    pesc train U $opts "$@" -o P --json
    ok $? "train, $what"
    cp out placed.json
    steps out >got.steps
    same plain.steps got.steps "$what: the same figures"
    same R/adapter.safetensors P/adapter.safetensors "$what: the same adapters"
}
place "nothing kept" --prefix-cache off
! grep -q prefix placed.json
ok $? "which is so"
place "a bounded file" --prefix-cache 60kB
has placed.json '"prefix_samples_kept":[1-9],' "keeps some"
has placed.json '"code":"W-PREFIX-FULL"' "and says so"
mkdir spill
place "every layer streamed" --resident-layers 0
place "all of it on disk" --resident-layers 0 --spill-activations spill --optimizer-state disk
place "one layer kept, one in a file" --keep-layers 1 --keep-on-disk 9
for form in f32 bf16; do
    [ $form = f32 ] || "$PESC" doctor --json | grep -q 'avx512_bf16\|amx_bf16' || continue
    pesc train U $opts --compute $form -o "on-$form" --json
    steps out >want.steps
    pesc train U $opts --compute $form --prefix-cache off -o "off-$form" --json
    steps out >got.steps
    same want.steps got.steps "$form: with and without, the same figures"
    same on-$form/adapter.safetensors off-$form/adapter.safetensors "$form: and adapters"
done
pesc train U $opts --micro-batch-tokens 60 -o passes --json
has out '"prefix_samples_kept":16,' "in passes"
steps out >want.steps
pesc train U $opts --micro-batch-tokens 60 --prefix-cache off -o passes2 --json
steps out >got.steps
same want.steps got.steps "the same figures, too"
pesc train U --data tune.json --max-seq-length 48 --batch-size 4 --num-epochs 1 -o one --json
! grep -q prefix out
ok $? "one epoch keeps nothing"
pesc train M --data tune.json --max-seq-length 48 --max-steps 1 --prefix-cache 1MB -o no
has err 'warning\[W-PREFIX-OFF\]' "a file for nothing is told"
for value in much -1 0; do
    pesc train U $opts "--prefix-cache=$value" -o X
    exits 2 E-USAGE-VALUE "--prefix-cache=$value"
done
# A limit on files is a full disk: 200 kB hold checkpoints, but not the file.
(
    trap '' XFSZ
    ulimit -f 400
    pesc train U $opts --data pretrain.jsonl --eval-steps 0 --num-epochs 2 -o full --json --prefix-cache 64MB
    echo $? >full.status
)
[ "$(cat full.status)" = 0 ]
ok $? "a disk that is full on the way stops nothing"
has out '"code":"W-PREFIX-OFF"' "and is told"
steps out >want.steps
pesc train U $opts --data pretrain.jsonl --eval-steps 0 --num-epochs 2 -o full2 --json --prefix-cache off
steps out >got.steps
same want.steps got.steps "the same figures"

# --- resume ---
half=$(($(grep -c '"event":"step"' plain.json) / 2))
pesc train U $opts --save-steps $half -o B --json
rm -f B/adapter.safetensors "$(find B/ckpt -type f | sort | tail -n 1)"
pesc train U $opts --save-steps $half -o B --resume auto --layers 1-
exits 7 E-CK-MISMATCH "resume with other layers"
has err '2-3' "which are named"
pesc train U $opts --save-steps $half -o B --resume auto --layers 2- --json
ok $? "resume"
same R/adapter.safetensors B/adapter.safetensors "ends in the same adapters, with an empty file at first"

# --- packs ---
pesc pack export R -o P.pescpack
ok $? "pack export"
pesc pack verify P.pescpack
ok $? "pack verify"
pesc pack inspect P.pescpack
has out '^  layers  *2-3$' "pack inspect says which layers"
pesc pack import P.pescpack --model U
ok $? "pack import"
digest=$(cat out)
has "$XDG_DATA_HOME/pesc/packs/$digest/README.md" '| layers with adapters | 2-3 |' "so does its card"
has "$XDG_DATA_HOME/pesc/packs/$digest/adapter_config.json" '"pesc_layers": "2-3"' "and its configuration"
pesc eval U --pack R --data heldout.json --max-seq-length 48 --json
ok $? "eval with the run"
strip out >run.json
! cmp -s run.json crafted.json
ok $? "which is not the model that it started from"
for model in U M base/init; do
    pesc eval $model --pack P.pescpack --data heldout.json --max-seq-length 48 --json
    strip out >pack.json
    same run.json pack.json "eval of $model with the pack: the pack says where its adapters are"
done
pesc eval M --pack "$XDG_DATA_HOME/pesc/packs/$digest" --data heldout.json --max-seq-length 48 --json
strip out >pack.json
same run.json pack.json "and the imported one"
pesc generate M --pack P.pescpack --prompt "What is 10 plus 14?" -n 12 --json
ids out >first.ids
pesc generate U --pack R --prompt "What is 10 plus 14?" -n 12 --json
ids out >second.ids
same first.ids second.ids "generate likewise"
pesc train M --pack P.pescpack --data tune.json -o R2 --max-steps 1 --max-seq-length 48 --learning-rate 0 --warmup-ratio 0
ok $? "train goes on from the pack"
same R/adapter.safetensors R2/adapter.safetensors "where its adapters are"
pesc train M --pack P.pescpack --layers 2-3 --data tune.json -o R3 --max-steps 1 --max-seq-length 48 --learning-rate 0 --warmup-ratio 0
ok $? "also when that is said"
pesc train M --pack P.pescpack --layers 1- --data tune.json -o X --max-steps 1
exits 2 E-USAGE-VALUE "but not elsewhere"
[ ! -e X ]
ok $? "which makes no folder"

# --- experts ---
pesc eval U --pack R --data heldout.json --max-seq-length 48 --routing
[ "$(grep -c '^layer [23], choice ' out)" = 6 ] && [ "$(grep -c '^layer' out)" = 6 ]
ok $? "eval --routing: layers with experts"
pesc eval U --pack R --data heldout.json --max-seq-length 48 --knock-out all
[ "$(grep -c '^layer [23]: increase' out)" = 2 ] && [ "$(grep -c '^layer' out)" = 2 ]
ok $? "eval --knock-out all: likewise"
pesc eval U --pack R --data heldout.json --max-seq-length 48 --knock-out 3:1 --json
ok $? "eval --knock-out of one"
pesc eval U --pack R --data heldout.json --knock-out 1:1
exits 2 E-USAGE-VALUE "of a layer without experts"

# --- plan ---
pesc plan U $opts --json
ok $? "plan"
has out '"prefix_cache_bytes": [1-9]' "counts the file"
first=$(grep -o '"first_step_seconds": *[0-9.e-]*' out | sed 's/.*: *//')
later=$(grep -o '"later_step_seconds": *[0-9.e-]*' out | sed 's/.*: *//')
awk "BEGIN { exit !($later > 0 && $later < $first) }"
ok $? "and later steps are shorter ($first, $later)"
pesc plan M $opts --layers 3 --json
has out '"trained_parameters": 4608' "plan --layers"
for layers in 0 1-2 3; do
    pesc plan M $opts --layers $layers
    ok $? "plan --layers $layers"
done
plan
