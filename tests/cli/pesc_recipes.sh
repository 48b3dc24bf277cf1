#!/bin/sh
# The recipes of experiments/pesc with hardly any training: every table is made, finished work is
# found again, and the same rule holds that always must (official is none, bit for bit).
. "$PESC_SRC/tests/cli/lib.sh"
src=$PESC_SRC/experiments/pesc
recipes() { # WORDS: settings before the script
    env PESC="$PESC" PESC_OUT="$tmp/out dir" PESC_SEEDS=1 PESC_DRAWS=2 PESC_STEPS=3 PESC_BATCH=4 PESC_HELD_OUT=2 \
        "$@" sh "$src/all.sh" >out 2>err </dev/null
}
recipes env
status=$?
[ $status -le 1 ]
ok $? "all recipes end: $status"
made="$tmp/out dir"
cp out first
for name in d5 d6 d8 d9 d10; do
    grep -q '^| .* | seed 1 | mean | s.d. |$' "$made/$name.md" && has "$made/$name.md" '^Rule: ' \
        "$name has tables and its rule"
    ! grep -qiE '\| *(-?nan|inf)? *\|$' "$made/$name.md"
    ok $? "all of them with numbers"
done
has "$made/d9.md" 'official is none bit for bit.*holds for 1 of 1' "official is none, bit for bit"
has "$made/d10.md" '^| layer 3, learned, labels shuffled | [0-9.]*' "shuffled labels"
has "$made/d10.md" '^| trade |' "histograms by domain"
has "$made/d6.md" '^| dense, width 68 | ' "the control of equal total size"
PESC_DB="$made/history.db"
[ "$(sql "SELECT count(*) FROM run WHERE status = 'finished'")" = 10 ]
ok $? "each variant was tuned once, in a history of its own"
[ "$(sql "SELECT r.name FROM run r JOIN param p ON p.run_id = r.id WHERE p.key = 'freeze-router' AND p.value = 'true'")" = frozen-1 ]
ok $? "one with frozen routers"
cmp -s "$made/run/none-1/adapter.safetensors" "$made/run/frozen-1/adapter.safetensors"
[ $? -eq 1 ]
ok $? "which come out different"
grep -o '"dataset":"[^"]*"' "$made/data/1/heldout.json" >labels
grep -o '"dataset":"[^"]*"' "$made/data/1/shuffled.json" >shuffled
! cmp -s labels shuffled
ok $? "the labels have changed places"
LC_ALL=C sort labels >a && LC_ALL=C sort shuffled >b
same a b "and are as many as before"
sed 's/"dataset":"[^"]*"//' "$made/data/1/heldout.json" >a
sed 's/"dataset":"[^"]*"//' "$made/data/1/shuffled.json" >b
same a b "of the same questions"

recipes env
[ $? -eq $status ] && ! grep -q tuning err
ok $? "a second time nothing is tuned"
sed '/processor time/d; /load .* before/d' first >a
sed '/processor time/d; /load .* before/d' out >b
same a b "and the report is the same"
recipes env PESC_STEPS=4
[ $? -eq 2 ] && has err 'is not of this recipe' "another recipe does not mix with it"

printf 'x\t1\t2\nx\t2\t4\nx\t3\t9\ny\t1\t-1\ny\t2\t-1\ny\t3\t-1\n' |
    awk -F '\t' -v heading=h -v decimals=2 -f "$src/table.awk" >made.md
printf '%s\n' '| h | seed 1 | seed 2 | seed 3 | mean | s.d. |' '|---|---|---|---|---|---|' \
    '| x | 2.00 | 4.00 | 9.00 | 5.00 | 3.61 |' '| y | -1.00 | -1.00 | -1.00 | -1.00 | 0.00 |' >a
same made.md a "a table: mean and standard deviation"
plan
