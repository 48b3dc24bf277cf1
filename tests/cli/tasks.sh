#!/bin/sh
# pesc eval on files of tasks and on several runs: what is scored, shown, recorded and refused.
# shellcheck disable=SC2086 # options are words
. "$PESC_SRC/tests/cli/lib.sh"
make_base
"$PESC" craft base/init -o M --experts 4 --top-k 2 --adapter-dim 4 --seed 3 >/dev/null || exit 99
opts="--data tune.json --batch-size 4 --max-seq-length 48 --learning-rate 1e-2 --max-steps 3"
"$PESC" train M $opts -o R1 --seed 1 -q >out 2>err || exit 99
"$PESC" train M $opts -o R2 --seed 2 -q >out 2>err || exit 99

cat >mc.jsonl <<'X'
{"question":"What is it?","choices":["a cup","a green cup of tea"],"answer":0,"domain":"tea"}
{"question":"Where?","choices":["here","there","nowhere"],"answer":"C","domain":"place"}
{"context":"The end of","choices":["it","all"],"answer":"all","domain":"place"}
X
printf 'What is it?,a,b,c,d,B\n"Quoted, ""x"" here",1,2,3,4,A\n' >mmlu.csv
cat >gen.jsonl <<'X'
{"task":{"normalize":"lower,strip","max_new_tokens":6}}
{"prompt":"reverse: abc","answer":"cba"}
{"question":"What is 2+2?","answers":["4","four"]}
X

# --- one model ---
pesc eval M --task mc.jsonl mmlu.csv gen.jsonl --context 100
ok $? "three tasks"
grep -q '^mc  *place  *accuracy  *2 ' out && grep -q '^mc  *all  *accuracy_norm  *3 ' out &&
    grep -q '^mmlu  *all  *accuracy  *2 ' out && grep -q '^gen  *all  *exact_match  *2 ' out
ok $? "each with its metrics, by domain and in all"
has err 'mc: multiple choice of 3 items, 0 cut, 0 too long, plain text' "what was asked, and how"
pesc eval M --task mc.jsonl --csv -q --items items.jsonl
ok $? "as CSV"
tr -d '\r' <out >mc.csv
[ "$(head -n 1 mc.csv)" = task,domain,metric,value,stderr,lo,hi,n,cut,too_long ] && [ "$(wc -l <mc.csv)" = 7 ]
ok $? "a line for each figure"
[ ! -s err ]
ok $? "-q says nothing"
# Wilson's interval of 3 items from the share itself
awk -F, '$1 == "mc" && $2 == "" { p = $4; n = $8; z = 1.959963984540054; w = 1 + z * z / n
        h = z / w * sqrt(p * (1 - p) / n + z * z / (4 * n * n)); m = (p + z * z / (2 * n)) / w
        bad += (m - h - $6) ^ 2 > 1e-12 && !(p == 0 && $6 == 0); bad += (m + h - $7) ^ 2 > 1e-12 && !(p == 1 && $7 == 1)
        seen++ } END { exit !(seen == 2 && !bad) }' mc.csv
ok $? "shares have Wilson's intervals"
[ "$(wc -l <items.jsonl)" = 3 ] && grep -q '"item":2,.*"right":1,"chosen":' items.jsonl
ok $? "--items tells what was chosen"
sums=$(awk -F'"chosen":' '{ split($1, r, "\"right\":"); n += r[2] + 0 == $2 + 0 } END { print n }' items.jsonl)
[ "$(awk -F, '$2 == "" && $3 == "accuracy" { printf "%.0f", $4 * $8 }' mc.csv)" = "$sums" ]
ok $? "which is what accuracy counts"
cp items.jsonl wide.jsonl
pesc eval M --task mc.jsonl --items items.jsonl -q --batch-tokens 20
awk '{ gsub(/[^-0-9.]+/, " "); print }' wide.jsonl >a && awk '{ gsub(/[^-0-9.]+/, " "); print }' items.jsonl >b
paste -d' ' a b | awk '{ n = NF / 2; for (i = 1; i <= n; i++) bad += ($i - $(i + n)) ^ 2 > 1e-6 } END { exit !(NR == 3 && !bad) }'
ok $? "the same log-likelihoods in other batches"
OMP_NUM_THREADS=2 pesc eval M --task mc.jsonl mmlu.csv --csv -q
cp out two.csv
pesc eval M --task mc.jsonl mmlu.csv --csv -q
cp out one.csv
same one.csv two.csv "and at any number of threads"

