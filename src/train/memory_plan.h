/* Where everything of a training run is, so that it fits a budget: which layers stay in memory,
 * what is kept of the activations, where the optimiser's state is, how much goes through at a time.
 * The layouts that allocate are those that count, so what is predicted is what is taken. */
#ifndef PESC_TRAIN_MEMORY_PLAN_H
#define PESC_TRAIN_MEMORY_PLAN_H

#include "train/loop.h"

struct place {
    long streamed_layers; /* of the base, read for each use */
    int embed_on_disk;
    long keep_layers;  /* whose activations are kept in full */
    int spill;         /* block inputs to disk */
    int state_on_disk; /* the optimiser's, with the gradients */
    long pass_tokens;  /* of a pass at most (train/passes.h); 0: whole batches */
    long disk_layers;  /* below the kept ones: whose activations a file keeps, in the page cache */
    int disk_direct;   /* or past it */
    uint64_t prefix;   /* bytes of a file at most that keeps outputs of frozen layers; 0: none */
};

struct memory_question {
    struct model *m;          /* shaped; is left as the last answer has it (plan, layer_grads) */
    struct batch_source data; /* the widest batches of training and evaluation */
    long longest;             /* tokens of any sample; 0: as many as of a batch */
    long threads;             /* that compute; 0: one */
    struct adamw_options adamw;
    uint64_t in_use; /* resident now */
    uint64_t budget; /* bytes of resident memory at most */
    int comfort;     /* spend what is left on keeping activations */
    /* What the caller insists on; -1: free. */
    long streamed_layers, keep_layers, embed_on_disk, spill, state_on_disk;
    long disk_layers; /* what the place has; -1: none, but see memory_on_disk */
    int disk_direct;  /* how it has them, where it does */
    long pass_tokens; /* 0: whole batches; -1: free. Alone of all these it changes bits. */
    struct prefix_options prefix; /* bytes and samples: place.prefix, always as asked for */
};

struct memory_terms { /* bytes; adapters with those gradients that are in memory */
    uint64_t in_use, weights, adapters, activations, optimiser, margin;
    uint64_t total;   /* peak resident memory, never less than what is taken */
    uint64_t disk;    /* temporary files */
    uint64_t traffic; /* read and written in a step, beside the data; of that: */
    uint64_t weights_read;
    uint64_t file_traffic;      /* and of activations in a file */
    uint64_t prefix_traffic;    /* and of outputs of frozen layers */
    uint64_t weights_read_kept; /* the same where outputs of frozen layers are all there */
};
/* Those that make up the total, by name; the table ends with a NULL name. */
struct memory_term {
    const char *name, *key;
    size_t at;
};
extern const struct memory_term memory_term_table[];
uint64_t memory_term(const struct memory_terms *t, const struct memory_term *x);
void memory_terms_of(const struct memory_question *q, const struct place *p,
                     struct memory_terms *t);
/* The fastest place that fits: first everything in memory, then the choice that moves the fewest
 * bytes a step. Batches go in passes, if they may, only where they fit in no other way, and in the
 * fewest: it changes the last bits of a gradient, reads streamed layers once a pass, and saves no
 * time, since reading hides behind the arithmetic of a few hundred tokens. E-MEMORY-BUDGET names
 * the smallest budget that would do, which is then t's total; E-USAGE-VALUE: a sample is longer
 * than the pass asked for. */
int memory_choose(const struct memory_question *q, struct place *out, struct memory_terms *t,
                  struct pesc_error *err) MUST_USE;
/* The same place with the activations of all layers that it recomputes kept in a file instead,
 * where they are free and memory allows: in the page cache where room bytes (of memory beside the
 * budget) are twice what is then on disk, else past it. The disk must have twice as much, too.
 * Whether that is faster is to be measured. 0: no such place. */
int memory_on_disk(const struct memory_question *q, const struct place *p, uint64_t room,
                   uint64_t disk, struct place *out, struct memory_terms *t);
/* The least that such a run can do with, in passes if they are free. */
uint64_t memory_smallest(const struct memory_question *q);
/* What no layout counts, which grows with the threads. */
uint64_t memory_margin(const struct model *m, long threads);
/* What a run may hold that is asked to stay below wish bytes (0: it is not): then three quarters of
 * what is free (0: unknown, no limit) beside what it has. */
uint64_t memory_budget(uint64_t wish, uint64_t in_use, uint64_t free_now);
/* What of the place the model has to know before it is measured or loaded. */
void memory_place(const struct place *p, struct model *m);

#endif
