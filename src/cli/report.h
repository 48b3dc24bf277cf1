/* The parts of a report: one page of HTML about one run or several. */
#ifndef PESC_CLI_REPORT_H
#define PESC_CLI_REPORT_H

#include "cli/panels.h"

struct report {
    FILE *f;
    struct reader *r;
    const struct shown_runs *runs;
    int charts; /* drawn so far: their ids */
};

/* Elements, their content escaped. */
void report_head(struct report *p, const char *title);
void report_foot(struct report *p);
/* A section with that id; the next begins where it ends. */
void report_section(struct report *p, const char *id, const char *title);
void report_section_end(struct report *p);
void report_swatch(struct report *p, long run); /* the run's colour, and its name */
/* A number as text: NaN, Infinity and -Infinity in words. */
void report_number(FILE *f, double x, int digits);

/* A query of one run (?1), as a table over all of them; nothing when there are no rows. since: the
 * first version of the schema that has it. empty (may be NULL): said instead. */
struct report_table {
    const char *caption, *sql, *empty;
    const char *old; /* in place of sql before that version; NULL: it is said that there is none */
    int since;
};
int report_table(struct report *p, const struct report_table *t, struct pesc_error *err) MUST_USE;

void report_cell(FILE *f, const struct cell *c); /* <td> */

int report_runs(struct report *p, struct pesc_error *err) MUST_USE;
int report_curves(struct report *p, struct pesc_error *err) MUST_USE;
int report_routing(struct report *p, struct pesc_error *err) MUST_USE;
int report_params(struct report *p, struct pesc_error *err) MUST_USE;
int report_scores(struct report *p, struct pesc_error *err) MUST_USE; /* evaluations, of several */
/* evaluations, data, plan, lineage, parts, events. */
int report_part(struct report *p, const char *id, struct pesc_error *err) MUST_USE;

#endif
