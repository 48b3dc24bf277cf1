/* Generating: tokens go in as they come, keys and values of the earlier ones are cached. */
#ifndef PESC_MODEL_DECODE_H
#define PESC_MODEL_DECODE_H

#include "model/model.h"

struct decoder;
/* Bytes that decoder_open takes. */
size_t decoder_bytes(const struct model *m, long capacity);
/* capacity: tokens in all, prompt included. E-MEMORY. */
int decoder_open(struct model *m, long capacity, struct decoder **out,
                 struct pesc_error *err) MUST_USE;
void decoder_close(struct decoder *d);
/* Takes n tokens and gives the logits[V] that follow the last one (valid until the next call).
 * E-LIMIT past the capacity. */
int decoder_feed(struct decoder *d, const int32_t *ids, long n, const float **logits,
                 struct pesc_error *err) MUST_USE;
void decoder_reset(struct decoder *d); /* for a text of its own */
long decoder_length(const struct decoder *d);

/* temperature 0 is greedy (ties to the lowest id); top_k 0 and top_p 1 are off. Draw number n of
 * the seed: the same arguments give the same token. scratch: V pairs. */
struct sampling {
    double temperature, top_p;
    long top_k;
    uint64_t seed;
};
struct candidate {
    float p;
    int32_t id;
};
int32_t sample_token(const float *logits, long V, const struct sampling *s, uint64_t n,
                     struct candidate *scratch);

#endif
