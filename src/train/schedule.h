/* Learning rate as a pure function of the number of the update, so that nothing has to be saved.
 * For update s = 1..total and W warm-up updates:
 *   s <= W     peak * s / W
 *   constant   peak
 *   linear     peak * (total - s) / (total - W)
 *   cosine     peak * (1 + cos(pi * (s - W) / (total - W))) / 2
 *   list       value s of a list (its last value repeats), without warm-up
 * Updates past total keep the rate of the last one. */
#ifndef PESC_TRAIN_SCHEDULE_H
#define PESC_TRAIN_SCHEDULE_H

enum schedule_kind { SCHEDULE_CONSTANT, SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_LIST };

struct schedule {
    enum schedule_kind kind;
    double peak;
    long total, warmup; /* updates */
    const double *list; /* for SCHEDULE_LIST: the caller's */
    long n_list;        /* at least 1 */
};

int schedule_from_name(const char *name); /* constant|cosine|linear (list has no name), or -1 */
const char *schedule_name(enum schedule_kind k);
/* ratio * total, halves rounded up, within 0..total. */
long schedule_warmup(double ratio, long total);
double schedule_lr(const struct schedule *s, long step);

#endif
