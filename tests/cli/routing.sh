#!/bin/sh
# Router statistics of a real run: what is recorded in training, at its evaluations and by pesc eval,
# warnings, and pesc runs routing.
. "$PESC_SRC/tests/cli/lib.sh"
make_base
unset COLUMNS

# Two domains, one with a name that a terminal would obey.
for i in 1 2 3 4 5 6 7 8; do
    for d in words 'evil\u001b[31m'; do
        printf '{"dataset":"%s","conversation":[{"input":"Say %d in %s","output":"ki go %d"}]}\n' \
            "$d" $i "$(echo "$d" | cut -c1-4)" $((i * 7))
    done
done >two.jsonl
evil=$(printf 'evil\033[31m')
pesc craft base/init -o M --experts 4 --top-k 2 --adapter-dim 4 --seed 3
ok $? "craft"
opts="--data two.jsonl --max-seq-length 48 --batch-size 4 --learning-rate 1e-2 --seed 7"
pesc train M $opts --eval-data heldout.json --eval-steps 4 --max-steps 10 --router-steps 5 -o R
ok $? "train"
[ "$(grep -c 'warning\[W-ROUTE' err)" = 0 ]
ok $? "a quiet run"

# --- what is recorded ---
[ "$(grep -c '"event":"router",' R/metrics.jsonl)" = 8 ] &&
    [ "$(sql "SELECT count(*), count(DISTINCT layer), min(step), max(step) FROM router_layer")" = "8,4,5,10" ]
ok $? "a row and a line for each of 4 layers at steps 5 and 10"
[ "$(grep -c '"event":"router_domain",' R/metrics.jsonl)" = 16 ] &&
    [ "$(sql "SELECT count(*), count(DISTINCT domain) FROM router_domain_layer")" = "16,2" ]
ok $? "and for each of 2 domains"
[ "$(grep '"event":"router_eval",' R/metrics.jsonl | grep -c '"domain":""')" = 16 ] &&
    [ "$(sql "SELECT group_concat(DISTINCT step) FROM router_eval WHERE domain = ''")" = '"0,4,8,10"' ]
ok $? "and at each of 4 evaluations"
for t in router_expert router_domain router_eval; do
    group="run_id, layer, step"
    [ $t = router_domain ] && group="$group, domain"
    [ $t = router_eval ] && group="$group, task, domain"
    [ "$(sql "SELECT count(*) > 0, max(abs(l - 1)) < 1e-9, max(abs(p - 1)) < 1e-5, max(abs(f - 1)) < 1e-9, min(n)
        FROM (SELECT sum(load) AS l, sum(prob) AS p, sum(first) AS f, count(*) AS n FROM $t GROUP BY $group)")" = "1,1,1,1,4" ]
    ok $? "$t: loads, probabilities and first choices of 4 experts sum to 1"
done
[ "$(sql "SELECT max(off) < 1e-9 FROM (SELECT abs(x.load - (SELECT sum(d.load * l.tokens) / sum(l.tokens) FROM router_domain d
    JOIN router_domain_layer l USING (run_id, layer, domain, step) WHERE d.run_id = x.run_id
    AND d.layer = x.layer AND d.expert = x.expert AND d.step = x.step)) AS off FROM router_expert x)")" = 1 ]
ok $? "all tokens are those of the domains"
[ "$(sql "SELECT count(*), sum(off) FROM (SELECT a.tokens <> (SELECT sum(tokens) FROM router_eval_layer d
    WHERE d.step = a.step AND d.layer = a.layer AND d.domain <> '') AS off FROM router_eval_layer a
    WHERE domain = '')")" = "16,0" ]
ok $? "so are those of an evaluation"
[ "$(sql "SELECT count(*), sum(entropy BETWEEN 0.5 AND 1.3863) FROM router_layer")" = "8,8" ]
ok $? "entropies are in nats, of four at most"

# --- pesc eval of the run's adapters ---
pesc runs routing R --eval heldout.json --csv
ok $? "what the last evaluation saw"
cp out before.csv
[ "$(sed -n 1p out | tr -d '\r')" = step,layer,domain,expert,load,prob,first ] &&
    [ "$(wc -l <out)" = $((1 + 4 * 4 * 7)) ]
