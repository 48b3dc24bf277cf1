#include "config.h"
#include "datasets/formats.h"

#include "core/batch.h"

/* An array of whole numbers in [0, vocab), or also LABEL_MASKED. */
static int read_numbers(const json_t *record, const char *name, long vocab, int labels,
                        const char *where, struct ids *out, struct pesc_error *err)
{
    const json_t *a = json_object_get(record, name);
    if (!json_is_array(a))
        return bad_field(record, where, name, "is not an array", err);
    for (size_t i = 0; i < json_array_size(a); i++) {
        const json_t *v = json_array_get(a, i);
        if (!json_is_integer(v))
            return bad_field(record, where, name, "holds something that is no whole number", err);
        json_int_t x = json_integer_value(v);
        if (labels ? x != LABEL_MASKED && (x < 0 || x >= vocab) : x < 0 || x >= vocab)
            return FAIL(err, DS_TOKEN, "%s: %s[%zu] is %lld, but the model's ids are 0 .. %ld",
                        where, name, i, (long long)x, vocab - 1);
        TRY(ids_push(out, (int32_t)x, err));
    }
    return 0;
}

/* attention_mask may only say where right padding begins; that tail is cut off. */
static int cut_padding(const json_t *record, int own_labels, const char *where, struct item *it,
                       struct pesc_error *err)
{
    const json_t *mask = json_object_get(record, "attention_mask");
    if (!mask || json_is_null(mask))
        return 0;
    if (json_array_size(mask) != it->ids.n)
        return bad_field(record, where, "attention_mask", "is not as long as 'input_ids'", err);
    size_t ones = it->ids.n;
    for (size_t i = 0; i < it->ids.n; i++) {
        const json_t *v = json_array_get(mask, i);
        json_int_t x = json_is_integer(v) ? json_integer_value(v) : -1;
        if (x == 0 && ones == it->ids.n)
            ones = i;
        if (x != (i < ones))
            return bad_field(record, where, "attention_mask", "is not ones up to a tail of zeros",
                             err);
    }
    for (size_t i = ones; i < it->labels.n; i++)
        if (own_labels && it->labels.v[i] != LABEL_MASKED)
            return bad_field(record, where, "labels", "score tokens that 'attention_mask' hides",
                             err);
    it->ids.n = it->labels.n = ones;
    return 0;
}

int read_tokenized(const json_t *record, long vocab, const char *where, struct item *it,
                   struct pesc_error *err)
{
    const json_t *labels = json_object_get(record, "labels");
    int own_labels = labels && !json_is_null(labels);
    TRY(read_numbers(record, "input_ids", vocab, 0, where, &it->ids, err));
    if (own_labels) {
        TRY(read_numbers(record, "labels", vocab, 1, where, &it->labels, err));
        if (it->labels.n != it->ids.n)
            return bad_field(record, where, "labels", "is not as long as 'input_ids'", err);
    } else {
        for (size_t i = 0; i < it->ids.n; i++)
            TRY(ids_push(&it->labels, it->ids.v[i], err));
    }
    TRY(cut_padding(record, own_labels, where, it, err));
    if (it->ids.n == 0)
        it->skip = SKIP_EMPTY;
    return 0;
}
