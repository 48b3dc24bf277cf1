#!/bin/sh
# pesc runs export: every format of a small history whose names and values are hostile, against what
# is expected to the byte; what is there stays; a failure leaves nothing.
. "$PESC_SRC/tests/cli/lib.sh"
fill=$(dirname "$PESC")/tests/cli/fill_export
"$fill" "$PESC_DB" || exit 99
a=aaaa0000aaaa0000aaaa0000aaaa0000 b=bbbb1111bbbb1111bbbb1111bbbb1111
crlf() { # FILE: lines as RFC 4180 ends them
    sed "s/\$/$(printf '\r')/" >"$1"
}
nothing() { # WHAT: no file but those that were there
    ls -A >have
    cmp have kept >out 2>err
    ok $? "$1"
}
gone() { # PATH WHAT
    [ ! -e "$1" ]
    ok $? "$2"
}

pesc runs export plain --format csv -o csv
ok $? "csv"
has err '^1 run, 24 rows$' "says how much"
ls csv >have
cat >want <<EOF
artifacts.csv
datasets.csv
evals.csv
events.csv
metrics.csv
packs.csv
params.csv
plans.csv
router_domain.csv
router_domain_layer.csv
router_eval.csv
router_eval_layer.csv
router_expert.csv
router_layer.csv
runs.csv
segments.csv
tags.csv
EOF
same have want "a file for each table"
crlf want <<EOF
uuid,metric,step,value,t_ms,unit
$a,train/loss,1,2.5,1700000000250,nats
$a,train/loss,2,0.1,1700000000500,nats
$a,train/loss,3,NaN,1700000000750,nats
$a,train/loss,4,inf,1700000001000,nats
$a,train/loss,5,-inf,1700000001250,nats
$a,train/loss,6,1e-300,1700000001500,nats
$a,tokens,3,4194304.0,1700000000750,""
EOF
same csv/metrics.csv want "metrics.csv: NaN and infinities are there"
printf 'uuid,key,value\r\n%s,lr,2e-4\r\n%s,note,"a, ""b""\nc"\r\n' $a $a >want
same csv/params.csv want "params.csv: quotes, commas and lines within quotes"
crlf want <<EOF
uuid,step,task,metric,value,lo,hi,stderr,n,t_ms,config,dataset_sha256
$a,6,arc,accuracy,0.5,0.4,0.6,0.05,100,1700000002000,{},
$a,6,boolq,accuracy,NaN,,,,0,1700000002000,{},
EOF
same csv/evals.csv want "evals.csv: a value is NaN, a bound unknown"
crlf want <<EOF
uuid,layer,step,entropy,aux_loss,z_loss,dropped,top1,tokens
$a,3,5,0.5,NaN,,,0.9,64
EOF
same csv/router_layer.csv want "router_layer.csv"
crlf want <<EOF
uuid,layer,expert,step,load,prob,first
$a,3,0,5,0.25,0.4,0.125
$a,3,1,5,0.75,0.6,
EOF
same csv/router_expert.csv want "router_expert.csv"

pesc runs export plain evil-is-no-name --format csv -o other
exits 10 E-DB-RUN "an unknown run"
gone other "and no folder"
pesc runs export bbbb --format csv --table params -o params.csv
ok $? "one table into one file"
grep -av -e ',cut,' -e ',wide,' -e ',k' -e two -e return params.csv >have
crlf want <<EOF
$b,"",""
$b,..,4
$b,../up,6
$b,.hidden,5
$b,/abs,7
$b,_x2e_,11
$b,a,1
$b,a b:c-d.e_f,$(printf '\342\202\254')
$b,a//b,3
$b,a/b,2
$b,bad\\xff,x\\xff
$b,trail/,8
$b,$(printf '\303\274'),=1+1
EOF
same have want "names are as they were; what is no UTF-8 is escaped"

