/* The configuration file: what it accepts, what it refuses and where, and that the resolved
 * configuration reads back as itself. */
#include "config.h"
#include "cli/cmd.h"
#include "core/file.h"
#include "tests/tap.h"

#include <stddef.h>
#include <unistd.h>

struct options {
    int quiet, json;
    long epochs;
    double learning_rate;
    const char *output, *scheduler, *config, *name;
    uint64_t memory;
    struct opt_list data;
};

static const struct opt table[] = {
    {"quiet", "q", OPT_FLAG, offsetof(struct options, quiet), NULL, "", 0, 0},
    {"json", NULL, OPT_FLAG, offsetof(struct options, json), NULL, "", 0, 0},
    {"num-epochs", NULL, OPT_LONG, offsetof(struct options, epochs), "N", "", 1, 100},
    {"learning-rate", "lr", OPT_REAL, offsetof(struct options, learning_rate), "R", "", 0, 1},
    {"output", "o", OPT_STRING, offsetof(struct options, output), "DIR", "", 0, 0},
    {"lr-scheduler", NULL, OPT_CHOICE, offsetof(struct options, scheduler), "constant|cosine", "",
     0, 0},
    {"config", NULL, OPT_STRING, offsetof(struct options, config), "FILE", "", 0, 0},
    {"name", NULL, OPT_STRING, offsetof(struct options, name), "TEXT", "", 0, 0},
    {"memory", NULL, OPT_SIZE, offsetof(struct options, memory), "SIZE", "", 0, 0},
    {"data", NULL, OPT_LIST, offsetof(struct options, data), "FILE...", "", 0, 0},
    {NULL, NULL, OPT_FLAG, 0, NULL, NULL, 0, 0},
};

static const struct cmd train = {.name = "train",
                                 .usage = "",
                                 .summary = "",
                                 .opts = table,
                                 .opts_size = sizeof(struct options)};

static char dir[] = "/tmp/pesc-config-XXXXXX";
static char file[64];

/* Reads a text as a configuration file into o. */
static int read_text(const char *yaml, size_t n, struct options *o, char *given,
                     struct config_text **text, struct pesc_error *err)
{
    memset(err, 0, sizeof *err);
    if (file_write(file, yaml, n, err) != 0)
        return -2;
    return config_read(&train, o, file, given, text, err);
}

static void refused(const char *yaml, const char *code, const char *says)
{
    struct options o = {.epochs = 3};
    char given[16] = {0}, want[256];
    struct config_text *text = NULL;
    struct pesc_error err;
    int rc = read_text(yaml, strlen(yaml), &o, given, &text, &err);
    snprintf(want, sizeof want, says[0] == ':' ? "%s%s" : "%.0s%s", file, says);
    ok(rc == -1 && !strcmp(err.name, code) && strstr(err.text, want), "refused with %s, %s", code,
       says);
    if (rc != -1 || strcmp(err.name, code) != 0 || !strstr(err.text, want))
        diag("rc %d %s: %s", rc, err.name ? err.name : "", err.text);
    config_text_free(text);
}

static void test_reading(void)
{
    static const char yaml[] = "# a run\n"
                               "num_epochs: 2\n"
                               "lr: 2e-4\n"
                               "output: 'a b'\n"
                               "lr-scheduler: cosine\n"
                               "quiet: On\n"
                               "json: false\n"
                               "memory: 2GiB\n"
                               "name: null\n"
                               "data: [one.json, \"two three.json\"]\n";
    struct options o = {.epochs = 9, .json = 1, .name = "kept"};
    char given[16] = {0};
    struct config_text *text = NULL;
    struct pesc_error err;
    int rc = read_text(yaml, sizeof yaml - 1, &o, given, &text, &err);
    ok(rc == 0, "a file of every kind of option is read");
    if (rc)
        diag("%s", err.text);
    unlink(file);
    ok(o.epochs == 2 && o.learning_rate == 2e-4 && o.quiet == 1 && o.json == 0,
       "numbers and flags, underscores, short names");
    ok(o.memory == 2147483648u, "a size");
    is_str(o.output, "a b", "a quoted text");
    is_str(o.scheduler, "cosine", "a choice");
    is_str(o.name, "kept", "null leaves the default");
    ok(o.data.n == 2 && !strcmp(o.data.v[0], "one.json") && !strcmp(o.data.v[1], "two three.json"),
       "a list");
    ok(given[2] && given[3] && !given[7], "what was given is marked");
    config_text_free(text);
}

