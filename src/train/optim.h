/* AdamW: I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101.
 * For update t = 1, 2, ... with gradient g of each parameter p, exactly as torch.optim.AdamW:
 *
 *   p = p (1 - lr * weight_decay)                 decoupled decay, with this step's rate
 *   m = beta1 m + (1 - beta1) g
 *   v = beta2 v + (1 - beta2) g^2
 *   p = p - lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)
 *
 * State is float. Each parameter is updated on its own, so threads cannot change a bit. */
#ifndef PESC_TRAIN_OPTIM_H
#define PESC_TRAIN_OPTIM_H

#include "core/error.h"
#include "tensor/params.h"

enum decay_set {
    DECAY_ALL,     /* every tensor */
    DECAY_MATRICES /* only tensors with two or more dimensions: not norms, not biases */
};

struct adamw_options {
    double beta1, beta2, eps, weight_decay;
    enum decay_set decay;
};
#define ADAMW_DEFAULTS                                                                             \
    {                                                                                              \
        .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.0                             \
    }

struct adamw {
    struct adamw_options o;
    size_t n;     /* floats: the parameters' total */
    long updates; /* done so far: t of the last one; a resumed run sets it with m and v */
    float *m, *v; /* [n] */
};

/* Zeroed state for n parameters. E-USAGE-VALUE for options outside their ranges: betas in [0, 1),
 * eps > 0, weight_decay >= 0, all finite. */
int adamw_init(struct adamw *a, const struct adamw_options *o, size_t n,
               struct pesc_error *err) MUST_USE;
void adamw_free(struct adamw *a);
/* One update of ps->value from ps->grad * grad_scale (a clipping coefficient, or 1); ps is the
 * table that the state was made for. The gradient is left as it is. Frozen tensors are passed over:
 * neither the gradient nor the decay reaches them. */
void adamw_step(struct adamw *a, struct params *ps, double lr, double grad_scale);

/* Euclidean norm of the whole gradient. */
double grad_norm(const struct params *ps);
/* What torch.nn.utils.clip_grad_norm_ multiplies with: min(1, max_norm / (norm + 1e-6)); 1 when
 * max_norm is 0 (off). */
double clip_coefficient(double norm, double max_norm);

#endif
