/* Rows of a query as an aligned table, CSV or JSON. */
#ifndef PESC_CLI_TABLE_H
#define PESC_CLI_TABLE_H

#include "cli/cmd.h"
#include "experiments/query.h"

enum table_form {
    TABLE_TEXT, /* aligned; what a terminal would obey is escaped, NULL is "-" */
    TABLE_CSV,  /* RFC 4180 quoting, NULL is empty, a heading line */
    TABLE_JSON  /* array of objects; infinities and bytes (as hex) are text */
};

/* Column widths come from the first rows, so that any number of rows can pass. */
struct table;
/* width: columns of the terminal, text columns are cut to fit; 0: never cut. NULL without memory.
 */
struct table *table_new(FILE *f, enum table_form form, int width, struct pesc_error *err);
/* Bit i: column i may be cut; otherwise any text may. */
void table_cut_only(struct table *t, unsigned long columns);
struct row_sink table_sink(struct table *t);
void table_finish(struct table *t); /* prints what is left */
void table_free(struct table *t);   /* NULL is fine */

/* Columns of the terminal behind stdout ($COLUMNS wins); 0 when it is none. */
int cli_width(const struct cli *cli);

/* Both given is E-USAGE. */
int table_form_of(int csv, int json, enum table_form *form, struct pesc_error *err) MUST_USE;

void json_put_text(FILE *f, const char *text, size_t n);
void json_put_real(FILE *f, double x); /* the shortest digits that read back; NaN is null */
void json_put_cell(FILE *f, const struct cell *c);

/* The cell as a terminal may see it; a real with so many digits. Caller frees; NULL without
 * memory. */
char *cell_shown(const struct cell *c, int digits);
int text_columns(const char *s); /* code points, not bytes */

#endif
