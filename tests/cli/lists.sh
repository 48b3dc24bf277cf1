#!/bin/sh
# Runs listed by conditions, set side by side, and followed.
: "${PESC:?}" "${PESC_SRC:?}"
. "$PESC_SRC/tests/cli/lib.sh"
here=$(dirname "$PESC")/tests/cli
"$here/fill_history" "$PESC_DB" "$tmp/run" >/dev/null 2>&1 || exit 99

# --- list ---
lists() { # WANTED (names with blanks between) WHAT OPTIONS...
    wanted=$1 what=$2
    shift 2
    pesc runs list --columns status "$@" --csv
    [ "$(tail -n +2 out | tr -d '\r' | tr '\n' ' ')" = "$wanted" ] && [ ! -s err ]
    ok $? "$what"
}
lists 'finished failed ' "all, newest first"
lists 'finished ' "by a parameter" --where 'params.lr = 2e-4'
lists 'finished ' "as a number" --where 'params.lr <= 0.0002'
lists '' "which is compared as one" --where 'params.lr > 0.0002'
lists 'finished ' "by a metric" --where 'metrics.valid/loss >= 2 and metrics.train/loss < 1.9'
lists 'failed ' "that is infinite" --where 'metrics.lr > 1e300'
lists 'failed ' "by NaN" --where "metrics.train/loss = 'NaN'"
lists 'finished ' "by an evaluation" --where 'evals.arc/accuracy = 0.5'
lists 'finished ' "by a text with blanks and quotes" --where "params.note = 'a, \"b\"'"
lists 'failed ' "by a pattern" --where 'name like den%'
lists 'failed finished ' "in another order" --sort status
lists 'finished failed ' "the other way" --sort status:desc
lists 'finished failed ' "NaN and what is not there last" --sort metric:train/loss
lists 'failed ' "by status" --status failed
lists 'finished failed ' "by experiment" --experiment default
lists '' "of which there is no other" --experiment other
lists 'finished failed ' "by base" --base tiny-llama
lists 'finished failed ' "since a day" --since 2020-01-01
lists '' "in the future" --since 2999-01-01
pesc runs tag latest 'owner=me too' 'x=1'
lists 'finished ' "by a tag" --tag x
lists 'finished ' "with its value" --tag 'owner=me too'
lists '' "which is another" --tag x=2
lists 'finished ' "as a condition" --where "tags.owner = 'me too'"
pesc runs list --columns run,param:lr,tag:x,metric:valid/loss,eval:arc/accuracy,metric:none --csv
has out '^bbbb1111,2e-4,1,2.0,0.5,' "columns of all kinds"
has out '^aaaa0000,,,,,' "and what a run has not"
pesc runs list --columns 'param:a"b' --csv
has out 'param:a' "a name with a quote"
pesc runs delete aaaa0000
lists 'finished ' "not what is deleted"
lists 'failed ' "but when asked for" --deleted
pesc runs delete aaaa0000 --undo
for words in 'lr = 1' 'params.lr' 'params.lr =' "params.lr = 'x" 'params.lr = 1 or 1' '= 2' 'evals.arc = 1'; do
    pesc runs list --where "$words"
    exits 2 E-USAGE-VALUE "no condition: $words"
done
pesc runs list --where "name = 'x' and name = 'y'); DROP TABLE run; --"
exits 2 E-USAGE-VALUE "nor is this"
lists '' "which is only a text here" --where "name = '; DROP TABLE run; --'"
pesc runs list --sort nonsense
exits 2 E-USAGE-VALUE "a column that there is not"
pesc runs list --since yesterday
exits 2 E-USAGE-VALUE "no date"

# --- compare ---
pesc runs compare latest aaaa0000
ok $? "two runs"
for part in '^runs' '^parameters that differ' '^lr ' '^evaluations' '^arc ' 'train/loss'; do
    has out "$part" "shows $part"
done
! LC_ALL=C grep -q "$(printf '\033')" out
ok $? "names are shown, not obeyed"
has out 'NaN' "NaN is there"
pesc runs compare latest aaaa0000 --json
for key in runs parameters evaluations routing; do
    has out "\"$key\": " "JSON has $key"
done
pesc runs compare latest
exits 2 E-USAGE "one run is none to compare"
pesc runs compare latest nothing
exits 10 E-DB-RUN "a run that there is not"

# --- tail ---
make_base
pesc craft base/init -o M --experts 2 --adapter-dim 4 --seed 3
pesc train M --data tune.json -o R --max-steps 400 --batch-size 2 --max-seq-length 32 &
trainer=$!
for _ in $(seq 600); do
    [ "$(grep -c '"step"' R/metrics.jsonl 2>/dev/null)" -gt 5 ] 2>/dev/null && break
    sleep 0.1
done
timeout 60 "$PESC" runs tail R --lines 3 >followed 2>err
ok $? "a run is followed to its end"
wait $trainer
has followed '^step 400  ' "its last step is there"
has followed 'train/loss [0-9.]*' "with its loss"
pesc runs tail R --lines 2
[ "$(wc -l <out)" = 2 ]
ok $? "of one that has ended, the last lines"
pesc runs tail R --lines 1 --json
has out '^{.*}$' "as they are"
pesc runs tail nothing
exits 10 E-DB-RUN "a run that there is not"
plan
