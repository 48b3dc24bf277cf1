# Lines "NAME<TAB>SEED<TAB>VALUE" as a table in Markdown: a row per name, a column per seed, then
# the mean and the standard deviation over seeds. Variables: heading, decimals.
function shown(x) {
    return sprintf("%." decimals "f", x)
}
{
    if (!($1 in known)) {
        known[$1] = 1
        name[++rows] = $1
    }
    if (!($2 in column)) {
        column[$2] = ++columns
        seed[columns] = $2
    }
    cell[$1, $2] = $3
}
END {
    line = "| " heading " |"
    rule = "|---|"
    for (c = 1; c <= columns; c++) {
        line = line " seed " seed[c] " |"
        rule = rule "---|"
    }
    print line " mean | s.d. |"
    print rule "---|---|"
    for (r = 1; r <= rows; r++) {
        line = "| " name[r] " |"
        sum = squares = 0
        for (c = 1; c <= columns; c++) {
            x = cell[name[r], seed[c]]
            line = line " " shown(x) " |"
            sum += x
        }
        for (c = 1; c <= columns; c++)
            squares += (cell[name[r], seed[c]] - sum / columns) ^ 2
        spread = columns > 1 ? shown(sqrt(squares / (columns - 1))) : "-"
        print line " " shown(sum / columns) " | " spread " |"
    }
}
