/* Heat maps of a report: tables whose cells have colours, each with what they mean. */
#ifndef PESC_CLI_REPORT_HEAT_H
#define PESC_CLI_REPORT_HEAT_H

#include "cli/report.h"

/* What a value's colour says; the last one's below is infinite. */
struct heat_step {
    double below;
    const char *cls, *text;
};
struct heat_scale {
    const char *what; /* what the colours show */
    const struct heat_step *steps;
    int n;
};
extern const struct heat_scale heat_even, heat_crowd, heat_moved;

struct heat {
    const char *caption, *row, *col; /* what rows and columns are */
    long rows, cols;
    const char *const *row_names;               /* any text; NULL: numbers of */
    const long long *row_numbers, *col_numbers; /* col_numbers NULL: 0, 1, ... */
    const double *value;                        /* [rows, cols]; NaN: unknown */
    double times;                               /* a value times this is looked up in the scale */
    double shown; /* and times this it is shown, with so many decimals */
    int decimals;
    const char *unit; /* of what is shown: " %" */
    const struct heat_scale *scale;
};
void report_heat(struct report *p, const struct heat *h);
void report_heat_key(struct report *p, const struct heat_scale *s);

#endif
