#include "config.h"
#include "cli/data_report.h"

#include "cli/data_facts.h"
#include "datasets/unicode.h"

#include <stdlib.h>
#include <string.h>

static const char *template_of(const struct dataset_source *s)
{
    return *s->template_id ? s->template_id : NULL;
}

static double percent(long part, long of)
{
    return of ? 100.0 * (double)part / (double)of : 0;
}

/* Text in lines of so many columns; what is marked may begin and end within one. */
struct page {
    struct cli *cli;
    int column;
};
enum { COLUMNS = 80 };

/* Columns of a character of UTF-8 and its bytes; wide ones of the East and pictures take two. */
static int columns(const char *s, size_t *n)
{
    const unsigned char *p = (const unsigned char *)s;
    unsigned long c = *p;
    *n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (*n > 1)
        c &= 0xffu >> (*n + 1);
    for (size_t i = 1; i < *n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            *n = 1;
            return 1;
        }
        c = c << 6 | (p[i] & 0x3f);
    }
    return (c >= 0x1100 && c < 0x1160) || (c >= 0x2e80 && c < 0xd7a4) ||
                   (c >= 0xf900 && c < 0xfb00) || (c >= 0xff00 && c < 0xff61) || c >= 0x1f300
               ? 2
               : 1;
}

/* Breaks a line before a word that would not fit; a word longer than a line is broken anywhere. */
static void put_shown(struct page *page, const char *text)
{
    FILE *f = page->cli->out;
    while (*text) {
        size_t len = 0, n;
        int width = 0;
        for (const char *p = text; *p && (p == text || *p != ' '); p += n) {
            int w = columns(p, &n);
            if (width + w > COLUMNS)
                break;
            width += w;
            len += n;
        }
        if (page->column + width > COLUMNS && page->column > 0) {
            fputc('\n', f);
            page->column = 0;
        }
        fwrite(text, 1, len, f);
        page->column += width;
        text += len;
    }
}

/* User text: control characters shown, line ends and tabs obeyed. */
static void put_text(struct page *page, const char *text, size_t n)
{
    char piece[512], shown[4 * sizeof piece + 1];
    for (size_t i = 0; i < n;) {
        if (text[i] == '\n' || text[i] == '\t') {
            page->column = text[i] == '\n' ? 0 : (page->column | 7) + 1;
            fputc(text[i++], page->cli->out);
            continue;
        }
        if (!text[i]) {
            put_shown(page, "\\x00");
            i++;
            continue;
        }
        size_t len = 0;
        while (i + len < n && len + 1 < sizeof piece && text[i + len] && text[i + len] != '\n' &&
               text[i + len] != '\t')
            len++;
        if (i + len < n) /* not within a character */
            while (len > 4 && ((unsigned char)text[i + len] & 0xc0) == 0x80)
                len--;
        memcpy(piece, text + i, len);
        piece[len] = 0;
        text_escape(shown, sizeof shown, piece);
        put_shown(page, shown);
        i += len;
    }
}

static void put_name(FILE *f, const char *name)
{
    char shown[512];
    text_escape(shown, sizeof shown, name);
    fputs(shown, f);
}

