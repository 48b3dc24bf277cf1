#include "config.h"
#include "datasets/reading.h"

#include "core/file.h"

#include <stdio.h>
#include <string.h>

/* The tokens up to the last scored label, of the first n. */
static long scored_length(const struct ids *labels, long n)
{
    while (n > 1 && labels->v[n - 1] == LABEL_MASKED)
        n--;
    return n > 1 ? n : 0;
}

/* Cuts, masks what is never scored, drops what follows the last scored label, and keeps the rest.
 */
static int keep(struct reading *r, struct ids *ids, struct ids *labels, struct pesc_error *err)
{
    long n = scored_length(labels, (long)ids->n), trained = 0, max = r->o->max_seq_length;
    if (max > 0 && n > max) {
        n = scored_length(labels, max);
        r->d->counts.truncated++;
        r->source->truncated++;
    }
    if (n == 0) {
        reading_skip(r, SKIP_NO_TARGET);
        return 0;
    }
    labels->v[0] = LABEL_MASKED;
    for (long i = 0; i < n; i++)
        trained += labels->v[i] != LABEL_MASKED;
    TRY(store_add(&r->d->store, ids->v, labels->v, n, trained,
                  r->item.domain ? r->item.domain : r->domain, r->d->counts.read - 1, err));
    r->source->used++;
    r->source->tokens += n;
    r->source->trained_tokens += trained;
    struct dataset_counts *c = &r->d->counts;
    c->used++;
    c->tokens += n;
    c->trained_tokens += trained;
    if (n > c->longest)
        c->longest = n;
    return 0;
}

/* Where no template is named: the model's own, else that of the records' kind. */
static int choose_template(struct reading *r, struct pesc_error *err)
{
    const struct dataset_options *o = r->o;
    enum data_format f = r->source->format;
    if (r->template)
        return 0;
    if (r->d->own_template)
        r->template = r->d->own_template;
    else if (o->template_id)
        r->template = template_find(o->template_id);
    else {
        TRY(template_of_model(r->t, &r->template, err));
        if (!r->template)
            r->template =
                template_find(f == DATA_ALPACA || f == DATA_SELF ? "alpaca" : "camelidae");
    }
    if (!r->template)
        return FAIL(err, USAGE_VALUE, "template '%s' is none of %s", o->template_id,
                    template_ids());
    snprintf(r->source->template_id, sizeof r->source->template_id, "%s", template_id(r->template));
    return 0;
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

enum { TOLD = 3 }; /* records without a place in the template that are told one by one */

static int render(struct reading *r, const char *where, struct pesc_error *err)
{
    struct item *it = &r->item;
    struct pesc_error why = {0};
    TRY(choose_template(r, err));
    TRY(join_pair(it, r->template, err));
    TRY(add_system(it, r->o->system, err));
    if (it->messages[0].role == ROLE_SYSTEM && template_drops_system(r->template) &&
        !r->told_system++)
        note(r->notes, "W-DS-SYSTEM",
             "%s: template %s has no place for a system text; it is left "
             "out",
             where, template_id(r->template));
    struct chat c = {.messages = it->messages, .n = it->n_messages, .tools = it->tools};
    if (template_render(r->template, r->t, &c, r->o->loss_on, &r->ids, &r->labels, &why) == 0)
        return 0;
    if (why.code != PESC_E_DS_TEMPLATE) {
        if (err && !err->code)
            *err = why;
        return -1;
    }
    if (r->told_template++ < TOLD)
        note(r->notes, "W-DS-TEMPLATE", "%s: skipped: %s", where, why.text);
    it->skip = SKIP_TEMPLATE;
    return 0;
}

static int tokenize(struct reading *r, const char *where, struct pesc_error *err)
{
    struct ids *ids = &r->ids, *labels = &r->labels;
    if (!r->t)
        return FAIL(err, DS_FORMAT, "%s: %s records need a tokenizer", where,
                    data_format_name(r->source->format));
    ids->n = labels->n = 0;
    if (r->item.text)
        TRY(template_plain(r->t, r->item.text, ids, labels, err));
    else
        TRY(render(r, where, err));
    if (r->item.skip >= 0) {
        reading_skip(r, (enum data_skip)r->item.skip);
        return 0;
    }
    for (size_t i = 0; i < ids->n; i++)
        if (ids->v[i] < 0 || ids->v[i] >= r->vocab)
            return FAIL(err, TOK_ID,
                        "%s: the tokenizer gives id %ld, but the model's ids are "
                        "0 .. %ld",
                        where, (long)ids->v[i], r->vocab - 1);
    return keep(r, ids, labels, err);
}

/* One conversation of a record; most have one. */
static int read_part(struct reading *r, json_t *v, long part, const char *where,
                     struct pesc_error *err)
{
    struct item *it = &r->item;
    TRY(format_read(r->source->format, v, part, r->vocab, where, it, err));
    if (it->remark && !r->told_remark++)
        note(r->notes, "W-DS-REMARK", "%s: %s", r->source->path, it->remark);
    if (it->skip >= 0) {
        reading_skip(r, (enum data_skip)it->skip);
        return 0;
    }
    return r->source->format == DATA_TOKENIZED ? keep(r, &it->ids, &it->labels, err)
                                               : tokenize(r, where, err);
}

int reading_record(struct reading *r, const struct record *rec, struct pesc_error *err)
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
    if (r->source->format == DATA_FORMAT_COUNT)
        TRY_OR(format_detect(v, where, &r->source->format, err), done);
    for (long part = 0; part == 0 || part < r->item.parts; part++) {
        if (part > 0) { /* counts as a record of its own */
            r->d->counts.read++;
            r->source->read++;
        }
        TRY_OR(read_part(r, v, part, where, err), done);
    }
    rc = 0;
done:
    json_decref(v);
    return rc;
}
