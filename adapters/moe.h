/* The sparse mixture of adapters of PESC (arXiv 2401.02731, eq. 7-9) and its router.
 *
 *   l = Wr x                       router logits, x the FFN's normed input
 *   S = the top_k largest of l     ties to the lowest index
 *   w = softmax of l over S
 *   A_e(z) = scaling * Up_e GELU(Dn_e dropout(z)),  GELU in its erf form
 *   y = z + sum over e in S of w_e A_e(z)           z the shared FFN's output
 *
 *   T tokens  D hidden  E experts  K top_k  A adapter_dim  R = T*K routed rows */
#ifndef ADAPTERS_MOE_H
#define ADAPTERS_MOE_H

#include "core/arena.h"
#include "tensor/gemm.h"
#include "tensor/params.h"

enum balance_kind { BALANCE_SWITCH, BALANCE_MIXTRAL, BALANCE_OFFICIAL, BALANCE_NONE };

struct moe_config {
    long experts, top_k, dim;
    double scaling, dropout;
    enum balance_kind balance;
    double balance_coef; /* alpha; applied to the mean over layers that have adapters */
    /* Which layers those are: first .. first + layers - 1. All of a model are 0, 0, and only so. */
    long first, layers;
    int bf16; /* experts multiply in bf16 with float sums: only where moe_has_bf16 */
};
/* How many of a model's layers have adapters, and whether layer l does. */
long moe_layers(const struct moe_config *c, long model_layers);
int moe_has(const struct moe_config *c, long model_layers, long l);
/* "A-B" (both included, from 0), "A-" or "A", of a model's layers; -1 and nothing changed for what
 * is none. */
int moe_layers_parse(struct moe_config *c, const char *text, long model_layers) MUST_USE;
/* Brings layers that were written down to the form that a model of so many has; -1: it has not got
 * them. */
int moe_layers_fit(struct moe_config *c, long model_layers) MUST_USE;
/* "15-29", as the parser reads it; of all layers too. Into buf; returns it. */
enum { MOE_LAYERS_CAP = 48 };
const char *moe_layers_text(const struct moe_config *c, long model_layers,
                            char buf[MOE_LAYERS_CAP]);
int balance_from_name(const char *name); /* switch|mixtral|official|none, or -1 */
const char *balance_name(enum balance_kind k);

/* Adapter weights of one layer (or their gradients). Dn[e] is [A,D], Up[e] is [D,A], Wr is [E,D];
 * the experts lie one behind the other: Dn + e*A*D, Up + e*D*A. */
struct moe_weights {
    float *Wr, *Dn, *Up;
    const unsigned char *off; /* [E] not 0: the router never chooses it; NULL: all may be chosen */
};

/* What the forward pass leaves for the backward one, from an arena. */
struct moe_saved {
    int *expert;    /* [T,K] chosen experts, most probable first */
    float *w;       /* [T,K] their weights */
    float *prob;    /* [T,E] softmax over all logits, for balance and statistics */
    long *offset;   /* [E+1] rows of expert e: offset[e]..offset[e+1]-1 */
    int *row_token; /* [R] stable order: by expert, then token */
    int *row_slot;  /* [R] which k of the token */
    int *token_row; /* [T,K] the token's rows, ascending (so by expert) */
    float *pre;     /* [R,A] before GELU */
    /* in floats: */
    float *zg;  /* [R,D] gathered (and dropped-out) inputs */
    float *act; /* [R,A] */
    float *out; /* [R,D] Up_e GELU(..): A_e(z) before scaling */
    /* in bf16: */
    uint32_t *zb;     /* [T,(D+1)/2] z in pairs */
    uint32_t *packed; /* the layer's matrices, while moe_fwd runs */
};
/* Lays the saved arrays out; with a counting arena only sizes them. */
void moe_saved_layout(struct moe_saved *s, struct arena *a, long T, long D,
                      const struct moe_config *c);
/* After it: what moe_fwd needs only while it runs. */
void moe_work_layout(struct moe_saved *s, struct arena *a, long D, const struct moe_config *c);
/* Whether this CPU (AVX512-BF16) and these sizes allow c->bf16. */
int moe_has_bf16(const struct moe_config *c, long D);