# --- a log-likelihood from --dump-logits: the loss of an answer in the same template ---
cat >pair.jsonl <<'X'
{"prompt":"Say a word","answer":"cup of tea"}
X
pesc eval M --data pair.jsonl --template chatml --json
number loss <out >one
pesc eval M --task pair.jsonl --task-format perplexity --template chatml --csv -q
awk -F, -v want="$(cat one)" '$3 == "loss" { exit !(($4 - want) ^ 2 < 1e-10) }' out
ok $? "a perplexity is that of --data in the same template"
cat >text.jsonl <<'X'
{"text":"a little text of its own"}
{"text":"and another one, longer than that was before"}
X
pesc eval M --data text.jsonl --json
cp out data.json
pesc eval M --task text.jsonl --csv -q
awk -F, -v want="$(number loss <data.json)" '$3 == "loss" { exit !(($4 - want) ^ 2 < 1e-10) }' out
ok $? "and of plain texts"
lo=$(sed 's/.*"loss_95":\[\([^,]*\),.*/\1/' data.json)
awk -F, -v want="$lo" '$3 == "loss" { exit !(($6 - want) ^ 2 < 1e-10 && $6 < $4 && $4 < $7) }' out
ok $? "with the interval that --data tells"

# --- greedy answers are those of generate ---
said=$("$PESC" generate M --prompt 'reverse: abc' -n 6 --temperature 0 -q 2>/dev/null | head -n 1)
pesc eval M --task gen.jsonl --items items.jsonl -q
grep -qF "\"said\":\"$said" items.jsonl
ok $? "answers are those of generate"
printf '{"prompt":"reverse: abc","answer":"%s"}\n{"prompt":"reverse: abc","answer":"never said"}\n' "$said" >right.jsonl
pesc eval M --task right.jsonl -n 6 --csv -q
grep -q '^right,,exact_match,0.5,' out
ok $? "a right answer counts"
awk 'BEGIN { printf "{\"prompt\":\"reverse: abc\",\"answer\":\" \\t"; exit }' >upper.jsonl
printf '%s"}\n' "$(echo "$said" | tr '[:lower:]' '[:upper:]')" >>upper.jsonl
pesc eval M --task upper.jsonl -n 6 --csv -q --normalize strip
grep -q '^upper,,exact_match,0.0,' out
ok $? "another does not"
pesc eval M --task upper.jsonl -n 6 --csv -q --normalize strip,lower
grep -q '^upper,,exact_match,1.0,' out
ok $? "until it is normalised"
pesc eval M --task gen.jsonl --items items.jsonl -q --stop "$(printf %.1s "$said")"
grep -q '"item":0,.*"said":""' items.jsonl
ok $? "--stop ends it"

# --- packed files, limits, what is cut ---
gzip -c mc.jsonl >zipped.jsonl.gz
mkdir tar && cp mmlu.csv tar/law_test.csv && cp mmlu.csv tar/art_test.csv
tar czf mmlu_all.tar.gz tar
pesc eval M --task zipped.jsonl.gz mmlu_all.tar.gz --csv -q
grep -q '^zipped,,accuracy,' out && grep -q '^mmlu_all,art_test,accuracy,' out &&
    grep -q '^mmlu_all,,accuracy,.*,4,0,0' out
ok $? "compressed and in an archive"
pesc eval M --task mc.jsonl --limit 2 --json -q
grep -q '"domain": null, "metric": "accuracy".*"n": 2,' out
ok $? "--limit"
long=$(awk 'BEGIN { for (i = 0; i < 400; i++) printf "word %d ", i }')
printf '{"context":"%s","choices":["a","b"],"answer":0}\n{"context":"a","choices":["%s","b"],"answer":0}\n' \
    "$long" "$long" >long.jsonl
pesc eval M --task long.jsonl --csv
has err 'multiple choice of 1 items, 1 cut, 1 too long' "an item is cut, another has no room"
grep -q '^long,,accuracy,.*,1,1,1' out
ok $? "which the table tells"

