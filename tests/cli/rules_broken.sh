#!/bin/sh
# Every rule of tests/rules.sh is seen to fail: a copy of the tree in which each is broken.
set -u
: "${PESC_SRC:=$(cd "$(dirname "$0")/../.." && pwd)}"
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
trap 'exit 99' INT TERM
mkdir "$tmp/tree" && cd "$tmp/tree" || exit 99
for d in src adapters datasets experiments tests doc m4; do
    cp -R "$PESC_SRC/$d" . || exit 99
done
cp "$PESC_SRC/Makefile.am" "$PESC_SRC/configure.ac" . && chmod -R u+w . || exit 99

# break_rule RULE FILE: adds standard input to FILE, and expects RULE not to be kept.
: >"$tmp/expected"
break_rule() {
    mkdir -p "$(dirname "$2")"
    cat >>"$2"
    printf '%s\n' "$1" >>"$tmp/expected"
}
break_rule 'includes go in the directions' src/tensor/up.c <<'X'
#include "config.h"
#include "model/hf_config.h"
X
break_rule 'config.h is the first include' src/core/late.c <<'X'
#include <stdio.h>
#include "config.h"
X
break_rule 'oneDNN has one home' src/tensor/dn.c <<'X'
#include <oneapi/dnnl/dnnl.h>
X
break_rule 'libarchive has one home' adapters/ar.c <<'X'
#include <archive_entry.h>
X
break_rule 'zlib has one home' src/core/archive_z.c <<'X'
#include <zlib.h>
X
break_rule 'PCRE2 has one home' datasets/re1.c <<'X'
#include <pcre2.h>
X
break_rule 'PCRE2 has one home' datasets/re2.c <<'X'
#include <pcre2.h>
X
break_rule 'utf8proc has one home' src/core/u.c <<'X'
#include <utf8proc.h>
X
break_rule 'SQLite has one home' src/cli/sq.c <<'X'
# include <sqlite3.h>
X
break_rule 'libyaml has one home' src/cli/y.c <<'X'
#include <yaml.h>
X
break_rule 'libcrypto has one home' adapters/c.c <<'X'
#include <openssl/evp.h>
X
break_rule 'cairo has one home' src/cli/ca.c <<'X'
#include <cairo.h>
X
break_rule 'MPI has one home' src/train/m.c <<'X'
#include <mpi.h>
X
break_rule 'JSON is loaded by' datasets/j.c <<'X'
static void *f(const char *s) { return json_loads(s, 0, 0); }
X
break_rule 'JSON is written' src/cli/j.c <<'X'
static char *f(const void *v) { return json_dumps(v, 0); }
X
break_rule 'only src/cli prints' src/core/p.c <<'X'
/* not here: printf("") */ const char *s = "puts("; // exit(1)
static void f(void) { exit (1); }
X
break_rule 'only src/cli knows stdin' src/core/o.c <<'X'
static void *f(void) { return stderr; }
X
break_rule 'nothing is mapped' src/cli/mm.c <<'X'
static void *f(void) { return mmap(0, 1, 2, 3, 4, 5); }
X
break_rule 'no unbounded or stateful' src/cli/st.c <<'X'
static void *f(char *s) { return strtok(s, ""); }
X
break_rule 'no OpenMP reduction' src/core/r.c <<'X'
#pragma omp parallel for \
    reduction(+ : s)
X
break_rule 'no OpenMP atomic' src/core/a.c <<'X'
#pragma omp atomic update
X
break_rule 'no -ffast-math' m4/fast.m4 <<'X'
CFLAGS="-Ofast"
X
awk 'BEGIN { for (i = 0; i < 601; i++) print "/* */" }' </dev/null |
    break_rule 'no source over 600 lines' src/core/long.c
break_rule 'every source stands in' src/core/forgotten.c <<'X'
#include "config.h"
X
break_rule 'every test is registered' tests/cli/forgotten.sh <<'X'
echo 1..0
X
break_rule 'every header has a guard' src/core/g.h <<'X'
#ifndef OTHER_H
#define OTHER_H
#endif
X
break_rule 'no two headers share' src/core/sub/error.h <<'X'
#ifndef PESC_CORE_ERROR_H
#define PESC_CORE_ERROR_H
#endif
X
echo "see /hom""e/u1/x" | break_rule 'no paths of one machine' doc/path.md
echo "from https://""mirror.invalid/simple" | break_rule 'no hosts but' doc/host.md
head -c 4194305 /dev/zero | break_rule 'no file over 4 MiB' doc/big.md
printf 'static int counter;\nint pesc_version(void) { return ++counter; }\n' >"$tmp/v.c"
echo 'no mutable variables' >>"$tmp/expected"
"${CC:-cc}" -c "$tmp/v.c" -o "$tmp/v.o" && ar rc "$tmp/lib.a" "$tmp/v.o" || exit 99

if sh tests/rules.sh "$tmp/tree" "$tmp/lib.a" >"$tmp/out" 2>&1; then
    echo "not ok 1 - rules.sh accepts a tree that breaks the rules"
else
    echo "ok 1 - rules.sh fails"
fi
n=1
while read -r rule; do
    n=$((n + 1))
    grep -q "^not ok [0-9]* - $rule" "$tmp/out" || printf 'not '
    echo "ok $n - fails: $rule"
done <<X
$(sort -u "$tmp/expected")
X
n=$((n + 1))
grep -v -e '^ok' -e '^1\.\.' "$tmp/out" | grep -q 'src/core/p.c:1:' && printf 'not '
echo "ok $n - comments and texts break nothing"
n=$((n + 1))
grep -E '^ok ' "$tmp/out" | grep -qv 'no file name has white space' && printf 'not '
echo "ok $n - no rule is left that was not seen to fail"
: >"$tmp/tree/src/a b.c"
n=$((n + 1))
sh tests/rules.sh "$tmp/tree" "$tmp/lib.a" | grep -q '^not ok 1 - no file name' || printf 'not '
echo "ok $n - fails: no file name has white space"
echo "1..$n"
