#!/bin/sh
# Memory that runs out, at one allocation or at all from one on: exit 8 with one line that says so,
# or exit 0 and all of the result; nothing half done, no signal, and, with a sanitizer, no leak.
# The allocations are the first of each call stack. Of them a share is taken; PESC_SWEEP=full takes
# all of them, PESC_SWEEP_ONLY names the cases, and PESC_SWEEP_KEEP a file for what is found.
. "$PESC_SRC/tests/cli/lib.sh"
tests=$(dirname "$PESC")/tests/cli
GOMP_SPINCOUNT=1000 # or the program starts itself again
PESC_DB=w/h.db
export GOMP_SPINCOUNT PESC_DB
make_base

# A case is a command (run_CASE), what it starts from (fresh_CASE), whether its result in w is that
# in want (same_CASE), and what has to hold when it has failed (whole_CASE).
fault() {
    echo "$case $FAIL_AT${FAIL_ON:+ and on}: $*" >>faults
    [ -z "${PESC_SWEEP_KEEP:-}" ] || tail -n 1 faults >>"$PESC_SWEEP_KEEP"
}
attempt() { # NUMBER
    rm -rf w && mkdir w && "fresh_$case"
    FAIL_AT=$1
    export FAIL_AT
    "run_$case" "$tests/pesc-failing" >out 2>err
    rc=$?
    tries=$((tries + 1))
    [ -z "$(find w -name '*.tmp-*' -o -name '*pesc-pack-*')" ] || fault "temporary files are left"
    case $rc in
    0) "same_$case" || fault "exit 0 with another result: $(tail -n 1 err)" ;;
    8)
        { grep -q '^pesc: error\[E-MEMORY\]' err && [ "$(grep -c 'error\[' err)" = 1 ]; } ||
            fault "not one line: $(tail -n 2 err)"
        "whole_$case" || fault "something is half done: $(tail -n 1 err) $(tail -n 1 err2 2>/dev/null)"
        ;;
    *) fault "exit $rc: $(tail -n 1 err)" ;;
    esac
}
sweep() { # CASE STRIDE: every so many of them
    case=$1 stride=$2 tries=0
    case " ${PESC_SWEEP_ONLY:-$case} " in
    *" $case "*) ;;
    *) return ;;
    esac
    [ "${PESC_SWEEP:-}" != full ] || stride=1
    : >faults
    FAIL_AT=0
    rm -rf want w && mkdir w && "fresh_$case"
    FAIL_SITES=$tmp/sites
    export FAIL_SITES
    "run_$case" "$tests/pesc-failing" >out 2>err || fault "undisturbed: $(tail -n 1 err)"
    unset FAIL_SITES
    cp -r w want
    cp out want.out
    for at in $(awk "(NR + 1) % $stride == 0" sites); do
        attempt "$at"
    done
    FAIL_ON=1
    export FAIL_ON
    for at in $(awk "NR % (3 * $stride) == 1" sites); do
        attempt "$at"
    done
    unset FAIL_ON FAIL_AT
    [ ! -s faults ]
    status=$?
    cp faults err && : >out
    ok $status "$case: $tries of $(wc -l <sites)"
}

same_out() {
    cmp -s out want.out
}
nothing() { # PATH
    [ ! -e "$1" ]
}

run_craft() { "$1" craft base/init -o w/M --experts 4 --top-k 2 --adapter-dim 4 --seed 3 --json; }
fresh_craft() { :; }
same_craft() { same_out && diff -r w want >/dev/null; }
# What is whole may be there, when there was no memory to tell of it.
whole_craft() { nothing w/M || diff -r w want >/dev/null; }

run_quantise() {
    "$1" craft base/init -o w/M --experts 2 --adapter-dim 2 --base-dtype nf4 --contain --json
}
fresh_quantise() { :; }
same_quantise() { same_out && diff -r w want >/dev/null; }
whole_quantise() { whole_craft; }

