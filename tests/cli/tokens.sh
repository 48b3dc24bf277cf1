#!/bin/sh
# pesc data encode and decode: JSON lines of text to JSON lines of ids and back, line by line.
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
run() { # exit status, then arguments of pesc; standard input is the file in
    want=$1
    shift
    "$PESC" data "$@" <in >out 2>err
    test $? = "$want"
}
is() { printf '%s\n' "$@" | cmp -s - out; }
says() { grep -qF -- "error[$1]" err && test "$(wc -l <err)" = 1; }

mkdir model none
cat >model/tokenizer.json <<'EOF'
{"version": "1.0", "added_tokens": [{"id": 5, "content": "<s>", "special": true}],
 "pre_tokenizer": null, "decoder": {"type": "Fuse"},
 "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}},
  {"Sequence": {"id": "A"}}], "special_tokens": {"<s>": {"ids": [5]}}},
 "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "\n": 3, "\u00e9": 4}, "merges": ["a b"]}}
EOF

printf '%s\n' '"ab"' '{"text": "b\u00e9\n<s>", "more": 1}' '' '""' >in
check "encode" run 0 encode model
check "gives ids with and without what is put around" is '{"ids":[5,2],"plain":[2]}' \
    '{"ids":[5,1,4,3,5],"plain":[1,4,3,5]}' '{"ids":[5],"plain":[]}'
cp out ids
cp in texts
printf '\357\273\277"ab"\r\n"b"' >in
check "a byte order mark, CRLF and no last line end" run 0 encode model -
check "are taken" is '{"ids":[5,2],"plain":[2]}' '{"ids":[5,1],"plain":[1]}'
check "a file" run 0 encode model texts
check "gives the same" cmp -s out ids

cp ids in
check "decode" run 0 decode model
check "gives text" is '{"text":"<s>ab"}' '{"text":"<s>bé\n<s>"}' '{"text":"<s>"}'
check "decode --skip-special" run 0 decode model --skip-special ids
check "leaves special tokens out" is '{"text":"ab"}' '{"text":"bé\n"}' '{"text":""}'
cp out in
check "and its output is input" run 0 encode model
echo '[2, 0]' >in
check "decode takes arrays" run 0 decode model
check "as well" is '{"text":"aba"}'

# One bad line: what is before it is answered, it is not, and one error line says where.
bad() { # WHAT COMMAND CODE LINE
    printf '%s\n' "$good" "$4" "$good" >in
    check "$1" run 4 "$2" model
    check "is $3" says "$3"
    check "names the line" grep -q "standard input, line 2" err
    check "and leaves nothing half printed" test "$(wc -l <out)" = 1
}
good='"ab"'
bad "a number for text" encode E-DS-FIELD 7
bad "an object without text" encode E-DS-FIELD '{"ids": [1]}'
bad "a broken string" encode E-DS-JSON '"ab'
bad "half a surrogate pair" encode E-DS-ENC '"\ud800"'
good='[2]'
bad "text for ids" decode E-DS-FIELD '"ab"'
bad "a fraction for an id" decode E-DS-FIELD '[1.5]'
bad "an id too high" decode E-DS-TOKEN '[2, 6]'
bad "a negative id" decode E-DS-TOKEN '{"ids": [-1]}'
bad "an id of 2^32" decode E-DS-TOKEN '[4294967296]'
check "and says which" grep -q 'ids\[0\] is 4294967296' err

# Memory is that of one line. A sanitizer takes terabytes of addresses for itself.
limit='ulimit -v 200000'
case $("$PESC" --version) in *-fsanitize=*) limit= ;; esac
# shellcheck disable=SC2016
yes '"abababababababababababababab"' | head -n 400000 >in
little() { (eval "$limit"; exec "$PESC" data encode model <in >out 2>err); }
check "many lines in little memory" little
check "are all answered" test "$(wc -l <out)" = 400000
{ printf '"'; head -c 17000000 /dev/zero | tr '\0' a; echo '"'; } >in
check "a line of 17 MB" run 4 encode model
check "is E-DS-BIG" says E-DS-BIG
# shellcheck disable=SC2016
check "a reader that goes away is no error" sh -c \
    'yes "\"ab\"" | head -n 100000 | { "$1" data encode model 2>err; echo $? >status; } | head -n 1 >out
    test "$(cat status)" = 0' sh "$PESC"
# Whoever asks line by line gets each answer at once.
mkfifo ask answer
"$PESC" data encode model <ask >answer 2>err &
exec 3>ask 4<answer
echo '"ab"' >&3
check "an answer before the next question" sh -c 'timeout 20 head -n 1 <&4 >out'
check "is the line's" is '{"ids":[5,2],"plain":[2]}'
exec 3>&- 4<&-
wait

: >in
check "no input" run 0 encode model
check "no output" test ! -s out
check "no model" run 2 encode
check "is E-USAGE" says E-USAGE
check "a model without tokenizer.json" run 9 encode none
check "is E-IO-MISSING" says E-IO-MISSING
check "a missing file" run 9 encode model gone.jsonl
check "is E-IO-MISSING too" says E-IO-MISSING
sed 's/"BPE"/"WordPiece"/' model/tokenizer.json >none/tokenizer.json
check "another kind of tokenizer" run 7 encode none
check "is refused" says E-TOK-UNSUP
check "by name" grep -q WordPiece err

# K09: a chat template is text; the tokenizer never looks into it.
cat >model/tokenizer_config.json <<'EOF'
{"bos_token": "<s>", "chat_template": "{{ cycler.__init__.__globals__.os.popen('touch executed') }}{% for x in range(999999999) %}"}
EOF
echo '"ab"' >in
check "K09 a chat template" run 0 encode model
check "changes no ids" is '{"ids":[5,2],"plain":[2]}'
check "and runs nothing" test ! -e executed
echo "1..$n"
