#!/bin/sh
# Keeping the history: labels, deletion, purge, reap; and the whole of it made again from the run
# folders.
. "$PESC_SRC/tests/cli/lib.sh"
make_base
tests=$(dirname "$PESC")/tests/cli
tests_sql=$tests/db_run
evil=$(printf 'evil\033[31m <b>"\047')

# --- runs of all kinds ---
pesc craft base/init -o M --experts 4 --top-k 2 --adapter-dim 4 --seed 3
ok $? "craft"
opts="--eval-data heldout.json --max-seq-length 48 --batch-size 4 --learning-rate 1e-2 --seed 7 --json"
for i in 1 2 3 4 5 6 7 8; do
    for d in words sums; do
        printf '{"dataset":"%s","conversation":[{"input":"Say %d in %s","output":"ki go %d"}]}\n' \
            $d $i $d $((i * 7))
    done
done >two.jsonl
pesc train M --data two.jsonl $opts --eval-steps 2 --router-steps 2 --save-steps 2 --max-steps 4 -o A \
    --experiment first
ok $? "a run with evaluations and routers of two domains"
# Interrupted, and resumed in a second process.
rm -f lines
mkfifo lines
"$PESC" train M --data tune.json $opts --save-steps 3 --router-steps 3 --eval-steps 4 --max-steps 60 \
    -o B >lines 2>err &
pid=$!
exec 3<lines
while read -r line <&3; do
    case $line in *'"event":"step","step":7,'*) break ;; esac
done
kill -KILL $pid
cat <&3 >out
exec 3<&-
wait $pid 2>/dev/null
[ "$(sql "SELECT status FROM run WHERE name = 'B'")" = running ]
ok $? "a run that was killed says it runs"
pesc train M --data tune.json $opts --save-steps 3 --router-steps 3 --eval-steps 4 --max-steps 60 -o B \
    --resume auto
ok $? "and is resumed"
pesc train M --data tune.json $opts --max-steps 3 -o C
ok $? "a run that will be deleted"
# Learning rates past all reason: the loss is NaN, and the run fails.
pesc train M --data tune.json $opts --lr-list 1e30,1e30,1e30,1e30,1e30,1e30 --lr-scheduler constant --max-steps 6 \
    --max-grad-norm 0 -o D
[ "$(sql "SELECT status FROM run WHERE name = 'D'")" = failed ]
ok $? "a run that failed"
pesc eval M --pack A --data tune.json --max-seq-length 48
ok $? "an evaluation after training"
[ "$(sql "SELECT count(DISTINCT task) FROM router_eval")" = 2 ]
ok $? "with its routers"
pesc pack export A -o a.pescpack && pesc pack import a.pescpack --store S
ok $? "a pack exported and imported"
rm -rf other && mkdir other && pesc pack export B -o b.pescpack && mv B/packs.jsonl keep.jsonl &&
    pesc pack import b.pescpack --store S && rm b.pescpack
ok $? "another"
mv keep.jsonl B/packs.jsonl

# --- labels ---
pesc runs note A "$evil"
ok $? "note"
pesc runs tag A "who=$evil" "=x"
exits 2 E-USAGE-VALUE "a tag without a key"
pesc runs tag A "who=$evil" kind=good bad=1 && pesc runs tag A --remove bad
ok $? "tags"
[ "$(sql "SELECT key FROM tag ORDER BY key")" = "$(printf 'kind\nwho')" ]
ok $? "two are left"
pesc runs name A "$evil name"
ok $? "name"
[ "$(sql "SELECT hex(name) || hex(note) FROM run WHERE dir LIKE '%/A'")" = \
    "$(printf '%s name%s' "$evil" "$evil" | od -An -tx1 | tr -d ' \n' | tr a-f A-F)" ]