# What depends on the machine, the time or the run's number.
plain() {
    sed -E -e 's/"([a-z_]*seconds|[a-z_]*per_s|peak_rss_bytes|planned_bytes|pid|[a-z]*_ms)":[^,}]*//g' \
        -e 's/"plan":\{[^{}]*\{[^{}]*\}[^{}]*\{[^{}]*\}[^{}]*\}//' -e '/"code":"W-DB-/d' \
        -e 's/"(uuid|run_id|ended|started)":"[^"]*"//g' -e 's/[0-9a-f]{64}\.saf/.saf/g' "$@"
}
run_folder() { # FOLDER: all that a run leaves, but its log
    plain "$1/run.json" "$1/segments.jsonl"
    cat "$1/config.yaml"
    sha256sum <"$1/adapter.safetensors"
    ls "$1/ckpt" # names are of the content
}
train_args="--eval-data heldout.json --batch-size 4 --max-seq-length 48 --max-steps 3 --seed 7
--learning-rate 1e-2 --save-steps 2 --eval-steps 2 --router-steps 2 --json"
sound() {
    "$tests/db_check" w/h.db >db.out
}
# A history, a log or a checkpoint on the way that cannot be written is told, and does not stop the
# training.
same_train() {
    if cat out err | grep -q -e '"code":"E-MEMORY"' -e 'W-CK-PRUNE'; then
        cmp -s w/R/adapter.safetensors want/R/adapter.safetensors
        return
    fi
    run_folder w/R >have && run_folder want/R >wanted && cmp -s have wanted || return 1
    if ! cat out err | grep -q 'W-RUN-LOG'; then
        plain out w/R/metrics.jsonl >have && plain want.out want/R/metrics.jsonl >wanted
        cmp -s have wanted || return 1
    fi
    [ ! -e w/h.db ] || sound || return 1
    cat out err | grep -q 'W-DB' && return 0
    "$tests/db_check" w/h.db >have && "$tests/db_check" want/h.db >wanted || return 1
    grep -q dropped have || cmp -s have wanted
}
# What there is of a run can be gone on with, or its folder used again.
whole_train() {
    [ ! -e w/h.db ] || sound || return 1
    [ -e w/R ] || return 0
    # shellcheck disable=SC2086
    PESC_DB=w/h2.db "$PESC" train M --data tune.json $train_args -o w/R --resume auto >out2 2>err2 ||
        return 1
    cmp -s w/R/adapter.safetensors "$trained"
}
trained=want/R/adapter.safetensors
# shellcheck disable=SC2086
run_train() { "$1" train M --data tune.json $train_args -o w/R; }
fresh_train() { :; }

# shellcheck disable=SC2086
run_disk() {
    "$1" train M --data tune.json $train_args -o w/R --resident-layers 0 \
        --spill-activations w --optimizer-state disk
}
fresh_disk() { :; }
same_disk() { same_train; }
whole_disk() { whole_train; }

# shellcheck disable=SC2086
run_plan() { "$1" plan M --data tune.json --batch-size 4 --max-seq-length 48 --max-steps 3 --json; }
fresh_plan() { :; }
same_plan() { [ "$(grep -c fits out)" = "$(grep -c fits want.out)" ]; }
whole_plan() { nothing w/R; }

# shellcheck disable=SC2086
run_resume() { "$1" train M --data tune.json $train_args -o w/R --resume auto; }
fresh_resume() { cp -r half w/R; }
same_resume() { same_train; }
whole_resume() { whole_train; }

run_full() {
    "$1" train base/init --trainable full --data pretrain.jsonl --max-records 8 --batch-size 4 \
        --max-seq-length 32 --max-steps 1 --valid-fraction 0.3 --packing best-fit -o w/R
}
fresh_full() { :; }
same_full() {
    diff -r w/R/model want/R/model >/dev/null && { grep -q 'W-DB' out err || sound; }
}
whole_full() { [ ! -e w/h.db ] || sound; }

run_eval() {
    "$1" eval M --pack R --data heldout.json --max-seq-length 48 --routing --json \
        --resident-layers 1
}
fresh_eval() { :; }
same_eval() { strip out >have && strip want.out >wanted && cmp -s have wanted; }
whole_eval() { :; }

