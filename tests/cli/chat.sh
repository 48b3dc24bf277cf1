#!/bin/sh
# Chat templates from the command line, on the committed base and its tokenizer.
: "${PESC:?}" "${PESC_SRC:?}"
base=$PESC_SRC/experiments/base/model
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
narrow() { awk 'length > 80 { exit 1 }' out; }

cat >chat.jsonl <<'EOF2'
{"messages": [{"role": "user", "content": "one <|eos|>"}, {"role": "assistant", "content": "two"}, {"role": "user", "content": "three"}, {"role": "assistant", "content": "four"}]}
{"messages": [{"role": "user", "content": "f"}, {"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function": {"name": "g", "arguments": "{}"}}]}]}
EOF2
cat >own.yaml <<'EOF2'
# what stands around each text
begin: "{bos}"
user: {before: "Q: ", after: "\n"}
assistant:
  before: "A:"
  lead: " "
  after: "{eos}"
EOF2

check "a chat without a template of the model's" run 0 data inspect "$base" --data chat.jsonl
check "takes camelidae" has "format     messages, template camelidae"
check "a record that has no place in it is counted" has "1 skipped: 1 no place in the template"
check "and told" grep -qF 'warning[W-DS-TEMPLATE] chat.jsonl, line 2: skipped' err
check "mask" run 0 data mask "$base" --data chat.jsonl
check "shows every answer trained" has "[[two<|eos|>]]"
check "and the special token in the question as text" has "one <|eos|>"
check "mask of the last answer" run 0 data mask "$base" --data chat.jsonl --loss-on last
check "has it alone" sh -c 'grep -qF "[[four<|eos|>]]" out && ! grep -qF "[[two" out'
check "mask of everything" run 0 data mask "$base" --data chat.jsonl --loss-on all
check "is one span" test "$(grep -oF '[[' out | wc -l)" = 1
check "the older name" run 0 data mask "$base" --data chat.jsonl --train-on-prompt
check "is the same" test "$(grep -oF '[[' out | wc -l)" = 1
check "a long text" run 0 data mask "$base" --data chat.jsonl --template smollm3 --max-seq-length 4000
check "stays within 80 columns" narrow

check "a template file" run 0 data mask "$base" --data chat.jsonl --template own.yaml
check "is used" has "Q: one <|eos|>"
check "with its masks" has "A:[[ two<|eos|>]]Q: three"
run 0 data inspect "$base" --data chat.jsonl --template own.yaml --json
check "and called by name and digest" \
    has "\"template\":\"own.yaml sha256:$(sha256sum <own.yaml | cut -d' ' -f1)\""
check "--system" run 0 data mask "$base" --data chat.jsonl --template chatml --system "Be brief."
check "goes where there is none" has "Be brief."
echo 'colour: red' >bad.yaml
check "a file with an unknown key" run 2 data inspect "$base" --data chat.jsonl --template bad.yaml
check "is E-USAGE-CONFIG" says E-USAGE-CONFIG
check "a file that is not there" run 9 data inspect "$base" --data chat.jsonl --template no.yaml
check "is E-IO-MISSING" says E-IO-MISSING
check "no such name" run 2 data inspect "$base" --data chat.jsonl --template camel
check "lists the choices" grep -qF 'camelidae|sparsetral|alpaca|chatml' err

mkdir model
cp "$base"/config.json "$base"/tokenizer.json model/
# the text of an unknown template, and of a known one
echo '{"bos_token": "<|bos|>", "eos_token": "<|eos|>", "chat_template": "{{ messages }}"}' \
    >model/tokenizer_config.json
check "an unknown template of the model" run 7 data inspect model --data chat.jsonl
check "is E-TOK-TEMPLATE" says E-TOK-TEMPLATE
check "another may be chosen" run 0 data inspect model --data chat.jsonl --template alpaca
echo '{"text": "a"}' >text.jsonl
check "and plain text needs none" run 0 data inspect model --data text.jsonl
cat >model/chat_template.jinja <<'EOF2'
{% for message in messages %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}
EOF2
check "the model's own template" run 0 data inspect model --data chat.jsonl
check "is recognised" has "template chatml"
echo '{"instruction": "i", "input": "j", "output": "k"}' >alpaca.jsonl
check "also for Alpaca records" run 0 data mask model --data alpaca.jsonl
check "which become a question" has "<|im_start|>user"
cp "$base/model.safetensors" model/

check "generating in it" run 0 generate model --template auto --prompt hello -n 2 --json
check "ends with the answer's beginning" has '"prompt_ids"'
check "in a file's" run 0 generate "$base" --template own.yaml --prompt hello -n 2 --json
check "auto without one" run 7 generate "$base" --template auto --prompt hello
check "is E-TOK-TEMPLATE" says E-TOK-TEMPLATE
check "--no-thinking without a template" run 2 generate "$base" --no-thinking --prompt hello

check "crafting" run 0 craft model -o crafted --experts 2 --top-k 1 --adapter-dim 4
PESC_DB=$dir/history.db
export PESC_DB
check "training in a file's template" run 0 train crafted --data chat.jsonl -o r --max-steps 1 \
    --batch-size 1 --template own.yaml
check "the run knows it" grep -qF "own.yaml sha256:" r/run.json
check "exporting" run 0 pack export r -o r.pescpack
check "looking into it" run 0 pack inspect r.pescpack
check "its pack knows it too" has "own.yaml sha256:"
echo "1..$n"
