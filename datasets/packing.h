/* A stretch of samples cut into packs of at most so many tokens. Internal to datasets/. */
#ifndef DATASETS_PACKING_H
#define DATASETS_PACKING_H

#include "datasets/batcher.h"

struct packer {
    long capacity; /* tokens of a pack; a longer sample is a pack of its own */
    enum packing kind;
    long most;             /* samples of a stretch */
    long *member, *first;  /* pack p: the samples member[first[p] .. first[p+1]-1], ascending */
    long *pack, *by, *bin; /* work space */
};

int packer_open(struct packer *p, enum packing kind, long capacity, long most,
                struct pesc_error *err) MUST_USE;
void packer_close(struct packer *p); /* also one that was only zeroed */
/* Cuts the stretch of n samples of these lengths, and numbers the packs by their first sample; how
 * many there are. */
long packer_cut(struct packer *p, const long *length, long n);

#endif
