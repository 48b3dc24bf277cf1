#include "config.h"
#include "cli/cmd.h"
#include "cli/data_arg.h"
#include "eval/answer.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct options {
    const char *prompt, *prompt_file, *system, *template_id, *pack, *base, *compute;
    long max_new_tokens, top_k, seed, threads;
    double temperature, top_p;
    struct place_options place;
    uint64_t memory;
    int json, quiet, force_base, thinking;
};

static void defaults(void *opts)
{
    struct options *o = opts;
    *o = (struct options){
        .compute = "auto", .max_new_tokens = 128, .seed = 42, .top_p = 1, .thinking = 1};
    place_defaults(&o->place);
}

#define AT(field) offsetof(struct options, field)
static const struct opt options[] = {
    {"prompt", "p", OPT_STRING, AT(prompt), "TEXT", "what to continue", 0, 0},
    {"prompt-file", NULL, OPT_STRING, AT(prompt_file), "FILE", "the same from a file", 0, 0},
    {"template", NULL, OPT_STRING, AT(template_id), "NAME|FILE.yaml",
     "ask in this chat template; auto: the model's own", 0, 0},
    {"system", NULL, OPT_STRING, AT(system), "TEXT", "system text of the template", 0, 0},
    {"thinking", NULL, OPT_FLAG, AT(thinking), NULL,
     "--no-thinking: ask a model that thinks to answer at once", 0, 0},
    {"pack", NULL, OPT_STRING, AT(pack), "P", "adapters: a pack, a safetensors file or a run", 0,
     0},
    {"base", NULL, OPT_STRING, AT(base), "DIR", "where a crafted folder's base is now", 0, 0},
    {"force-base", NULL, OPT_FLAG, AT(force_base), NULL, "use a pack made for another base", 0, 0},
    {"max-new-tokens", "n", OPT_LONG, AT(max_new_tokens), "N", "at most", 1, 1e7},
    {"temperature", NULL, OPT_REAL, AT(temperature), "X", "0: always the most probable token", 0,
     100},
    {"top-k", NULL, OPT_LONG, AT(top_k), "N", "draw among the N most probable (0: all)", 0, 1e7},
    {"top-p", NULL, OPT_REAL, AT(top_p), "X", "draw among this share of probability", 1e-6, 1},
    {"seed", NULL, OPT_LONG, AT(seed), "N", "of the draws", 0, 9e15},
    {"compute", NULL, OPT_CHOICE, AT(compute), "auto|f32|bf16|int8", "type of the matrix products",
     0, 0},
    WEIGHT_OPTIONS(AT(place)),
    {"memory", NULL, OPT_SIZE, AT(memory), "SIZE",
     "resident memory at most; what does not fit stays on disk", 0, 0},
    {"threads", NULL, OPT_LONG, AT(threads), "N", "default: OMP_NUM_THREADS, else the cores", 0,
     4096},
    {"quiet", "q", OPT_FLAG, AT(quiet), NULL, "the text only", 0, 0},
    {"json", NULL, OPT_FLAG, AT(json), NULL, "print ids and text as JSON", 0, 0},
    {0},
};

struct session {
    struct model_arg arg;
    struct pack_arg pack;
    struct model *model;
    struct decoder *decoder;
    struct token_stream *stream;
    struct candidate *scratch;
    struct ids prompt, made;
    const struct template *template; /* NULL: plain text */
    struct template *own;            /* made of a file */
};

static void session_close(struct session *s)
{
    tokenizer_stream_free(s->stream);
    decoder_close(s->decoder);
    model_close(s->model);
    pack_arg_close(&s->pack);
    model_arg_close(&s->arg);
    template_free(s->own);
    free(s->scratch);
    free(s->prompt.v);
    free(s->made.v);
}

static int choose_template(struct session *s, const char *name, struct pesc_error *err)
{
    const json_t *tree;
    const char *id = name, *sha256;
    if (!name)
        return 0;
    if (!strcmp(name, "auto")) {
        TRY(template_of_model(s->arg.tokenizer, &s->template, err));
        return s->template ? 0
                           : FAIL(err, TOK_TEMPLATE, "%s has no chat template; choose one of %s",
                                  base_dir(s->arg.base), template_ids());
    }
    TRY(template_arg(name, &id, &tree, &sha256, err));
    int rc = tree ? template_from_json(tree, id, sha256, &s->own, err) : 0;
    s->template = tree ? s->own : template_find(name);
    json_decref((json_t *)tree);
    free((char *)sha256);
    return rc;
}

/* The question in its template, up to where the answer begins. */
static int ask(struct session *s, const struct options *o, const char *text, struct pesc_error *err)
{
    struct message m[2] = {{.role = ROLE_SYSTEM, .text = o->system ? o->system : ""},
                           {.role = ROLE_USER, .text = text}};
    int systemic = o->system && *o->system;
    struct chat c = {.messages = systemic ? m : m + 1,
                     .n = systemic ? 2 : 1,
                     .open = 1,
                     .no_thinking = !o->thinking};
    struct ids labels = {0};
    int rc =
        template_render(s->template, s->arg.tokenizer, &c, LOSS_ANSWERS, &s->prompt, &labels, err);
    free(labels.v);
    return rc;
}

static int encode_prompt(struct session *s, const struct options *o, struct pesc_error *err)
{
    char *file = NULL;
    const char *text = o->prompt;
    size_t n;
    if (o->prompt_file) {
        TRY(file_read(o->prompt_file, 64 << 20, &file, &n, err));
        text = file;
        if (strlen(file) != n) {
            free(file);
            return FAIL(err, DS_ENC, "%s holds a NUL byte", o->prompt_file);
        }
    }
    int rc;
    if (s->template) {
        rc = ask(s, o, text, err);
    } else {
        rc = tokenizer_encode(s->arg.tokenizer, text, strlen(text), TOK_SPECIAL, &s->prompt, err);
    }
    free(file);
    if (rc == 0 && s->prompt.n == 0)
        rc = FAIL(err, USAGE, "the prompt is empty");
    return rc;
}

