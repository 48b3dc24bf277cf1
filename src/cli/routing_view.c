#include "config.h"
#include "cli/routing_view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const what_names[WHATS] = {"load", "prob", "first"};

struct route_shape view_shape(const struct routing_view *v, const struct routing_map *m, long i)
{
    /* an expert is one of top_k choices, but all of a first choice or a probability */
    return route_shape(m->value + i * m->experts, m->experts, v->what == WHAT_LOAD ? m->top_k : 1);
}

/* --- JSON --- */

static void put_name(FILE *f, const char *key, const char *text)
{
    fprintf(f, "\"%s\": ", key);
    if (text)
        json_put_text(f, text, strlen(text));
    else
        fputs("null", f);
}

static void put_values(FILE *f, const char *key, const double *v, long n)
{
    fprintf(f, "\"%s\": [", key);
    for (long e = 0; e < n; e++) {
        fputs(e ? ", " : "", f);
        json_put_real(f, v[e]);
    }
    fputc(']', f);
}

/* A row of a sheet, which need not have it: the domain had no tokens then. */
static void put_sheet(FILE *f, const struct sheet *s, long row)
{
    for (int w = 0; w < WHATS; w++) {
        const struct routing_map *m = &s->m[w];
        fputs(w ? ", " : "", f);
        if (row < m->n)
            put_values(f, what_names[w], m->value + row * m->experts, m->experts);
        else
            fprintf(f, "\"%s\": []", what_names[w]);
    }
}

static void put_layer(FILE *f, const struct routing_view *v, long i)
{
    const struct routing_map *m = &v->sheets[0].m[v->what];
    struct route_shape s = view_shape(v, m, i);
    fprintf(f, "{\"layer\": %lld, \"max_over_mean\": ", m->row[i]);
    json_put_real(f, s.known ? s.max_over_mean : NAN);
    fputs(", \"entropy\": ", f);
    json_put_real(f, s.known ? s.entropy : NAN);
    fprintf(f, ", \"dead\": %ld, \"collapsed\": %s, ", s.dead, s.collapsed ? "true" : "false");
    put_sheet(f, &v->sheets[0], i);
    fputs(", \"domains\": {", f);
    for (long d = 1; d < v->n; d++) {
        fputs(d > 1 ? ", " : "", f);
        json_put_text(f, v->sheets[d].domain, strlen(v->sheets[d].domain));
        fputs(": {", f);
        put_sheet(f, &v->sheets[d], i);
        fputc('}', f);
    }
    fputs("}}", f);
}

static void put_step(FILE *f, const struct routing_view *v, long i)
{
    const struct routing_map *m = &v->sheets[0].m[v->what];
    const double *now = m->value + i * m->experts;
    fprintf(f, "{\"step\": %lld, \"moved\": ", m->row[i]);
    json_put_real(f, i ? routing_moved(now - m->experts, now, m->experts) : NAN);
    fputs(", \"moved_from_first\": ", f);
    json_put_real(f, routing_moved(m->value, now, m->experts));
    fputs(", ", f);
    put_sheet(f, &v->sheets[0], i);
    fputc('}', f);
}

void view_json(FILE *f, const struct routing_view *v)
{
    const struct routing_map *m = &v->sheets[0].m[v->what], *moved = &v->moved;
    fputc('{', f);
    put_name(f, "run", v->uuid);
    fputs(", ", f);
    put_name(f, "task", v->task);
    fputs(", ", f);
    put_name(f, "domain", v->sheets[0].domain);
    fputs(", ", f);
    put_name(f, "what", what_names[v->what]);
    if (v->change && v->layer >= 0) {
        fprintf(f, ", \"layer\": %lld, \"steps\": [", v->layer);
        for (long i = 0; i < m->n; i++) {
            fputs(i ? ",\n " : "\n ", f);
            put_step(f, v, i);
        }
    } else if (v->change) {
        fputs(", \"steps\": [", f);
        for (long s = 0; s < moved->experts; s++)
            fprintf(f, "%s%lld", s ? ", " : "", v->steps[s]);
        fputs("], \"layers\": [", f);
        for (long i = 0; i < moved->n; i++) {
            fprintf(f, "%s{\"layer\": %lld, ", i ? ",\n " : "\n ", moved->row[i]);
            put_values(f, "moved", moved->value + i * moved->experts, moved->experts);
            fputc('}', f);
        }
    } else {
        fprintf(f, ", \"step\": %lld, \"layers\": [", m->step);
        for (long i = 0; i < m->n; i++) {
            fputs(i ? ",\n " : "\n ", f);
            put_layer(f, v, i);
        }
    }
    fputs("]}\n", f);
}

/* --- CSV: a row per value --- */

static struct cell cell_of_int(long long i)
{
    return (struct cell){.kind = CELL_INT, .i = i};
}

static struct cell cell_of_real(double x)
{
    return (struct cell){.kind = isnan(x) ? CELL_NULL : CELL_REAL, .d = x};
}

static int put_moved(const struct row_sink *to, const struct routing_view *v,
                     struct pesc_error *err)
{
    static const char *const head[] = {"layer", "step", "moved"};
    const struct routing_map *m = &v->moved;
    TRY(to->head(to->ctx, 3, head, err));
    for (long i = 0; i < m->n; i++)
        for (long s = 0; s < m->experts; s++) {
            struct cell row[] = {cell_of_int(m->row[i]), cell_of_int(v->steps[s]),
                                 cell_of_real(m->value[i * m->experts + s])};
            TRY(to->row(to->ctx, 3, row, err));
        }
    return 0;
}

static int put_sheets(const struct row_sink *to, const struct routing_view *v,
                      struct pesc_error *err)
{
    static const char *const head[] = {"step", "layer", "domain", "expert",
                                       "load", "prob",  "first"};
    TRY(to->head(to->ctx, 7, head, err));
    for (long d = 0; d < v->n; d++) {
        const struct sheet *s = &v->sheets[d];
        const char *name = s->domain ? s->domain : "";
        const struct routing_map *m = &s->m[v->what];
        for (long i = 0; i < m->n; i++)
            for (long e = 0; e < m->experts; e++) {
                struct cell row[7] = {cell_of_int(v->change ? m->row[i] : m->step),
                                      cell_of_int(v->change ? v->layer : m->row[i]),
                                      {.kind = CELL_TEXT, .text = name, .n = strlen(name)},
                                      cell_of_int(e)};
                for (int w = 0; w < WHATS; w++)
                    row[4 + w] = cell_of_real(i < s->m[w].n && e < s->m[w].experts
                                                  ? s->m[w].value[i * s->m[w].experts + e]
                                                  : NAN);
                TRY(to->row(to->ctx, 7, row, err));
            }
    }
    return 0;
}

int view_csv(FILE *f, const struct routing_view *v, struct pesc_error *err)
{
    struct table *t = table_new(f, TABLE_CSV, 0, err);
    if (!t)
        return -1;
    struct row_sink to = table_sink(t);
    int rc = v->change && v->layer < 0 ? put_moved(&to, v, err) : put_sheets(&to, v, err);
    if (rc == 0)
        table_finish(t);
    table_free(t);
    return rc;
}
