/* The router's parts that the forward and backward pass call. Private to the adapters. */
#ifndef ADAPTERS_ROUTE_H
#define ADAPTERS_ROUTE_H

#include "adapters/moe.h"

/* l[T,E] = x[T,D] Wr[E,D]^T. */
void route_logits(float *l, const float *x, const float *Wr, long T, long E, long D);
/* dx[T,D] += dl[T,E] Wr;  dWr += dl^T x. */
void route_logits_bwd_data(float *dx, const float *dl, const float *Wr, long T, long E, long D);
void route_logits_bwd_weight(float *dWr, const float *dl, const float *x, long T, long E, long D);
/* From the logits in s->prob: the choice, its weights and (in place) the probabilities. off as in
 * struct moe_weights: such logits become minus infinity, so that all else is as without them. */
void route_choose(struct moe_saved *s, const unsigned char *off, const struct moe_config *c,
                  long T);
/* The order of work, from the choice: offset, row_token, row_slot, token_row. */
void route_sort(struct moe_saved *s, const struct moe_config *c, long T);
/* dl[T,E], the gradient of the logits, from dw[T,K], the gradient of the weights:
 * dl_i = w_i (dw_i - sum_j w_j dw_j) for the chosen i, 0 for others, plus the balance loss's
 * (E/T) p_j (f_j - sum_e p_e f_e) balance_scale with the loads f held fixed. */
void route_bwd(float *dl, const float *dw, const struct moe_saved *s, const struct moe_config *c,
               double balance_scale, long T);

#endif
