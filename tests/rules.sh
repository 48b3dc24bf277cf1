#!/bin/sh
# The rules of the house (ARCHITECTURE.md), one TAP line each. What breaks a rule is named.
#   sh tests/rules.sh [SOURCE [LIBPESC.A]]
# shellcheck disable=SC2046 # lists of files: no name here has white space (the first rule)
set -u
LC_ALL=C
export LC_ALL
top=${1:-${PESC_SRC:-$(cd "$(dirname "$0")/.." && pwd)}}
lib=${2:-${PESC:+${PESC%/pesc}/libpesc.a}}
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
trap 'exit 99' INT TERM
cd "$top" || exit 99

n=0 bad=0
# rule TEXT: broken if $tmp/found has any line.
rule() {
    n=$((n + 1))
    if [ -s "$tmp/found" ]; then
        echo "not ok $n - $1"
        sed 's/^/# /' "$tmp/found" | head -n 40
        bad=$((bad + 1))
    else
        echo "ok $n - $1"
    fi
}

# Every file of the project. A tarball has no git, but generated files.
in_git=
if [ -e .git ] && git ls-files >/dev/null 2>&1; then
    in_git=yes
    git ls-files -co --exclude-standard >"$tmp/all"
else
    find . -name 'build*' -prune -o -name '_build' -prune -o -name '_inst' -prune -o -name autom4te.cache -prune -o -type f ! -name configure \
        ! -name 'configure~' ! -name aclocal.m4 ! -name Makefile.in ! -name 'config.h.in*' -print |
        sed 's,^\./,,' >"$tmp/all"
fi
while read -r f; do [ -f "$f" ] && echo "$f"; done <"$tmp/all" | sort -u >"$tmp/files"

grep '[[:space:]]' "$tmp/files" >"$tmp/found"
rule "no file name has white space"
[ $bad -eq 0 ] || { echo "1..$n"; exit 1; }
grep -E '^(src|adapters|datasets|experiments)/.*\.[ch]$' "$tmp/files" >"$tmp/sources"
grep -E '\.[ch]$' "$tmp/files" >"$tmp/c"
grep -E '\.mk$|^Makefile\.am$' "$tmp/files" >"$tmp/mk"
if [ "$(wc -l <"$tmp/sources")" -lt 20 ]; then
    echo "Bail out! No sources found in $top"
    exit 99
fi

