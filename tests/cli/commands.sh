#!/bin/sh
# What holds for every command: help, manual page, completion, errors and exit statuses.
# shellcheck disable=SC2013,SC2016 # words without white space; code for an inner shell
set -u
: "${PESC_SRC:=$(cd "$(dirname "$0")/../.." && pwd)}"
: "${PESC:=$PESC_SRC/build/pesc}"
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
trap 'exit 99' INT TERM
man=$PESC_SRC/doc/pesc.1

n=0
# check TEXT COMMAND...: passes when the command succeeds.
check() {
    n=$((n + 1))
    text=$1
    shift
    "$@" || printf 'not '
    echo "ok $n - $text"
}
# pesc STATUS ARGUMENTS...: runs the program into $tmp/out and $tmp/err, and compares its status.
pesc() {
    want=$1
    shift
    "$PESC" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    got=$?
    [ $got -eq "$want" ] && return 0
    echo "# pesc $*: status $got, expected $want"
    sed 's/^/# /' "$tmp/err"
    return 1
}
err_has() { grep -qF -- "$1" "$tmp/err" || { sed 's/^/# /' "$tmp/err"; return 1; }; }
out_has() { grep -qE -- "$1" "$tmp/out" || { sed 's/^/# /' "$tmp/out"; return 1; }; }
empty() { [ ! -s "$1" ] || { sed 's/^/# /' "$1"; return 1; }; }

