#!/bin/sh
# What a training run refuses, what it puts up with, and what it leaves behind; options that must do
# what they say.
. "$PESC_SRC/tests/cli/lib.sh"
make_base
"$PESC" craft base/init -o M --experts 4 --adapter-dim 4 >/dev/null || exit 99
small="--data tune.json --batch-size 4 --max-seq-length 48 --max-steps 3"
gone() { # PATH: nothing of a refused run is left
    [ ! -e "$1" ]
    ok $? "and leaves nothing"
}

# --- refused ---
pesc train M $small -o R --memory 1MiB
exits 8 E-MEMORY-BUDGET "more memory than allowed"
gone R
pesc eval M --data heldout.json --memory 1MiB
exits 8 E-MEMORY-BUDGET "also for eval"
pesc train M --data missing.json -o R
exits 9 E-IO-MISSING "data that is not there"
gone R
echo '{"instruction": "a", "output": 3}' >bad.jsonl
pesc train M --data bad.jsonl -o R
exits 4 E-DS-FIELD "malformed data"
gone R
: >empty.jsonl
pesc train M --data empty.jsonl -o R
exits 4 E-DS-EMPTY "empty data"
pesc train M $small -o /proc/nothing
[ $? -eq 9 ] && grep -q 'error\[E-IO' err
ok $? "a folder that cannot be made: exit 9"
pesc train M $small -o missing/R
[ $? -eq 9 ] && grep -q 'error\[E-IO' err
ok $? "a folder without its parent: exit 9"
pesc train M $small -o tune.json
[ $? -ne 0 ] && [ "$(sed -n 1p tune.json)" = '[' ]
ok $? "a file as run folder"
mkdir mine && echo x >mine/letter
pesc train M $small -o mine
exits 2 E-USAGE-EXISTS "a folder of something else"
[ "$(ls -A mine)" = letter ]
ok $? "which stays as it was"
mkdir there
pesc train M --data missing.json -o there
[ -z "$(ls -A there)" ]
ok $? "an empty folder stays empty"
cp -r base/init deeper
sed 's/"num_hidden_layers": *[0-9]*/"num_hidden_layers": 9/' base/init/config.json >deeper/config.json
pesc craft deeper -o R
exits 3 E-MODEL-MISSING "a base that lacks tensors"
has err 'model.layers.4.' "says which"
gone R
cp -r base/init broken
: >broken/model.safetensors
pesc eval broken --data heldout.json
exits 3 E-ST-TRUNC "an empty weights file"
pesc train M $small -o R --learning-rat 1
exits 2 E-USAGE-OPTION "an unknown option"
has err "did you mean 'learning-rate'" "suggests the nearest"
pesc train M $small -o R --lr-list 1e-3,x
exits 2 E-USAGE-VALUE "a malformed list"
pesc train M $small -o R --adam-beta1 1
exits 2 E-USAGE-VALUE "a beta of 1"
gone R
mv base elsewhere
pesc train M $small -o R
exits 7 E-MODEL-BASE "the base has gone"
pesc train M $small -o R --base elsewhere/init --max-steps 1
ok $? "unless told where"
rm -r R
mv elsewhere base

# --- configuration file ---
cat >c.yaml <<END
data: [tune.json]
output: C
batch_size: 4
max-seq-length: 48
max-steps: 3
learning_rate: 0.005
END
pesc train M --config c.yaml --json
ok $? "a configuration file"
pesc train M $small -o R --learning-rate 0.005 --json
same R/adapter.safetensors C/adapter.safetensors "is the same as flags"
pesc train M --config c.yaml -o C2 --learning-rate 0.001
! cmp -s C/adapter.safetensors C2/adapter.safetensors
ok $? "which overrule it"
has C2/config.yaml '^learning-rate: 0.001$' "and the resolved one is kept"
pesc train M --config R/config.yaml -o C3
same R/adapter.safetensors C3/adapter.safetensors "from which the run can be repeated"
echo 'learning_rte: 1' >>c.yaml
pesc train M --config c.yaml -o C4
exits 2 E-USAGE-CONFIG "an unknown key"
has err "c.yaml:7: .*did you mean 'learning-rate'" "suggests the nearest"
gone C4

# --- one trainer at a time ---
mkfifo lines
"$PESC" train M --data tune.json --eval-data heldout.json --eval-steps 1 --batch-size 4 \
    --max-seq-length 48 --max-steps 500 -o busy --json >lines 2>err2 &
pid=$!
exec 3<lines
read -r _ <&3
pesc train M $small -o busy
exits 12 E-RUN-BUSY "a second trainer"
has err "process $pid on" "says who is at work"
pesc train M $small -o busy --resume auto
exits 12 E-RUN-BUSY "also to resume"
kill -KILL $pid
exec 3<&-
{ wait $pid; } 2>/dev/null
pesc train M $small -o busy
exits 2 E-USAGE-EXISTS "a killed run is not started over"

