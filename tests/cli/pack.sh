#!/bin/sh
# pesc pack: a run folder made by hand is exported, verified, inspected and imported; nothing of
# this machine gets into the pack.
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 99
export PESC_DB="$tmp/history.db" XDG_DATA_HOME="$tmp/share"
n=0 bad=0
ok() { # STATUS WHAT
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        sed 's/^/# /' out err
        bad=1
    fi
}
pesc() {
    "$PESC" "$@" >out 2>err
}
exits() { # STATUS CODE WHAT, after a command
    got=$?
    grep -q "error\[$2\]" err && [ "$got" -eq "$1" ]
    ok $? "$3: exit $1, $2"
}
has() { # FILE PATTERN WHAT
    grep -q -- "$2" "$1"
    ok $? "$3"
}

# One layer of hidden size 2, two experts of dimension 1; all values 1.0 (00 00 80 3f).
weights() { # FILE
    m=model.layers.0.mlp.moe_adapter
    h="{\"__metadata__\":{\"format\":\"pt\"}"
    at=0
    for t in "experts.expert_0.adapter_down.weight 1,2 8" "experts.expert_0.adapter_up.weight 2,1 8" \
        "experts.expert_1.adapter_down.weight 1,2 8" "experts.expert_1.adapter_up.weight 2,1 8" \
        "router.weight 2,2 16"; do
        set -- "$1" $t
        h="$h,\"$m.$2\":{\"dtype\":\"F32\",\"shape\":[$3],\"data_offsets\":[$at,$((at + $4))]}"
        at=$((at + $4))
    done
    h="$h}"
    while [ $((${#h} % 8)) -ne 0 ]; do h="$h "; done
    # The header's length as 8 bytes, little end first.
    {
        printf "\\$(printf %o $((${#h} % 256)))\\$(printf %o $((${#h} / 256)))\\0\\0\\0\\0\\0\\0"
        printf %s "$h"
        i=0
        while [ $i -lt 12 ]; do
            printf '\000\000\200\077'
            i=$((i + 1))
        done
    } >"$1"
}
hex() { # DIGIT
    printf '%064d' "$1"
}
run_json() { # STATUS FINGERPRINT-DIGIT
    cat <<END
{"pesc_run":1,"uuid":"0123456789abcdef0123456789abcdef","name":"my run","kind":"adapters",
 "model":"$tmp/crafted","crafted":{"experts":2,"top_k":1,"adapter_dim":1,"scaling":"0.5",
 "dropout":"0","balance":"switch","balance_coef":"0.01"},
 "base":{"name":"$tmp/some-base","fingerprint":"pesc-fp1:$(hex "$2")","tokenizer_sha256":"$(hex 2)",
 "config_sha256":"$(hex 3)","arch":"llama","layers":1,"hidden":2,"vocab":99,"path":"$tmp/some-base"},
 "result":"adapter.safetensors","steps":7,"tokens":1234,"seed":42,"template":"camelidae",
 "status":"$1","ended":"2026-11-23T00:00:00Z",
 "data":[{"name":"$tmp/data/tiny.json","sha256":"$(hex 4)","records":5}],
 "eval":[{"task":"valid","metric":"ppl","value":"3.25","n":64}]}
END
}
mkdir run
run_json finished 1 >run/run.json
weights run/adapter.safetensors
cat >run/metrics.jsonl <<END
{"step":1,"ce":3.5,"balance":1.0,"lr":0.0002,"grad_norm":0.5,"tokens_per_s":99.5,"host":"planted-name"}
{"event":"W-X","text":"/home/planted-name"}
{"step":2,"ce":3.25,"balance":1.0,"lr":0.0002,"grad_norm":0.25,"tokens_per_s":98.5}
{"step":3,"ce":3.1,"bal
END

pesc pack export run -o a.pescpack --license mit
ok $? "export"
digest=$(cat out)
[ ${#digest} -eq 64 ]
ok $? "prints the digest"
pesc pack export run -o a.pescpack --license mit
exits 2 E-USAGE-EXISTS "export does not overwrite"
pesc pack export run -o a.pescpack --license mit --force
ok $? "unless forced"
(cd / && umask 077 && TZ=Asia/Kathmandu "$PESC" pack export "$tmp/run" -o "$tmp/b.pescpack" --license mit) >out 2>err
ok $? "export from elsewhere"
cmp a.pescpack b.pescpack >out 2>&1
ok $? "the same bytes"
pesc pack export run --dtype bf16 --version 2.0
[ -s my-run-2.0.pescpack ]
ok $? "default file name, bf16"

pesc pack verify a.pescpack
ok $? "verify"
has out "^digest    $digest\$" "shows the digest"
has out '^pack      my-run 1.0.0$' "name and version"
has out '^base      some-base (llama, 1 layers of 2)$' "base"
has out '^trust     unsigned$' "trust"
has out '^integrity verified; behaviour not verified$' "and what is not known"
[ ! -s err ]
ok $? "without warnings"
pesc pack inspect a.pescpack
ok $? "inspect"
has out '^  scaling        0.5$' "configuration"
has out '^  steps          7$' "training"
has out '^  tiny.json 5 0*4$' "data"
has out '^  valid ppl 3.25 64$' "evaluation"
has out 'router.weight F32 \[2, 2\]' "tensors"
pesc pack inspect a.pescpack --json
ok $? "inspect --json"
has out '"verdict": "integrity verified; behaviour not verified"' "is JSON"

pesc pack import a.pescpack
ok $? "import"
store=$XDG_DATA_HOME/pesc/packs/$digest
[ -s "$store/adapter_model.safetensors" ] && [ -s "$store/README.md" ]
ok $? "into the store under its digest"
has err '^imported: ' "said so"
pesc pack import a.pescpack
ok $? "import again"
has err '^already present: ' "is already present"
grep -c '"ce":' "$store/metrics.jsonl" >out
[ "$(cat out)" = 2 ] && ! grep -q -e host -e tokens_per_s -e event "$store/metrics.jsonl"
ok $? "the curve has step and losses only"
cat "$store"/* | grep -a -F -e "$tmp" -e planted-name >out
[ ! -s out ]
ok $? "no path and no name of a host in the pack"

pesc runs sql "SELECT name || ' ' || version || ' ' || origin || ' ' || coalesce(license, '-') FROM pack ORDER BY id" --csv
ok $? "the history is asked"
grep -q 'my-run 1.0.0 exported mit' out && grep -q 'my-run 2.0 exported -' out
ok $? "and knows the packs"
PESC_DB=/dev/null/no.db pesc pack import a.pescpack --store s1
ok $? "import without a history works"
has err 'warning\[W-DB\]' "with a warning"
pesc pack import a.pescpack --force-base
exits 2 E-USAGE "--force-base alone"

# A real run: two bases of one shape, one of them crafted and trained for a step.
base=${PESC%/pesc}/experiments/base/make-base
"$base" one --seed 1 >out 2>err && "$base" two --seed 2 >out 2>err &&
    pesc craft one/init -o crafted --experts 4 --top-k 2 --adapter-dim 8 &&
    pesc train crafted --data one/tune.json -o real --max-steps 1 --batch-size 2 &&
    pesc pack export real -o real.pescpack
ok $? "a trained run is exported"
pesc pack import real.pescpack --store s1 --model crafted
ok $? "and imported for the model that it was made for"
pesc pack import real.pescpack --store s1 --model one/init
ok $? "or its base"
[ ! -s err ] || ! grep -q warning err
ok $? "without a warning"
pesc pack import real.pescpack --store s2 --model two/init
exits 7 E-PK-BASE "import for another base"
[ -z "$(ls -A s2)" ]
ok $? "and the store stays empty"
pesc pack import real.pescpack --store s2 --model two/init --force-base
ok $? "unless forced"
has err 'warning\[W-PK-FORCED\]' "with a warning"
"$PESC" eval crafted --pack real --data one/heldout.json --max-records 8 --json >e1 2>err &&
    "$PESC" eval one/init --pack real.pescpack --data one/heldout.json --max-records 8 --json >e2 2>>err
ok $? "run and pack are evaluated"
grep -o '"loss":[^,}]*' e1 >l1
grep -o '"loss":[^,}]*' e2 >l2
[ -s l1 ] && cmp l1 l2 >out
ok $? "to the same bits"

pesc pack verify run/run.json
exits 5 E-PK-FORMAT "verify of something else"
pesc pack verify missing
exits 9 E-IO-MISSING "verify of nothing"
pesc pack verify
exits 2 E-USAGE "verify without a file"
dd if=/dev/zero of=b.pescpack bs=1 seek=300 count=1 conv=notrunc 2>/dev/null
pesc pack verify b.pescpack
[ $? -eq 5 ]
ok $? "verify of a damaged pack: exit 5"
run_json running 1 >run/run.json
pesc pack export run -o c.pescpack
has err 'warning\[W-PK-UNFINISHED\]' "an unfinished run is noted"
sed 's/"experts":2,//' run/run.json >x && mv x run/run.json
pesc pack export run -o d.pescpack
exits 3 E-CFG-CRAFT "a run without its configuration"
run_json finished 1 | sed 's/"kind":"adapters"/"kind":"full"/' >run/run.json
pesc pack export run -o d.pescpack
exits 7 E-MODEL-KIND "a run of all parameters"
run_json finished 1 >run/run.json
rm run/adapter.safetensors
pesc pack export run -o d.pescpack
exits 9 E-IO-MISSING "a run without result"
[ ! -e d.pescpack ] && [ -z "$(find . -maxdepth 1 -name '.?*')" ]
ok $? "nothing half-written"
echo "1..$n"
exit $bad
