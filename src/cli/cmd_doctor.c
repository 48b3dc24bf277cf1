#include "config.h"
#include "cli/cmd.h"

#include "core/build.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/machine.h"
#include "experiments/history.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct options {
    int json;
};

/* A column of what is found, kept so that it can be shown as text or as JSON. */
static int add(json_t *section, const char *key, json_t *value, struct pesc_error *err)
{
    if (json_object_set_new(section, key, value) != 0)
        return FAIL(err, MEMORY, "no memory for the report");
    return 0;
}

/* /proc may hold anything; JSON wants UTF-8. */
static json_t *text(const char *s)
{
    char shown[512];
    text_escape(shown, sizeof shown, s);
    return json_string(shown);
}

static int advise(json_t *advice, const char *line, struct pesc_error *err)
{
    if (json_array_append_new(advice, json_string(line)) != 0)
        return FAIL(err, MEMORY, "no memory for the report");
    return 0;
}

static int look_at_cpu(json_t *cpu, json_t *advice, struct pesc_error *err)
{
    char buf[256];
    struct machine_cpus c;
    machine_cpus("", &c);
    TRY(add(cpu, "model", text(machine_cpu_model("", buf, sizeof buf)), err));
    TRY(add(cpu, "features", text(machine_isa("", buf, sizeof buf)), err));
    TRY(add(cpu, "logical", json_integer(c.online), err));
    TRY(add(cpu, "allowed", json_integer(c.allowed), err));
    TRY(add(cpu, "cores", json_integer(c.cores), err));
    TRY(add(cpu, "quota", c.quota > 0 ? json_real(c.quota) : json_null(), err));
    TRY(add(cpu, "threads", json_integer(c.usable), err));
    const char *omp = getenv("OMP_NUM_THREADS");
    TRY(add(cpu, "OMP_NUM_THREADS", omp ? text(omp) : json_null(), err));
    long asked = omp ? strtol(omp, NULL, 10) : 0;
    if (asked > c.usable) {
        snprintf(buf, sizeof buf,
                 "OMP_NUM_THREADS is %ld, but this process has %ld cores: more threads than cores "
                 "are slower",
                 asked, c.usable);
        TRY(advise(advice, buf, err));
    }
    if (!machine_cpu_has("", "avx2"))
        TRY(advise(advice, "the CPU has no AVX2: training will be slow", err));
    else if (!machine_cpu_has("", "avx512_bf16") && !machine_cpu_has("", "amx_bf16"))
        TRY(advise(advice, "the CPU has no bf16 products: use --compute f32 (auto does)", err));
    return 0;
}

static int look_at_memory(json_t *memory, json_t *advice, struct pesc_error *err)
{
    struct machine_memory m;
    machine_memory("", &m);
    TRY(add(memory, "total_bytes", json_integer((json_int_t)m.total), err));
    TRY(add(memory, "available_bytes", json_integer((json_int_t)m.available), err));
    TRY(add(memory, "group_limit_bytes",
            m.group_limit ? json_integer((json_int_t)m.group_limit) : json_null(), err));
    TRY(add(memory, "usable_bytes", json_integer((json_int_t)m.usable), err));
    if (m.usable < (uint64_t)1 << 30)
        TRY(advise(advice, "less than 1 GiB of memory is free", err));
    return 0;
}

/* Two of SQLite's releases 3.7.0 to 3.51.2 carry the fix of the WAL-reset bug, all later ones do:
 * several processes that write and checkpoint one database could lose commits. */
static int wal_reset_affected(const char *version)
{
    int v[3] = {0, 0, 0};
    if (sscanf(version, "%d.%d.%d", &v[0], &v[1], &v[2]) < 2)
        return 1;
    long n = v[0] * 1000000L + v[1] * 1000L + v[2];
    return n >= 3007000 && n <= 3051002 && n != 3044006 && n != 3050007;
}

static int look_at_libraries(json_t *libs, json_t *advice, struct pesc_error *err)
{
    /* run: the version that was loaded, where this file can ask for it */
    const struct {
        const char *name, *built, *run;
    } table[] = {
        {"oneDNN", PESC_VERSION_ONEDNN, NULL},
        {"SQLite", PESC_VERSION_SQLITE3, history_library()},
        {"libarchive", PESC_VERSION_LIBARCHIVE, NULL},
        {"OpenSSL", PESC_VERSION_LIBCRYPTO, hash_library()},
        {"jansson", PESC_VERSION_JANSSON, jansson_version_str()},
        {"PCRE2", PESC_VERSION_LIBPCRE2_8, NULL},
        {"utf8proc", PESC_VERSION_LIBUTF8PROC, NULL},
        {"zlib", PESC_VERSION_ZLIB, NULL},
        {"libyaml", PESC_VERSION_YAML_0_1, config_library()},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        json_t *lib = json_pack("{s:s, s:s*}", "built", table[i].built, "run", table[i].run);
        TRY(add(libs, table[i].name, lib, err));
        if (strcmp(table[i].name, "SQLite") != 0)
            continue;
        const char *version = table[i].run ? table[i].run : table[i].built;
        char line[256];
        int affected = wal_reset_affected(version);
        TRY(add(lib, "wal_reset_bug", json_boolean(affected), err));
        if (!affected)
            continue;
        snprintf(line, sizeof line,
                 "SQLite %s has the WAL-reset bug: writes are serialised by a lock file; do not "
                 "write to the history with other tools while a run is on",
                 version);
        TRY(advise(advice, line, err));
    }
    return 0;
}

