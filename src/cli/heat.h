/* Heat maps in a terminal: rows of shares with a label before and figures behind. Cells are
 * percentages where the line has room, else one digit; with colours they are shaded too. What does
 * not go to a terminal (width 0) has all its numbers in one line. */
#ifndef PESC_CLI_HEAT_H
#define PESC_CLI_HEAT_H

#include <stdio.h>

enum heat_kind {
    HEAT_SHARE, /* against an even share: blue is less, red is more */
    HEAT_MOVED  /* 0 .. 1: white is nothing, red is 0.4 and more */
};
struct heat {
    FILE *f;
    int color, width; /* columns of the terminal, 0: no bound */
    enum heat_kind kind;
    long n;        /* cells of a row */
    int label;     /* columns of the labels, with a blank behind them */
    int tail;      /* columns that figures behind need */
    int cell;      /* columns of each: 6, 3 or 1; may be set to more */
    long per_line; /* cells */
};
/* tail: wanted; it becomes short_tail when the row would not go into one line otherwise. */
struct heat heat_new(FILE *f, int color, int width, enum heat_kind kind, long n, int label,
                     int tail, int short_tail);
/* The line above: what the labels are, the numbers of the columns (NULL: 0, 1 ...; when cells are
 * one digit, what they are), and names of the figures. */
void heat_head(const struct heat *h, const char *label, const long long *numbers, const char *what,
               const char *tail);
/* One row, on as many lines as it takes; tail stands behind the first. Text is shown as it is: the
 * caller has escaped it; labels are cut to fit. NaN is "-". */
void heat_row(const struct heat *h, const char *label, const double *v, const char *tail);
/* What the cells and colours mean; an even share is 1 / n. */
void heat_legend(const struct heat *h);

#endif