# The names of a help text's commands and options; aliases on the option's line.
help_commands() { sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' "$1"; }
help_names() {
    one='--\{0,1\}[a-z0-9][a-z0-9-]*'
    sed -n '/^Options:/,$p' "$1" | sed -n "s/^  \($one\(, $one\)*\).*/\1/p" | tr -d ' ' | tr ',' '\n'
}
# The manual's section of a command, and the options that it lists.
man_section() { awk -v ss=".Ss pesc $1" '/^\.S[sh]/ { on = ($0 == ss) } on' "$man"; }
man_options() {
    man_section "$1" | grep '^\.It Fl' | grep -oE 'Fl -?[a-z0-9][a-z0-9-]*' | sed 's/^Fl /-/'
}

# Help of every command and of those below it.
visit() { # PATH WORDS
    visited=$1
    # shellcheck disable=SC2086 # a path is words
    check "pesc $1 --help" pesc 0 $1 --help
    check "pesc $1: help is data, with a usage line" out_has "^Usage: pesc $1"
    check "pesc $1: nothing else is said" empty "$tmp/err"
    check "pesc $1: help fits 80 columns" sh -c '! grep -q ".\{80\}" "$1"' sh "$tmp/out"
    cp "$tmp/out" "$tmp/help.$(echo "$1" | tr ' ' '.')"
    for sub in $(help_commands "$tmp/out"); do
        visit "$visited $sub"
        visited=${visited% *}
    done
}
cmds=$(sed -n '/^#define CMDS(X)/,/[^\\]$/s/.*X(\([a-z]*\)).*/\1/p' "$PESC_SRC/src/cli/cmd.h")
check "cmd.h has commands" test "$(echo "$cmds" | wc -l)" -ge 8
check "pesc --help" pesc 0 --help
help_commands "$tmp/out" >"$tmp/listed"
for c in $cmds; do
    check "$c is listed by pesc --help" grep -qx "$c" "$tmp/listed"
    visit "$c"
    man_section "$c" >"$tmp/section"
    check "$c has a section in the manual" test -s "$tmp/section"
    cat "$tmp/help.$c" "$tmp/help.$c".* 2>/dev/null >"$tmp/help"
    { help_names "$tmp/help.$c"
      for f in "$tmp/help.$c".*; do [ -f "$f" ] && help_names "$f"; done; } | sort -u >"$tmp/names"
    of=$c
    [ "$c" = plan ] && of=train # whose options it has
    man_options "$of" | sort -u >"$tmp/man"
    for name in $(cat "$tmp/names"); do
        check "$c $name is in the manual" grep -qx -- "$name" "$tmp/man"
    done
    for f in "$tmp/help.$c".*; do
        [ -f "$f" ] || continue
        sub=${f##*.}
        check "$c $sub is in the manual" grep -qw -- "$sub" "$tmp/section"
    done
    # A command that has options has all that its section promises.
    if [ -s "$tmp/names" ]; then
        for name in $(cat "$tmp/man"); do
            check "$c $name of the manual exists" grep -qx -- "$name" "$tmp/names"
        done
    fi
done

# Every option in every help is taken by its command, with underscores as well.
for f in "$tmp"/help.*; do
    path=$(echo "${f#"$tmp"/help.}" | tr '.' ' ')
    for name in $(help_names "$f" | grep -E '^--[a-z]+-' | head -n 1); do
        spelled=--$(echo "${name#--}" | tr '-' '_')
        # shellcheck disable=SC2086
        "$PESC" $path "$spelled" >"$tmp/out" 2>"$tmp/err" </dev/null
        check "pesc $path $spelled: underscores are accepted" eval '! grep -q E-USAGE-OPTION "$tmp/err"'
    done
done

# Usage errors: status 2 and a code, on stderr only.
check "no command: status 2" pesc 2
check "and help on stderr" err_has "Usage: pesc"
check "and nothing on stdout" empty "$tmp/out"
check "an unknown command: status 2" pesc 2 nonsense
check "with its code" err_has "error[E-USAGE]"
check "an unknown option: status 2" pesc 2 doctor --jsom
check "with its code" err_has "error[E-USAGE-OPTION]"
check "and the nearest one" err_has "did you mean 'json'"
check "nothing on stdout" empty "$tmp/out"
check "nothing near: the help is" pesc 2 doctor --completely-different
check "named" err_has "--help lists them"
check "--errors=json: status 2" pesc 2 --errors=json doctor --jsom
check "one object" grep -qE '^\{"error": ?"E-USAGE-OPTION", ?"exit": ?2, ?"text": ?".*"\}$' "$tmp/err"
check "and only one line" test "$(wc -l <"$tmp/err")" -eq 1
check "--errors=json may stand behind" pesc 2 doctor --jsom --errors=json
check "as well" err_has '"E-USAGE-OPTION"'
check "too many words: status 2" pesc 2 doctor more

# Output that cannot be written is no success.
for args in --version --help doctor "doctor --json" "doctor --help"; do
    # shellcheck disable=SC2086
    "$PESC" $args >/dev/full 2>"$tmp/err"
    check "pesc $args into a full disk: status 9" test $? -eq 9
    check "and says so" err_has "error[E-IO-FULL]"
done
"$PESC" --version >&- 2>"$tmp/err"
check "a closed stdout: status 9" test $? -eq 9

# Version and doctor.
version=$(sed -n 's/^AC_INIT(\[pesc\],\[\([^]]*\)\].*/\1/p' "$PESC_SRC/configure.ac")
check "pesc --version" pesc 0 --version
check "the version of configure.ac" test "$(head -n 1 "$tmp/out")" = "pesc $version"
check "the compiler" out_has '^compiler .*[0-9]\.[0-9]'
check "its flags" out_has '^flags .*-std=gnu11'
check "the libraries" out_has '^libraries .*oneDNN [0-9].*libcrypto [0-9]'
check "pesc doctor" pesc 0 doctor
check "cores" out_has '^  threads +[1-9]'
check "memory" out_has '^  usable +[0-9.]+ [GM]iB'
check "advice" out_has '^advice'
check "pesc doctor --json" pesc 0 doctor --json
check "is an object" out_has '^\{'
check "with the threads" out_has '"threads": ?[1-9]'
check "--no-json" pesc 0 doctor --json --no-json
check "is text again" out_has '^cpu$'
check "OMP_NUM_THREADS beyond the cores gives advice" \
    env OMP_NUM_THREADS=9999 sh -c '"$1" doctor | grep -q "OMP_NUM_THREADS is 9999"' sh "$PESC"

# Completion asks the program, so it knows what the help knows.
if command -v bash >/dev/null 2>&1; then
    offers() { # WORDS: the last one is being completed
        bash -c 'source "$1/doc/pesc.bash"; shift
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _pesc; printf "%s\n" "${COMPREPLY[@]}"' \
            bash "$PESC_SRC" "$PESC" "$@" 2>&1
    }
    check "completion of commands" test "$(offers doc)" = doctor
    check "completion of options" test "$(offers doctor --js)" = --json
    check "completion knows --help" test "$(offers doctor --he)" = --help
    check "completion of all commands" test "$(offers '' | sort)" = "$(echo "$cmds" | sort)"
    cd "$tmp" && : >unlikely-file
    check "completion of files" test "$(offers doctor unlik)" = unlikely-file
fi
echo "1..$n"
