/* What a template is made of. Internal to datasets/template*.c.
 *
 * Pieces are literal text in which {bos} and {eos} stand for the tokenizer's tokens (nothing when
 * it has none) and {bos?} for BOS if the tokenizer puts one before a text. NULL is "". */
#ifndef DATASETS_TEMPLATE_FORM_H
#define DATASETS_TEMPLATE_FORM_H

#include "datasets/template.h"
#include "datasets/unicode.h"

enum system_place {
    SYSTEM_MESSAGE,    /* a message of its own */
    SYSTEM_FIRST_USER, /* inside of the first user message, before its text */
    SYSTEM_LAST_USER,
    SYSTEM_DROPPED,
    SYSTEM_REFUSED
};
enum thinking {
    THINK_NONE,
    THINK_LAST,  /* a block before answers to the last question (Qwen3) */
    THINK_ALWAYS /* a block before every answer (MiniMind) */
};
enum header { HEADER_NONE, HEADER_SMOLLM3, HEADER_SMOLLM3_DATED };
enum tool_form { TOOLS_NONE, TOOLS_QWEN, TOOLS_QWEN_APART, TOOLS_LLAMA3 };

struct template
{
    const char *id;
    const char *begin, *end; /* of the whole; end: of one that is not open */

    enum system_place place;
    const char *system_before, *system_after;
    const char *default_system; /* when there is none; NULL: no system message then */
    int skip_empty_system;      /* "" counts as none */
    int parts_pairs;            /* an instruction with an input is the system text */
    const char *later_system;   /* before a system message that is not the first */
    enum header header;         /* the system message is composed */

    const char *user_before, *user_after;
    const char *first_user;        /* instead of user_before: the first, without a system text */
    const char *user_after_system; /* the first, with one */

    const char *answer_before; /* also what an open conversation ends with */
    const char *open_before;   /* instead, when that differs */
    const char *answer_lead;   /* trained, as the answer and answer_after are */
    const char *answer_after;
    const char *answer_tail; /* not trained */
    enum thinking thinking;

    enum tool_form tools;
    const char *tool_open, *tool_before, *tool_after, *tool_close; /* results; open: of several */
    int tool_json;                                                 /* results as JSON strings */

    int trim;       /* white space around texts */
    int trim_lines; /* line ends before answers */
    int alternate;  /* user and assistant must take turns, beginning with user */
    const char *stop[4];

    void *owned; /* of a template made of a file: its strings */
};

/* Text under construction, with what in it is data, which tokens must stand where, and what is
 * trained. */
struct run_start {
    size_t at;
    int trained;
};
struct rendering {
    const struct template *tpl;
    const struct tokenizer *t; /* NULL: text only */
    const char *bos, *eos;
    struct buf text;
    struct mixed_range *ranges;
    size_t n_ranges, cap_ranges;
    struct run_start *runs;
    size_t n_runs, cap_runs;
    struct pesc_error *err;
};
int put_piece(struct rendering *r, const char *piece, int trained) MUST_USE;
/* Literal text without placeholders. */
int put_literal(struct rendering *r, const char *text, int trained) MUST_USE;
int put_data(struct rendering *r, const char *text, size_t n, int trained) MUST_USE;
int put_json(struct rendering *r, const json_t *v, int indent, int trained) MUST_USE;

/* template_render.c */
int render_chat(struct rendering *r, const struct chat *c, enum loss_on loss) MUST_USE;
/* template_tools.c: JSON as Python's json.dumps writes it, indent 0: on one line. */
int json_python(struct buf *out, const json_t *v, int indent, struct pesc_error *err) MUST_USE;
/* The list of tools for the system text; first: nothing stands before it in its message. */
int put_tools(struct rendering *r, const json_t *tools, int first) MUST_USE;
int put_llama3_tools(struct rendering *r, const json_t *tools) MUST_USE;
/* The function calls of an answer; text: something stands before them. */
int put_calls(struct rendering *r, const json_t *calls, int text, int trained) MUST_USE;
/* template_smollm3.c: the composed system message; *thinking becomes 0 for /no_think, *bare 1 when
 * the text asked to stand alone. */
int put_smollm3(struct rendering *r, const char *system, int *thinking, int *bare) MUST_USE;

/* Bounds of a text without the white space around it, as Python's str.strip. */
const char *strip(const char *s, size_t *n, int left, int right);

extern const struct template templates[];
extern const int n_templates;

#endif