# --- the history ---
history() { # PATH WHAT
    PESC_DB=$1 pesc train M $small -o H --json
    ok $? "$2: the training goes on"
    cat out err | grep -q 'W-DB-'
    ok $? "with a note"
    cmp -s R.plain H/adapter.safetensors
    ok $? "to the same end"
    rm -r H
}
pesc train M $small -o plain
cp plain/adapter.safetensors R.plain
mkdir folder.db
history "$tmp/folder.db" "the history is a folder"
history /proc/nothing.db "the history cannot be made"
echo 'this is no database, whatever its name may say about it' >text.db
history "$tmp/text.db" "the history is no database"
has text.db 'this is no database' "which stays as it was"
has plain/metrics.jsonl '"event":"step"' "the folder has the metrics"

# --- standard output ---
"$PESC" train M $small -o full --json >/dev/full 2>err
exits 9 E-IO-FULL "a full disk under the output is told"
same R.plain full/adapter.safetensors "but the run is whole"
grep -q '"status":"finished"' full/run.json
ok $? "and finished"
{ "$PESC" train M --data tune.json --eval-data heldout.json --eval-steps 1 --batch-size 4 \
    --max-seq-length 48 --max-steps 40 -o closed --json 2>err; echo $? >status; } | head -n 1 >out
[ "$(cat status)" = 0 ] && [ ! -s err ]
ok $? "a reader that leaves is no fault"
grep -q '"steps":40' closed/run.json
ok $? "and the run is whole"
"$PESC" eval M --data heldout.json --json >/dev/full 2>err
exits 9 E-IO-FULL "eval into a full disk"
"$PESC" generate M --prompt a -n 3 >/dev/full 2>err
exits 9 E-IO-FULL "generate into a full disk"
pesc train M $small -o quiet --quiet
[ ! -s out ] && [ ! -s err ]
ok $? "--quiet says nothing"
(ulimit -f 60 && "$PESC" train M $small -o limit) >out 2>err
[ $? -eq 9 ] && [ -z "$(find limit -name '.tmp-*')" ] && grep -q '"status":"failed"' limit/run.json
ok $? "files may not grow: exit 9, no temporaries, the run has failed"

# A disk with room for the checkpoints, but not for the optimiser's state.
pesc train M $small -o room --save-steps 1 --max-steps 2
ls room/ckpt >before
blocks=$(($(wc -c <"room/ckpt/$(tail -n 1 before)") / 512))
(ulimit -f $((blocks / 4)) && "$PESC" train M $small -o room --resume auto --optimizer-state disk) \
    >out 2>err
exits 9 E-IO-FULL "no room for the optimiser's state"
ls room/ckpt >after
same before after "the checkpoints are what they were"
[ -z "$(find room -name '.tmp-*')" ]
ok $? "and no temporaries"
pesc train M $small -o room --resume auto --optimizer-state disk
same R.plain room/adapter.safetensors "from where there is room it goes on"
pesc train base/init $small -o refused --trainable full --optimizer-state disk
exits 2 E-USAGE-VALUE "state on disk is for adapters"
gone refused

