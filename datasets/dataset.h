/* What the trainer reads: records of several formats turned into token ids and labels, every record
 * accounted for. */
#ifndef DATASETS_DATASET_H
#define DATASETS_DATASET_H

#include "core/batch.h"
#include "core/json.h"
#include "datasets/template.h"
#include "datasets/tokenizer.h"

/* X(identifier, name): how a record looks. */
#define DATA_FORMATS(X)                                                                            \
    X(PESC, "pesc")           /* corpus, dataset, instruction, conversation[{input, output}] */    \
    X(ALPACA, "alpaca")       /* instruction, input, output */                                     \
    X(SELF, "self-instruct")  /* instruction, instances[{input, output}] */                        \
    X(PAIRS, "prompt/answer") /* prompt, completion and the like; texts or messages */             \
    X(MESSAGES, "messages")   /* messages[{role, content}], tools */                               \
    X(SHAREGPT, "sharegpt")   /* conversations[{from, value}], system, tools */                    \
    X(TEXT, "text")           /* text */                                                           \
    X(TOKENIZED, "tokenized") /* input_ids [, labels] */
enum data_format {
#define PESC_X(id, name) DATA_##id,
    DATA_FORMATS(PESC_X)
#undef PESC_X
        DATA_FORMAT_COUNT
};
const char *data_format_name(enum data_format f);

/* Why a record was not used. */
#define DATA_SKIPS(X)                                                                              \
    X(BAD, "bad record") /* only with bad_max > 0 */                                               \
    X(EMPTY, "empty")                                                                              \
    X(TEMPLATE, "no place in the template") /* tools, a system text, roles out of turn */          \
    X(NO_TARGET, "no trained tokens")       /* nothing to score, also after truncation */
enum data_skip {
#define PESC_X(id, text) SKIP_##id,
    DATA_SKIPS(PESC_X)
#undef PESC_X
        SKIP_COUNT
};
const char *data_skip_name(enum data_skip s);

struct dataset_options {
    /* Name of a template, or of the file that template_tree was read from (template_from_json),
     * with its digest. NULL: the model's own, if it has one; else alpaca for records of that kind
     * and camelidae for others. */
    const char *template_id;
    const json_t *template_tree;
    const char *template_sha256;
    const char *system;   /* for conversations that bring no system text; NULL: none */
    long max_seq_length;  /* tokens; longer records are cut at the end and counted; 0: never */
    long bad_max;         /* bad records tolerated (counted); 0: the first is an error */
    long max_records;     /* 0: all */
    const char *domain;   /* label for records without a field dataset or domain; NULL: the
                             file's name without .json or .jsonl */
    enum loss_on loss_on; /* labels that a tokenised record brings stay as they are */
    long vocab_size;      /* every id must be below: E-DS-TOKEN, E-TOK-ID */
};

struct dataset_source { /* one file, for the history */
    char path[4096], name[256], sha256[65];
    enum data_format format;
    char template_id[160]; /* empty: plain text or token ids */
    uint64_t bytes;
    long read, used, skipped;
    long skips[SKIP_COUNT]; /* by reason; their sum is skipped */
    long truncated, tokens, trained_tokens;
};

struct dataset_counts {
    long read, used, skipped[SKIP_COUNT], truncated;
    long tokens, trained_tokens; /* per epoch */
    long longest;                /* tokens of the longest sample */
};

struct domain_counts {
    long samples, tokens, trained_tokens;
};

struct dataset;
/* Reads all files, one after the other (JSON array or JSONL, told apart by looking; .gz and other
 * compressions come with the archive reader). The first record of a file says its format.
 * read = used + skipped. E-DS-*; t may be NULL if every record is tokenised.
 *
 * A sample ends at its last scored label: what stands behind (padding, or a prompt that was cut
 * from its answer) predicts nothing that counts. The label of the first token is masked, since
 * nothing predicts it. Samples are kept in memory, 8 bytes a token. */
int dataset_open(const char *const *paths, long n_paths, const struct tokenizer *t,
                 const struct dataset_options *o, const struct notes *notes, struct dataset **out,
                 struct pesc_error *err) MUST_USE;
void dataset_close(struct dataset *d);

long dataset_size(const struct dataset *d); /* samples */
const struct dataset_counts *dataset_counts(const struct dataset *d);
long dataset_source_count(const struct dataset *d);
const struct dataset_source *dataset_source_at(const struct dataset *d, long i);
long dataset_domain_count(const struct dataset *d);
const char *dataset_domain(const struct dataset *d, long i);
const struct domain_counts *dataset_domain_counts(const struct dataset *d, long i);
/* SHA-256 over all samples in order: what the trainer really sees. Each as its length (8 bytes),
 * ids and labels (4 bytes each), in the machine's byte order, little-endian where pesc runs. */
const char *dataset_sha256(const struct dataset *d);

struct sample {
    const int32_t *ids, *labels; /* [n]; labels as in struct batch */
    long n, trained;             /* trained: scored labels */
    int domain;
    long record; /* running number of the record over all files */
};
struct sample dataset_sample(const struct dataset *d, long i);

/* Batches of batch_records samples, or (batch_records 0) of as many whole samples, in order, as fit
 * batch_tokens (at least one). order: sequential, or a keyed bijection that changes every epoch.
 * Batch number step of micro-batches; the last batch of an epoch may be smaller. The data set must
 * outlive the batcher. */
enum data_order { ORDER_SEQUENTIAL, ORDER_SHUFFLED };
struct batcher;
int batcher_open(const struct dataset *d, long batch_records, long batch_tokens,
                 enum data_order order, uint64_t seed, struct batcher **out,
                 struct pesc_error *err) MUST_USE;
void batcher_close(struct batcher *b);
struct batch_source batcher_source(struct batcher *b); /* get() wraps round into further epochs */
/* Of the first epoch; with batch_tokens and ORDER_SHUFFLED later ones may differ by a few. */
long batcher_batches_per_epoch(const struct batcher *b);
/* Batches of the first so many epochs, exactly; -1 without memory. */
long batcher_steps(struct batcher *b, long epochs);

#endif