# Sources as "FILE:LINE:TEXT" without comments, and without what stands in strings and characters;
# a line that ends in a backslash goes on.
awk '
    FNR == 1 { comment = 0; held = "" }
    {
        line = held $0; held = ""; out = ""
        if (!comment && line ~ /\\$/) { held = substr(line, 1, length(line) - 1); next }
        while (line != "") {
            if (comment) {
                i = index(line, "*/")
                if (!i) { line = ""; break }
                line = substr(line, i + 2); comment = 0; out = out " "; continue
            }
            if (!match(line, /\/\*|\/\/|"|\047/)) { out = out line; break }
            token = substr(line, RSTART, RLENGTH)
            out = out substr(line, 1, RSTART - 1)
            line = substr(line, RSTART + RLENGTH)
            if (token == "//") break
            if (token == "/*") { comment = 1; continue }
            while (line != "") {
                c = substr(line, 1, 1); line = substr(line, 2)
                if (c == "\\") line = substr(line, 2)
                else if (c == token) break
            }
            out = out token token
        }
        print FILENAME ":" FNR ":" out
    }' $(cat "$tmp/sources") >"$tmp/code"

# Include directions. Programs of their own below experiments/base and experiments/bench stand above
# all, as src/cli.
while read -r f; do
    case $f in
    src/core/*) may='core' ;;
    src/tensor/*) may='core|tensor' ;;
    src/model/*) may='core|tensor|model|adapters' ;;
    src/train/*) may='core|tensor|model|train|adapters' ;;
    src/eval/*) may='core|tensor|model|train|eval|adapters|datasets' ;;
    src/craft/*) may='core|tensor|model|craft|adapters' ;;
    adapters/*) may='core|tensor|adapters' ;;
    datasets/*) may='core|datasets' ;;
    src/api/*) may='core|tensor|model|train|craft|eval|api|adapters|datasets|experiments' ;;
    src/cli/* | experiments/base/* | experiments/bench/*)
        may='core|tensor|model|train|craft|eval|api|cli|adapters|datasets|experiments' ;;
    experiments/*) may='core|datasets|experiments' ;;
    *) may='none' ;;
    esac
    grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$f" |
        grep -vE "\"(config\.h|pesc\.h|($may)/[A-Za-z0-9_./-]+)\"" | sed "s,^,$f:,"
    grep -nE '^[[:space:]]*#[[:space:]]*include.*\.\.' "$f" | sed "s,^,$f:,"
done <"$tmp/sources" >"$tmp/found"
rule "includes go in the directions of ARCHITECTURE.md"

grep '\.c$' "$tmp/c" | while read -r f; do
    first=$(grep -m1 -E '^[[:space:]]*#[[:space:]]*include' "$f")
    case $first in # <...> where the folder has a config.h of its own
    '#include "config.h"'* | '#include <config.h>'*) ;;
    *) echo "$f: $first" ;;
    esac
done >"$tmp/found"
rule "config.h is the first include of every .c"

# home LIBRARY HEADERS FILES: only files that match may include the headers; at most one when the
# fourth argument says so.
home() {
    grep -lE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($2)" $(cat "$tmp/sources") |
        sort >"$tmp/users"
    {
        grep -vE "^($3)\$" "$tmp/users"
        [ "${4:-}" = one ] && [ "$(wc -l <"$tmp/users")" -gt 1 ] && cat "$tmp/users"
    } >"$tmp/found"
rule "$1 has one home"
}
home oneDNN '(oneapi/)?dnnl' 'src/tensor/gemm[a-z0-9_]*\.[ch]'
home libarchive 'archive(_entry)?\.h' 'src/core/archive\.c'
home zlib 'zlib\.h' 'src/core/gunzip\.c'
home PCRE2 'pcre2' 'datasets/[a-z0-9_]*\.c' one
home utf8proc 'utf8proc' 'datasets/[a-z0-9_]*\.c' one
home SQLite 'sqlite3' 'experiments/[a-z0-9_]*\.[ch]'
home libyaml 'yaml\.h' 'src/cli/config\.c'
home libcrypto 'openssl/' 'src/core/(hash|signature)\.c'
home cairo 'cairo' 'src/cli/chart_png\.c'
home MPI 'mpi\.h' 'src/train/mpi\.c'
grep -E '[^A-Za-z0-9_]json_load[a-z]* *\(' "$tmp/code" | grep -v '^src/core/json\.c:' >"$tmp/found"
rule "JSON is loaded by src/core/json.c alone"
# Without memory jansson's own leave something out and say nothing.
grep -E '[^A-Za-z0-9_]json_(dumps|dumpf|copy|deep_copy) *\(' "$tmp/code" |
    grep -vE '^(src/core/json\.c|experiments/(base|bench)/)' >"$tmp/found"
rule "JSON is written and copied by src/core/json.c alone"

# The library neither prints nor looks around nor ends the program.
grep -vE '^(src/cli|experiments/(base|bench))/' "$tmp/code" >"$tmp/library"
# (Text may be made with fprintf into a stream in memory; stdout and stderr are out of reach.)
words='v?printf|puts|putchar|perror|getenv|secure_getenv|setenv|putenv|exit'
words="$words|_exit|_Exit|quick_exit|abort|assert|system|popen"
grep -E "[^A-Za-z0-9_]($words) *\\(" "$tmp/library" >"$tmp/found"
rule "only src/cli prints, reads the environment, or ends the program"
grep -E '[^A-Za-z0-9_](stdout|stderr|stdin|argv|environ)([^A-Za-z0-9_]|$)' "$tmp/library" >"$tmp/found"
rule "only src/cli knows stdin, stdout, stderr and argv"
grep -E '[^A-Za-z0-9_](mmap|mmap64) *\(' "$tmp/code" >"$tmp/found"
rule "nothing is mapped: files change"
grep -E '[^A-Za-z0-9_](gets|vsprintf|strtok|rand|srand|alloca) *\(' "$tmp/code" >"$tmp/found"
rule "no unbounded or stateful functions of old"

# The same numbers at every thread count: within a thread (omp simd) sums may be vectorised.
grep -E '# *pragma +omp' "$tmp/code" | grep -E 'reduction *\( *[-+*]' |
    grep -vE '# *pragma +omp +simd' >"$tmp/found"
rule "no OpenMP reduction of sums across threads"
grep -E '# *pragma +omp.*atomic' "$tmp/code" >"$tmp/found"
rule "no OpenMP atomic"
grep -nE 'fast-math|-Ofast|funsafe-math|ffinite-math' $(grep -vE '\.(md|1)$|^tests/(rules|cli/rules_broken)\.sh$' "$tmp/files") \
    /dev/null >"$tmp/found"
rule "no -ffast-math: NaN checks would vanish"

# Exact, from the compiled library; a sanitizer's own data would be found, so not with one.
if [ -n "$lib" ] && [ -f "$lib" ]; then
    if ! nm "$lib" 2>/dev/null | grep -q -E ' (__asan_|__ubsan_|__tsan_)'; then
        nm -f sysv "$lib" 2>/dev/null >"$tmp/nm"
        grep -q 'pesc_version' "$tmp/nm" || echo "nm says nothing about $lib" >>"$tmp/nm.bad"
        {
            cat "$tmp/nm.bad" 2>/dev/null
            awk -F'|' '/\.o:$/ || /^Symbols from/ { object = $0 }
                NF >= 7 { section = $7; gsub(/ /, "", section); gsub(/ +$/, "", $1)
                    if (section ~ /^(\.data|\.bss|\.tdata|\.tbss|\*COM\*|COMMON)/ &&
                        section !~ /^\.data\.rel\.ro/ && $1 !~ /gomp_critical/ && $4 !~ /SECTION/)
                        print $1 " (" section ") in " object }' "$tmp/nm"
        } >"$tmp/found"
rule "no mutable variables outside of functions, nor static ones inside"
    fi
else
    echo "no library to look at" >"$tmp/found"
    rule "no mutable variables outside of functions"
fi

wc -l $(cat "$tmp/c") | awk '$1 > 600 && $2 != "total"' >"$tmp/found"
rule "no source over 600 lines"

# Lists: sources in a fragment, tests among TESTS.
sed -e ':a' -e '/\\$/{N;s/\\\n/ /;ba' -e '}' $(cat "$tmp/mk") | tr -s ' \t' '\n' | sort -u >"$tmp/listed"
sed -e ':a' -e '/\\$/{N;s/\\\n/ /;ba' -e '}' $(cat "$tmp/mk") | sed -n 's/^TESTS *+\{0,1\}= *//p' |
    tr -s ' \t' '\n' | sort -u >"$tmp/tests"
grep -vxF -f "$tmp/listed" "$tmp/sources" >"$tmp/found"
rule "every source stands in a sources.mk"
{
    grep -E '^tests/.*/test_[^/]*\.c$' "$tmp/files" | sed 's/\.c$//' | grep -vxF -f "$tmp/tests"
    grep -E '^tests/.*\.c$' "$tmp/files" | grep -vxF -f "$tmp/listed"
    grep -E '^tests/.*\.sh$' "$tmp/files" | grep -vE '^tests/(run\.sh$|dev/)' | grep -vxF -f "$tmp/tests" |
        while read -r f; do # then it must be a part that a test reads in
            grep -qx "$f" "$tmp/listed" && grep -qE "^ *\. .*${f##*/}" $(grep '^tests/.*\.sh$' "$tmp/files") ||
                echo "$f"
        done
} >"$tmp/found"
rule "every test is registered"

grep '\.h$' "$tmp/c" >"$tmp/headers"
while read -r f; do
    guard=$(echo "${f##*/}" | tr 'a-z.-' 'A-Z__')
    name=$(sed -n 's/^#ifndef \([A-Z0-9_]*\)$/\1/p' "$f" | head -n 1)
    case $name in
    *"$guard") grep -q "^#define $name\$" "$f" || echo "$f: $name is not defined" ;;
    *) echo "$f: guard '$name' does not end in $guard" ;;
    esac
    echo "$name $f" >>"$tmp/guards"