void data_summary(struct cli *cli, const struct dataset *d, const struct dataset_options *o)
{
    const struct dataset_counts *c = dataset_counts(d);
    FILE *f = cli->out;
    for (long i = 0; i < dataset_source_count(d); i++) {
        const struct dataset_source *s = dataset_source_at(d, i);
        const char *template = template_of(s);
        put_name(f, s->path);
        fprintf(f, "\n  format     %s%s%s\n", data_format_name(s->format),
                template ? ", template " : "", template ? template : "");
        fprintf(f, "  records    %ld read, %ld used, %ld skipped", s->read, s->used, s->skipped);
        for (int k = 0, n = 0; k < SKIP_COUNT; k++)
            if (s->skips[k])
                fprintf(f, "%s%ld %s", n++ ? ", " : ": ", s->skips[k],
                        data_skip_name((enum data_skip)k));
        fprintf(f, "\n");
        if (s->truncated)
            fprintf(f, "  truncated  %ld, longer than %ld tokens\n", s->truncated,
                    o->max_seq_length);
        if (s->split)
            fprintf(f, "  split      %ld, longer than %ld tokens; %ld pieces dropped\n", s->split,
                    o->max_seq_length, s->pieces_dropped);
        fprintf(f, "  tokens     %ld, %ld of them trained\n", s->tokens, s->trained_tokens);
        fprintf(f, "  sha256     %s\n", s->sha256);
        if (*s->archive_sha256)
            fprintf(f, "  archive    %s\n", s->archive_sha256);
    }
    fprintf(f, "\n%-24s %10s %12s %12s\n", "domain", "samples", "tokens", "trained");
    for (long i = 0; i < dataset_domain_count(d); i++) {
        const struct domain_counts *dc = dataset_domain_counts(d, i);
        char shown[256];
        text_escape(shown, sizeof shown, dataset_domain(d, i));
        fprintf(f, "%-24.60s %10ld %12ld %12ld\n", shown, dc->samples, dc->tokens,
                dc->trained_tokens);
    }
    fprintf(f, "%-24s %10ld %12ld %12ld  (%.1f %%)\n", "all", c->samples, c->tokens,
            c->trained_tokens, percent(c->trained_tokens, c->tokens));
    fprintf(f, "\nlongest sample %ld tokens\nsamples sha256 %s\n", c->longest, dataset_sha256(d));
}

static json_t *files_json(const struct dataset *d)
{
    json_t *files = data_sources_json(d), *f;
    size_t i;
    json_array_foreach(files, i, f)
    {
        const struct dataset_source *s = dataset_source_at(d, (long)i);
        const char *template = template_of(s);
        if (json_object_set_new(f, "path", json_string(s->path)) != 0 ||
            json_object_set_new(f, "template", template ? json_string(template) : json_null()) !=
                0) {
            json_decref(files);
            return NULL;
        }
    }
    return files;
}

json_t *data_summary_json(const struct dataset *d, const struct dataset_options *o)
{
    const struct dataset_counts *c = dataset_counts(d);
    json_t *domains = json_array();
    for (long i = 0; i < dataset_domain_count(d); i++) {
        const struct domain_counts *dc = dataset_domain_counts(d, i);
        json_add(&domains,
                 json_pack("{s:s, s:I, s:I, s:I}", "domain", dataset_domain(d, i), "samples",
                           (json_int_t)dc->samples, "tokens", (json_int_t)dc->tokens,
                           "trained_tokens", (json_int_t)dc->trained_tokens));
    }
    return json_pack("{s:o, s:o, s:I, s:I, s:o, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}",
                     "files", files_json(d), "domains", domains, "read", (json_int_t)c->read,
                     "used", (json_int_t)c->used, "skipped_by_reason",
                     data_reasons_json(c->skipped), "max_seq_length", (json_int_t)o->max_seq_length,
                     "long", data_long_name(o->long_records), "truncated", (json_int_t)c->truncated,
                     "split", (json_int_t)c->split, "pieces_dropped", (json_int_t)c->pieces_dropped,
                     "samples", (json_int_t)c->samples, "tokens", (json_int_t)c->tokens,
                     "trained_tokens", (json_int_t)c->trained_tokens, "longest",
                     (json_int_t)c->longest, "sha256", dataset_sha256(d));
}

/* Calls span for each run of tokens that are all trained or all not, with their text. */
typedef int span_fn(void *ctx, const char *text, size_t n, int trained, struct pesc_error *err);

static int add_bytes(char **buf, size_t *n, size_t *cap, const char *text, size_t len,
                     struct pesc_error *err)
{
    if (*cap - *n < len + 1) {
        size_t want = 2 * (*n + len + 64);
        char *grown = realloc(*buf, want);
        if (!grown)
            return FAIL(err, MEMORY, "no memory for a sample's text");
        *buf = grown;
        *cap = want;
    }
    memcpy(*buf + *n, text, len);
    *n += len;
    return 0;
}