# --- the history and the run folder ---
pesc eval M --pack R1 --task mc.jsonl gen.jsonl -q
[ "$(sql "SELECT count(*) FROM v_eval WHERE run = 'R1' AND task IN ('mc', 'mc/tea', 'mc/place', 'gen')")" = 7 ]
ok $? "figures join the run's history"
[ "$(sql "SELECT n || ' ' || (lo < value + 1e-9 AND value < hi + 1e-9) || json_extract(config, '\$.template') FROM v_eval WHERE task = 'mc' AND metric = 'accuracy'")" = "3 1none" ]
ok $? "with interval and how it was done"
[ "$(sql "SELECT replace(json_extract(config, '\$.normalize'), ',', '+') || json_extract(config, '\$.max_new_tokens') FROM v_eval WHERE task = 'gen'")" = "lower+strip6" ]
ok $? "as the file says"
[ "$(tail -n 1 R1/metrics.jsonl | grep -o '"metric":' | wc -l)" = 7 ] &&
    tail -n 1 R1/metrics.jsonl | grep -q '"event":"eval","step":3,"t_ms":[0-9]*,"rows":'
ok $? "and the run's folder"
pesc eval M --pack R1 --data heldout.json
[ "$(grep -c '"event":"router_eval","step":3,.*"task":"heldout.json","domain":""' R1/metrics.jsonl)" = \
    "$(sql "SELECT count(*) FROM router_eval_layer WHERE task = 'heldout.json' AND domain = ''")" ]
ok $? "so do the routers of an evaluation"
[ "$(sql "SELECT count(*) > 4 FROM v_eval WHERE task LIKE 'heldout.json/%' AND lo <= value AND value <= hi")" = 1 ]
ok $? "and its domains"
printf '%s\n' '{"question":"Which two?","answer":"one\nand the other"}' >lines.jsonl
pesc eval M --pack R1 --task lines.jsonl -n 2 -q
[ "$(sql "SELECT json_extract(config, '\$.stop[0]') = char(10) || 'Question:' FROM eval WHERE task = 'lines'")" = 1 ] &&
    [ "$(sql "SELECT json_extract(config, '\$.stop[0]') = char(10) FROM eval WHERE task = 'gen'")" = 1 ]
ok $? "answers end with their line, or where those of the task have several at the next question"
pesc eval M --pack R1 --task lines.jsonl -n 2 -q --template chatml
[ "$(sql "SELECT json_extract(config, '\$.stop') || json_extract(config, '\$.template') FROM eval WHERE task = 'lines'")" = "[]chatml" ]
ok $? "in a template where the model ends them"
"$PESC" pack export R1 -o a.pescpack >/dev/null 2>&1
before=$(grep -c '"task":"gen"' R1/metrics.jsonl)
pesc eval M --pack a.pescpack --task gen.jsonl -q
[ "$(grep -c '"task":"gen"' R1/metrics.jsonl)" = $((before + 1)) ]
ok $? "of a pack, whose run's folder the history knows"
if command -v flock >/dev/null 2>&1; then
    flock R1/.lock "$PESC" eval M --pack R1 --task mc.jsonl -q >out 2>err
    has err 'warning\[W-RUN-LOG\]' "a folder that is in use is told"
fi
before=$(sql "SELECT count(*) FROM eval")
lines=$(wc -l <R2/metrics.jsonl)
pesc eval M --task mc.jsonl -q
[ "$(sql "SELECT count(*) FROM eval")" = "$before" ]
ok $? "a model without a run has none"

# --- several runs ---
pesc eval --runs R1 R2 --task mc.jsonl --data heldout.json --csv -q
ok $? "two runs, tasks and data"
cp out runs.csv
[ "$(grep -c '^R1,mc,,' runs.csv)" = 2 ] && [ "$(grep -c '^R2,mc,' runs.csv)" = 6 ] &&
    [ "$(grep -c '^R2,heldout.json,,' runs.csv)" = 4 ]
ok $? "in one table"
pesc eval M --pack R2 --data heldout.json --json
awk -F, -v want="$(number loss <out)" '/^R2,heldout.json,,loss,/ { exit !(($5 - want) ^ 2 < 1e-12) }' runs.csv
ok $? "as each alone"
[ "$(sql "SELECT count(*) FROM v_eval WHERE run = 'R2' AND task = 'mc'")" = 2 ] &&
    [ "$(wc -l <R2/metrics.jsonl)" -gt "$lines" ]
