# The records of a JSON array with one a line, in which the domains ("dataset") have changed places
# at random. Own random numbers (Park and Miller's minimal standard), the same in every awk.
# Variable: seed.
function below(n) {
    state = (state * 16807) % 2147483647
    return state % n
}
{
    line[NR] = $0
    if (match($0, /"dataset":"[^"]*"/)) {
        at[++n] = NR
        label[n] = substr($0, RSTART, RLENGTH)
    }
}
END {
    state = seed * 7919 + 12345
    for (i = n; i > 1; i--) {
        j = below(i) + 1
        kept = label[i]
        label[i] = label[j]
        label[j] = kept
    }
    for (i = 1; i <= n; i++)
        sub(/"dataset":"[^"]*"/, label[i], line[at[i]])
    for (i = 1; i <= NR; i++)
        print line[i]
}
