#include "config.h"
#include "datasets/reading.h"

#include "core/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int draft_keep(struct reading *r, struct draft *d, struct pesc_error *err)
{
    if (d->item.skip < 0)
        return reading_keep(r, d, err);
    reading_skip(r, (enum data_skip)d->item.skip);
    return 0;
}

static int tokenize(const struct reading *r, struct draft *d, const char *where,
                    struct pesc_error *err)
{
    struct ids *ids = &d->ids, *labels = &d->labels;
    if (!r->t)
        return FAIL(err, DS_FORMAT, "%s: %s records need a tokenizer", where,
                    data_format_name(r->source->format));
    ids->n = labels->n = 0;
    if (d->item.text)
        TRY(template_plain(r->t, d->item.text, ids, labels, err));
    else
        TRY(template_render(r->template, r->t, d->item.system, d->item.turns, d->item.n_turns, ids,
                            labels, err));
    for (size_t i = 0; i < ids->n; i++) {
        if (ids->v[i] < 0 || ids->v[i] >= r->vocab)
            return FAIL(err, TOK_ID,
                        "%s: the tokenizer gives id %ld, but the model's ids are "
                        "0 .. %ld",
                        where, (long)ids->v[i], r->vocab - 1);
        if (r->o->train_on_prompt)
            labels->v[i] = ids->v[i];
    }
    return 0;
}

static int choose_template(struct reading *r, struct pesc_error *err)
{
    const char *id = r->o->template_id;
    if (!id)
        id = r->source->format == DATA_ALPACA ? "alpaca" : "camelidae";
    r->template = template_find(id);
    return r->template ? 0
                       : FAIL(err, USAGE_VALUE, "template '%s' is none of %s", id, template_ids());
}

/* The item's domain stands in the JSON tree, which goes before the draft is kept. */
static int copy_domain(struct draft *d, const char *where, struct pesc_error *err)
{
    free(d->domain);
    d->domain = NULL;
    if (!d->item.domain)
        return 0;
    d->domain = strdup(d->item.domain);
    return d->domain ? 0 : FAIL(err, MEMORY, "%s: no memory for a domain's name", where);
}

static void swap_ids(struct draft *d)
{
    struct ids ids = d->ids, labels = d->labels;
    d->ids = d->item.ids;
    d->labels = d->item.labels;
    d->item.ids = ids;
    d->item.labels = labels;
}

int draft_make(struct reading *r, const struct record *rec, struct draft *d, struct pesc_error *err)
{
    char where[PATH_CAP + 64], why[256];
    enum json_fault fault;
    snprintf(where, sizeof where, "%s, line %ld", r->source->path, rec->line);
    json_t *v = json_parse(rec->text, rec->len, &fault, why, sizeof why);
    if (!v) {
        long line = 1;
        int column = 0;
        const char *text = strstr(why, ": ");
        if (sscanf(why, "line %ld, column %d", &line, &column) != 2 || !text)
            text = "  no JSON";
        if (fault == JSON_FAULT_MEMORY)
            return FAIL(err, MEMORY, "%s: no memory for a record of %zu bytes", where, rec->len);
        return error_set(err,
                         fault == JSON_FAULT_UTF8 || fault == JSON_FAULT_NUL ? PESC_E_DS_ENC
                                                                             : PESC_E_DS_JSON,
                         "%s, line %ld, column %d (record at byte %llu): %s", r->source->path,
                         rec->line + line - 1, column, (unsigned long long)rec->byte, text + 2);
    }
    int rc = -1;
    if (r->source->format == DATA_FORMAT_COUNT) {
        TRY_OR(format_detect(v, where, &r->source->format, err), done);
        TRY_OR(choose_template(r, err), done);
    }
    TRY_OR(format_read(r->source->format, v, r->vocab, where, &d->item, err), done);
    TRY_OR(copy_domain(d, where, err), done);
    if (d->item.skip < 0 && r->source->format == DATA_TOKENIZED)
        swap_ids(d);
    else if (d->item.skip < 0)
        TRY_OR(tokenize(r, d, where, err), done);
    rc = 0;
done:
    json_decref(v);
    return rc;
}

void draft_free(struct draft *d)
{
    item_free(&d->item);
    free(d->domain);
    free(d->ids.v);
    free(d->labels.v);
    memset(d, 0, sizeof *d);
}