/* Dropout's place in the counter-based numbers; training 0 turns dropout off. token: number of the
 * pass's first one, where it is a part of a batch. */
struct moe_rng {
    uint64_t seed;
    uint32_t step, layer;
    long token;
    int training;
};

/* y[T,D] from z[T,D] and x[T,D]; y may be z's memory, or NULL: only what moe_bwd needs is wanted.
 * Where the adapters add nothing (Up zero), y is z bit for bit. rng may be NULL: no dropout.
 * Experts that are off have probability 0; at least top_k must be left. */
void moe_fwd(struct gemm *g, float *y, const float *z, const float *x, const struct moe_weights *W,
             const struct moe_config *c, const struct moe_rng *rng, struct moe_saved *s, long T,
             long D);
/* dz[T,D] overwritten (dy plus the experts' part; may be dy's memory), dx[T,D] adds (the router's
 * part), dW adds. balance_scale: what the balance gradient of this layer is multiplied with
 * (coefficient / layers * loss scale). A NULL field of dW is not computed (frozen). scratch is left
 * as found; if it is too small (moe_bwd_scratch), overflow is set and nothing is computed. With
 * top_k 1 the weight is the constant 1 and only the balance loss reaches the router. */
void moe_bwd(struct gemm *g, float *dz, float *dx, struct moe_weights *dW, const float *dy,
             const float *x, const struct moe_weights *W, const struct moe_config *c,
             const struct moe_rng *rng, const struct moe_saved *s, double balance_scale,
             struct arena *scratch, long T, long D);

/* What moe_bwd needs of its scratch arena, for counting: the arena is left as found. */
void moe_bwd_scratch(struct arena *a, long T, long D, const struct moe_config *c);

/* Statistics of one layer over the T tokens of a pass. */
struct moe_stats {
    double balance; /* the balance loss, before the coefficient: at even load and probabilities 1
                       for switch, K for mixtral; always E/K for official, 0 for none */
    double entropy; /* of the load distribution, nats */
    double top1;    /* mean probability of the first choice */
};
/* load[E]: share of tokens that chose e (sums to K); prob[E]: mean probability over all tokens;
 * either may be NULL. */
void moe_stats(struct moe_stats *out, double *load, double *prob, const struct moe_saved *s,
               const struct moe_config *c, long T);
/* How often each expert was the first, second ... choice in each group of tokens:
 * count[top_k, n_groups, E] adds, for tokens with group[t] in 0..n_groups-1. */
void moe_count(long *count, const int *group, long n_groups, const struct moe_saved *s,
               const struct moe_config *c, long T);
/* What the routers thought of each group: prob[n_groups, E] adds the probabilities of its tokens,
 * top1[n_groups] that of their first choices. */
void moe_sums(double *prob, double *top1, const int *group, const struct moe_saved *s,
              const struct moe_config *c, long T);

/* Kaiming-uniform (a = sqrt 5) for Dn and Wr, zeros for Up (seeds A2). */
void moe_init(struct moe_weights *W, const struct moe_config *c, uint64_t seed, long layer, long D);

/* The adapters' tensors in a table of parameters, under Camelidae's names. A layer is one stretch
 * of the flat vector: router, then all down-, then all up-projections. layers: of the model, those
 * without adapters included. */
int moe_declare(struct params *ps, const struct moe_config *c, long layers, long D,
                struct pesc_error *err) MUST_USE;
/* Marks the routers of such a table as frozen. */
void moe_freeze_routers(struct params *ps, const struct moe_config *c);
/* The tensors of the n-th layer that has adapters, in a flat vector that holds nothing else (values
 * or gradients); NULL stays. */
struct moe_weights moe_at(float *flat, const struct moe_config *c, long n, long D);
/* moe_init of all of them: a layer's values do not depend on which others there are. */
void moe_init_all(float *flat, const struct moe_config *c, uint64_t seed, long layers, long D);

#endif