static void test_precedence(void)
{
    struct options o = {.epochs = 7};
    char given[16] = {0};
    struct config_text *text = NULL;
    struct pesc_error err;
    given[2] = given[9] = 1;
    o.data.v[o.data.n++] = "mine";
    const char *yaml = "num-epochs: 2\ndata:\n- theirs\n- other\nlearning-rate: 0.5\n";
    ok(read_text(yaml, strlen(yaml), &o, given, &text, &err) == 0, "read");
    ok(o.epochs == 7 && o.data.n == 1 && !strcmp(o.data.v[0], "mine"), "the command line wins");
    ok(o.learning_rate == 0.5, "the file sets the rest");
    config_text_free(text);
    text = NULL;
    yaml = "num-epochs: many\n";
    ok(read_text(yaml, strlen(yaml), &o, given, &text, &err) == -1, "overruled, but still checked");
    config_text_free(text);
    text = NULL;
    memset(given, 0, sizeof given);
    o.data.n = 1;
    ok(read_text("data: new\n", 10, &o, given, &text, &err) == 0 && o.data.n == 1 &&
           !strcmp(o.data.v[0], "new"),
       "a list replaces its default; one text is a list of one");
    config_text_free(text);
    text = NULL;
    ok(read_text("# nothing\n", 10, &o, given, &text, &err) == 0, "comments only");
    ok(read_text("", 0, &o, given, &text, &err) == 0, "an empty file");
    ok(read_text("---\n...\n", 8, &o, given, &text, &err) == 0, "an empty document");
}

static void test_refusals(void)
{
    refused("quiet: true\nlearning-rat: 1\n", "E-USAGE-CONFIG", ":2: unknown option");
    refused("learning-rat: 1\n", "E-USAGE-CONFIG", "did you mean 'learning-rate'");
    refused("<<: 1\n", "E-USAGE-CONFIG", ":1: unknown option");
    refused("lr: 1\n\nlearning_rate: 0.5\n", "E-USAGE-CONFIG",
            ":3: learning-rate stands here twice");
    refused("lr:\n  a: 1\n", "E-USAGE-CONFIG", ":2: learning-rate: nested");
    refused("data: [[a]]\n", "E-USAGE-CONFIG", ":1: data: a list holds plain values");
    refused("data: [a, {b: c}]\n", "E-USAGE-CONFIG", ":1: data: a list holds plain values");
    refused("data: [a, null]\n", "E-USAGE-CONFIG", ":1: data: a list holds plain values");
    refused("lr: [1]\n", "E-USAGE-CONFIG", ":1: learning-rate takes one value");
    refused("output: &a x\nname: *a\n", "E-USAGE-CONFIG", ":1: anchors (&a)");
    refused("name: *a\n", "E-USAGE-CONFIG", ":1: aliases (*a)");
    refused("data: [*a]\n", "E-USAGE-CONFIG", ":1: aliases (*a)");
    refused("*a : 1\n", "E-USAGE-CONFIG", ":1: aliases (*a)");
    refused("name: !!str x\n", "E-USAGE-CONFIG", ":1: tags (");
    refused("data: &d [x]\n", "E-USAGE-CONFIG", ":1: anchors (&d)");
    refused("&m\nname: x\n", "E-USAGE-CONFIG", "anchors (&m)");
    refused("? [a]\n: 1\n", "E-USAGE-CONFIG", ":1: a key must be");
    refused("name: x\n---\nname: y\n", "E-USAGE-CONFIG", ":2: a second document");
    refused("- name\n", "E-USAGE-CONFIG", ":1: expected lines");
    refused("just text\n", "E-USAGE-CONFIG", ":1: expected lines");
    refused("name: \"a\\0b\"\n", "E-USAGE-CONFIG", ":1: a zero byte");
    refused("name: \"open\n", "E-USAGE-CONFIG", "");
    refused("name: \xff\xfe\n", "E-USAGE-CONFIG", "");
    refused("name: x\n\tlr: 1\n", "E-USAGE-CONFIG", ":2: ");
    refused("config: other.yaml\n", "E-USAGE-CONFIG", ":1: config is for the command line only");
    refused("quiet: true\nnum-epochs: 1000\n", "E-USAGE-VALUE", ":2: num-epochs: 1000 is outside");
    refused("lr-scheduler: magic\n", "E-USAGE-VALUE", ":1: lr-scheduler: 'magic'");
    refused("quiet: maybe\n", "E-USAGE-VALUE", ":1: quiet: 'maybe'");

    struct options o = {0};
    char given[16] = {0}, *deep = malloc(200001), *big = calloc(1, (1 << 20) + 2);
    struct config_text *text = NULL;
    struct pesc_error err;
    memset(deep, '[', 200000);
    deep[200000] = 0;
    memcpy(deep, "data: ", 6);
    memset(big, '#', (1 << 20) + 1);
    ok(read_text(deep, 200000, &o, given, &text, &err) == -1 && !strcmp(err.name, "E-USAGE-CONFIG"),
       "deep nesting is refused at its first step");
    ok(read_text(big, (1 << 20) + 1, &o, given, &text, &err) == -1 && !strcmp(err.name, "E-LIMIT"),
       "more than 1 MiB is refused");
    free(deep);
    free(big);
    config_text_free(text);
    memset(&err, 0, sizeof err);
    unlink(file);
    ok(config_read(&train, &o, file, given, &text, &err) == -1 && !strcmp(err.name, "E-IO-MISSING"),
       "a missing file is named");
}

