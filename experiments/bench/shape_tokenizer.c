#include "config.h"
#include "experiments/bench/shape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LETTERS = 26, STARTS = LETTERS + 1, WORD_CAP = 16 };
#define SPACE "\xc4\xa0" /* what stands for a space in byte-level vocabularies */

static const char *special_name(const struct shape *s, long id)
{
    if (s->bos == s->eos)
        return id == s->eos ? "<|endoftext|>" : NULL;
    return id == 0 ? "<unk>" : id == s->bos ? "<s>" : id == s->eos ? "</s>" : NULL;
}

/* GPT-2's printable stand-in for a byte, as UTF-8. */
static void byte_text(char out[4], int byte)
{
    int c = byte, next = 256;
    for (int i = 0; i <= byte; i++) {
        int shown = (i >= 33 && i <= 126) || (i >= 161 && i != 173);
        if (!shown)
            c = next++;
        else
            c = i;
    }
    if (c < 0x80)
        snprintf(out, 4, "%c", c);
    else
        snprintf(out, 4, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
}

/* The numbers 0, 1, ... spell "_", a .. z, then every two letters ("_a" first), every three, ...
 * where only the first may be a space. Number n's last letter, and the number of what stands before
 * it (-1: nothing). */
static long spelled(long n, long *before)
{
    long width = STARTS, from = 0;
    if (n < STARTS) {
        *before = -1;
        return n;
    }
    while (n >= from + width) {
        from += width;
        width *= LETTERS;
    }
    *before = from - width / LETTERS + (n - from) / LETTERS;
    return 1 + (n - from) % LETTERS;
}

static void spell(char out[WORD_CAP], long n)
{
    long before, last = spelled(n, &before);
    *out = 0;
    if (before >= 0)
        spell(out, before);
    size_t at = strlen(out);
    if (last == 0)
        snprintf(out + at, WORD_CAP - at, "%s", SPACE);
    else
        snprintf(out + at, WORD_CAP - at, "%c", (int)('a' + last - 1));
}

/* The next token gets the next id that is not a special one's. */
static int add_token(json_t *vocab, const struct shape *s, const char *text, long *id)
{
    while (special_name(s, *id))
        ++*id;
    return json_object_set_new(vocab, text, json_integer((*id)++));
}

static int fill(json_t *vocab, json_t *merges, json_t *added, const struct shape *s)
{
    int bad = 0;
    long id = 0;
    for (long i = 0; i < s->vocab; i++)
        if (special_name(s, i)) {
            bad |= json_object_set_new(vocab, special_name(s, i), json_integer(i));
            bad |= json_array_append_new(
                added, json_pack("{s:I,s:s,s:b,s:b,s:b,s:b,s:b}", "id", (json_int_t)i, "content",
                                 special_name(s, i), "single_word", 0, "lstrip", 0, "rstrip", 0,
                                 "normalized", 0, "special", 1));
        }
    for (int b = 0; b < 256; b++) {
        char text[4];
        byte_text(text, b);
        bad |= add_token(vocab, s, text, &id);
    }
    for (long n = STARTS; !bad && (long)json_object_size(vocab) < s->vocab; n++) {
        char text[WORD_CAP], left[WORD_CAP], right[2];
        long before, last = spelled(n, &before);
        spell(text, n);
        spell(left, before);
        snprintf(right, sizeof right, "%c", (int)('a' + last - 1));
        bad |= add_token(vocab, s, text, &id);
        bad |= json_array_append_new(merges, json_pack("[ss]", left, right));
    }
    return bad;
}

static json_t *byte_level(void)
{
    return json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 1, "use_regex", 1);
}

json_t *shape_tokenizer(const struct shape *s, struct pesc_error *err)
{
    json_t *vocab = json_object(), *merges = json_array(), *added = json_array(), *tree = NULL;
    if (vocab && merges && added && fill(vocab, merges, added, s) == 0) {
        json_t *model =
            json_pack("{s:s,s:n,s:n,s:n,s:n,s:b,s:b,s:b,s:O,s:O}", "type", "BPE", "dropout",
                      "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                      "byte_fallback", 0, "ignore_merges", 0, "vocab", vocab, "merges", merges);
        tree = json_pack("{s:s,s:n,s:n,s:O,s:n,s:o,s:n,s:o,s:o}", "version", "1.0", "truncation",
                         "padding", "added_tokens", added, "normalizer", "pre_tokenizer",
                         byte_level(), "post_processor", "decoder", byte_level(), "model", model);
    }
    json_decref(vocab);
    json_decref(merges);
    json_decref(added);
    if (!tree)
        FAIL(err, MEMORY, "no memory for a tokenizer");
    return tree;
}

json_t *shape_tokenizer_config(const struct shape *s, struct pesc_error *err)
{
    json_t *tree =
        json_pack("{s:s,s:s,s:s,s:b,s:I}", "tokenizer_class", "PreTrainedTokenizerFast",
                  "bos_token", special_name(s, s->bos), "eos_token", special_name(s, s->eos),
                  "add_bos_token", 0, "model_max_length", (json_int_t)s->positions);
    if (!tree)
        FAIL(err, MEMORY, "no memory for a tokenizer");
    return tree;
}
