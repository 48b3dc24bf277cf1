/* How sure a figure is: 95 % confidence. */
#ifndef PESC_TRAIN_INTERVAL_H
#define PESC_TRAIN_INTERVAL_H

struct interval {
    double lo, hi; /* both NaN: not known */
};

/* Wilson's, of a share p seen in n trials (n need not be whole); NaN for n <= 0. */
struct interval interval_share(double p, double n);
/* Normal, of a mean. */
struct interval interval_mean(double mean, double stderr_);
/* Of exp of what has this one: a perplexity's from its loss's. */
struct interval interval_exp(struct interval of);

/* A mean over tokens that come in records: those of a record are alike, so records are what is
 * drawn, and count. Sums over the records, of n tokens and x each. */
struct clusters {
    double records, x, n, xx, xn, nn;
};
void clusters_add(struct clusters *c, double x, double n); /* n 0: the record has none */
void clusters_join(struct clusters *c, const struct clusters *other);
double clusters_mean(const struct clusters *c); /* NaN without tokens */
/* Of that mean, as of a ratio of sums; NaN with fewer than two records. */
double clusters_stderr(const struct clusters *c);
/* Of a mean that is a share: Wilson's, with the number of independent trials that would be as sure,
 * or of records where all or none of the tokens have it. */
struct interval clusters_share(const struct clusters *c);

#endif