static void test_round_trip(void)
{
    static const char *const texts[] = {
        "plain",
        "",
        " lead",
        "true",
        "Null",
        "12",
        "-",
        "a: b",
        "a #b",
        "\"q\"",
        "it's",
        "a\\b",
        "*x",
        "&x",
        "!x",
        "%x",
        "@x",
        "`x",
        "?",
        "- a",
        "[a]",
        "{a}",
        "tab\there",
        "two\nlines",
        "\x01\x7f",
        "\xc3\xa4\xe2\x82\xac",
        "\xc2\x85",
        "\xe2\x80\xa8",
        "\xef\xbb\xbf",
        "\xf0\x9f\x98\x80",
        "/tmp/x-1.json",
        "~",
    };
    struct options o = {.quiet = 1, .epochs = 4, .learning_rate = 2e-4, .config = "me.yaml"};
    o.scheduler = "constant";
    o.memory = 3221225472u;
    int same = 1;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        o.output = texts[i];
        o.data.v[i] = texts[i];
        o.data.n = (long)i + 1;
        struct options back = {0};
        char given[16] = {0};
        struct config_text *text = NULL;
        struct pesc_error err;
        char *yaml = config_yaml(&train, &o);
        int rc = read_text(yaml, strlen(yaml), &back, given, &text, &err);
        int good = rc == 0 && back.output && !strcmp(back.output, texts[i]) && back.quiet == 1 &&
                   back.epochs == 4 && back.learning_rate == 2e-4 && back.memory == o.memory &&
                   !back.config && !back.name && back.data.n == o.data.n;
        for (long k = 0; good && k < o.data.n; k++)
            good = !strcmp(back.data.v[k], o.data.v[k]);
        char *again = rc == 0 ? config_yaml(&train, &back) : NULL;
        good = good && again && !strcmp(yaml, again);
        if (!good)
            diag("text %d: %s\n%s", (int)i, err.text, yaml);
        same &= good;
        free(again);
        free(yaml);
        config_text_free(text);
    }
    ok(same, "every text reads back as itself, and is written the same again");
    o.output = "\xff.json";
    o.data.n = 0;
    char *yaml = config_yaml(&train, &o);
    is_str(yaml,
           "quiet: true\njson: false\nnum-epochs: 4\nlearning-rate: 0.0002\n"
           "output: \"\\xff.json\"\nlr-scheduler: constant\nmemory: 3221225472\n",
           "the text of a configuration");
    free(yaml);
}

/* Any file as a tree, for templates. */
static void test_tree(void)
{
    static const struct {
        const char *text, *want; /* canonical JSON, or part of an error */
    } files[] = {
        {"a: 1\nb: {c: \"x\\n\", d: [y, \"\", yes]}\n",
         "{\"a\":\"1\",\"b\":{\"c\":\"x\\n\",\"d\":[\"y\",\"\",\"yes\"]}}"},
        {"a: ~\nb: \"~\"\n", "{\"b\":\"~\"}"},
        {"- a\n- b\n", "[\"a\",\"b\"]"},
        {"a: 1\na: 2\n", ":2: a stands here twice"},
        {"a: *b\n", ":1: aliases"},
        {"a: &b 1\n", ":1: anchors (&b)"},
        {"a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}\n", "nested too deeply"},
        {"[a]: 1\n", "a key must be a word"},
        {"a: [1\n", ": "},
        {"", "the file is empty"},
        {"a: 1\n---\nb: 1\n", "a second document"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct pesc_error err = {0};
        char sha[65];
        if (file_write(file, files[i].text, strlen(files[i].text), &err) != 0)
            return;
        json_t *v = config_tree(file, sha, &err);
        char *got = v ? json_canonical(v) : NULL;
        if (got)
            is_str(got, files[i].want, files[i].text);
        else
            ok(err.code == PESC_E_USAGE_CONFIG && strstr(err.text, files[i].want), "refused: %s",
               err.text);
        free(got);
        json_decref(v);
    }
}

int main(void)
{
    if (!mkdtemp(dir))
        return 99;
    snprintf(file, sizeof file, "%s/c.yaml", dir);
    test_reading();
    test_precedence();
    test_refusals();
    test_round_trip();
    test_tree();
    unlink(file);
    rmdir(dir);
    return tap_done();
}