# --- options do what they say ---
counts() { # KEY: values of the step lines
    grep '"event":"step"' out | grep -o "\"$1\":[0-9]*" | cut -d: -f2 | tr '\n' ' '
}
cat >ids.jsonl <<END
{"input_ids": [5, 6, 7, 8]}
{"input_ids": [9, 10, 11], "labels": [-100, -100, 11]}
{"input_ids": [12, 13, 14, 15, 16, 17]}
{"input_ids": [18, 19]}
{"input_ids": [20, 21, 22, 23, 24]}
END
cp -r base/init bare
rm bare/tokenizer*
pesc craft bare -o B --experts 2 --adapter-dim 2
ok $? "craft without a tokenizer"
ids="--data ids.jsonl --data-order sequential --json"
pesc train B $ids -o o1 --batch-size 2 --num-epochs 2
ok $? "train on token ids without a tokenizer"
[ "$(counts tokens)" = "7 8 5 7 8 5 " ] && [ "$(counts trained_tokens)" = "4 6 4 4 6 4 " ]
ok $? "records in order, epoch after epoch"
pesc pack export o1 -o B.pescpack && pesc pack verify B.pescpack
ok $? "a pack of it"
pesc eval B --pack B.pescpack --data ids.jsonl --json
strip out >b1
pesc eval bare --pack o1 --data ids.jsonl --json
strip out >b2
same b1 b2 "evaluates as the run"
pesc generate B --prompt a
exits 9 E-IO-MISSING "generate needs a tokenizer"
pesc train B --data tune.json -o o2
[ $? -ne 0 ] && grep -q 'tokenizer' err
ok $? "and so does text"
pesc train B $ids -o o3 --batch-tokens 8 --num-epochs 1
[ "$(counts tokens)" = "7 8 5 " ]
ok $? "--batch-tokens"
pesc train B $ids -o o4 --batch-size 1 --grad-accumulation-steps 2 --num-epochs 1
[ "$(counts tokens)" = "7 8 5 " ]
ok $? "accumulated batches, and no more than the data has"
pesc train B $ids -o o5 --batch-size 2 --num-epochs 1
loss4=$(grep '"event":"step","step":3,' o4/metrics.jsonl | number ce)
loss5=$(grep '"event":"step","step":3,' o5/metrics.jsonl | number ce)
awk "BEGIN { d = $loss4 - $loss5; exit !(d < 1e-5 && d > -1e-5) }"
ok $? "accumulating halves is as good as the whole"
pesc train B $ids -o o6 --batch-size 5 --max-steps 4 --lr-list 1e-3,5e-4,0
grep '"event":"step"' out | grep -o '"lr":[^,]*' | tr '\n' ' ' >lrs
[ "$(cat lrs)" = '"lr":0.001 "lr":0.0005 "lr":0.0 "lr":0.0 ' ]
ok $? "--lr-list, whose last repeats"
pesc train B $ids -o o7 --batch-size 5 --max-steps 4 --warmup-steps 2 --learning-rate 1 --lr-scheduler linear
grep '"event":"step"' out | grep -o '"lr":[^,]*' | tr '\n' ' ' >lrs
[ "$(cat lrs)" = '"lr":0.5 "lr":1.0 "lr":0.5 "lr":0.0 ' ]
ok $? "--warmup-steps and a schedule"
pesc train B $ids -o o8 --max-steps 5 --logging-steps 2
[ "$(counts step)" = "2 4 5 " ]
ok $? "--logging-steps"
pesc train B $ids -o o9 --max-steps 3 --save-steps 1
[ "$(find o9/ckpt -type f | wc -l)" -eq 3 ]
ok $? "--save-steps"
for o in "--balance-loss none" "--balance-coef 0" "--adapter-dropout 0.5" "--data-order shuffled" \
    "--seed 1 --data-order shuffled" "--weight-decay 5" "--weight-decay 5 --decay matrices" \
    "--max-grad-norm 0" "--adam-beta1 0.5" "--adam-beta2 0.5" "--adam-epsilon 0.1" \
    "--optimizer adamw8bit" "--balance-loss mixtral" "--train-on-prompt" "--max-records 2" "--max-seq-length 3"; do
    rm -rf x
    pesc train B --data ids.jsonl --data-order sequential --json -o x --batch-size 2 --max-steps 3 --learning-rate 0.1 $o
    echo "$(sha256sum <x/adapter.safetensors) $o" >>sums
done
grep -v -e '--decay' -e mixtral -e '--train-on-prompt' -e 'coef 0' sums | cut -c1-64 | sort | uniq -d >twice
[ "$(wc -l <sums)" -eq 16 ] && [ ! -s twice ]
ok $? "every option changes the result"
cp sums out
sed -n 1,2p sums | cut -c1-64 | uniq -d | grep -q .
ok $? "no balance loss and one of weight 0 are the same"
if "$PESC" doctor | grep -q 'features.* avx512_bf16'; then
    pesc train B $ids -o o10 --batch-size 5 --max-steps 2 --compute bf16
    ok $? "--compute bf16"
    pesc eval B --data ids.jsonl --compute bf16 --json
    has out '"compute":"bf16"' "also in eval"
else
    DNNL_MAX_CPU_ISA=AVX2 pesc train B $ids -o o10 --batch-size 5 --max-steps 2 --compute bf16
    exits 7 E-COMPUTE-ISA "no bf16 on this CPU"
fi
# Three updates in a row without a number.
pesc train B $ids -o nan --batch-size 5 --max-steps 9 --learning-rate 1000 --max-grad-norm 0 --lr-list 1e30 --adam-epsilon 1e-30
exits 11 E-NUM-NONFINITE "numbers that overflow"
[ "$(grep -c 'W-NUM-SKIPPED' out)" = 3 ]
ok $? "each told once"
grep -q '"status":"failed"' nan/run.json && [ -n "$(ls nan/ckpt)" ]
ok $? "the run has failed, and what was learned is saved"
[ -z "$(find . -name '.tmp-*')" ]
ok $? "no temporaries anywhere"
plan
