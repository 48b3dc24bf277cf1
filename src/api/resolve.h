/* A model and its adapters as users name them, for the command line and the public interface.
 * Model: a Hugging Face folder, a crafted folder, or the run folder of a full training. Pack: an
 * adapter pack, an imported one's folder, a safetensors file of adapters, or the run folder of an
 * adapter training. */
#ifndef PESC_API_RESOLVE_H
#define PESC_API_RESOLVE_H

#include "adapters/pack.h"
#include "craft/crafted.h"
#include "datasets/tokenizer.h"

struct model_arg {
    struct base *base;
    int is_crafted;
    struct crafted craft; /* structure from the crafted folder, or from a pack given on a base */
    char dir[PATH_CAP];   /* the folder given, absolute */
    char fingerprint[FINGERPRINT_CAP]; /* empty until asked for */
    struct tokenizer *tokenizer;       /* NULL when the base has none */
};
/* base_override (may be NULL) is where the base of a crafted folder lies now. Nothing is read but
 * configurations, headers and tokenizer. */
int model_arg_open(const char *model, const char *base_override, const struct notes *notes,
                   struct model_arg *a, struct pesc_error *err) MUST_USE;
/* Only the tokenizer and the vocabulary's size, without opening weights: enough to look at data. A
 * base without tokenizer.json gives a NULL tokenizer. With a NULL vocab_size config.json is not
 * read, and a missing tokenizer is E-IO-MISSING. */
int model_tokenizer(const char *model, const struct notes *notes, struct tokenizer **out,
                    long *vocab_size, struct pesc_error *err) MUST_USE;
void model_arg_close(struct model_arg *a);
/* Reads the base once, and checks that it is the crafted folder's: E-MODEL-BASE. */
int model_arg_fingerprint(struct model_arg *a, struct pesc_error *err) MUST_USE;
int model_arg_pack_base(struct model_arg *a, struct pack_base *out,
                        struct pesc_error *err) MUST_USE;

/* What the name of a pack resolved to. run_uuid is set when it is a run folder or a pack of a known
 * run. */
struct pack_arg {
    struct pack *pack;      /* NULL: no pack file */
    char weights[PATH_CAP]; /* the adapters' safetensors; empty: the crafted folder's own */
    struct moe_config moe;  /* of a crafted model: which layers these adapters are on, too */
    char run_uuid[33];
    long run_step; /* steps that it was trained */
};
/* Resolves pack (may be NULL) against the model: a pack brings its structure to a dense base, and
 * must agree with a crafted folder's (E-PK-BASE), but for the layers that have adapters: those are
 * the pack's. force_base as in pack_check_base. */
int pack_arg_open(const char *pack, int force_base, struct model_arg *a, const struct notes *notes,
                  struct pack_arg *p, struct pesc_error *err) MUST_USE;
void pack_arg_close(struct pack_arg *p);
/* The adapters' values into an open crafted model, which may have them on other layers: what the
 * file has of the model's is read. */
int pack_arg_load(const struct pack_arg *p, struct model *m, struct pesc_error *err) MUST_USE;

/* Base and adapters into a model that has its shape and its plan: model_arg_fingerprint where it
 * checks something, model_load, pack_arg_load. */
int model_arg_load(struct model_arg *a, const struct pack_arg *p, struct model *m,
                   struct pesc_error *err) MUST_USE;

/* auto, f32, bf16 or int8 against what the CPU has and how the base is stored; why (may be NULL)
 * says the reason of auto. E-COMPUTE-ISA. */
int compute_arg(const char *name, const struct model_arg *a, enum compute *out, char *why,
                size_t why_size, struct pesc_error *err) MUST_USE;
#endif