pesc runs export plain --format jsonl --table metrics -o m.jsonl
ok $? "jsonl of one table"
row() { # METRIC STEP VALUE MS UNIT
    echo "{\"table\":\"metrics\",\"uuid\":\"$a\",\"metric\":\"$1\",\"step\":$2,\"value\":$3,\"t_ms\":1700000${4},\"unit\":\"$5\"}"
}
{
    row train/loss 1 2.5 000250 nats
    row train/loss 2 0.1 000500 nats
    row train/loss 3 '"NaN"' 000750 nats
    row train/loss 4 '"Infinity"' 001000 nats
    row train/loss 5 '"-Infinity"' 001250 nats
    row train/loss 6 1e-300 001500 nats
    row tokens 3 4194304.0 000750 ''
} >want
same m.jsonl want "NaN and infinities are texts"
pesc runs export --all --format jsonl -o all.jsonl
ok $? "jsonl of all runs"
has all.jsonl '^{"table":"runs","uuid":"bbbb.*"name":"../../evil\\u001b\[2J\\n<script>' "a name"
has all.jsonl '^{"table":"events".*"text":"seen\\u001b\[0m, \\"twice\\""' "a text"
grep -q cccc2222 all.jsonl
[ $? -eq 1 ]
ok $? "a deleted run is left out"
pesc runs export deleted --format jsonl -o deleted.jsonl
ok $? "but not when it is named"
has deleted.jsonl '"name":"deleted".*"deleted_ms":1700000003000' "it is that"
[ "$(cut -d'"' -f4 all.jsonl | sort -u | tr '\n' ' ')" = \
    "datasets evals events metrics params router_domain router_domain_layer router_eval router_eval_layer router_expert router_layer runs segments tags " ]
ok $? "rows name their table"

# TensorBoard: what is in the files was compared with its own reader (tests/dev).
pesc runs export --all --format tensorboard -o tb
ok $? "tensorboard"
find tb -type f | sort >have
cat >want <<EOF
tb/.pesc-export
tb/_._.._evil__2J__script_alert_1___script_-bbbb1111/events.out.tfevents.1700000000.host.pesc
tb/plain-aaaa0000/events.out.tfevents.1700000000.box.pesc
EOF
same have want "a folder for each run, whose name leads nowhere"
[ "$(cksum <tb/plain-aaaa0000/events.out.tfevents.1700000000.box.pesc)" = "1974070634 1682" ]
ok $? "its bytes"
[ "$(cat tb/_*/events* | cksum)" = "2021090498 9392" ]
ok $? "and those of hostile names"
grep -q '<script>' tb/_*/events*
[ $? -eq 1 ]
ok $? "texts are shown, not obeyed"

# MLflow.
pesc runs export --all --format mlflow -o ml
ok $? "mlflow"
cp err notes
find ml/1/$a -type f | sed "s,^ml/1/$a/,," | sort >have
cat >want <<EOF
artifacts/config.yaml
artifacts/history.jsonl
inputs/1/meta.yaml
meta.yaml
metrics/eval/arc/accuracy
metrics/eval/boolq/accuracy
metrics/tokens
metrics/train/loss
params/lr
params/note
tags/mlflow.note.content
tags/mlflow.parentRunId
tags/mlflow.runName
tags/mlflow.source.git.commit
tags/mlflow.source.name
tags/mlflow.source.type
tags/pesc.base
tags/pesc.base_fingerprint
tags/pesc.command
tags/pesc.config_sha256
tags/pesc.cpu_model
tags/pesc.determinism
tags/pesc.error
tags/pesc.exit_code
tags/pesc.folder
tags/pesc.git_dirty
tags/pesc.host
tags/pesc.last_step
tags/pesc.moe
tags/pesc.seed
tags/pesc.status
tags/pesc.steps_planned
tags/pesc.tokens_seen
tags/pesc.tool_version
tags/team
EOF
same have want "the files of a run"
cat >want <<EOF
1700000000250 2.5 1
1700000000500 0.1 2
1700000000750 nan 3
1700000001000 inf 4
1700000001250 -inf 5
1700000001500 1e-300 6
EOF
same ml/1/$a/metrics/train/loss want "a metric: time, value, step"
cat >want <<EOF
artifact_uri: "file://$(pwd -P)/ml/1/$a/artifacts"
deleted_time: null
end_time: 1700000002500
entry_point_name: ''
experiment_id: '1'
lifecycle_stage: active
run_id: $a
run_name: "plain"
run_uuid: $a
source_name: ''
source_type: 4
source_version: ''
start_time: 1700000000100
status: 5
tags: []
user_id: ''
EOF
same ml/1/$a/meta.yaml want "a run: interrupted is KILLED"
has ml/1/meta.yaml '^name: "exp: \\"odd\\" \\u540d"$' "an experiment"
has ml/2/$b/meta.yaml '^run_name: "../../evil\\x1b\[2J\\x0a<script>' "a hostile name in YAML"
printf 'a, "b"\nc' >want
same ml/1/$a/params/note want "a parameter"
printf '%s' $b >want
same ml/1/$a/tags/mlflow.parentRunId want "a tag"
has ml/1/$a/inputs/1/meta.yaml 'mlflow.data.context: "training, validation"' "a data set in two roles"
ls ml/2/$b/params >have
cat >want <<EOF
_x2e_.
_x2e_._x2f_up
_x2e_hidden
_x2f_abs
_x5f_x2e_
_x_
_xc3__xbc_
a
a b:c-d.e_f
a_x2f__x2f_b
a_x2f_b
bad_xff_
cut
k_x01_ey
$(printf %230s '' | tr ' ' k)_h17b16d8ef494060f
return
trail_x2f_
wide
EOF
LC_ALL=C sort -o have have
LC_ALL=C sort -o want want
same have want "hostile names are files of their own"
has notes "W-EXPORT-NAME.* params '../up' is '_x2e_._x2f_up'" "which is told"
[ "$(wc -c <ml/2/$b/params/cut)" = 6000 ] && [ "$(wc -c <ml/2/$b/params/wide)" = 12000 ]
ok $? "values are cut at 6000 characters"
has notes "W-EXPORT-VALUE.* params 'cut' is cut" "which is told"
[ "$(grep -o 'v\{7000\}' ml/2/$b/artifacts/history.jsonl | head -n 1 | wc -c)" = 7001 ]
ok $? "the whole is in the artifacts"
printf 'one\\x0d\ntwo\\x0d' >want
same ml/2/$b/params/return want "a carriage return, which readers would drop, is escaped"
find ml/2/$b/metrics -type f | sed "s,.*/metrics/,," | LC_ALL=C sort >have
cat >want <<EOF
_x2e_.
bad_xff__x1b__x5b_2J
eval/_x2e_./arc/acc
eval/arc/acc
eval/arc/acc_x23_2
loss
loss_x2f_train
EOF
same have want "metrics: a file and a folder of one name, a metric and an evaluation of one name"
pesc runs export deleted --format mlflow -o mld
has mld/2/cccc*/meta.yaml '^lifecycle_stage: deleted$' "a deleted run that was named"
find ml -path '*..*' -name '..' >have
[ ! -s have ] && [ ! -e ../up ] && [ ! -e "ml/2/up" ]
ok $? "nothing is outside"

# A history of the first version has what it has.
mkdir old && "$fill" old/h.db 0 old || exit 99
pesc runs export plain --db old/h.db --format csv -o old/csv
ok $? "the first version"
crlf want <<EOF
uuid,step,task,metric,value,lo,hi,stderr,n,t_ms,config,dataset_sha256
$a,6,arc,accuracy,0.5,,,0.05,100,1700000002000,{},
$a,6,boolq,accuracy,NaN,,,,0,1700000002000,{},
EOF
same old/csv/evals.csv want "columns that it lacks are empty"
[ "$(wc -l <old/csv/router_eval.csv)" -eq 1 ] && [ "$(wc -l <old/csv/plans.csv)" -eq 1 ]
ok $? "so are tables"
pesc runs export --all --db old/h.db --format tensorboard -o old/tb
ok $? "as curves"
pesc runs export --all --db old/h.db --format mlflow -o old/ml
ok $? "as a store"
has old/ml/1/$a/artifacts/history.jsonl '"table":"router_expert".*"load":0.25,"prob":0.4,"first":null' \
    "with all there is"

# What is there stays.
mkdir own && echo mine >own/file && echo mine >file
ls -A >kept && ls -A >have && sort -u have kept -o kept
: >have && ls -A >kept
pesc runs export plain --format csv -o csv
exits 2 E-USAGE-EXISTS "a folder that is there"
pesc runs export plain --format csv -o own --force
exits 2 E-USAGE-EXISTS "--force on a folder that is no export"
pesc runs export plain --format csv -o file --force
exits 2 E-USAGE-EXISTS "--force, a folder for a file"
pesc runs export plain --format jsonl -o own --force
exits 2 E-USAGE-EXISTS "--force, a file for a folder"
pesc runs export plain --format jsonl -o file
exits 2 E-USAGE-EXISTS "a file that is there"
pesc runs export plain --format jsonl -o history.db --force
exits 2 E-USAGE-EXISTS "--force on the history itself"
[ "$(cat own/file file)" = "mine
mine" ]
ok $? "they are as they were"
pesc runs export plain --format jsonl -o file --force
ok $? "--force replaces a file"
same file file "it is there" && grep -q '"table":"runs"' file
ok $? "and another"
pesc runs export bbbb --format csv -o csv --force
ok $? "--force replaces an export"
has csv/runs.csv '^bbbb1111' "by the new one"
nothing "nothing else is left"

# Refusals.
pesc runs export plain --format parquet -o x
exits 2 E-UNSUPPORTED "Parquet"
has err 'csv and jsonl' "names what there is"
pesc runs export plain --format xml -o x
exits 2 E-USAGE-VALUE "an unknown format"
pesc runs export plain --format csv --table nonsense -o x
exits 2 E-USAGE-VALUE "an unknown table"
has err 'runs, params, tags, metrics' "the tables are named"
pesc runs export plain --format mlflow --table metrics -o x
exits 2 E-USAGE "--table goes with csv and jsonl"
pesc runs export --format csv -o x
exits 2 E-USAGE "no run"
pesc runs export plain --all --format csv -o x
exits 2 E-USAGE "a run and --all"
pesc runs export plain -o x
exits 2 E-USAGE "no format"
pesc runs export plain --format csv
exits 2 E-USAGE "no -o"
pesc runs export plain --format csv -o ..
exits 2 E-USAGE-VALUE "-o .."
pesc runs export plain --format csv -o no/such/folder/x
exits 9 E-IO-MISSING "a folder that is not there"
pesc runs export plain --format csv -o x --db none.db
exits 10 E-DB "no history"
nothing "none of them left anything"

# A disk that is full, as far as a limit can play one (the database's own files have room).
mkdir big && "$fill" big/h.db 20000 || exit 99
ls -A >kept
for format in csv jsonl tensorboard mlflow; do
    (ulimit -f 128 && "$PESC" runs export dddd3333dddd3333dddd3333dddd3333 --db big/h.db --format $format -o x) >out 2>err
    exits 9 E-IO-FULL "$format into a full disk"
done
pesc runs export dddd3333dddd3333dddd3333dddd3333 --db big/h.db --format csv --table metrics -o many.csv
[ "$(wc -l <many.csv)" -eq 20002 ]
ok $? "with room it is whole"
rm many.csv
pesc runs export dddd3333dddd3333dddd3333dddd3333 dddd3333dddd3333dddd3333dddd3334 --db big/h.db \
    --format tensorboard -o big/tb
[ "$(ls big/tb | tr '\n' ' ')" = "many-dddd3333 many-dddd3333dddd3333dddd3333dddd3334 " ]
ok $? "two runs that look alike have folders of their own"
nothing "nothing is left of them"
plan
