/* AdamW: I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101.
 * For update t = 1, 2, ... with gradient g of each parameter p, exactly as torch.optim.AdamW:
 *
 *   p = p (1 - lr * weight_decay)                 decoupled decay, with this step's rate
 *   m = beta1 m + (1 - beta1) g
 *   v = beta2 v + (1 - beta2) g^2
 *   p = p - lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)
 *
 * The arithmetic is float's. Between updates m and v are floats, or bytes (train/moments8.h). Each
 * block of parameters is updated on its own, so threads cannot change a bit.
 *
 * Moments are in memory, or in a file without a name, together with the gradients: then only one
 * stretch, which is a layer, is in memory at a time. Both places give the same bits. An update
 * takes two passes over the layers, the backward one and its own: the norm that it is clipped by,
 * and that decides whether it is skipped, is known only when the last gradient is. */
#ifndef PESC_TRAIN_OPTIM_H
#define PESC_TRAIN_OPTIM_H

#include "core/error.h"
#include "tensor/dtype.h"
#include "tensor/params.h"
#include "train/moments8.h"

enum decay_set {
    DECAY_ALL,     /* every tensor */
    DECAY_MATRICES /* only tensors with two or more dimensions: not norms, not biases */
};

enum adamw_form { ADAMW_F32, ADAMW_8BIT };
int adamw_form_from_name(const char *name); /* adamw|adamw8bit, or -1 */
const char *adamw_form_name(enum adamw_form f);

struct adamw_options {
    double beta1, beta2, eps, weight_decay;
    enum decay_set decay;
    enum adamw_form form;
    const char *disk; /* folder whose file system takes moments and gradients; NULL: memory does */
    int disk_cached;  /* the page cache may keep them (core/tfile.h) */
};
#define ADAMW_DEFAULTS                                                                             \
    {                                                                                              \
        .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.0                             \
    }

/* Moments of some parameters: floats, or bytes with the scales of their blocks. */
struct moments {
    float *m, *v;
    uint8_t *m8, *v8;
    float *m_scale, *v_scale;
};

/* Neighbours in the table that are of one layer: what is in memory at a time when the rest is on
 * disk. In the file: gradients, then moments. */
struct stretch {
    long first, end;      /* parameters */
    size_t from, n;       /* floats of the flat vector */
    size_t block, blocks; /* of MOMENTS8_BLOCK floats; one never spans two tensors */
    uint64_t at;          /* in the file */
};

struct tfile;
struct adamw {
    struct adamw_options o;
    const struct params *ps;
    long updates; /* done so far: t of the last one; a resumed run sets it with m and v */
    long n_stretches;
    struct stretch *stretch;
    size_t *block;      /* [params + 1] first block of each tensor */
    double *squares;    /* [stretches] of the gradient, when that is on disk */
    struct moments all; /* in memory */
    struct tfile *file; /* or here; then room for the largest stretch: */
    float *layer;       /* its gradient, then its moments */
    struct moments8 tables;
};

/* Zeroed state for the parameters, whose table must stay. E-USAGE-VALUE for options outside their
 * ranges: betas in [0, 1), eps > 0, weight_decay >= 0, all finite. On disk: E-IO-FULL, E-IO. */
int adamw_init(struct adamw *a, const struct adamw_options *o, const struct params *ps,
               struct pesc_error *err) MUST_USE;
void adamw_free(struct adamw *a);
/* Bytes that adamw_init allocates; of the file where there is one. */
size_t adamw_bytes(const struct params *ps, enum adamw_form form, int on_disk);
uint64_t adamw_disk_bytes(const struct params *ps, enum adamw_form form);
/* One update of ps->value from the gradient (ps->grad, or what is on disk) * grad_scale (a clipping
 * coefficient, or 1); ps is the table that the state was made for. The gradient is left as it is.
 * Frozen tensors are passed over: neither the gradient nor the decay reaches them. Can fail only on
 * disk, and then values are half old, half new. */
int adamw_step(struct adamw *a, struct params *ps, double lr, double grad_scale,
               struct pesc_error *err) MUST_USE;
/* Gradients on disk, stretch by stretch in any order: memory for stretch s, that holds zeros or
 * (add) what was put there last; and back to disk. */
float *adamw_take_grad(struct adamw *a, long s, int add, struct pesc_error *err);
int adamw_put_grad(struct adamw *a, long s, struct pesc_error *err) MUST_USE;

/* Euclidean norm of the whole gradient: squares are summed for each stretch, then over them. */
double adamw_grad_norm(const struct adamw *a);
double grad_norm(const struct params *ps);
/* What torch.nn.utils.clip_grad_norm_ multiplies with: min(1, max_norm / (norm + 1e-6)); 1 when
 * max_norm is 0 (off). */
double clip_coefficient(double norm, double max_norm);

/* What is to be kept of each parameter beside its value: in the order of these, as many bytes as
 * adamw_part_bytes says. Where it lies does not matter. */
struct adamw_part {
    const char *prefix;
    int is_bytes, per_block; /* U8 instead of F32; one a block instead of one a value */
};
enum { ADAMW_PARTS_MAX = 4 };
long adamw_parts(enum adamw_form form, const struct adamw_part **parts);
size_t adamw_blocks(const struct param *p);
int adamw_get(struct adamw *a, long part, long param, void *dst, struct pesc_error *err) MUST_USE;
int adamw_put(struct adamw *a, long part, long param, const void *src,
              struct pesc_error *err) MUST_USE;

#endif
