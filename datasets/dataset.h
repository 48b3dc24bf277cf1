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
    X(NO_TARGET, "no trained tokens")       /* nothing to score, also after truncation */          \
    X(LONG, "too long")                     /* only where such are dropped */                      \
    X(HELD_OUT, "held out")                 /* it is in dataset_take_valid's */
enum data_skip {
#define PESC_X(id, text) SKIP_##id,
    DATA_SKIPS(PESC_X)
#undef PESC_X
        SKIP_COUNT
};
const char *data_skip_name(enum data_skip s);

/* X(identifier, name): what becomes of a record of more than max_seq_length tokens. Split: into
 * samples of their own, each ending behind an answer where one ends within reach, else where the
 * length is full; a prompt too long to be followed by its answer loses its beginning. A record that
 * begins with BOS gives it to every piece; nothing else is repeated, neither system text nor
 * prompt. What would hold no scored token is dropped, and counted. */
#define DATA_LONGS(X)                                                                              \
    X(TRUNCATE, "truncate")                                                                        \
    X(SPLIT, "split")                                                                              \
    X(DROP, "drop")
enum data_long {
#define PESC_X(id, name) LONG_##id,
    DATA_LONGS(PESC_X)
#undef PESC_X
        LONG_COUNT
};
const char *data_long_name(enum data_long l);
enum data_long data_long_from_name(const char *name); /* LONG_COUNT: none of them */

/* Parts that a folder or an archive may have, by its names. */
enum data_part {
    DATA_PART_ANY, /* all there is, if it has no parts; else the training part */
    DATA_PART_TRAIN,
    DATA_PART_VALID,
    DATA_PART_TEST,
    DATA_PART_WATCHED, /* the same, else valid, else test: what is evaluated while training */
    DATA_PART_HELD_OUT /* the same, else test, else valid */
};
const char *data_part_name(enum data_part p);

struct dataset_options {
    enum data_part part;   /* VALID and TEST are refused where there is no such part */
    const char *member;    /* the one to read of an archive; NULL: its only one */
    uint64_t max_unpacked; /* bytes that one compressed file or archive may give; 0: 64 GiB */

    /* Name of a template, or of the file that template_tree was read from (template_from_json),
     * with its digest. NULL: the model's own, if it has one; else alpaca for records of that kind
     * and camelidae for others. */
    const char *template_id;
    const json_t *template_tree;
    const char *template_sha256;
    const char *system;   /* for conversations that bring no system text; NULL: none */
    enum loss_on loss_on; /* labels that a tokenised record brings stay as they are */
    long max_seq_length;  /* tokens; what to do with longer records, counted; 0: never */
    enum data_long long_records;
    long bad_max;          /* bad records tolerated (counted); 0: the first is an error */
    long max_records;      /* 0: all */
    const char *limits;    /* "1000,0,500": records read of each path (0: all); NULL: all */
    const char *domain;    /* label for records without a field dataset or domain, or one for
                              each path with commas between; NULL: the file's name without its
                              ending */
    double valid_fraction; /* of the records, to be taken by dataset_take_valid */
    long vocab_size;       /* every id must be below: E-DS-TOKEN, E-TOK-ID */
    const char *spill_dir; /* where samples that are too many for memory go, in a file without a
                              name; NULL: they stay in memory */
    size_t spill_bytes;    /* how many that is; 0: SPILL_BYTES */
};
enum { SPILL_BYTES = 32 << 20 };

struct dataset_source { /* one file or member, for the history */
    char path[4096], name[256], sha256[65];
    char archive_sha256[65]; /* of the archive that it is a member of, else empty */
    enum data_format format;
    char template_id[160]; /* empty: plain text or token ids */
    uint64_t bytes;
    long read, used, skipped;
    long skips[SKIP_COUNT];                /* by reason; their sum is skipped */
    long truncated, split, pieces_dropped; /* records, records, pieces of them */
    long samples, tokens, trained_tokens;
    long arg; /* which of the paths given it came with */
};

struct dataset_counts {
    long read, used, skipped[SKIP_COUNT], truncated, split, pieces_dropped;
    long samples;                /* used records make one each, or more when they are split */
    long tokens, trained_tokens; /* per epoch */
    long longest;                /* tokens of the longest sample */
};

struct domain_counts {
    long samples, tokens, trained_tokens;
};

struct dataset;
/* Reads all paths, one after the other: files, folders, archives (datasets/source.h says which
 * files in them). The first record of a file says its format.
 * read = used + skipped. E-DS-*; t may be NULL if every record is tokenised.
 *
 * A sample ends at its last scored label: what stands behind (padding, or a prompt that was cut
 * from its answer) predicts nothing that counts. The label of the first token is masked, since
 * nothing predicts it. Samples take 4 bytes a token and 20 more each, 4 bytes more per token where
 * labels are not the ids. */
int dataset_open(const char *const *paths, long n_paths, const struct tokenizer *t,
                 const struct dataset_options *o, const struct notes *notes, struct dataset **out,
                 struct pesc_error *err) MUST_USE;
void dataset_close(struct dataset *d);
/* The records held out, a data set of the same files that the caller closes: read and used there,
 * skipped as "held out" here. NULL unless valid_fraction is above 0, and the second time. Which
 * they are depends on the tokens and labels of each alone: equal records are on the same side. */
struct dataset *dataset_take_valid(struct dataset *d);

long dataset_size(const struct dataset *d); /* samples */
const struct dataset_counts *dataset_counts(const struct dataset *d);
int dataset_has_valid(const struct dataset *d, long path); /* besides the part read */
long dataset_source_count(const struct dataset *d);
const struct dataset_source *dataset_source_at(const struct dataset *d, long i);
long dataset_path_count(const struct dataset *d); /* as many as it was opened with */
/* The samples of one of these paths, which stand side by side. */
void dataset_path_samples(const struct dataset *d, long arg, long *first, long *n);
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
/* Sample i; its arrays stay valid until the next call. E-IO where it came from disk, and could not.
 */
int dataset_sample(const struct dataset *d, long i, struct sample *out,
                   struct pesc_error *err) MUST_USE;
/* The same into ids and labels, which have room for the longest. */
int dataset_read(const struct dataset *d, long i, int32_t *ids, int32_t *labels, struct sample *out,
                 struct pesc_error *err) MUST_USE;
int dataset_length(const struct dataset *d, long i, long *n, struct pesc_error *err) MUST_USE;
/* [0 .. counts.longest]: how many samples are that long. */
const long *dataset_lengths(const struct dataset *d);
/* How many samples have the tokens and labels of an earlier one; reads them all. */
int dataset_repeats(const struct dataset *d, long *repeated, struct pesc_error *err) MUST_USE;
/* The first sample of that record; *i is -1 when there is none. */
int dataset_find(const struct dataset *d, long record, long *i, struct pesc_error *err) MUST_USE;

#endif