ok $? "recorded with each"
pesc eval --runs R1 R2 --task mc.jsonl
grep -q '^task .* R1  *R2' out && grep -q '^mc  *all  *accuracy  *3  *[01].* \[.*\]  *[01].* \[' out
ok $? "a column for each"
cp out table
pesc eval --runs R1 nosuch R2 --task mc.jsonl -q
exits 10 E-DB-RUN "a run that is none"
has err 'warning\[W-EVAL-RUN\] nosuch: \[E-DB-RUN\]' "is told"
sed 's/ *$//' out | awk '{ print $NF }' >a
sed 's/ *$//' table | awk '{ print $NF }' >b
same a b "and the others go on"
mv R2/adapter.safetensors away
pesc eval --runs R1 R2 --task mc.jsonl --csv -q
exits 9 E-IO-MISSING "a run without its adapters"
[ "$(grep -c '^R1,' out)" = 6 ] && ! grep -q '^R2,' out
ok $? "has no rows"
mv away R2/adapter.safetensors
"$PESC" runs sql "SELECT 1" >/dev/null
pesc eval --runs latest --task mc.jsonl --csv -q
[ "$(grep -c '^latest,' out)" = 6 ]
ok $? "a run by its place in the history"

"$PESC" train base/init --trainable full --data pretrain.jsonl --max-records 8 --batch-size 4 \
    --max-seq-length 32 --max-steps 1 --learning-rate 0.1 -o F -q >out 2>err
pesc eval F --task text.jsonl --csv -q
awk -F, '$3 == "loss" { print $4 }' out >a
pesc eval base/init --task text.jsonl --csv -q
awk -F, '$3 == "loss" { print $4 }' out >b
pesc eval --runs F --task text.jsonl --csv -q
awk -F, '$4 == "loss" { print $5 }' out >c
cmp -s a c && ! cmp -s a b
ok $? "a run that trained a whole model"
[ "$(sql "SELECT count(*) FROM v_eval WHERE run = 'F' AND task = 'text'")" = 2 ]
ok $? "has its evaluation, too"

# --- refused ---
for f in '{"question":"q","choices":["a","b"],"answer":2}' '{"prompt":"p"}' '{"text":}'; do
    { cat gen.jsonl; echo "$f"; } | tail -n 1 >bad.jsonl
    pesc eval M --task bad.jsonl
    got=$?
    [ $got -eq 4 ] && grep -q '^pesc: error\[E-DS-[A-Z]*\] bad.jsonl, line 1' err && [ ! -s out ]
    ok $? "$f: exit 4, with file and line"
done
refused() { # ARGUMENTS...
    pesc eval "$@"
    exits 2 E-USAGE "$*"
}
refused M
refused --task mc.jsonl
refused M --task mc.jsonl --task-format arc --dump-logits x
refused M --task mc.jsonl --routing
refused M --data heldout.json --limit 3
refused M --data heldout.json --csv
refused M --task mc.jsonl --max-seq-length 5
refused M --task mc.jsonl --loss-on all
refused M --task mc.jsonl --normalize lower
refused M --task mc.jsonl --csv --json
refused M --task mc.jsonl ./mc.jsonl
refused M --task mc.jsonl --system hello
refused --runs R1 --pack R1 --task mc.jsonl
refused --runs R1
pesc eval M --task gen.jsonl --normalize lower,upper
exits 2 E-USAGE-VALUE "no such normaliser"
pesc eval M --task gen.jsonl --max-new-tokens 100000
exits 2 E-USAGE-VALUE "answers longer than the context"
pesc eval M --task mc.jsonl --context 100000
exits 2 E-USAGE-VALUE "a context longer than the model's"
pesc eval M --task mc.jsonl --items nowhere/x.jsonl
[ $? -eq 9 ] && [ ! -s out ]
ok $? "--items that cannot be written"
pesc eval M --task mc.jsonl --task-format arc
got=$?
[ $got -eq 4 ] && grep -q 'line 1' err
ok $? "records of another format"
plan