static int session_open(struct session *s, const struct options *o, const char *model,
                        const struct notes *notes, struct pesc_error *err)
{
    enum compute compute;
    long threads;
    TRY(threads_arg(o->threads, &threads, err));
    TRY(model_arg_open(model, o->base, notes, &s->arg, err));
    if (!s->arg.tokenizer)
        return FAIL(err, IO_MISSING, "%s has no tokenizer.json", base_dir(s->arg.base));
    TRY(pack_arg_open(o->pack, o->force_base, &s->arg, notes, &s->pack, err));
    TRY(compute_arg(o->compute, &s->arg, &compute, NULL, 0, err));
    TRY(choose_template(s, o->template_id, err));
    TRY(encode_prompt(s, o, err));
    TRY(model_shape(base_config(s->arg.base), s->arg.is_crafted ? &s->arg.craft.moe : NULL,
                    TRAIN_NOTHING, compute, &s->model, err));
    model_for_generating(s->model);
    long capacity = (long)s->prompt.n + o->max_new_tokens;
    TRY(place_fitting(&o->place, o->memory, decoder_bytes(s->model, capacity), s->model, err));
    TRY(model_arg_load(&s->arg, &s->pack, s->model, err));
    TRY(decoder_open(s->model, capacity, &s->decoder, err));
    s->scratch = calloc((size_t)s->model->c.vocab_size, sizeof *s->scratch);
    return s->scratch ? 0 : FAIL(err, MEMORY, "no memory for the vocabulary");
}

static int generate(struct cli *cli, struct session *s, const struct options *o,
                    struct pesc_error *err)
{
    struct sampling how = {.temperature = o->temperature,
                           .top_p = o->top_p,
                           .top_k = o->top_k,
                           .seed = (uint64_t)o->seed};
    const float *logits;
    const char *text;
    size_t n;
    TRY(decoder_feed(s->decoder, s->prompt.v, (long)s->prompt.n, &logits, err));
    for (long i = 0; i < o->max_new_tokens; i++) {
        int32_t id = sample_token(logits, s->model->c.vocab_size, &how, (uint64_t)i, s->scratch);
        if (answer_ends(s->model, s->arg.tokenizer, s->template, id))
            break;
        TRY(ids_push(&s->made, id, err));
        if (!o->json) {
            TRY(tokenizer_stream(s->arg.tokenizer, &s->stream, id, 0, &text, &n, err));
            fwrite(text, 1, n, cli->out);
            fflush(cli->out);
        }
        if (i + 1 < o->max_new_tokens)
            TRY(decoder_feed(s->decoder, &id, 1, &logits, err));
    }
    if (!o->json) {
        TRY(tokenizer_stream(s->arg.tokenizer, &s->stream, -1, 1, &text, &n, err));
        fwrite(text, 1, n, cli->out);
        fputc('\n', cli->out);
    }
    return 0;
}

static json_t *ids_json(const struct ids *l)
{
    json_t *a = json_array();
    for (size_t i = 0; i < l->n; i++)
        json_add(&a, json_integer(l->v[i]));
    return a;
}

static int print_json(struct cli *cli, const struct session *s, double seconds,
                      struct pesc_error *err)
{
    size_t n;
    char *text = tokenizer_decode(s->arg.tokenizer, s->made.v, s->made.n, 1, &n, err);
    if (!text)
        return -1;
    json_t *o = json_pack("{s:o, s:o, s:o, s:f}", "prompt_ids", ids_json(&s->prompt), "ids",
                          ids_json(&s->made), "text", json_stringn(text, n), "tokens_per_s",
                          (double)s->made.n / (seconds > 0 ? seconds : 1));
    free(text);
    char *line = o ? json_written(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (!line)
        return FAIL(err, MEMORY, "no memory for the result");
    fprintf(cli->out, "%s\n", line);
    free(line);
    return 0;
}

static int run(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    const struct options *o = opts;
    struct notes notes = cli_notes(cli);
    struct timespec t0, t1;
    struct session s = {0};
    if (argc != 1 || !o->prompt == !o->prompt_file)
        return FAIL(err, USAGE, "pesc generate takes a model and --prompt TEXT or --prompt-file");
    if (o->system && !o->template_id)
        return FAIL(err, USAGE, "--system goes with --template");
    if (!o->thinking && !o->template_id)
        return FAIL(err, USAGE, "--no-thinking goes with --template");
    int rc = session_open(&s, o, argv[0], &notes, err);
    clock_gettime(CLOCK_MONOTONIC, &t0);
    if (rc == 0)
        rc = generate(cli, &s, o, err);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    double seconds = (double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec);
    if (rc == 0 && o->json)
        rc = print_json(cli, &s, seconds, err);
    else if (rc == 0 && !o->quiet)
        fprintf(cli->talk, "%zu prompt tokens, %zu new, %.1f tokens/s\n", s.prompt.n, s.made.n,
                (double)s.made.n / (seconds > 0 ? seconds : 1));
    session_close(&s);
    return rc;
}

const struct cmd cmd_generate = {
    .name = "generate",
    .usage = "MODEL [--pack P] --prompt TEXT [options]",
    .summary = "Continues a prompt.",
    .opts = options,
    .opts_size = sizeof(struct options),
    .defaults = defaults,
    .run = run,
};