static int look_at_history(json_t *history, json_t *advice, struct pesc_error *err)
{
    char path[PATH_CAP];
    struct stat st;
    TRY(history_default_path(getenv("PESC_DB"), getenv("XDG_DATA_HOME"), getenv("HOME"), path,
                             err));
    TRY(add(history, "path", text(path), err));
    int there = stat(path, &st) == 0;
    TRY(add(history, "bytes", there ? json_integer((json_int_t)st.st_size) : json_null(), err));
    if (there && !S_ISREG(st.st_mode))
        TRY(advise(advice, "the history's path is not a regular file: set PESC_DB", err));
    return 0;
}

static void bytes_text(char *out, size_t size, double bytes)
{
    if (bytes >= 1073741824.0)
        snprintf(out, size, "%.1f GiB", bytes / 1073741824.0);
    else
        snprintf(out, size, "%.1f MiB", bytes / 1048576.0);
}

static void show_value(FILE *f, const char *key, json_t *v)
{
    char buf[64];
    size_t n = strlen(key);
    if (json_is_string(v)) {
        fputs(json_string_value(v), f);
    } else if (json_is_integer(v) && n > 5 && !strcmp(key + n - 5, "bytes")) {
        bytes_text(buf, sizeof buf, (double)json_integer_value(v));
        fputs(buf, f);
    } else if (json_is_integer(v)) {
        fprintf(f, "%lld", (long long)json_integer_value(v));
    } else if (json_is_real(v)) {
        fprintf(f, "%g", json_real_value(v));
    } else if (json_is_boolean(v)) {
        fputs(json_is_true(v) ? "yes" : "no", f);
    } else if (json_is_object(v)) {
        const char *name, *sep = "";
        json_t *item;
        json_object_foreach(v, name, item)
        {
            fprintf(f, "%s%s ", sep, name);
            show_value(f, name, item);
            sep = ", ";
        }
    } else {
        fputs("none", f);
    }
}

static void show(FILE *f, json_t *report)
{
    const char *section, *key;
    json_t *group, *value;
    size_t i;
    json_object_foreach(report, section, group)
    {
        if (!json_is_object(group))
            continue;
        fprintf(f, "%s\n", section);
        json_object_foreach(group, key, value)
        {
            const char *unit = strstr(key, "_bytes");
            fprintf(f, "  %-16.*s ", (int)(unit ? (size_t)(unit - key) : strlen(key)), key);
            show_value(f, key, value);
            fputc('\n', f);
        }
    }
    json_t *advice = json_object_get(report, "advice");
    fprintf(f, "advice\n");
    json_array_foreach(advice, i, value) fprintf(f, "  - %s\n", json_string_value(value));
    if (json_array_size(advice) == 0)
        fprintf(f, "  none: nothing here stands in the way\n");
}

static int look(json_t *report, struct pesc_error *err)
{
    static const char *const names[] = {"program", "cpu", "memory", "libraries", "history"};
    json_t *s[5], *advice;
    char buf[512];
    for (int i = 0; i < 5; i++) {
        s[i] = json_object();
        TRY(add(report, names[i], s[i], err));
    }
    advice = json_array();
    TRY(add(report, "advice", advice, err));
    TRY(add(s[0], "version", json_string(pesc_version()), err));
    TRY(add(s[0], "compiler", text(build_compiler()), err));
    TRY(add(s[0], "flags", text(build_flags()), err));
    TRY(add(s[0], "system", text(machine_os("", buf, sizeof buf)), err));
    TRY(add(s[0], "host", text(machine_host(buf, sizeof buf)), err));
    TRY(look_at_cpu(s[1], advice, err));
    TRY(look_at_memory(s[2], advice, err));
    TRY(look_at_libraries(s[3], advice, err));
    struct pesc_error history = {0};
    int rc = look_at_history(s[4], advice, &history);
    if (rc != 0 && history.code == PESC_E_MEMORY)
        *err = history;
    else if (rc != 0)
        rc = advise(advice, history.text, err);
    return rc;
}

static int run(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    const struct options *o = opts;
    if (argc > 0)
        return FAIL(err, USAGE, "doctor takes no arguments, but got '%s'", argv[0]);
    json_t *report = json_object();
    int rc = report ? look(report, err) : FAIL(err, MEMORY, "no memory for the report");
    if (rc == 0 && o->json) {
        char *line = json_written(report, JSON_INDENT(2));
        if (line)
            fprintf(cli->out, "%s\n", line);
        else
            rc = FAIL(err, MEMORY, "no memory for the report");
        free(line);
    } else if (rc == 0) {
        show(cli->out, report);
    }
    json_decref(report);
    return rc;
}

static const struct opt options[] = {
    {"json", NULL, OPT_FLAG, offsetof(struct options, json), NULL, "one JSON object", 0, 0},
    {NULL, NULL, OPT_FLAG, 0, NULL, NULL, 0, 0},
};

const struct cmd cmd_doctor = {
    .name = "doctor",
    .usage = "[--json]",
    .summary = "Shows CPU features, threads, memory, library versions, and gives advice.",
    .opts = options,
    .opts_size = sizeof(struct options),
    .run = run,
};
