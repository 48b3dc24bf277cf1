#!/bin/sh
# Measures shapes on this machine: tables on stderr, one JSON array in the file named last.
#   run.sh BENCH OUT.json
# SHAPES   names, see make-shape --list (smollm2-135m)
# COMPUTES types of the products (f32 bf16)
# CACHE    a folder to keep the shapes' weights in; otherwise they are made anew and removed
# BENCH_OPTIONS more options of bench, such as "--steps 3 --tokens 4096"
set -eu
bench=$1 out=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cache=${CACHE:-$tmp/shapes}
mkdir -p "$cache"
# As pesc itself has it: threads that spin at barriers fight other programs for the cores.
GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-1000}
export GOMP_SPINCOUNT
status=0
: >"$tmp/lines"
for shape in ${SHAPES:-smollm2-135m}; do
    for compute in ${COMPUTES:-f32 bf16}; do
        # shellcheck disable=SC2086 # options are words
        "$bench" "$shape" --compute "$compute" --dir "$cache" ${BENCH_OPTIONS:-} \
            >>"$tmp/lines" || status=1
    done
done
{ echo '['; sed '$!s/$/,/' "$tmp/lines"; echo ']'; } >"$tmp/all"
cp "$tmp/all" "$out"
echo "load average: $(cut -d ' ' -f 1-3 /proc/loadavg); figures in $out" >&2
exit $status
