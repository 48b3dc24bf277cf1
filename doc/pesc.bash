# bash completion for pesc. Commands and options are read from its own help, so they are always
# those of the program that is installed.
# shellcheck shell=bash
_pesc() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local pesc=${COMP_WORDS[0]} help path=() word i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD && i <= 2; i++)); do
        word=${COMP_WORDS[i]}
        [[ $word == [a-z]* ]] || break
        "$pesc" "${path[@]}" --help 2>/dev/null | grep -q "^  $word  *" || break
        path+=("$word")
    done
    help=$("$pesc" "${path[@]}" --help 2>/dev/null) || return
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "--help $(sed -n '/^Options:/,$p' <<<"$help" |
            grep -E '^  -' | grep -oE -- "(^|[ ,])--?[a-z0-9][a-z0-9-]*")" -- "$cur")
        return
    fi
    # an option of choices "a|b|c", then a command, then files
    word=$(grep -E -- "(^|[ ,])$prev [^ ]*[|]" <<<"$help" 2>/dev/null | grep -E '^  -' |
        sed -n 's/.* \([^ ]*|[^ ]*\) .*/\1/p' | head -n 1)
    if [[ $prev == -* && -n $word ]]; then
        mapfile -t COMPREPLY < <(compgen -W "${word//|/ }" -- "$cur")
    elif ((COMP_CWORD == ${#path[@]} + 1)) && grep -q '^Commands:' <<<"$help"; then
        mapfile -t COMPREPLY < <(compgen -W "$(sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' \
            <<<"$help")" -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        compopt -o filenames 2>/dev/null
    fi
}
complete -F _pesc pesc