ok $? "a line for each layer, expert and domain"
pesc eval M --pack R --data heldout.json --max-seq-length 48 --batch-tokens 100
ok $? "eval of the run"
! grep -q choice out
ok $? "does not show routing unasked"
pesc runs routing R --eval heldout.json --csv
sed 's/,[^,]*,\([^,]*\)$/,\1/' before.csv >want
sed 's/,[^,]*,\([^,]*\)$/,\1/' out >got
same want got "it saw the same loads and first choices as the training's last evaluation"
cp heldout.json again.json
pesc eval M --pack R --data again.json --max-seq-length 48
pesc runs routing R --eval again.json
has out 'evaluation again.json, step 10$' "an evaluation after the training is recorded"
pesc eval M --pack R --data two.jsonl --knock-out 0:1 --max-seq-length 48
[ "$(sql "SELECT count(*) FROM router_eval WHERE task = 'two.jsonl'")" = 0 ]
ok $? "one of a part of the adapters is not"

# --- pesc runs routing ---
pesc runs routing R
ok $? "runs routing"
has out '^R, step 10$' "says which step"
[ "$(grep -c '^   [0-3]  ' out)" = 4 ]
ok $? "a row for each layer"
has out '^evil.x1b\[31m  *[0-9]' "a domain's name is shown, not obeyed"
has out '^words  *[0-9]' "and the other"
has out '^domains differ by 0\.[0-9]* nats' "and how far they differ"
has out '^numbers: %, 25.0 is even' "a legend"
! grep -q "$(printf '\033')" out
ok $? "no escapes"
for w in 80 40 30; do
    COLUMNS=$w "$PESC" runs routing R >out 2>err && awk -v w=$w '/^ *[0-9]|^words/ {
        n++; bad += length >= w } END { exit bad || n != 5 }' out
    ok $? "$w columns"
done
pesc runs routing R --what first --layer 2
has out '^share of the first choices, by layer and expert' "--what, --layer"
[ "$(grep -c '^   [0-9]  ' out)" = 1 ] && grep -q '^layer 2, by domain' out
ok $? "one layer"
pesc runs routing R --domain "$evil" --step 5 --what prob --csv
[ "$(tail -n +2 out | cut -d, -f1 | sort -u)" = 5 ] && [ "$(wc -l <out)" = 17 ]
ok $? "--domain and --step"
pesc runs routing R --change --layer 1
has out '^ *5  *[0-9].* 0.0 % ' "--change of a layer: a row for each step"
has out '^ *10  *[0-9].* [1-9][0-9.]* % ' "and what has moved"
pesc runs routing R --change
has out '^layer  *5  *10$' "--change of all layers: a column for each step"
has out '^   3  *-  *[0-9]' "and a row for each layer"
pesc runs routing R --json
[ "$(grep -o '"layer": [0-9]' out | wc -l)" = 4 ] && grep -q '"evil.u001B\[31m": {"load": \[0' out &&
    grep -q '"collapsed": false' out
ok $? "--json"
pesc runs routing R --change --json
has out '"steps": \[5, 10\], "layers": \[' "--change --json"
pesc runs routing R --change --layer 3 --csv
[ "$(sed 1d out | wc -l)" = 8 ]
ok $? "--change --csv"
pesc runs routing R --step 7
exits 10 E-DB-RUN "a step without a report"
pesc runs routing R --domain nix
exits 10 E-DB-RUN "a domain that there is not"
has err 'there are: evil.x1b\[31m, words$' "names those that there are"
pesc runs routing R --eval nix
exits 10 E-DB-RUN "an evaluation that there was not"
has err 'there are: again.json, heldout.json$' "names those that there are"
pesc runs routing R --layer 9
exits 10 E-DB-RUN "a layer that has no experts"
pesc runs routing R --json --csv
exits 2 E-USAGE "json and csv"
pesc runs routing R --change --step 5
exits 2 E-USAGE "a change at one step"

# --- routers that starve experts ---
pesc craft base/init -o W --experts 16 --top-k 1 --adapter-dim 2 --seed 5
pesc train W $opts --batch-size 8 --freeze-router --max-steps 60 --router-steps 10 --logging-steps 60 -o D
got=$?
cp err err2
ok $got "a run with 16 experts whose routers stay as they begin"
[ "$(grep -c '^pesc: warning\[W-ROUTE-DEAD\] step 50: layer [0-3]: [0-9]* of 16 experts (' err)" -gt 0 ] &&
    [ "$(grep -c 'W-ROUTE-DEAD' err)" -le 4 ]
ok $? "warns of dead experts, once a layer, not before the third report that counts"
[ "$(sql "SELECT count(*) FROM v_event WHERE code = 'W-ROUTE-DEAD' AND level = 'warn' AND run = 'D'")" = \
    "$(grep -c 'W-ROUTE-DEAD' err2)" ]
ok $? "and records it"
pesc runs routing D
has out ' [1-9][0-9]* ([0-9,.]*)$' "runs routing names them"
plan