done <"$tmp/headers" >"$tmp/found"
rule "every header has a guard of its name"
sort "$tmp/guards" | awk 'seen[$1]++ { print $0 " (taken)" }' >"$tmp/found"
rule "no two headers share a guard"

# What must never be committed. The brackets keep the patterns from finding themselves.
grep -nE '(^|[^A-Za-z0-9_}.-])/(wor[k]|hom[e]|roo[t]|tm[p]/wt|User[s])/' $(cat "$tmp/files") /dev/null |
    grep -vE '/hom[e]/(me/|planted)' >"$tmp/found"
rule "no paths of one machine"
grep -noE 'https?://[A-Za-z0-9.-]+' $(grep -vx LICENSE "$tmp/files") /dev/null |
    grep -vE '//((www\.)?(apache\.org|arxiv\.org|sqlite\.org|json\.org|w3\.org)|([a-z-]+\.)?github\.com|huggingface\.co|example\.(com|org))$' >"$tmp/found"
rule "no hosts but papers and projects"
while read -r f; do
    [ "$(wc -c <"$f")" -le 4194304 ] || echo "$f"
done <"$tmp/files" >"$tmp/found"
rule "no file over 4 MiB"
if [ -n "$in_git" ]; then
    git ls-files | grep -v '^experiments/base/model/' | grep -E '(^|/)(configure|Makefile|Makefile\.in|aclocal\.m4|stamp-h1)$|^config\.(h|h\.in|log|status)$|\.(o|a|so|log|trs|gcda|gcno|safetensors|db|pyc)$|^build|autom4te' >"$tmp/found"
rule "no generated file is committed, except the base model"
fi
echo "1..$n"
[ $bad -eq 0 ]