run_tasks() {
    "$1" eval M --pack w/R --task task mc.jsonl --csv --items w/items.jsonl -n 4 --template chatml
}
fresh_tasks() {
    cp -r R w/R
    mkdir -p task
    echo '{"task":{"normalize":"lower,number","stop":["x"]}}' >task/a.jsonl
    echo '{"question":"2+2?","answers":["4","four"]}' >>task/a.jsonl
    printf 'Question,Answer\n"1, 2?",3\n' >task/b.csv
    echo '{"question":"q","choices":["a","b"],"answer":"b","domain":"d"}' >mc.jsonl
    echo '{"context":"c","choices":["e","f"],"answer":0}' >>mc.jsonl
}
recorded() { # the evaluation is a line of the run's folder, or is not there at all
    cmp -s w/R/metrics.jsonl R/metrics.jsonl && [ $# -gt 0 ] && return
    sed 's/"t_ms":[0-9]*//' w/R/metrics.jsonl >have
    sed 's/"t_ms":[0-9]*//' want/R/metrics.jsonl | cmp -s - have
}
# One that cannot be written is told.
same_tasks() {
    cmp -s out want.out && cmp -s w/items.jsonl want/items.jsonl || return 1
    if grep -q 'W-RUN-LOG\|W-DB-OFF' err; then recorded or-not; else recorded; fi
}
# Scored and kept, but not shown: that is whole.
whole_tasks() {
    recorded or-not || return 1
    [ ! -e w/items.jsonl ] || cmp -s w/items.jsonl want/items.jsonl
}

run_generate() {
    "$1" generate M --pack R --prompt Name --max-new-tokens 6 --temperature 0.7 --json
}
fresh_generate() { :; }
same_generate() { plain out >have && plain want.out >wanted && cmp -s have wanted; }
whole_generate() { :; }

run_inspect() { "$1" data inspect M --data tune.json data.tar.gz --records 2 --json; }
fresh_inspect() { :; }
same_inspect() { same_out; }
whole_inspect() { :; }
run_stats() { "$1" data stats M --data tune.json --packing best-fit --batch-tokens 64; }
fresh_stats() { :; }
same_stats() { same_out; }
whole_stats() { :; }
run_encode() { echo '"a text"' | "$1" data encode M; }
fresh_encode() { :; }
same_encode() { same_out; }
whole_encode() { :; }

run_export() { "$1" pack export R -o w/a.pescpack; }
fresh_export() { cp h.db w/h.db; }
same_export() {
    cmp -s w/a.pescpack want/a.pescpack && sound && { grep -q W-DB err || same_out; }
}
whole_export() { nothing w/a.pescpack && sound; }
run_import() { XDG_DATA_HOME=$tmp/w "$1" pack import a.pescpack; }
fresh_import() { cp h.db w/h.db; }
same_import() {
    diff -r w/pesc want/pesc >/dev/null && sound && { grep -q W-DB err || same_out; }
}
whole_import() { [ -z "$(find w -type f ! -name 'h.db*')" ] && sound; }
run_verify() { "$1" pack verify a.pescpack; }
fresh_verify() { :; }
same_verify() { same_out; }
whole_verify() { :; }
run_inspect_pack() { "$1" pack inspect a.pescpack --json; }
fresh_inspect_pack() { :; }
same_inspect_pack() { same_out; }
whole_inspect_pack() { :; }

fresh_runs() { cp h.db w/h.db; }
whole_runs() { sound; }
run_list() { "$1" runs list --json; }
fresh_list() { fresh_runs; }
same_list() { same_out; }
whole_list() { whole_runs; }
run_show() { "$1" runs show R --json; }
fresh_show() { fresh_runs; }
same_show() { same_out; }
whole_show() { whole_runs; }
run_routing() { "$1" runs routing R; }
fresh_routing() { fresh_runs; }
same_routing() { same_out; }
whole_routing() { whole_runs; }
run_plot() { "$1" runs plot R -m train/loss lr; }
fresh_plot() { fresh_runs; }
same_plot() { same_out; }
whole_plot() { whole_runs; }
run_svg() { "$1" runs plot R -o w/a.svg; }
fresh_svg() { fresh_runs; }
same_svg() { cmp -s w/a.svg want/a.svg; }
whole_svg() { whole_runs && nothing w/a.svg; }
run_report() { "$1" runs report R -o w/a.html; }
fresh_report() { fresh_runs; }
same_report() {
    sed '/Made by/d' w/a.html >have && sed '/Made by/d' want/a.html >wanted && cmp -s have wanted
}
whole_report() { whole_runs && nothing w/a.html; }
run_sql() { "$1" runs sql "SELECT name, status FROM run"; }
fresh_sql() { fresh_runs; }
same_sql() { same_out; }
whole_sql() { whole_runs; }

run_csv() { "$1" runs export R --format csv -o w/x; }
fresh_csv() { fresh_runs; }
same_csv() { diff -r w/x want/x >/dev/null; }
# What is whole may be there, when there was no memory to tell of it.
whole_csv() { { nothing w/x || same_csv; } && sound; }
run_tensorboard() { "$1" runs export --all --format tensorboard -o w/x; }
fresh_tensorboard() { fresh_runs; }
same_tensorboard() { same_csv; }
whole_tensorboard() { whole_csv; }
run_mlflow() { "$1" runs export --all --format mlflow -o w/x; }
fresh_mlflow() { fresh_runs; }
same_mlflow() { same_csv; }
whole_mlflow() { whole_csv; }

run_doctor() { "$1" doctor --json; }
fresh_doctor() { fresh_runs; }
same_doctor() { sed '/_bytes/d' out >have && sed '/_bytes/d' want.out >wanted && cmp -s have wanted; }
whole_doctor() { whole_runs; }

sweep craft 20
"$PESC" craft base/init -o M --experts 4 --top-k 2 --adapter-dim 4 --seed 3 >/dev/null || exit 99
sweep quantise 20
# shellcheck disable=SC2086
PESC_DB=h.db "$PESC" train M --data tune.json $train_args -o R >/dev/null 2>&1 || exit 99
cp -r R half
rm half/adapter.safetensors half/ckpt/*-0000000003-*
PESC_DB=h.db "$PESC" pack export R -o a.pescpack >/dev/null 2>&1 || exit 99
tar -cf - heldout.json | gzip >data.tar.gz
sweep train 150
trained=R/adapter.safetensors
sweep resume 200
sweep disk 200
sweep full 120
sweep plan 60
sweep eval 40
sweep tasks 30
sweep generate 40
sweep inspect 40
sweep stats 40
sweep encode 20
sweep export 40
sweep import 40
sweep verify 20
sweep inspect_pack 20
sweep list 40
sweep show 40
sweep routing 40
sweep plot 40
sweep svg 40
sweep report 40
sweep sql 40
sweep csv 40
sweep tensorboard 40
sweep mlflow 40
sweep doctor 10
plan
