#!/bin/sh
# Runs that the history could not take: whole in their folders, and in the history as soon as some
# process can write it.
: "${PESC:?}" "${PESC_SRC:?}"
. "$PESC_SRC/tests/cli/lib.sh"

make_base
pesc craft base/init -o M --experts 2 --adapter-dim 4 --seed 3
ok $? "a small model"
run='--data tune.json --batch-size 4 --max-seq-length 64 --eval-data heldout.json --router-steps 2'
facts() { # what the documented views say of the runs, but for times
    sql "SELECT name, status, steps, round(train_loss, 9), round(best_valid, 9) FROM v_run ORDER BY name"
    sql "SELECT run, metric, step, value FROM v_metric WHERE metric NOT LIKE '%per_s' AND metric NOT LIKE '%rss%' ORDER BY run, metric, step"
    sql "SELECT run, layer, step, max_over_mean, entropy FROM v_router ORDER BY run, layer, step"
    sql "SELECT run, step, task, metric, value, lo, hi, n FROM v_eval ORDER BY run, step, task, metric"
}

# As it should be.
# shellcheck disable=SC2086 # a list of words
PESC_DB=$tmp/good.db pesc train M $run -o A --max-steps 6
ok $? "a run that is recorded"
[ ! -e A/unrecorded ]
ok $? "bears no mark"
PESC_DB=$tmp/good.db facts >wanted
rm -r A

# The database is no database: the run is made all the same.
echo "not a database" >"$PESC_DB"
# shellcheck disable=SC2086
pesc train M $run -o A --max-steps 6
ok $? "a run without a history"
has err 'W-DB-OFF' "which is told"
[ -e A/unrecorded ]
ok $? "and marked"
has "$PESC_DB" 'not a database' "the file is left alone"

# It is put right; the next run takes the marked one in.
rm "$PESC_DB"
# shellcheck disable=SC2086
pesc train M $run -o B --max-steps 2
ok $? "the next run"
[ ! -e A/unrecorded ]
ok $? "the mark is gone"
[ "$(sql 'SELECT name FROM v_run ORDER BY name' | tr '\n' ' ')" = 'A B ' ]
ok $? "the history has both"
pesc runs delete B && pesc runs purge B
ok $? "the other one goes"
facts >got
same wanted got "the first is in every view as if it had been recorded"

# A mark on a run that is there already, and one whose folder is not a run any more.
touch A/unrecorded
mkdir C
touch C/unrecorded
# shellcheck disable=SC2086
pesc train M $run -o D --max-steps 1
ok $? "marks that stand for nothing"
[ ! -e A/unrecorded ] && [ "$(sql 'SELECT count(*) FROM v_run')" = 2 ]
ok $? "add nothing"

# Killed while another program holds the history: what it had not written comes from its folder.
# shellcheck disable=SC2086
pesc train M $run -o F --max-steps 2000 --eval-steps 0 &
for _ in $(seq 600); do
    [ "$(grep -c '"step"' F/metrics.jsonl 2>/dev/null)" -gt 20 ] 2>/dev/null && break
    sleep 0.1
done
[ -e F/unrecorded ]
ok $? "a run at work bears a mark"
flock "$PESC_DB.lock" sh -c 'sleep 2; kill -9 $(sed -n "s/.*\"pid\":\([0-9]*\).*/\1/p" F/segments.jsonl)'
wait
steps=$(grep -c '"event":"step"' F/metrics.jsonl)
had=$(sql "SELECT count(*) FROM v_metric WHERE run = 'F' AND metric = 'train/loss'")
[ "$had" -lt "$steps" ]
ok $? "killed, with $had of $steps steps in the history"
# shellcheck disable=SC2086
pesc train M $run -o G --max-steps 1
[ "$(sql "SELECT count(*) FROM v_metric WHERE run = 'F' AND metric = 'train/loss'")" = "$steps" ]
ok $? "the next run brings the others"
[ ! -e F/unrecorded ] && [ ! -e G/unrecorded ]
ok $? "and the marks are gone"
plan
