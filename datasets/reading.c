#include "config.h"
#include "datasets/reading.h"

#include "core/file.h"

#include <stdio.h>
#include <string.h>

enum { NOTED_BAD = 5 }; /* tolerated bad records that are told one by one */

void reading_skip(struct reading *r, enum data_skip why)
{
    r->d->counts.skipped[why]++;
    r->source->skips[why]++;
    r->source->skipped++;
}

/* The record was at fault, not the machine or the options. */
static int is_record_fault(int code)
{
    return code == PESC_E_DS_JSON || code == PESC_E_DS_FIELD || code == PESC_E_DS_TOKEN ||
           code == PESC_E_DS_BIG || code == PESC_E_DS_ENC;
}

static int read_records(struct reading *r, struct pesc_error *err)
{
    struct dataset_counts *c = &r->d->counts;
    while (r->o->max_records <= 0 || c->read < r->o->max_records) {
        struct record rec;
        struct pesc_error e = {0};
        int got = records_next(r->records, &rec, &e), resumable = 1;
        if (got == 0)
            return 0;
        if (got < 0)
            resumable = records_resumable(r->records);
        if (got > 0 || resumable) {
            c->read++;
            r->source->read++;
        }
        if (got > 0 && reading_record(r, &rec, &e) == 0)
            continue;
        long bad = c->skipped[SKIP_BAD];
        if (!resumable || !is_record_fault(e.code) || bad >= r->o->bad_max) {
            if (err && !err->code)
                *err = e;
            return -1;
        }
        reading_skip(r, SKIP_BAD);
        if (bad < NOTED_BAD)
            note(r->notes, "W-DS-BAD", "skipped: [%s] %s", e.name, e.text);
    }
    return 0;
}

int reading_file(struct reading *r, const char *path, struct pesc_error *err)
{
    struct dataset_source *s = r->source = &r->d->sources[r->d->n_sources];
    char domain[sizeof s->name];
    int rc = -1;
    struct data_file *f = data_file_open(path, err);
    if (!f)
        return -1;
    snprintf(s->path, sizeof s->path, "%s", path);
    snprintf(s->name, sizeof s->name, "%.255s", path_base(path));
    snprintf(domain, sizeof domain, "%s", s->name);
    char *dot = strrchr(domain, '.');
    if (dot && dot != domain && (!strcmp(dot, ".json") || !strcmp(dot, ".jsonl")))
        *dot = 0;
    r->domain = r->o->domain ? r->o->domain : domain;
    s->format = DATA_FORMAT_COUNT;
    r->template = NULL;
    r->told_template = r->told_system = r->told_remark = 0;
    struct byte_source bytes = data_file_source(f);
    r->records = records_open(&bytes, s->path, err);
    if (!r->records)
        goto done;
    TRY_OR(read_records(r, err), done);
    if (s->read == 0 && (r->o->max_records <= 0 || r->d->counts.read < r->o->max_records)) {
        FAIL(err, DS_EMPTY, "%s: no records", path);
        goto done;
    }
    TRY_OR(data_file_finish(f, s->sha256, &s->bytes, err), done);
    r->d->n_sources++;
    rc = 0;
done:
    records_close(r->records);
    r->records = NULL;
    data_file_close(f);
    return rc;
}
