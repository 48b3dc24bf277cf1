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
check "adds up" grep -qE '^all, per epoch +3 +13 +8 ' out
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
