#!/bin/sh
# Ours and PyTorch's step side by side: turn by turn on this machine, medians, ratios of tokens a second
# and of peak memory. Development only; PYTHON needs torch and safetensors (and peft, transformers for
# lora), from PyPI.
#   run.sh PESC SHAPE-FOLDER [OUT.json]
# ROUNDS   turns of each (3)
# OURS     --compute of ours, one after the other (bf16 int8)
# THEIRS   method:dtype:mode of theirs (pesc:bf16:eager pesc:bf16:compile pesc:bf16:checkpoint
#          pesc:f32:eager lora:bf16:eager)
# DATA     a file of records with input_ids and labels, as data.py makes; otherwise random tokens
# STEPS    that count, in each turn (3); one more (ours) or two (theirs) go before them
# OPTIONS  more for ours, such as "--memory 1GiB"
set -eu
here=$(cd "$(dirname "$0")" && pwd)
pesc=$1 shape=$2 out=${3:-peer.json}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
python=${PYTHON:-python3}
steps=${STEPS:-3}
PESC_DB=$tmp/history.db
export PESC_DB
"$pesc" craft "$shape" -o "$tmp/model" --experts 8 --top-k 2 --adapter-dim 64 >/dev/null
if [ -n "${DATA:-}" ]; then
    data=$DATA
    theirs_data="--data $DATA --rows 4"
else
    data=$tmp/tokens.jsonl
    theirs_data="--tokens 2048 --sample 512"
    awk 'BEGIN { for (r = 0; r < 64; r++) { s = ""; x = r * 7919 + 1
        for (t = 0; t < 512; t++) { x = (x * 1103515245 + 12345) % 2147483648
            s = s (t ? "," : "") int(x / 65536) % 30000 }
        print "{\"input_ids\": [" s "]}" } }' >"$data"
fi

# The run's JSON lines: name, tokens/s, trained tokens/s (both over the steps after the first), peak.
ours() { # COMPUTE
    # shellcheck disable=SC2086 # options are words
    "$pesc" train "$tmp/model" --data "$data" --compute "$1" --batch-size 4 --max-seq-length 512 \
        --max-steps $((steps + 1)) --json -o "$tmp/run" ${OPTIONS:-} >"$tmp/ours"
    rm -rf "$tmp/run"
    "$python" - "$1" "$tmp/ours" <<'PY'
import json, statistics, sys
rows = [json.loads(line) for line in open(sys.argv[2])]
steps = [r for r in rows if r["event"] == "step"][1:]
seconds = [r["tokens"] / r["tokens_per_s"] for r in steps]
trained = sum(r["trained_tokens"] for r in steps) / sum(seconds)
same = len({r["tokens"] for r in steps}) == 1
print(json.dumps({"who": "pesc " + sys.argv[1], "steps": seconds, "trained_tokens_per_s": trained,
                  "tokens_per_s": steps[0]["tokens"] / statistics.median(seconds) if same
                  else sum(r["tokens"] for r in steps) / sum(seconds),
                  "peak_rss_bytes": rows[-1]["peak_rss_bytes"]}))
PY
}
theirs() { # METHOD:DTYPE:MODE[:group]
    group=
    case $1 in *:group) group=--group ;; esac
    # shellcheck disable=SC2086
    "$python" "$here/pesc_step.py" "$shape" --method "$(echo "$1" | cut -d: -f1)" \
        --dtype "$(echo "$1" | cut -d: -f2)" --mode "$(echo "$1" | cut -d: -f3)" --steps "$steps" \
        $theirs_data $group >"$tmp/theirs" 2>"$tmp/log" || { tail -n 3 "$tmp/log" >&2; return 0; }
    sed "s|^{|{\"who\": \"torch $1\", |" "$tmp/theirs"
}
round=0
: >"$tmp/all"
while [ "$round" -lt "${ROUNDS:-3}" ]; do
    round=$((round + 1))
    for c in ${OURS:-bf16 int8}; do
        ours "$c" >>"$tmp/all"
    done
    for t in ${THEIRS:-pesc:bf16:eager pesc:bf16:compile pesc:bf16:checkpoint pesc:f32:eager lora:bf16:eager}; do
        theirs "$t" >>"$tmp/all"
    done
done
"$python" - "$tmp/all" "$out" <<'PY'
import json, statistics, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
table = []
for who in dict.fromkeys(r["who"] for r in rows):
    mine = [r for r in rows if r["who"] == who]
    table.append({"who": who, **{k: statistics.median(r[k] for r in mine)
                                 for k in ("tokens_per_s", "trained_tokens_per_s", "peak_rss_bytes")}})
peers = [t for t in table if t["who"].startswith("torch pesc")]
best = max(peers, key=lambda t: t["tokens_per_s"]) if peers else None
print(f"{'':28} {'tokens/s':>9} {'trained/s':>9} {'peak MiB':>9} {'ratio':>6} {'memory':>6}")
for t in table:
    t["ratio"] = t["tokens_per_s"] / best["tokens_per_s"] if best else None
    t["trained_ratio"] = t["trained_tokens_per_s"] / max(p["trained_tokens_per_s"] for p in peers) if best else None
    t["memory_ratio"] = t["peak_rss_bytes"] / best["peak_rss_bytes"] if best else None
    print(f"{t['who']:28} {t['tokens_per_s']:9.1f} {t['trained_tokens_per_s']:9.1f} {t['peak_rss_bytes'] / 2**20:9.0f} "
          f"{t['trained_ratio'] or 0:6.2f} {t['memory_ratio'] or 0:6.2f}")
json.dump({"runs": rows, "medians": table}, open(sys.argv[2], "w"), indent=1)
PY
