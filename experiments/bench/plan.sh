#!/bin/sh
# pesc plan against what comes of it: a table on stdout, and a failure when a run needs more memory
# than was planned, or less than nine tenths of it, or a step's time is more than a fifth off.
#   plan.sh PESC MAKE-SHAPE
# PLAN_CASES  lines of: shape layers base-dtype compute samples-of-512-tokens-in-a-batch; each is run
#             with hardly enough memory, with half as much again, and with all that is of use
# PLAN_TRIES  how often a step's time may be off before it counts (3: the machine is shared)
# CACHE       a folder to keep the shapes in; otherwise they are made anew and removed
set -eu
pesc=$1 make=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cache=${CACHE:-$tmp/shapes}
mkdir -p "$cache"
PESC_DB=$tmp/history.db
export PESC_DB
cases=${PLAN_CASES:-smollm2-135m 10 stored bf16 4
smollm2-135m 10 nf4 bf16 1
smollm2-135m 10 int8 f32 2
tinyllama-1.1b 4 stored bf16 1
tinyllama-1.1b 4 nf4 bf16 2}
tries=${PLAN_TRIES:-3}

# Records of 512 tokens each, of which all but the first are trained on.
awk 'BEGIN { for (r = 0; r < 64; r++) { s = ""; x = r * 7919 + 1
    for (t = 0; t < 512; t++) { x = (x * 1103515245 + 12345) % 2147483648
        s = s (t ? "," : "") int(x / 65536) % 30000 }
    print "{\"input_ids\": [" s "]}" } }' >"$tmp/tokens.jsonl"

number() { # KEY FILE: the last of that name
    tr ',{' '\n\n' <"$2" | sed -n "s/^ *\"$1\": *\"\{0,1\}\([-+.0-9eE]*\)\"\{0,1\}[ }]*$/\1/p" | tail -n 1
}
# The median time of the steps after the first.
step_of() { # FILE of JSON lines
    grep '"event":"step"' "$1" | tail -n +2 |
        sed 's/.*"tokens":\([0-9]*\).*"tokens_per_s":\([-+.0-9eE]*\),.*/\1 \2/' |
        awk '{ print $1 / $2 }' | sort -g |
        awk '{ t[NR] = $1 } END { print NR % 2 ? t[(NR + 1) / 2] : (t[NR / 2] + t[NR / 2 + 1]) / 2 }'
}

failed=0
printf '%-32s %9s %9s %9s %6s %8s %8s %6s  %s\n' "shape, base, products, tokens" "budget" "plan MiB" \
    "peak MiB" "ratio" "plan s" "step s" "ratio" "places"
one() { # NAME MODEL BUDGET COMPUTE BATCH
    try=0
    while :; do
        try=$((try + 1))
        set -- "$1" "$2" "$3" "$4" "$5"
        run="--data $tmp/tokens.jsonl --batch-size $5 --max-seq-length 512 --max-steps 4"
        rm -rf "$tmp/run"
        # shellcheck disable=SC2086 # options are words
        "$pesc" plan "$2" $run --compute "$4" --memory "$3" --json >"$tmp/plan.json"
        # shellcheck disable=SC2086
        "$pesc" train "$2" $run --compute "$4" --memory "$3" -o "$tmp/run" --json >"$tmp/train.json"
        places=$(tr -d ' \n' <"$tmp/plan.json" | sed 's/.*"places":{\([^}]*\)}.*/\1/; s/"//g' |
            tr ',' '\n' | grep -v -e ':0$' -e ':false$' | sed 's/:true//' | tr '\n' ' ')
        line=$(awk -v name="$1" -v budget="$3" -v plan="$(number peak_bytes "$tmp/plan.json")" \
            -v peak="$(number peak_rss_bytes "$tmp/train.json")" -v places="$places" \
            -v said="$(number step_seconds "$tmp/plan.json")" -v step="$(step_of "$tmp/train.json")" '
            BEGIN { M = 1048576; m = peak / plan; t = step / said
                bad = (m > 1 || m < 0.9) ? "MEMORY" : (t > 1.2 || t < 0.8) ? "TIME" : "ok"
                printf "%s %-32s %9s %9.0f %9.0f %6.3f %8.3f %8.3f %6.3f  %s\n", bad, name,
                    budget == "max" ? budget : sprintf("%.0f", budget / M), plan / M, peak / M, m,
                    said, step, t, places }')
        verdict=${line%% *}
        echo "${line#* }$([ "$verdict" = ok ] || echo " <- $verdict")"
        [ "$verdict" = TIME ] && [ "$try" -lt "$tries" ] || break
    done
    [ "$verdict" = ok ] || failed=$((failed + 1))
}

echo "$cases" >"$tmp/cases"
while read -r shape layers dtype compute batch; do
    [ -n "$shape" ] || continue
    plain=$cache/$shape-$layers-layers model=$cache/$shape-$layers-layers-crafted-$dtype
    [ -d "$plain" ] || "$make" "$shape" "$plain" --layers "$layers" >/dev/null
    [ -d "$model" ] || "$pesc" craft "$plain" -o "$model" --base-dtype "$dtype" >/dev/null
    name="$shape/$layers $dtype $compute $((512 * batch))"
    "$pesc" plan "$model" --data "$tmp/tokens.jsonl" --batch-size "$batch" --max-seq-length 512 \
        --max-steps 4 --compute "$compute" --memory 1MiB,max --json >"$tmp/least.json"
    least=$(number least_bytes "$tmp/least.json")
    one "$name" "$model" $((least + (4 << 20))) "$compute" "$batch"
    one "$name" "$model" $((least + least / 2)) "$compute" "$batch"
    one "$name" "$model" max "$compute" "$batch"
done <"$tmp/cases"
echo "$failed off; load average: $(cut -d ' ' -f 1-3 /proc/loadavg)"
[ "$failed" = 0 ]
