#!/bin/sh
# pesc data on tokenised records, which need no tokenizer: what it shows, and how it refuses.
: "${PESC:?}"
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
n=0
check() { # NAME, then a command that is to succeed
    name=$1
    shift
    n=$((n + 1))
    if "$@"; then echo "ok $n - $name"; else echo "not ok $n - $name"; sed 's/^/# /' out err; fi
}
run() { # exit status, then arguments of pesc
    want=$1
    shift
    "$PESC" "$@" >out 2>err
    test $? = "$want"
}
has() { grep -qF -- "$1" out; }
says() { grep -qF -- "error[$1]" err && test "$(wc -l <err)" = 1; }

mkdir model
echo '{"vocab_size": 20}' >model/config.json
cat >a.jsonl <<'EOF'
{"input_ids": [1, 2, 3, 4], "labels": [-100, -100, 3, 4], "dataset": "math"}
{"input_ids": [1, 2, 3, 4, 5, 6, 7]}
{"input_ids": [1], "dataset": "math"}
{"input_ids": [1, 2, 3, 4], "labels": [-100, -100, 3, 4], "dataset": "code"}
EOF
echo '[{"input_ids": [5, 6]}, {"input_ids": [5, "x"]}]' >b.json

check "inspect" run 0 data inspect model --data a.jsonl --max-seq-length 5
check "names the format" has "format     tokenized"
check "counts records" has "4 read, 3 used, 1 skipped: 1 no trained tokens"
check "counts what is cut" has "truncated  1, longer than 5 tokens"
check "counts domains" grep -qE '^math +1 +4 +2$' out
check "adds up" grep -qE '^all +3 +13 +8 ' out
check "marks trained tokens" has "1 2[[3 4]]"
check "tells the file's digest" has "$(sha256sum <a.jsonl | cut -d' ' -f1)"

check "inspect --json" run 0 data inspect model --data a.jsonl --max-seq-length 5 --records 1 --json
check "is one line" test "$(wc -l <out)" = 1
check "has the counts" has '"read":4,"used":3'
check "has labels" has '"labels":[-100,-100,3,4]'
check "has as many samples as asked for" test "$(grep -o '"record":' out | wc -l)" = 1

check "stats" run 0 data stats model --data a.jsonl
check "finds the repeated sample" has "repeated samples 1"
check "has a histogram" grep -qE '^4\.\.7 +3 #+$' out
check "stats --json" run 0 data stats model --data a.jsonl --json
check "has the lengths" has '"shortest":4,"median":4'

check "has every packing" has '"packing":"best-fit"'
check "an epoch's tokens" has '"epoch":{"samples":3,"tokens":15'

seq 300 | awk '{ printf "{\"input_ids\": [%d, %d, %d", $1 % 20, $1 / 20, $1 % 7
    for (i = $1 % 13; i > 0; i--) printf ", %d", i; print "]}" }' >many.jsonl
check "stats of a mixture, split and held out" run 0 data stats model --data many.jsonl a.jsonl \
    --max-seq-length 8 --long split --valid-fraction 0.2 --data-weights 1,2 --packing best-fit \
    --batch-tokens 64 --domain x,y --data-limits 200,0
check "counts what is split" grep -qE '^  split +[0-9]+, longer than 8 tokens; [0-9]+ pieces' out
check "counts what is held out" grep -qE '200 read, [0-9]+ used, [0-9]+ skipped: [0-9]+ held out' out
check "shows the other side" grep -qE '^held out: [0-9]+ of [0-9]+ records' out
check "shows the mixture" grep -qE '^an epoch: [0-9]+ samples, [0-9]+ tokens, mixed 1,2$' out
check "and how often it goes through each" grep -qE '^a.jsonl +2 +[0-9]+ +[0-9]{2}\.' out
check "shows how full packs are" grep -qE '^best-fit +[0-9]+ +64 +[0-9.]+ %$' out
check "has the given domains" grep -qE '^x ' out
check "stays within 80 columns" sh -c '! grep -q "^.\{81\}" out'
check "the same with --json" run 0 data stats model --data many.jsonl a.jsonl --max-seq-length 8 \
    --long drop --valid-fraction 0.2 --json
check "has the reasons" has '"too long":'
check "has the other side" has '"held_out":{"used":'
check "few samples need no temporary folder" env TMPDIR=/nonexistent "$PESC" data stats model --data many.jsonl

check "weights for other data" run 2 data stats model --data a.jsonl --data-weights 1,2
check "are refused" says E-USAGE-VALUE
check "limits for other data" run 2 data stats model --data a.jsonl --data-limits 1,2
check "are refused, too" says E-USAGE-VALUE
check "tokens without packing" run 2 data stats model --data a.jsonl --packing off --batch-tokens 9
check "are refused as well" says E-USAGE
check "an unknown way with long records" run 2 data stats model --data a.jsonl --long cut
check "is E-USAGE-VALUE, too" says E-USAGE-VALUE

check "mask" run 0 data mask model --data a.jsonl --record 1
check "shows that record" has "1[[2 3 4 5 6 7]]"
check "mask of a skipped record" run 2 data mask model --data a.jsonl --record 2
check "says so" grep -q 'was skipped' err
check "mask of no record" run 2 data mask model --data a.jsonl --record 4
check "says so" says E-USAGE-VALUE

check "a bad record" run 4 data inspect model --data a.jsonl b.json
check "is told in one line, with nothing printed" says E-DS-FIELD
check "and standard output stays empty" test ! -s out
check "is skipped when allowed" run 0 data inspect model --data a.jsonl b.json --bad-records 1
check "with a warning" grep -qF 'warning[W-DS-BAD]' err
check "and is counted" has "2 read, 1 used, 1 skipped: 1 bad record"

echo '{"text": "a"}' >t.jsonl
check "text without a tokenizer" run 4 data inspect model --data t.jsonl
check "is E-DS-FORMAT" says E-DS-FORMAT
gzip -c a.jsonl >a.jsonl.gz
check "a compressed file" run 0 data inspect model --data a.jsonl.gz
check "is read as what it is" has "4 read, 3 used, 1 skipped: 1 no trained tokens"
check "with the digest of the file" has "$(sha256sum <a.jsonl.gz | cut -d' ' -f1)"
check "a missing file" run 9 data inspect model --data none.jsonl
check "is E-IO-MISSING" says E-IO-MISSING
check "no data" run 2 data inspect model
check "is E-USAGE" says E-USAGE
check "no model" run 2 data inspect --data a.jsonl
check "is E-USAGE too" says E-USAGE
check "an unknown template" run 2 data inspect model --data a.jsonl --template none
check "is E-USAGE-VALUE" says E-USAGE-VALUE
check "a length of zero" run 2 data inspect model --data a.jsonl --max-seq-length 0
check "is E-USAGE-VALUE too" says E-USAGE-VALUE
echo "1..$n"
