#include "config.h"
#include "datasets/reading.h"

#include "core/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TOLD = 3,          /* records without a place in the template that are told one by one */
    MADE_IDS = 1 << 16 /* larger lists are not kept for the next record */
};

static void made_free(struct made *m)
{
    free(m->ids.v);
    free(m->labels.v);
    free(m->domain);
    free(m->why);
    memset(m, 0, sizeof *m);
}

void draft_free(struct draft *d)
{
    for (long i = 0; i < d->cap; i++)
        made_free(&d->made[i]);
    free(d->made);
    item_free(&d->item);
    memset(d, 0, sizeof *d);
}

/* The next part of the draft, empty. NULL without memory. */
static struct made *next_made(struct draft *d)
{
    if (d->n == d->cap) {
        long cap = d->cap ? 2 * d->cap : 1;
        struct made *grown = realloc(d->made, (size_t)cap * sizeof *grown);
        if (!grown)
            return NULL;
        memset(grown + d->cap, 0, (size_t)(cap - d->cap) * sizeof *grown);
        d->made = grown;
        d->cap = cap;
    }
    struct made *m = &d->made[d->n++];
    if (m->ids.cap > MADE_IDS)
        made_free(m);
    free(m->domain);
    free(m->why);
    m->domain = m->why = NULL;
    m->ids.n = m->labels.n = 0;
    m->remark = NULL;
    m->templated = 0;
    m->skip = -1;
    return m;
}

static int keep_one(struct reading *r, struct made *m, struct pesc_error *err)
{
    if (m->remark && !r->told_remark++)
        note(r->notes, "W-DS-REMARK", "%s: %s", r->source->path, m->remark);
    if (m->templated && r->template)
        snprintf(r->source->template_id, sizeof r->source->template_id, "%s",
                 template_id(r->template));
    if (m->skip < 0) {
        if (m->why && !r->told_system++)
            note(r->notes, "W-DS-SYSTEM", "%s", m->why);
        return reading_keep(r, m, err);
    }
    if (m->skip == SKIP_TEMPLATE && r->told_template++ < TOLD)
        note(r->notes, "W-DS-TEMPLATE", "%s", m->why);
    reading_skip(r, (enum data_skip)m->skip);
    return 0;
}

int draft_keep(struct reading *r, struct draft *d, struct pesc_error *err)
{
    for (long i = 0; i < d->n; i++) {
        if (i > 0)
            reading_count(r);
        TRY(keep_one(r, &d->made[i], err));
    }
    return 0;
}

/* Where no template is named: the model's own, else that of the records' kind. One that cannot be
 * had is only an error for a record that needs it. */
static void choose_template(struct reading *r)
{
    const struct dataset_options *o = r->o;
    enum data_format f = r->source->format;
    memset(&r->template_err, 0, sizeof r->template_err);
    if (!r->t || f == DATA_TEXT || f == DATA_TOKENIZED)
        return;
    if (r->d->own_template) {
        r->template = r->d->own_template;
    } else if (o->template_id) {
        r->template = template_find(o->template_id);
        if (!r->template)
            FAIL(&r->template_err, USAGE_VALUE, "template '%s' is none of %s", o->template_id,
                 template_ids());
    } else if (template_of_model(r->t, &r->template, &r->template_err) == 0 && !r->template) {
        r->template = template_find(f == DATA_ALPACA || f == DATA_SELF ? "alpaca" : "camelidae");
    }
}

/* An instruction and its input are one question, but for templates made for the two. */
static int join_pair(struct item *it, const struct template *t, struct pesc_error *err)
{
    if (!it->is_pair || template_parts_pairs(t))
        return 0;
    json_t *both =
        item_keep(it, json_sprintf("%s\n\n%s", it->messages[0].text, it->messages[1].text), err);
    if (!both)
        return -1;
    memmove(it->messages, it->messages + 1, (size_t)(it->n_messages - 1) * sizeof *it->messages);
    it->n_messages--;
    it->messages[0].text = json_string_value(both);
    it->is_pair = 0;
    return 0;
}

/* Puts the system text that was asked for before a conversation that has none. */
static int add_system(struct item *it, const char *system, struct pesc_error *err)
{
    if (!system || !*system || (it->n_messages > 0 && it->messages[0].role == ROLE_SYSTEM))
        return 0;
    TRY(add_message(it, ROLE_SYSTEM, "", err));
    memmove(it->messages + 1, it->messages, (size_t)(it->n_messages - 1) * sizeof *it->messages);
    it->messages[0] = (struct message){.role = ROLE_SYSTEM, .text = system};
    return 0;
}

