#!/bin/sh
# What conditions on runs mean, what order lists have, and what pesc runs sql refuses.
: "${PESC:?}" "${PESC_SRC:?}"
. "$PESC_SRC/tests/cli/lib.sh"
"$(dirname "$PESC")/tests/cli/fill_history" "$PESC_DB" "$tmp/run" >/dev/null 2>&1 || exit 99
mkdir -p run
new=bbbb old=aaaa
pesc runs tag $new owner=me size=10
pesc runs tag $old owner=you size=9

gives() { # WORDS: the runs that list gives with the options that follow
    want=$1
    shift
    pesc runs list --columns run --csv "$@"
    [ "$(tail -n +2 out | tr -d '\r' | cut -c1-4 | tr '\n' ' ')" = "$want" ]
    ok $? "list $* gives '$want'"
}
both="$new $old "
gives "$both"
gives "$new " --where 'params.lr >= 1e-4 and metrics.valid/loss <= 2 and tags.owner = me'
gives "" --where 'params.lr >= 1e-3'
gives "$new " --where 'params.lr = 0.0002'
gives "" --where "params.lr = '0.0002'"
gives "$new " --where "params.lr = '2e-4'"
gives "$old " --where 'not params.lr > 0'
gives "$both" --where 'tags.owner = me or tags.owner = you and status = failed'
gives "$old " --where '(tags.owner = me or tags.owner = you) and status = failed'
gives "$new " --where 'tags.size > 9'
gives "$old " --where 'metrics.lr = inf'
gives "$old " --where 'metrics.lr > 1e300'
gives "$new " --where 'metrics.train/loss < inf' # NaN is not
gives "$old " --where 'metrics.train/loss = NaN'
gives "" --where 'params.note < 1' # nor is a text 0
gives "$new " --where 'evals.arc/accuracy = 0.5'
gives "" --where 'evals.arc/accuracy > 0.5'
gives "$old " --where 'step < 100 and base = tiny-llama'
gives "" --where "name = ''' OR 1=1 --'"
gives "" --tag "owner=x' OR '1'='1"
gives "$new " --tag owner=me --status finished
gives "" --tag owner=me --tag owner=you
gives "$old " --status failed --experiment default
gives "" --experiment other
gives "$both" --base tiny-llama
gives "$both" --base tiny-llama --since 1d
gives "" --since 2999-01-01
gives "$both" --since 2020-02-29T23:59:59
gives "$old $new " --sort name
gives "$new $old " --sort name:desc
gives "$old $new " --sort tag:size
gives "$new $old " --sort tag:size:desc
gives "$new $old " --sort metric:train/loss:desc # NaN last
gives "$new $old " --sort loss
gives "$new " --sort step:desc --limit 1
gives "" --deleted
pesc runs delete $old
gives "$old " --deleted
gives "$old " --deleted --base tiny-llama --where 'metrics.lr = inf and hours >= 0'
gives "" --deleted --where 'metrics.train/loss < 9'
gives "$new "
pesc runs delete $old --undo

pesc runs list --columns name,metric:train/loss,metric:lr,param:lr,tag:owner,eval:arc/accuracy --json
has out '"metric:train/loss": "NaN", "metric:lr": "Infinity", "param:lr": null, "tag:owner": "you"' \
    "columns of metrics, parameters and tags; NaN and Infinity"
has out '"eval:arc/accuracy": 0.5' "evaluations, all tags"
pesc runs list --columns "name,tag:$(printf 'a\033[1m')"
! grep -q "$(printf '\033')" out && grep -qF 'evil\x1b[31m' out
ok $? "no escapes of names and headings"

for wrong in 'nonsense = 1' 'params. = 1' 'params.lr' 'params.lr >' 'params.lr ~ 2' '(status = failed' \
    'status = failed) ' 'status = failed name = x' "name = 'x" '' \
    'evals.arc = 1' 'status =< x' "$(printf '%040d' 0 | tr 0 '(')"; do
    pesc runs list --where "$wrong"
    exits 2 E-USAGE-VALUE "--where $wrong"
done
for wrong in nothing metric: eval:arc "name," "name;DROP TABLE run"; do
    pesc runs list --columns "$wrong"
    exits 2 E-USAGE-VALUE "--columns $wrong"
    pesc runs list --sort "$wrong"
    exits 2 E-USAGE-VALUE "--sort $wrong"
done
for wrong in yesterday 2026-13-01 2026-11-27x 5y -1d ""; do
    pesc runs list --since "$wrong"
    exits 2 E-USAGE-VALUE "--since $wrong"
done

# --- what sql refuses to do, how long and how much it may ---
refused() { # CODE WHAT QUERY
    pesc runs sql "$2"
    exits 10 E-DB-QUERY "$1"
}
refused "rows" "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
refused "a huge text" "SELECT group_concat(printf('%0100000d', x.id)) FROM metric_key x, metric a, metric b"
refused "zeroblob" "SELECT zeroblob(1000000000)"
pesc runs sql "SELECT coalesce(printf('%1000000000d', 1), 'nothing') AS x" --csv
has out '^nothing' "printf widths give nothing"
refused "hex of much" "SELECT length(hex(zeroblob(16000000)))"
refused "file names" "SELECT readfile('/etc/passwd')"
refused "writing files" "SELECT writefile('x', 'y')"
refused "long patterns" "SELECT 'a' LIKE replace(hex(zeroblob(2000)), '0', '%a')"
refused "deep expressions" "SELECT $(printf '%0300d' 0 | sed 's/0/(/g')1$(printf '%0300d' 0 | sed 's/0/)/g')"
refused "temporary tables" "CREATE TEMP TABLE t AS SELECT 1"
refused "pragma functions that write" "SELECT * FROM pragma_journal_mode('delete')"
refused "detach" "DETACH main"
refused "explain of a deletion" "EXPLAIN DELETE FROM run"
[ ! -e x ]
ok $? "no file was written"
plan
