#include "config.h"
#include "train/interval.h"

#include <math.h>

static const double z = 1.959963984540054; /* 97.5 % of a normal distribution are below */

struct interval interval_share(double p, double n)
{
    if (!(n > 0) || !isfinite(p))
        return (struct interval){NAN, NAN};
    double w = 1 + z * z / n, mid = (p + z * z / (2 * n)) / w;
    double half = z / w * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    /* rounding must not move the ends that are exact */
    return (struct interval){p <= 0 ? 0 : fmax(0, mid - half), p >= 1 ? 1 : fmin(1, mid + half)};
}

struct interval interval_mean(double mean, double stderr_)
{
    return (struct interval){mean - z * stderr_, mean + z * stderr_};
}

struct interval interval_exp(struct interval of)
{
    return (struct interval){exp(of.lo), exp(of.hi)};
}

void clusters_add(struct clusters *c, double x, double n)
{
    if (!(n > 0))
        return;
    c->records++;
    c->x += x;
    c->n += n;
    c->xx += x * x;
    c->xn += x * n;
    c->nn += n * n;
}

void clusters_join(struct clusters *c, const struct clusters *other)
{
    c->records += other->records;
    c->x += other->x;
    c->n += other->n;
    c->xx += other->xx;
    c->xn += other->xn;
    c->nn += other->nn;
}

double clusters_mean(const struct clusters *c)
{
    return c->n > 0 ? c->x / c->n : NAN;
}

double clusters_stderr(const struct clusters *c)
{
    double m = clusters_mean(c);
    if (c->records < 2)
        return NAN;
    double squares = c->xx - 2 * m * c->xn + m * m * c->nn; /* of x - m n, which sum to 0 */
    if (squares < 0)
        squares = 0; /* rounding; a NaN stays one */
    return sqrt(squares * c->records / (c->records - 1)) / c->n;
}

struct interval clusters_share(const struct clusters *c)
{
    double p = clusters_mean(c), s = clusters_stderr(c);
    double n = p > 0 && p < 1 && s > 0 ? p * (1 - p) / (s * s) : c->records;
    return interval_share(p, n);
}
