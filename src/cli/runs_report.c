#include "config.h"
#include "cli/runs.h"

#include "cli/db_arg.h"
#include "cli/page.h"
#include "cli/report.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct options {
    const char *db, *out, *title;
    int newest;
};

static const struct opt opts[] = {
    {"db", NULL, OPT_STRING, offsetof(struct options, db), "PATH", DB_ARG_HELP, 0, 0},
    {"1", NULL, OPT_FLAG, offsetof(struct options, newest), NULL, "the newest run", 0, 0},
    {"output", "o", OPT_STRING, offsetof(struct options, out), "FILE", "the .html file to write", 0,
     0},
    {"title", NULL, OPT_STRING, offsetof(struct options, title), "TEXT", "heading of the page", 0,
     0},
    {0}};

static const struct {
    const char *id, *title;
    int (*put)(struct report *p, struct pesc_error *err); /* NULL: report_part */
} sections[] = {{"runs", "Runs", report_runs},
                {"curves", "Curves", report_curves},
                {"evaluations", "Evaluations", NULL},
                {"routing", "Routing", report_routing},
                {"parameters", "Parameters", report_params},
                {"data", "Data", NULL},
                {"plan", "Plan and outcome", NULL},
                {"lineage", "Lineage", NULL},
                {"parts", "Starts and resumes", NULL},
                {"events", "Events", NULL}};
enum { N_SECTIONS = sizeof sections / sizeof *sections };

static int write_page(struct report *p, const char *title, struct pesc_error *err)
{
    report_head(p, title);
    fputs("<nav aria-label=\"Sections\">\n", p->f);
    for (int i = 0; i < N_SECTIONS; i++)
        fprintf(p->f, "<a href=\"#%s\">%s</a>\n", sections[i].id, sections[i].title);
    fputs("</nav>\n", p->f);
    for (int i = 0; i < N_SECTIONS; i++)
        TRY(sections[i].put ? sections[i].put(p, err) : report_part(p, sections[i].id, err));
    report_foot(p);
    return 0;
}

/* The page's heading when none is given. Caller frees. */
static char *usual_title(const struct shown_runs *runs)
{
    size_t size = strlen(runs->v[0].label) + 64;
    char *out = malloc(size);
    if (out && runs->n == 1)
        snprintf(out, size, "Run %s", runs->v[0].label);
    else if (out)
        snprintf(out, size, "%ld runs", runs->n);
    return out;
}

static int report(struct reader *r, const struct shown_runs *runs, const struct options *o,
                  struct pesc_error *err)
{
    char *title = o->title ? strdup(o->title) : usual_title(runs);
    struct page page;
    if (!title)
        return FAIL(err, MEMORY, "no memory for a report");
    int rc = page_open(&page, o->out, err);
    if (rc == 0) {
        struct report p = {.f = page.f, .r = r, .runs = runs};
        rc = page_end(&page, write_page(&p, title, err));
    }
    free(title);
    return rc;
}

static int is_html(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (!strcasecmp(dot, ".html") || !strcasecmp(dot, ".htm"));
}

static int run(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    const struct options *o = values;
    struct reader *r = NULL;
    struct shown_runs runs;
    (void)cli;
    if (!o->out)
        return FAIL(err, USAGE, "where to? -o report.html");
    if (!is_html(o->out))
        return FAIL(err, USAGE_VALUE, "--output %s: a report is an .html file", o->out);
    TRY(runs_open(o->db, &r, NULL, err));
    int rc = shown_runs_find(r, o->newest, argc, argv, &runs, err);
    if (rc == 0) {
        rc = report(r, &runs, o, err);
        shown_runs_free(&runs);
    }
    reader_close(r);
    return rc;
}

const struct cmd runs_report = {
    .name = "report",
    .usage = "RUN... -o FILE.html [--title TEXT]",
    .summary = "Writes all about runs into one file for a web browser.",
    .details = RUNS_WHICH
    "\nThe file holds curves, routing, parameters, data, plan, lineage and events, and needs\n"
    "neither network nor script.",
    .opts = opts,
    .opts_size = sizeof(struct options),
    .run = run,
};
