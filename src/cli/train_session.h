/* What a training run, and the plan of one, is made of: opened in the order in which things can be
 * wrong, weights last. */
#ifndef PESC_CLI_TRAIN_SESSION_H
#define PESC_CLI_TRAIN_SESSION_H

#include "cli/recorder.h"
#include "cli/stop.h"
#include "cli/train_run.h"
#include "train/calibrate.h"

enum { EVAL_TOKENS = 2048 }; /* of an evaluation batch */

struct prediction {
    uint64_t peak, temporary,
        kept;         /* bytes of memory; of disk: during the run, and in its folder */
    uint64_t traffic; /* bytes to and from the disk in a step */
    double tokens, step, tokens_per_s; /* of an average step; step in seconds */
    double first, later; /* seconds of a step: as long as frozen layers are computed; when read */
    double rest;         /* seconds of all steps and evaluations that are not done yet */
};

enum { MEASURED_MAX = 8 };

struct train_session {
    struct model_arg arg;
    struct pack_arg pack;
    struct dataset *data, *eval_data;
    struct batcher *batcher, *eval_batcher;
    struct batch_options batches_of; /* of the training data */
    struct batch_source source, eval_source;
    struct model *model;
    enum compute compute;
    char why[128];
    const char **domains, **eval_domains;
    double *rates;
    long n_rates, steps, threads, resume_step;
    long batches;                 /* of --num-epochs; 0 with --max-steps */
    struct place place;           /* where everything is */
    struct memory_terms terms;    /* what that takes */
    uint64_t need;                /* planned peak memory, bytes */
    struct prefix_options prefix; /* outputs of frozen layers in a file; bytes 0: none */
    uint64_t prefix_whole;        /* bytes that all samples' would take */
    uint64_t free_at_start;       /* of the machine's, bytes; 0: unknown */
    int has_other;                /* perhaps a faster place: its activations in a file */
    struct place other;
    struct memory_terms other_terms;
    struct {
        struct place place;
        struct calibration speed;
    } measured[MEASURED_MAX]; /* so far */
    long n_measured;
    double measuring;         /* seconds spent on that */
    struct calibration speed; /* how fast that is, measured; train_predict */
    struct prediction prediction;
    double started, begun; /* the process; its first evaluation or step */
    struct recorder rec;
    int unrecorded; /* the history lacks something of this run */
    struct stop *stop;
    struct profile profile; /* of all updates, where asked for */
    json_t *recipe;         /* what a resumed run must agree in; goes into checkpoints */
    char ckpt_dir[PATH_CAP], resume_from[PATH_CAP];
};

/* Model, data and the model's shape; no weight is read. s->rec has the notes' listener, and the run
 * folder if there is one. */
int train_open(struct train_session *s, const struct train_cli *o, struct pesc_error *err) MUST_USE;
/* Where everything will be, so that the run fits --memory (or what the machine can give). */
int train_choose_places(struct train_session *s, const struct train_cli *o,
                        struct pesc_error *err) MUST_USE;
/* "24 layers streamed, activations spilled": empty when all is in memory and recomputed. */
void place_text(const struct place *p, char *out, size_t size);
/* "8 experts, top-2, dim 64, layers 15-29": the layers where not all have adapters. */
void adapters_line(const struct model *m, char *out, size_t size);
json_t *terms_json(const struct memory_terms *t); /* NULL without memory */
json_t *place_json(const struct place *p);        /* NULL without memory */
/* s->speed: trains a little of the model, everything being where s->place says, for about so many
 * seconds (train/calibrate.h); takes s->other instead where that is faster. */
int train_calibrate(struct train_session *s, const struct train_cli *o, double enough,
                    struct pesc_error *err) MUST_USE;
/* What s->place, s->terms and s->speed come to. */
void train_predict(const struct train_session *s, const struct train_cli *o,
                   struct prediction *out);
void train_session_close(struct train_session *s);
struct adamw_options train_adamw_of(const struct train_session *s, const struct train_cli *o);
struct train_options train_options_of(struct train_session *s, const struct train_cli *o);

#endif