ok $? "byte for byte"
pesc runs purge C
exits 10 E-DB-RUN "what is not deleted is not purged"
pesc runs delete C && pesc runs delete C
exits 10 E-DB-RUN "a deleted run is not found"
[ "$(sql "SELECT count(*) FROM v_run WHERE name = 'C'")" = 0 ]
ok $? "nor shown"
pesc runs delete C --undo && [ "$(sql "SELECT count(*) FROM v_run WHERE name = 'C'")" = 1 ]
ok $? "and is there again"
pesc runs delete C
ok $? "delete"
pesc runs note nobody text
exits 10 E-DB-RUN "no such run"
mv A/labels.json labels.kept && mkdir A/labels.json
pesc runs tag A more=1
ok $? "labels that the folder cannot take"
has err 'warning\[W-RUN-LABELS\]' "are told"
rmdir A/labels.json && mv labels.kept A/labels.json && pesc runs tag A --remove more
ok $? "taken back"

# --- reap ---
rm -f lines
mkfifo lines
"$PESC" train M --data tune.json $opts --save-steps 3 --max-steps 3000 -o E >lines 2>err &
pid=$!
exec 3<lines
while read -r line <&3; do
    case $line in *'"event":"step","step":5,'*) break ;; esac
done
sleep 1.2
pesc runs reap
ok $? "reap"
[ ! -s out ] && [ "$(sql "SELECT status FROM run WHERE name = 'E'")" = running ]
ok $? "leaves a run that is at work"
kill -KILL $pid
cat <&3 >/dev/null
exec 3<&-
wait $pid 2>/dev/null
pesc runs reap
has out '^[0-9a-f]\{8\} E$' "and ends the one that is dead"
[ "$(sql "SELECT status, exit_code, ended_ms = heartbeat_ms FROM run WHERE name = 'E'")" = "killed,,1" ] &&
    [ "$(sql "SELECT max(step) FROM v_metric WHERE run = 'E'")" = \
        "$(grep '"event":"step"' E/metrics.jsonl | tail -n 1 | number step)" ]
ok $? "as killed, with all that its folder has"
has E/segments.jsonl '"status":"killed"' "in its folder, too"
pesc runs reap && [ ! -s out ]
ok $? "once"

# --- everything again ---
views="v_metric v_last v_run v_plan v_router v_router_domain v_router_eval v_eval v_event v_lineage"
dump() { # FOLDER
    mkdir -p "$1"
    for v in $views; do
        sql "SELECT * FROM $v" | sort >"$1/$v"
    done
    sql "SELECT * FROM tag ORDER BY run_id, key" >"$1/tags"
    sql "SELECT uuid, name, note, dir, cmdline, config, seed, created_ms, started_ms, ended_ms, status,
        exit_code, error, steps_planned, last_step, deleted_ms FROM run
        ORDER BY id" >"$1/run"
    sql "SELECT run_id, seq, pid, boot_id, threads, start_step, started_ms, resumed_from FROM segment" >"$1/segment"
    sql "SELECT run_id, role, sha256, weight, x.records, used, x.skipped, reasons, samples, x.tokens, trained_tokens
        FROM run_dataset x JOIN dataset d ON d.id = dataset_id ORDER BY 1, 2, 3" >"$1/data"
    sql "SELECT * FROM param ORDER BY 1, 2" >"$1/param"
    sql "SELECT run_id, t_ms, step, level, code, text FROM event ORDER BY 1, 2, 3, 5, 6" >"$1/event"
    sql "SELECT run_id, step, task, metric, value, stderr, n, lo, hi, config, t_ms FROM eval ORDER BY 1, 2, 3, 4" >"$1/eval"
    sql "SELECT name, version, digest, run_id, crafted_id, origin, model_fingerprint, license, manifest FROM pack ORDER BY digest" >"$1/pack"
    sql "SELECT run_id, m.key_id, k.name, step, value, t_ms FROM metric m JOIN metric_key k ON k.id = key_id
        ORDER BY 1, 3, 4" | cut -d, -f1,3- >"$1/metric"
}
dump before
for v in $views; do
    [ -s "before/$v" ] || echo "$v is empty" >>empty
