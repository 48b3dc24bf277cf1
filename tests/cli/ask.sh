#!/bin/sh
# Named queries, the documented views, and how long answers take.
: "${PESC:?}" "${PESC_SRC:?}"
. "$PESC_SRC/tests/cli/lib.sh"
here=$(dirname "$PESC")/tests/cli
"$here/fill_history" "$PESC_DB" "$tmp/run" >/dev/null 2>&1 || exit 99

# --- the document: each view is there with an example that runs, and every column is named ---
doc=$PESC_SRC/doc/history.md
for view in $(sql "SELECT name FROM sqlite_schema WHERE type = 'view'"); do
    has "$doc" "^## $view\$" "$view is documented"
    awk -v v="## $view" '$0 == v {on = 1} on && /^```$/ {exit} q {print} on && /^```sql/ {q = 1}' \
        "$doc" >example.sql
    [ -s example.sql ] && pesc runs sql "$(cat example.sql)"
    ok $? "its example runs"
    text=$(awk -v v="## $view" '/^## / {on = $0 == v} on' "$doc")
    case $view in v_router_*) text="$text $(awk '/^## / {on = $0 == "## v_router"} on' "$doc")" ;; esac
    missing=
    for column in $(sql "SELECT name FROM pragma_table_info('$view')"); do
        case $text in *"\`$column\`"*) ;; *) missing="$missing $column" ;; esac
    done
    [ -z "$missing" ]
    ok $? "its columns are named:$missing"
done

# --- each named query ---
pesc runs query --csv
ok $? "they are listed"
tail -n +2 out | cut -d, -f1 | tr -d '\r' >names
[ "$(wc -l <names)" -ge 15 ]
ok $? "all of them"
while read -r q; do
    case $q in
    params-diff) set -- latest aaaa ;;
    best) set -- arc ;;
    dataset) set -- alpaca ;;
    dead-experts) set -- latest 1 ;;
    last | curve | why-stopped | checkpoints | router-imbalance) set -- latest ;;
    *) set -- ;;
    esac
    pesc runs query "$q" "$@"
    ok $? "$q answers"
    pesc runs query "$q" "$@" --json && "$PESC" runs query "$q" --show-sql >shown 2>&1 && [ -s shown ]
    ok $? "$q as JSON, and shows its SQL"
done <names
pesc runs query best arc --csv
has out ',120,0.5,0.4,0.6,100' "best: the value and its interval"
pesc runs query router-imbalance latest --csv
has out '^1,120,3.52,0.0,1' "router-imbalance: one dead expert in the second layer"
pesc runs query dead-experts latest 1 --csv
has out '^60,1,3.52' "dead-experts: over time"
pesc runs query curve latest train/loss 4 --csv
[ "$(wc -l <out)" = 5 ] && grep -q '^1,2.7,' out && grep -q ',30,0' out
ok $? "curve: four buckets of thirty steps"
pesc runs query curve aaaa train/loss --csv
has out ',1,1' "curve: a NaN is counted"
pesc runs query last aaaa --csv
has out '^lr,Infinity,10' "last: an infinity"
has out '^train/loss,NaN,10' "last: a NaN"
pesc runs query params-diff latest aaaa --csv
has out '^lr,2e-4,' "params-diff: what one run lacks"
pesc runs query why-stopped aaaa
has out 'loss is not finite' "why-stopped: the error"
pesc runs query why-stopped latest
! LC_ALL=C grep -q "$(printf '\033')" out
ok $? "what a terminal would obey is shown"
pesc runs query dataset dddd --csv
has out 'alpaca,dddd,train,10' "dataset: by its hash"
pesc runs query lineage pack --csv
has out 'pack@1.0,eeee' "lineage: of a pack"
pesc runs query alarms --csv
has out '^W-TEST,warn,1,1' "alarms: by kind"
pesc runs query hours --csv
has out '^default,2,1,' "hours: of an experiment"

pesc runs query nonsense
exits 2 E-USAGE "a name that there is not"
pesc runs query best
exits 2 E-USAGE "a value is missing"
pesc runs query hours 3
exits 2 E-USAGE "a value too many"
pesc runs query resumed x
exits 2 E-USAGE-VALUE "no number"
pesc runs query last nothing
exits 10 E-DB-RUN "a run that there is not"
pesc runs query --show-sql
exits 2 E-USAGE "the SQL of none"

# --- how long: a twentieth of the rows that are promised, ten times the time ---
sh "$PESC_SRC/tests/dev/history_speed.sh" "$PESC" "$here/fill_large" 10 1200 1000 >speed 2>err
ok $? "every question is answered within a second"
sed 's/^/# /' speed
plan