/* Text that is told when the draft is kept. */
static int tell(struct made *m, const char *where, const char *text, struct pesc_error *err)
{
    size_t size = strlen(where) + strlen(text) + 3;
    m->why = malloc(size);
    if (!m->why)
        return FAIL(err, MEMORY, "%s: no memory", where);
    snprintf(m->why, size, "%s: %s", where, text);
    return 0;
}

static int render(const struct reading *r, struct item *it, struct made *m, const char *where,
                  struct pesc_error *err)
{
    struct pesc_error why = {0};
    char text[300];
    m->templated = 1;
    if (!r->template) {
        if (err && !err->code)
            *err = r->template_err;
        return -1;
    }
    TRY(join_pair(it, r->template, err));
    TRY(add_system(it, r->o->system, err));
    struct chat c = {.messages = it->messages, .n = it->n_messages, .tools = it->tools};
    if (template_render(r->template, r->t, &c, r->o->loss_on, &m->ids, &m->labels, &why) == 0) {
        if (it->messages[0].role != ROLE_SYSTEM || !template_drops_system(r->template))
            return 0;
        snprintf(text, sizeof text, "template %s has no place for a system text; it is left out",
                 template_id(r->template));
        return tell(m, where, text, err);
    }
    if (why.code != PESC_E_DS_TEMPLATE) {
        if (err && !err->code)
            *err = why;
        return -1;
    }
    snprintf(text, sizeof text, "skipped: %.280s", why.text);
    m->skip = SKIP_TEMPLATE;
    return tell(m, where, text, err);
}

static int tokenize(const struct reading *r, struct item *it, struct made *m, const char *where,
                    struct pesc_error *err)
{
    const struct ids *ids = &m->ids;
    if (!r->t)
        return FAIL(err, DS_FORMAT, "%s: %s records need a tokenizer", where,
                    data_format_name(r->source->format));
    if (it->text)
        TRY(template_plain(r->t, it->text, &m->ids, &m->labels, err));
    else
        TRY(render(r, it, m, where, err));
    for (size_t i = 0; m->skip < 0 && i < ids->n; i++)
        if (ids->v[i] < 0 || ids->v[i] >= r->vocab)
            return FAIL(err, TOK_ID,
                        "%s: the tokenizer gives id %ld, but the model's ids are "
                        "0 .. %ld",
                        where, (long)ids->v[i], r->vocab - 1);
    return 0;
}

static void swap_ids(struct ids *a, struct ids *b)
{
    struct ids c = *a;
    *a = *b;
    *b = c;
}

/* One conversation of a record; most have one. */
static int make_part(const struct reading *r, json_t *v, long part, const char *where,
                     struct draft *d, struct pesc_error *err)
{
    struct item *it = &d->item;
    struct made *m = next_made(d);
    if (!m)
        return FAIL(err, MEMORY, "%s: no memory", where);
    TRY(format_read(r->source->format, v, part, r->vocab, where, it, err));
    m->remark = it->remark;
    m->skip = it->skip;
    /* The domain stands in the JSON tree, which goes before the draft is kept. */
    if (it->domain && !(m->domain = strdup(it->domain)))
        return FAIL(err, MEMORY, "%s: no memory for a domain's name", where);
    if (m->skip >= 0)
        return 0;
    if (r->source->format != DATA_TOKENIZED)
        return tokenize(r, it, m, where, err);
    swap_ids(&m->ids, &it->ids);
    swap_ids(&m->labels, &it->labels);
    return 0;
}

int draft_make(struct reading *r, const struct record *rec, struct draft *d, struct pesc_error *err)
{
    char where[PATH_CAP + 64];
    snprintf(where, sizeof where, "%s, line %ld", r->source->path, rec->line);
    json_t *v = record_parse(rec, r->source->path, err);
    if (!v)
        return -1;
    int rc = -1;
    d->n = 0;
    if (r->source->format == DATA_FORMAT_COUNT) {
        TRY_OR(format_detect(v, where, &r->source->format, err), done);
        choose_template(r);
    }
    do
        TRY_OR(make_part(r, v, d->n, where, d, err), done);
    while (d->n < d->item.parts);
    rc = 0;
done:
    json_decref(v);
    return rc;
}