done
[ ! -e empty ]
ok $? "no view is empty"
grep -q ',NaN,' before/v_metric
ok $? "a metric is NaN"
compare() { # FOLDER WHAT
    diff -r before "$1" >out
    ok $? "$2"
}
rm history.db history.db-wal history.db-shm 2>/dev/null
[ "$(sort -u history.db.runs | grep -c '^"/')" = 7 ]
ok $? "the list beside the database has 5 runs and 2 packs"
pesc runs rebuild
ok $? "rebuild of a database that is gone"
has err '^5 runs and 2 packs' "says how many"
dump again
compare again "gives every view, row for row"
pesc runs rebuild
ok $? "once more"
dump twice
compare twice "and nothing changes"

# Rows that a busy or full database missed come from the folder.
"$tests_sql" history.db "DELETE FROM metric WHERE step = 2; DELETE FROM event; DELETE FROM segment WHERE seq = 2;
    DELETE FROM eval WHERE step = 4; DELETE FROM router_eval" >/dev/null
ok $? "rows are lost"
pesc runs rebuild
dump healed
compare healed "and come again"

# Folders that were moved; no list.
rm history.db history.db-wal history.db-shm history.db.runs 2>/dev/null
pesc runs rebuild
exits 9 E-IO-MISSING "without database and list"
[ ! -e history.db ]
ok $? "nothing is made"
mkdir -p moved/deep && mv A B moved/deep && mv C D E S moved
pesc runs rebuild --runs moved
ok $? "the folders are found where they are now"
has err 'W-DB-LIST.*history.db.runs' "and that the list is gone is told"
dump elsewhere
sed "s,$tmp/moved/deep/,$tmp/,g; s,$tmp/moved/,$tmp/,g" elsewhere/run >run.was && mv run.was elsewhere/run
compare elsewhere "the same but for where it is"
[ "$(sql "SELECT count(*) FROM artifact WHERE path NOT LIKE '$tmp/moved/%' OR (state = 'missing')")" = 0 ]
ok $? "their files, too"
cp -r moved/deep/A copy
pesc runs rebuild --runs copy
ok $? "a copy of a run's folder"
has err 'W-DB-LIST.*copy of run' "is no second one"
[ "$(sql "SELECT dir FROM run WHERE name LIKE '%name'")" = "$tmp/moved/deep/A" ]
ok $? "nor takes its place"

# A run folder of before the start lines told all.
mkdir old && cat >old/run.json <<'END'
{"pesc_run":1,"uuid":"0123456789abcdef0123456789abcdef","name":"old","seed":5,"status":"finished","steps":2,
"tokens":10,"ended":"2026-01-02T03:04:05Z","base":{"name":"b","fingerprint":"f"},"crafted":{"experts":2,"top_k":1,"dim":3}}
END
echo '{"started":"2026-01-02T03:00:05Z","pid":3,"host":"h","threads":2,"start_step":0,"version":"0"}' >old/segments.jsonl
cat >old/metrics.jsonl <<'END'
{"event":"step","step":1,"tokens":5,"trained_tokens":3,"train/loss":2.5,"lr":"NaN"}
{"event":"step","step":2,"tokens":5,"trained_tokens":3,"train/loss":"Infinity"}
{"event":"step","step":3,"tokens":5,"trained_tokens":3,"train/loss":1}
{"event":"router","step":3,"layer":0,"tokens":5,"balance":1,"entropy":1,"load":[1,0],"prob":[1,0],"first":[1,0]}
{"event":"resume","step":2}
{"event":"eval","step":2,"task":"t","n":3,"loss":1.5,"perplexity":4,"accuracy":0.5,"exact_match":"NaN"}
{"event":"event","step":2,"level":"warn","code":"W-X","text":"t"}
{"half":
END
pesc runs rebuild --runs old
ok $? "an old run folder"
has err 'W-RUN-LOG.*1 of 8' "comes with what can be read"
[ "$(sql "SELECT name, status, started_ms, ended_ms, last_step FROM run WHERE uuid LIKE '0123%'")" = \
    "old,finished,1767322805000,1767323045000,2" ]
ok $? "as far as its files go"
[ "$(sql "SELECT metric, value FROM v_last WHERE run_id = (SELECT id FROM run WHERE uuid LIKE '0123%')
    AND step IS NOT NULL ORDER BY 1" | tr '\n' ' ')" = "lr, train/loss,Infinity valid/loss,1.5 " ]
ok $? "NaN and infinities with it"
[ "$(sql "SELECT max(step) FROM v_metric WHERE run = 'old'")" = 2 ] &&
    [ "$(sql "SELECT count(*) FROM v_router WHERE run = 'old'")" = 0 ]
ok $? "without what a resumed run did over"
pesc runs rebuild && [ "$(sql "SELECT count(*) FROM event WHERE code = 'W-X'")" = 1 ]
ok $? "events once"

# --- purge ---
pesc runs delete old && touch old/mine && pesc runs purge old --folder
ok $? "purge with the folder"
has err 'W-RUN-LOG.*stays' "which holds something else"
[ "$(ls -A old)" = mine ] && [ "$(sql "SELECT count(*) FROM run WHERE uuid LIKE '0123%'")" = 0 ]
ok $? "only that is left"
pesc runs purge C && [ -e moved/C/run.json ] && [ "$(sql "SELECT count(*) FROM run WHERE name = 'C'")" = 0 ]
ok $? "purge without the folder"
pesc runs delete D && mv moved/D moved/D2 && mkdir moved/D && touch moved/D/precious
pesc runs purge D --folder
exits 2 E-USAGE-VALUE "a folder that does not hold the run"
[ -e moved/D/precious ] && [ "$(sql "SELECT count(*) FROM run WHERE name = 'D'")" = 1 ]
ok $? "nothing is touched"
"$tests/db_check" history.db >out
ok $? "the database is sound"

# --- backup ---
pesc runs backup copy.db
ok $? "backup"
"$tests/db_check" copy.db >copy.counts && "$tests/db_check" history.db >counts
same counts copy.counts "has all rows, and is sound"
pesc runs backup copy.db
exits 2 E-USAGE-EXISTS "and replaces nothing"
pesc runs backup nowhere/x.db
[ $? -eq 10 ] && [ -z "$(find . -maxdepth 1 -name '*tmp-*')" ]
ok $? "a folder that is not there: nothing is left"
rm -f lines
mkfifo lines
"$PESC" train M --data tune.json $opts --max-steps 3000 -o F >lines 2>err &
pid=$!
exec 3<lines
while read -r line <&3; do
    case $line in *'"event":"step","step":5,'*) break ;; esac
done
pesc runs backup live.db && "$tests/db_check" live.db >out
ok $? "while a training writes"
[ "$("$PESC" runs sql "SELECT count(*) FROM v_run WHERE name = 'F'" --db live.db --csv | tail -n 1 | tr -d '\r')" = 1 ]
ok $? "with its run"
kill -KILL $pid
cat <&3 >/dev/null
exec 3<&-
wait $pid 2>/dev/null
pesc runs reap

# --- prune ---
"$tests_sql" history.db "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
    INSERT INTO metric SELECT r.id, 3, 1000 + i, CASE i WHEN 777 THEN NULL WHEN 888 THEN 9e9 WHEN 999 THEN -9e9
    WHEN 1111 THEN 9e999 ELSE i % 100 END, 0 FROM n, run r"
ok $? "many rows"
id=$(sql "SELECT id FROM run WHERE name = 'B'")
big=$(sql "SELECT count(*) FROM metric WHERE run_id = $id AND key_id = 3")
pesc runs prune B
exits 2 E-USAGE "prune needs to know what"
pesc runs prune --points 100
exits 2 E-USAGE "and of which runs"
pesc runs prune B --points 100 --router-days 0 --dry-run
has out "would go; metrics.jsonl keeps all" "a dry run"
[ "$(sql "SELECT count(*) FROM metric WHERE run_id = $id AND key_id = 3")" = "$big" ]
ok $? "removes nothing"
sed 's/ would go/ are removed/' out >dry
pesc runs prune B --points 100 --router-days 0
cp out wet
same wet dry "prune removes what was said"
[ "$(sql "SELECT count(*) BETWEEN 50 AND 100, max(value) > 1e300, sum(value = 9e9) + sum(value = -9e9), sum(value IS NULL) > 0, max(step)
    FROM metric WHERE run_id = $id AND key_id = 3")" = "1,1,1,1,21000" ]
ok $? "extremes, infinities, NaN and the last stay"
[ "$(sql "SELECT count(DISTINCT step), max(step) FROM router_layer WHERE run_id = $id")" = "1,60" ]
ok $? "and the last report of the routers"
[ "$(sql "SELECT count(*) > 20000 FROM metric WHERE run_id <> $id AND key_id = 3")" = 1 ]
ok $? "other runs have all"
mv moved/E moved/E2
pesc runs prune E --points 4
has err 'W-DB-PRUNE.*nothing is removed' "a run whose folder is gone is left alone"
mv moved/E2 moved/E

# --- salvage ---
before=$(sql "SELECT count(*) FROM metric")
pesc runs backup whole.db # without a log to be merged
pages=$(($(wc -c <whole.db) / 4096))
pesc runs salvage whole.new --db whole.db
ok $? "salvage of a sound database"
"$tests/db_check" whole.db >counts && "$tests/db_check" whole.new >new.counts
same counts new.counts "has all rows"
cp whole.db bad.db
# Pages of metrics, one here and eight there.
for at in $((pages / 2)) $((pages * 3 / 4)) $((pages * 3 / 4 + 1)) $((pages * 3 / 4 + 2)) $((pages * 3 / 4 + 3)); do
    head -c 4096 "$PESC" | dd of=bad.db bs=4096 seek=$at conv=notrunc 2>/dev/null
done
"$tests/db_check" bad.db >out
[ $? -ne 0 ]
ok $? "a database with damaged pages"
cp bad.db was.db
pesc runs backup x.db --db bad.db
exits 10 E-DB "is not backed up"
pesc runs salvage saved.db --db bad.db
ok $? "salvage"
cp out salvaged
has out '^metric .* places\? cannot be read' "tells what is lost"
same was.db bad.db "the damaged one is only read"
"$tests/db_check" saved.db >out
ok $? "the new one is sound"
PESC_DB=saved.db
[ "$(sql "SELECT count(*) FROM run")" = "$(PESC_DB=history.db sql "SELECT count(*) FROM run")" ]
ok $? "it has every run"
after=$(sql "SELECT count(*) FROM metric")
[ "$after" -lt "$before" ] && [ "$after" -gt $((before - 5 * 500)) ]
ok $? "and all but the rows of the damaged pages ($after of $before)"
pesc runs rebuild --runs moved --runs F
ok $? "what the folders know"
[ "$(sql "SELECT count(*) FROM v_metric WHERE run = 'A'")" = 0 ] &&
    [ "$(sql "SELECT count(*) FROM metric WHERE step < 1000")" -ge "$(PESC_DB=history.db sql "SELECT count(*) FROM metric WHERE step < 1000")" ]
ok $? "comes again"
PESC_DB=$tmp/history.db
pesc runs salvage saved.db --db bad.db
exits 2 E-USAGE-EXISTS "salvage replaces nothing"
dd if=/dev/urandom of=was.db bs=4096 count=1 conv=notrunc 2>/dev/null
pesc runs salvage none.db --db was.db
exits 10 E-DB-SCHEMA "without its first page a database is lost"
[ -z "$(find . -maxdepth 1 -name 'none.db*' -o -maxdepth 1 -name '*.tmp-*')" ]
ok $? "and nothing is left"
plan
