#!/bin/sh
# pesc runs list|show|routing|sql on a small history that fill_history writes.
set -u
dir=$(mktemp -d "${TMPDIR:-/tmp}/pesc-runs-XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
PESC_DB=$dir/h.db
export PESC_DB
unset COLUMNS
n=0
bad=0

result() { # status, what
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else
        echo "not ok $n - $2"
        bad=1
        sed 's/^/# out: /' "$dir/out"
        sed 's/^/# err: /' "$dir/err"
    fi
}
run() { "$PESC" runs "$@" >"$dir/out" 2>"$dir/err"; }
has() { grep -qF -- "$1" "$dir/out"; result $? "$2"; }
exits() { # status, what, then arguments
    want=$1 what=$2
    shift 2
    run "$@"
    got=$?
    test "$got" -eq "$want"
    result $? "$what (exit $got, want $want)"
}
says() { grep -qF -- "$1" "$dir/err"; result $? "it says $1"; }
is() { # expected stdout, what
    printf '%s\n' "$1" | cmp -s - "$dir/out"
    result $? "$2"
}

# Before the first run.
exits 0 "list without a database" list
says "no runs yet"
test ! -s "$dir/out"
result $? "and no output"
exits 0 "list --json without a database" list --json
is "[]" "is an empty array"
exits 10 "show without a database" show latest
says "E-DB-RUN"
exits 10 "sql without a database" sql "SELECT 1"
says "E-DB"
test ! -e "$PESC_DB"
result $? "reading makes no database"

mkdir "$dir/run"
"${PESC%/*}/tests/cli/fill_history" "$PESC_DB" "$dir/run" || exit 99

exits 0 "list" list
test "$(wc -l <"$dir/out")" -eq 3
result $? "a heading and two runs"
sed -n 2p "$dir/out" | grep -q '^bbbb1111 .*finished .*120/120 .*1\.8 .*1\.9 .*tiny-llama .*8x64 top2 '
result $? "newest first, with its figures"
has 'evil\x1b[31m\x0aname' "escapes in a name are shown"
sed -n 3p "$dir/out" | grep -q '^aaaa0000 .*failed .*NaN .*dense '
result $? "a NaN loss is not hidden"
COLUMNS=80 "$PESC" runs list >"$dir/out" 2>"$dir/err"
awk 'length > 80 { bad = 1 } END { exit bad }' "$dir/out" && grep -q 'evil.*~ .*8x64 top2' "$dir/out"
result $? "80 columns: the name is cut, figures are not"
run list --limit 1 --json
grep -q '"uuid": "bbbb1111bbbb1111bbbb1111bbbb1111", "name": "evil\\u001B\[31m\\nname"' "$dir/out" &&
    ! grep -q aaaa0000 "$dir/out"
result $? "--limit 1 --json"
exits 2 "--csv with --json" list --csv --json

for which in latest -1 bbbb1111bbbb1111bbbb1111bbbb1111 bbbb "$dir/run"; do
    exits 0 "show $which" show "$which"
    has "bbbb1111bbbb1111bbbb1111bbbb1111" "finds the run"
done
for text in 'name             evil\x1b[31m\x0aname' 'n_experts        8' 'abc123 (changed)' \
    'some cpu' 'pesc train tiny' 'pack@1.0' 'alpaca dddd'; do
    has "$text" "show has $text"
done
grep -q '^train .*alpaca .*12 .*10 .*2 .*345' "$dir/out"
result $? "data counts"
grep -q '^valid/loss .*2 .*120 .*nats' "$dir/out"
result $? "last metrics"
grep -q 'W-TEST .*seen\\x1b\[0m' "$dir/out"
result $? "events, escaped"
grep -q "$(printf '\033')" "$dir/out"
test $? -eq 1
result $? "no escape character in the output"
exits 0 "show by name" show dense
has "loss is not finite" "error text"
run show dense --json
grep -q '"metric": "lr", "last": "Infinity"' "$dir/out" && grep -q '"crafted": null' "$dir/out"
result $? "show --json"
exits 10 "unknown run" show nobody
says "E-DB-RUN"
exits 2 "show without a run" show

exits 0 "routing" routing latest
grep -q '^ *0 *12.5 *12.5.* 1.00  1.000    0$' "$dir/out"
result $? "an even layer"
grep -q '^ *1 *44.0.* 3.52  0.812    1 (7)$' "$dir/out"
result $? "a skewed layer names its dead expert"
grep -q '^code  *0.0  *0.0  *0.0 100.0 ' "$dir/out"
result $? "load by domain"
COLUMNS=80 run routing latest
awk 'length > 80 { bad = 1 } END { exit bad }' "$dir/out"
result $? "fits 80 columns"
run routing latest --step 60 --layer 1 --json
grep -q '"step": 60' "$dir/out" && grep -q '"layer": 1' "$dir/out" &&
    ! grep -q '"layer": 0' "$dir/out" && grep -q '"code": {"load": \[0.0, 0.0, 0.0, 1.0' "$dir/out"
result $? "--step --layer --json"
exits 10 "a step without statistics" routing latest --step 61
says "the last are at 120"
exits 10 "a run without statistics" routing dense

exits 0 "sql" sql "SELECT name, steps FROM v_run ORDER BY id"
has 'evil\x1b[31m\x0aname  120/120' "an aligned table, escaped"
run sql --csv "SELECT key, value, NULL AS none, '' AS empty FROM param ORDER BY key"
is 'key,value,none,empty
lr,2e-4,,""
note,"a, ""b""",,""' "CSV quoting; NULL is empty, an empty text is not"
run sql --csv "SELECT step, value FROM metric m JOIN run r ON r.id = m.run_id WHERE r.name = 'dense' ORDER BY key_id"
is 'step,value
10,
10,Infinity' "NaN is empty in CSV, Infinity is not"
run sql --json "SELECT 1 AS a, 0.1 AS a, 'x' AS t, x'00ff' AS b, 9e999 AS i, NULL AS z"
is '[{"a": 1, "a_2": 0.1, "t": "x", "b": "00ff", "i": "Infinity", "z": null}]' "JSON"
run sql --csv "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 5000) SELECT x FROM c"
test "$(wc -l <"$dir/out")" -eq 5001
result $? "recursion is allowed"
run sql "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 5000) SELECT x FROM c"
test "$(wc -l <"$dir/out")" -eq 5001
result $? "a table of more rows than are measured"
exits 0 "comments and a semicolon behind the query" sql "SELECT 1; -- that is all"

before=$(cksum <"$PESC_DB")
refuse() {
    exits 10 "refused: $1" sql "$1"
    says "E-DB-QUERY"
}
refuse "INSERT INTO experiment(name, created_ms) VALUES('x', 1)"
refuse "UPDATE run SET name = 'x'"
refuse "DELETE FROM run"
refuse "DROP TABLE run"
refuse "CREATE TEMP TABLE t(x)"
refuse "ATTACH '$dir/other.db' AS o"
refuse "VACUUM INTO '$dir/copy.db'"
refuse "PRAGMA user_version = 9"
refuse "PRAGMA table_info(run)"
refuse "BEGIN IMMEDIATE"
refuse "SELECT load_extension('x')"
refuse "SELECT 1; SELECT 2"
refuse "SELECT 1; DELETE FROM run"
refuse "SELECT no_such_column FROM run"
refuse "SELECT randomblob(100000000)"
refuse ""
says "no statement"
test "$before" = "$(cksum <"$PESC_DB")" && test ! -e "$dir/other.db" && test ! -e "$dir/copy.db"
result $? "the database is as before"

echo junk >"$dir/junk.db"
exits 10 "a file that is no database" sql --db "$dir/junk.db" "SELECT 1"
says "E-DB-SCHEMA"
unset PESC_DB
HOME=$dir/home XDG_DATA_HOME='' exits 0 "the default place" list
test -d "$dir/home/.local/share/pesc"
result $? "its folder is made"

echo "1..$n"
exit $bad
