/* Kernels of a Llama-family decoder, float. Arguments: outputs, inputs, saved, dims. Row-major.
 *   T tokens  D hidden  F intermediate  H query heads  G key/value heads  C head size  V vocabulary
 * "adds": accumulates into its output; everything else overwrites. No kernel allocates. No sum
 * depends on the number of threads. Each has a double-precision twin in tests/unit. */
#ifndef PESC_TENSOR_KERNELS_H
#define PESC_TENSOR_KERNELS_H

#include "core/hot.h"

#include <stddef.h>
#include <stdint.h>

/* y[T,D] = x[T,D] * r[T] * w[D],  r[t] = 1/sqrt(mean_d x^2 + eps).  r is kept for bwd. */
void rmsnorm_fwd(float *y, float *r, const float *x, const float *w, double eps, long T, long D);
/* y as rmsnorm_fwd leaves it, from its r. */
void rmsnorm_again(float *y, const float *x, const float *w, const float *r, long T, long D);
/* dx[T,D] adds; dw[D] adds (NULL: frozen). */
void rmsnorm_bwd(float *dx, float *dw, const float *dy, const float *x, const float *w,
                 const float *r, long T, long D);

/* cos, sin [T, C/2] of position[t] * inv_freq[i], computed in double. */
void rope_table(float *cos_t, float *sin_t, const long *position, const double *inv_freq, long T,
                long C);
/* Half-rotation (pairs i, i + C/2) of x[T, heads, C] in place; sign +1 forward, -1 backward. */
void rope_apply(float *x, const float *cos_t, const float *sin_t, int sign, long T, long heads,
                long C);

/* The forward rotation of x, rounded. */
void rope_apply_bf16(uint16_t *y, const float *x, const float *cos_t, const float *sin_t, long T,
                     long heads, long C);

/* act = silu(g) * u, n elements. bwd: dg, du from dact. dg may be g's own memory, du u's. */
void swiglu_fwd(float *act, const float *g, const float *u, long n);
void swiglu_bwd(float *dg, float *du, const float *dact, const float *g, const float *u, long n);

/* The same with rows of bf16, computed in floats. */
void swiglu_fwd_bf16(uint16_t *act, const uint16_t *g, const uint16_t *u, long n);
void swiglu_bwd_bf16(uint16_t *dg, uint16_t *du, const uint16_t *dact, const uint16_t *g,
                     const uint16_t *u, long n);

/* Causal attention over S packed sequences. Sequence s has the query rows cq[s]..cq[s+1]-1 and the
 * key rows ck[s]..ck[s+1]-1; its last query stands at its last key (so with fewer queries than
 * keys the queries are the newest). Query head h reads key head h / (H/G). window > 0: a query sees
 * that many keys, itself included. */
struct attn_dims {
    long H, G, C;
    long window;
    float scale;      /* positive, usually 1/sqrt(C) */
    uint16_t *packed; /* for products in bf16: room, not kept, for attention_packed numbers */
};
/* o[Tq,H,C], lse[Tq,H] (log-sum-exp, kept for bwd) from q[Tq,H,C], k[Tk,G,C], v[Tk,G,C]. Tiled with
 * a running softmax; never more than a tile of scores. C <= 256. */
void attention_fwd(float *o, float *lse, const float *q, const float *k, const float *v,
                   const long *cq, const long *ck, long S, const struct attn_dims *d);
/* The same o[T,H,C] for the T newest tokens of one sequence of nk keys, T small: a head and token
 * at a time over the keys as they lie. */
void attention_few(float *o, const float *q, const float *k, const float *v, long T, long nk,
                   const struct attn_dims *d);
/* dq[T,H,C], dk[T,G,C], dv[T,G,C] overwritten; queries and keys are the same rows (cu[S+1]).
 * delta[T,H] is scratch. */
void attention_bwd(float *dq, float *dk, float *dv, float *delta, const float *do_, const float *q,
                   const float *k, const float *v, const float *o, const float *lse, const long *cu,
                   long S, const struct attn_dims *d);

/* The same on q, k, v and do_ of bf16, with bf16 products and float sums; only where
 * isa_avx512_bf16 (core/isa.h). */
/* Numbers of d->packed for T keys in any number of sequences. */
size_t attention_packed(long T, const struct attn_dims *d);
void attention_fwd_bf16(float *o, float *lse, const uint16_t *q, const uint16_t *k,
                        const uint16_t *v, const long *cq, const long *ck, long S,
                        const struct attn_dims *d);
void attention_bwd_bf16(float *dq, float *dk, float *dv, float *delta, const uint16_t *do_,
                        const uint16_t *q, const uint16_t *k, const uint16_t *v, const float *o,
                        const float *lse, const long *cu, long S, const struct attn_dims *d);

/* Softmax cross-entropy of n rows of logits[n,V] in place: loss[r] = lse - logit[target]; the row
 * becomes (softmax - onehot) * scale. With scale 0 the logits are left alone. */
void cross_entropy(float *logits, float *loss, const int32_t *target, float scale, long n, long V);

/* The same with a scale, the gradient rounded to grad[n,V] and the logits used up. */
void cross_entropy_bf16(uint16_t *grad, float *logits, float *loss, const int32_t *target,
                        float scale, long n, long V);

/* x[T,D] = table[ids[t]]; dtable[ids[t]] adds dx[t], in token order. */
void embed_fwd(float *x, const float *table, const int32_t *ids, long T, long D);
void embed_bwd(float *dtable, const float *dx, const int32_t *ids, long T, long D);

/* y[T,D] = x, rounded to bf16 */
void round_rows(uint16_t *y, const float *x, long T, long D);
/* y += x */
void add_to(float *y, const float *x, long n);
/* Sum of squares by a fixed tree over chunks: the same for any number of threads. */
double sum_squares(const float *x, long n);

#endif
