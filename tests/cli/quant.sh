#!/bin/sh
# Quantised bases from the command line: crafted, contained, evaluated, trained, packed, refused.
# shellcheck source=tests/cli/lib.sh
. "${PESC_SRC:?}/tests/cli/lib.sh"
make_base
small='--experts 4 --top-k 2 --adapter-dim 4 --seed 3'
run='--data tune.json --max-steps 4 --batch-size 4 --max-seq-length 48 --compute f32'
score='--data heldout.json --max-seq-length 48 --json --compute f32'
near() { # FILE FILE PERCENT WHAT: the losses
    a=$(number loss <"$1") b=$(number loss <"$2")
    awk "BEGIN { d = ($a - $b) / $a * 100; exit !(d < $3 && d > -$3) }"
    ok $? "$4"
}

# shellcheck disable=SC2086 # lists of words
{
    pesc eval base/init $score
    strip out >plain.json
    for type in nf4 int8; do
        whole=
        [ $type = int8 ] || whole='--nf4-min 0'
        pesc craft base/init -o $type $small --base-dtype $type $whole --json
        ok $? "craft --base-dtype $type"
        has out "\"contained\":true" "it contains its base"
        has out '"bits_per_quantised_weight":' "and says how many bits a weight takes"
        [ -f $type/base/tokenizer.json ] && [ -f $type/base/model.safetensors ] &&
            grep -q '"path": "base"' $type/pesc.json
        ok $? "as a folder in it"
        pesc eval $type $score
        strip out >$type.json
        near plain.json $type.json 2 "its loss is near the original's"
        mv $type moved-$type
        pesc eval moved-$type $score
        strip out >moved.json
        same $type.json moved.json "a folder that contains its base can be moved"
        pesc train moved-$type $run -o run-$type
        ok $? "train on $type"
        pesc generate moved-$type --pack run-$type --prompt "a" -n 3 --compute f32
        ok $? "generate with $type"
        pesc eval moved-$type --pack run-$type $score
        strip out >tuned.json
        pesc pack export run-$type -o $type.pescpack
        ok $? "pack export"
        pesc pack verify $type.pescpack
        ok $? "pack verify"
        pesc eval moved-$type --pack $type.pescpack $score
        strip out >packed.json
        same tuned.json packed.json "the pack evaluates as the run"
        pesc eval base/init --pack $type.pescpack $score
        exits 7 E-PK-BASE "the pack on the unquantised base"
        has err "unquantised original" "which is told to be its original"
        pesc eval base/init --pack $type.pescpack $score --force-base
        ok $? "and can be forced"
        has err "W-PK-FORCED.*another form" "which is noted"
        pesc train moved-$type/base --data tune.json -o F --trainable full --max-steps 1
        exits 7 E-MODEL-KIND "training every weight of $type"
        pesc craft moved-$type/base -o again --base-dtype nf4
        exits 7 E-MODEL-KIND "quantising $type again"
        pesc craft moved-$type/base -o refers-$type $small
        ok $? "a quantised base is referred to as it is"
        pesc eval refers-$type $score
        strip out >refers.json
        same $type.json refers.json "and evaluates alike"
    done
    pesc eval moved-int8 --pack nf4.pescpack $score
    exits 7 E-PK-BASE "the pack of nf4 on int8"
    has err "another quantised or converted form" "which is told to be a sibling"

    pesc craft base/init -o M $small
    pesc train M $run -o R
    pesc pack export R -o R.pescpack
    pesc eval moved-nf4 --pack R.pescpack $score
    exits 7 E-PK-BASE "a pack of the original on nf4"
    has err "a quantised or converted form" "which is told to be that"

    # --- how nf4 is made ---
    pesc craft base/init -o absmax $small --base-dtype nf4 --nf4-min 0 --nf4-scales absmax --json
    ok $? "craft --nf4-scales absmax"
    pesc eval absmax $score
    strip out >absmax.json
    near plain.json absmax.json 2 "its loss is near"
    cmp -s absmax/base/model.safetensors moved-nf4/base/model.safetensors
    [ $? -eq 1 ]
    ok $? "and its scales are others"
    pesc craft base/init -o toy $small --base-dtype nf4 --json
    has err 'W-CRAFT-SMALL.*100 %' "small matrices are int8, which is noted"
    has out '"nf4_share":0.0' "and the result tells"
    same toy/base/model.safetensors moved-int8/base/model.safetensors "it is a base of int8"
    pesc craft base/init -o mixed $small --base-dtype nf4 --nf4-min 32768 --json
    has out '"nf4_share":0.75' "some are int8, some nf4"
    has mixed/base/config.json '"pesc_mixed"' "which its config tells"
    pesc eval mixed $score
    strip out >mixed.json
    near plain.json mixed.json 2 "its loss is near"
    pesc train mixed $run -o run-mixed
    ok $? "and it trains"
    sed 's/"version": 1/"version": 2/' mixed/base/config.json >config.json
    cp -r mixed/base newer && cp config.json newer/config.json
    pesc eval newer $score
    exits 7 E-CFG-QUANT "of a later version"
    pesc craft base/init -o no $small --base-dtype int8 --nf4-min 0
    exits 2 E-USAGE "--nf4-min with int8"
    pesc craft base/init -o no $small --nf4-scales absmax
    exits 2 E-USAGE "--nf4-scales without nf4"

    pesc craft base/init -o all $small --base-dtype nf4 --nf4-min 0 --quantize-embed --json
    ok $? "craft --quantize-embed"
    [ "$(wc -c <all/base/model.safetensors)" -lt "$(wc -c <moved-nf4/base/model.safetensors)" ]
    ok $? "embedding and head are smaller then"
    pesc eval all $score
    strip out >all.json
    near plain.json all.json 2 "and the loss is near"
    pesc craft base/init -o no $small --quantize-embed
    exits 2 E-USAGE "--quantize-embed without a quantised type"

    pesc craft base/init -o held $small --contain
    ok $? "craft --contain"
    same held/base/model.safetensors base/init/model.safetensors "the base is copied"
    pesc eval held $score
    strip out >held.json
    same plain.json held.json "and evaluates as the original"
    pesc craft base/init -o narrow $small --contain --base-dtype bf16
    ok $? "craft --contain --base-dtype bf16"
    pesc craft base/init -o rounded $small --base-dtype bf16
    pesc eval narrow $score
    strip out >narrow.json
    pesc eval rounded $score
    strip out >rounded.json
    same narrow.json rounded.json "in another type it is as one rounded on reading"

    # --- nothing half made ---
    (ulimit -f 20 && "$PESC" craft base/init -o big $small --base-dtype nf4 --nf4-min 0) >out 2>err
    got=$?
    [ $got -eq 9 ] && grep -q 'error\[E-IO' err
    ok $? "no room for the base: exit 9"
    set -- big*
    [ "$*" = 'big*' ]
    ok $? "and nothing is left"
    cp -r moved-nf4 spoiled
    printf '\001' | dd of=spoiled/base/model.safetensors bs=1 seek=30000 conv=notrunc 2>/dev/null
    cmp -s spoiled/base/model.safetensors moved-nf4/base/model.safetensors ||
        pesc eval spoiled $score
    exits 7 E-MODEL-BASE "a contained base with a byte changed"
}
plan