static int each_span(const struct sample *s, const struct tokenizer *t, span_fn *span, void *ctx,
                     struct pesc_error *err)
{
    struct token_stream *state = NULL;
    char *buf = NULL, number[24];
    size_t n = 0, cap = 0;
    int rc = -1, trained = 0;
    for (long i = 0; i < s->n; i++) {
        int now = s->labels[i] != LABEL_MASKED;
        const char *text;
        size_t len;
        if (now != trained) {
            if (n > 0)
                TRY_OR(span(ctx, buf, n, trained, err), done);
            n = 0;
            trained = now;
        }
        if (!t) {
            len = (size_t)snprintf(number, sizeof number, "%s%ld", n ? " " : "", (long)s->ids[i]);
            text = number;
        } else if (tokenizer_is_special(t, s->ids[i])) {
            text = tokenizer_token(t, s->ids[i]);
            len = text ? strlen(text) : 0;
        } else {
            int last = i + 1 == s->n || tokenizer_is_special(t, s->ids[i + 1]) ||
                       (s->labels[i + 1] != LABEL_MASKED) != now;
            TRY_OR(tokenizer_stream(t, &state, s->ids[i], last, &text, &len, err), done);
        }
        TRY_OR(add_bytes(&buf, &n, &cap, text ? text : "", len, err), done);
    }
    if (n > 0)
        TRY_OR(span(ctx, buf, n, trained, err), done);
    rc = 0;
done:
    tokenizer_stream_free(state);
    free(buf);
    return rc;
}

static int print_span(void *ctx, const char *text, size_t n, int trained, struct pesc_error *err)
{
    struct page *page = ctx;
    int color = page->cli->out_tty && page->cli->color;
    (void)err; /* a failed write is seen when the program ends */
    if (trained && color)
        fputs("\033[1;32m", page->cli->out);
    else if (trained)
        put_shown(page, "[[");
    put_text(page, text, n);
    if (trained && color)
        fputs("\033[0m", page->cli->out);
    else if (trained)
        put_shown(page, "]]");
    return 0;
}

int data_sample(struct cli *cli, const struct dataset *d, long i, const struct tokenizer *t,
                struct pesc_error *err)
{
    struct sample s;
    TRY(dataset_sample(d, i, &s, err));
    fprintf(cli->out, "\nrecord %ld, domain ", s.record);
    put_name(cli->out, dataset_domain(d, s.domain));
    fprintf(cli->out, ": %ld tokens, %ld trained\n", s.n, s.trained);
    struct page page = {cli, 0};
    TRY(each_span(&s, t, print_span, &page, err));
    fputc('\n', cli->out);
    return 0;
}

static int json_span(void *ctx, const char *text, size_t n, int trained, struct pesc_error *err)
{
    int whole = utf8_valid(text, n, NULL, NULL) == n; /* or tokens cut a character in two */
    json_t *v = whole ? json_stringn(text, n) : json_null();
    json_t *span = json_pack("{s:o, s:b}", "text", v, "trained", trained);
    return json_array_append_new(ctx, span) == 0 ? 0
                                                 : FAIL(err, MEMORY, "no memory for the report");
}

static json_t *numbers_json(const int32_t *v, long n)
{
    json_t *a = json_array();
    for (long i = 0; i < n; i++)
        json_add(&a, json_integer(v[i]));
    return a;
}

json_t *data_sample_json(const struct dataset *d, long i, const struct tokenizer *t,
                         struct pesc_error *err)
{
    struct sample s;
    if (dataset_sample(d, i, &s, err) != 0)
        return NULL;
    json_t *spans = json_array();
    if (t && each_span(&s, t, json_span, spans, err) != 0) {
        json_decref(spans);
        return NULL;
    }
    json_t *o = json_pack("{s:I, s:s, s:o, s:o, s:o}", "record", (json_int_t)s.record, "domain",
                          dataset_domain(d, s.domain), "ids", numbers_json(s.ids, s.n), "labels",
                          numbers_json(s.labels, s.n), "spans", spans);
    if (!o)
        FAIL(err, MEMORY, "no memory for the report");
    return o;
}
