/* Checksums, frames and messages of event files; names that a file system takes. */
#include "config.h"
#include "experiments/db.h"
#include "experiments/export_impl.h"
#include "experiments/export_names.h"
#include "experiments/tfevents.h"
#include "experiments/history.h"
#include "tests/tap.h"

#include <signal.h>
#include <unistd.h>

static void test_crc(void)
{
    unsigned char up[32], zero[32] = {0}, ones[32];
    memset(ones, 0xff, sizeof ones);
    for (int i = 0; i < 32; i++)
        up[i] = (unsigned char)i;
    /* RFC 3720, B.4 */
    ok(crc32c(zero, 32) == 0x8a9136aa, "CRC-32C of zeros");
    ok(crc32c(ones, 32) == 0x62a8ab43, "CRC-32C of ones");
    ok(crc32c(up, 32) == 0x46dd794e, "CRC-32C of 0..31");
    ok(crc32c("123456789", 9) == 0xe3069283, "CRC-32C of digits");
    ok(crc32c("", 0) == 0, "CRC-32C of nothing");
}

static const char *hex_of(const char *bytes, size_t n)
{
    static char out[4096];
    for (size_t i = 0; i < n && i * 2 + 2 < sizeof out; i++)
        sprintf(out + 2 * i, "%02x", (unsigned char)bytes[i]);
    return out;
}

static void test_events(void)
{
    struct pesc_error err = {0};
    char *bytes = NULL;
    size_t n = 0;
    struct tfevents t = {.f = open_memstream(&bytes, &n)};
    ok(tfevents_start(&t, 2, &err) == 0, "start %s", err.text);
    fflush(t.f);
    is_str(hex_of(bytes, n),
           "1800000000000000a37f4b22"
           "090000000000000040"
           "1a0d627261696e2e4576656e743a32"
           "ff2ee0e7",
           "the first event: time and version");
    rewind(t.f);
    ok(tfevents_scalar(&t, 2, 300, "a", 1, 0.5, &err) == 0, "scalar %s", err.text);
    fflush(t.f);
    is_str(hex_of(bytes + 12, n - 16),
           "090000000000000040"
           "10ac02"
           "2a0a0a080a0161150000003f",
           "a scalar: time, step 300, summary, value, tag, 0.5f");
    rewind(t.f);
    ok(tfevents_text(&t, 2, "t", "hi", 2, &err) == 0, "text %s", err.text);
    fflush(t.f);
    is_str(hex_of(bytes + 12, n - 16),
           "090000000000000040"
           "1000"
           "2a1f0a1d0a0174420c0807120412020801420268694a0a0a060a04746578742002",
           "a text");
    fclose(t.f);
    free(bytes);
    tfevents_free(&t);
}

static void test_names(void)
{
    static const char *const sorted[] = {"", "a", "a/b", "loss"};
    static const struct {
        const char *name, *want;
        int rc;
    } cases[] = {
        {"train_loss", "train_loss", 0},
        {"a b:c-d.e_f/G9", "a b:c-d.e_f/G9", 0},
        {"..", "_x2e_.", 1},
        {"../up", "_x2e_./up", 1},
        {"x/./y", "x/_x2e_/y", 1},
        {".hidden", "_x2e_hidden", 1},
        {"/abs", "_x2f_abs", 1},
        {"trail/", "trail_x2f_", 1},
        {"x//y", "x_x2f__x2f_y", 1},
        {"", "_x_", 1},
        {"_x_", "_x5f_x_", 1},
        {"_x2e_", "_x5f_x2e_", 1},
        {"_x2e", "_x5f_x2e", 1},
        {"max_x", "max_x", 0},
        {"k\001\033%", "k_x01__x1b__x25_", 1},
        {"\xc3\xbc", "_xc3__xbc_", 1},
        {"a/b", "a_x2f_b", 1},
        {"a/b/c", "a_x2f_b_x2f_c", 1},
        {"ab/c", "ab/c", 0},
        {"b/a", "b/a", 0},
    };
    struct pesc_error err = {0};
    char out[EXPORT_NAME_CAP], whole[600], other[EXPORT_NAME_CAP];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int rc = export_name(out, cases[i].name, sorted, 4, &err);
        ok(rc == cases[i].rc, "name %zu gives %d, is %d", i, cases[i].rc, rc);
        is_str(out, cases[i].want, "and its text");
    }
    memset(whole, 'k', 250);
    whole[250] = 0;
    ok(export_name(out, whole, NULL, 0, &err) == 0 && !strcmp(out, whole), "250 bytes stay");
    strcpy(whole + 250, "1");
    ok(export_name(out, whole, NULL, 0, &err) == 2 && strlen(out) <= 250, "251 do not");
    strcpy(whole + 250, "2");
    ok(export_name(other, whole, NULL, 0, &err) == 2 && strcmp(out, other), "but differ");
    memset(whole, 'k', 260);
    whole[229] = '/';
    whole[260] = 0;
    ok(export_name(out, whole, NULL, 0, &err) == 2 && !strncmp(out + 228, "k_h", 3),
       "nor a slash before the end: %s", out + 220);
    for (int lead = 220; lead < 232; lead++) {
        memset(whole, 'k', (size_t)lead);
        strcpy(whole + lead, "////////");
        int rc = export_name(out, whole, NULL, 0, &err);
        size_t cut = strlen(out) - 18;
        ok(rc == 2 && !strncmp(out + cut, "_h", 2) &&
               (cut <= (size_t)lead || (cut - (size_t)lead) % 5 == 0),
           "no half escape at %d: %s", lead, out + 215);
    }
}

static const char *text_of(void (*put)(FILE *, const char *, size_t), const char *text, size_t n)
{
    static char out[256];
    memset(out, 0, sizeof out);
    FILE *f = fmemopen(out, sizeof out - 1, "w");
    put(f, text, n);
    fclose(f);
    return out;
}

static void put_csv_real(FILE *f, const char *text, size_t n)
{
    struct cell c = {.kind = CELL_REAL, .d = strtod(text, NULL)};
    (void)n;
    put_csv_cell(f, &c);
    putc(' ', f);
    put_json_cell(f, &c);
}

static void test_texts(void)
{
    is_str(text_of(put_csv_text, "a b", 3), "a b", "CSV: plain");
    is_str(text_of(put_csv_text, "", 0), "\"\"", "CSV: empty is not NULL");
    is_str(text_of(put_csv_text, "a,\"b\"\r\n", 7), "\"a,\"\"b\"\"\r\n\"", "CSV: quoted");
    is_str(text_of(put_csv_text, "\xc3\xbc\xff\0", 4), "\\xc3\\xbc\\xff\\x00", "CSV: no UTF-8");
    is_str(text_of(put_csv_text, "a\0b", 3), "a\\x00b", "CSV: a zero");
    is_str(text_of(put_json_text, "\"\\\n\033\x7f\xc3\xbc", 7),
           "\"\\\"\\\\\\n\\u001b\\u007f\xc3\xbc\"", "JSON");
    is_str(text_of(put_json_text, "a\xff", 2), "\"a\\\\xff\"", "JSON: no UTF-8");
    is_str(text_of(put_yaml_text, "\"\\\n: #\x85", 7), "\"\\\"\\\\\\x0a: #\\\\x85\"",
           "YAML: no UTF-8");
    is_str(text_of(put_yaml_text, "\xc2\x85\xe2\x80\xa8\xf0\x9f\x98\x80", 9),
           "\"\\u0085\\u2028\\U0001f600\"", "YAML: ASCII alone");
    is_str(text_of(put_csv_real, "nan", 3), "NaN \"NaN\"", "NaN");
    is_str(text_of(put_csv_real, "inf", 3), "inf \"Infinity\"", "Infinity");
    is_str(text_of(put_csv_real, "-inf", 4), "-inf \"-Infinity\"", "-Infinity");
    is_str(text_of(put_csv_real, "0.1", 3), "0.1 0.1", "the shortest digits");
    is_str(text_of(put_csv_real, "3", 1), "3.0 3.0", "stays real");
    is_str(text_of(put_csv_real, "0.30000000000000004", 1),
           "0.30000000000000004 0.30000000000000004", "17 digits where they are needed");
    is_str(text_of(put_csv_real, "-5e-324", 1), "-4.94065645841247e-324 -4.94065645841247e-324",
           "the smallest");
}

static int one_value(void *ctx, int n, const struct cell *cells, struct pesc_error *err)
{
    (void)n, (void)err;
    ++*(long *)ctx;
    return cells[0].kind == CELL_INT ? 0 : 1;
}

static int no_head(void *ctx, int n, const char *const *names, struct pesc_error *err)
{
    (void)ctx, (void)n, (void)names, (void)err;
    return 0;
}

static int exports(const char *table, const char *column)
{
    size_t n = strlen(table);
    char expr[64];
    snprintf(expr, sizeof expr, "x.%s", column);
    for (const struct export_table *t = export_tables; t->name; t++)
        if (!strncmp(t->from, table, n) && !strncmp(t->from + n, " x", 2))
            for (const struct export_column *c = t->columns; c->name; c++)
                if (!strcmp(c->expr, expr))
                    return 1;
    return 0;
}

/* A table or column that the schema gets has to come to the export, too. */
static void test_columns(const char *db)
{
    static const char sql[] =
        "SELECT m.name, p.name FROM sqlite_schema m, pragma_table_info(m.name) p WHERE m.type ="
        " 'table' AND m.name NOT LIKE 'sqlite%' AND m.name NOT IN ('meta', 'experiment', 'env',"
        " 'model', 'crafted', 'dataset', 'metric_key') AND p.name NOT IN ('id', 'run_id',"
        " 'experiment_id', 'crafted_id', 'model_id', 'parent_run_id', 'env_id', 'dataset_id',"
        " 'key_id')";
    sqlite3 *c = NULL;
    sqlite3_stmt *st = NULL;
    int n = 0;
    ok(sqlite3_open_v2(db, &c, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
           sqlite3_prepare_v2(c, sql, -1, &st, NULL) == SQLITE_OK,
       "the schema is read");
    for (; st && sqlite3_step(st) == SQLITE_ROW; n++) {
        const char *table = (const char *)sqlite3_column_text(st, 0);
        const char *column = (const char *)sqlite3_column_text(st, 1);
        ok(exports(table, column), "%s.%s is exported", table, column);
    }
    ok(n > 80, "%d columns", n);
    sqlite3_finalize(st);
    sqlite3_close(c);
}

static void test_job(void)
{
    char dir[] = "/tmp/pesc-export-XXXXXX", db[64], out[64], tmp[96];
    struct pesc_error err = {0};
    struct history *h = NULL;
    struct reader *r = NULL;
    if (!ok(mkdtemp(dir) != NULL, "a folder"))
        return;
    snprintf(db, sizeof db, "%s/h.db", dir);
    snprintf(out, sizeof out, "%s/out", dir);
    snprintf(tmp, sizeof tmp, "%s.tmp-%ld", out, (long)getpid());
    struct history_run run = {.name = "x", .dir = "/x", .steps_planned = 1};
    int rc = history_open(db, &h, &err);
    if (rc == 0)
        rc = history_run_start(h, "aaaa0000aaaa0000aaaa0000aaaa0000", &run, &err);
    for (long s = 0; s < 5000; s++)
        history_metric(h, "loss", s, (double)s);
    if (rc == 0)
        rc = history_run_end(h, "finished", 0, NULL, &err);
    ok(rc == 0, "a history %s", err.text);
    history_close(h);
    test_columns(db);

    long long id = 1, rows = 0;
    atomic_int stop = SIGINT;
    static const char *const formats[] = {"csv", "jsonl", "tensorboard", "mlflow"};
    for (int f = 0; f < 4; f++) {
        struct export_job job = {.format = formats[f], .out = out, .ids = &id, .n = 1};
        atomic_store(&stop, f & 1 ? SIGTERM : SIGINT);
        job.stop = &stop;
        err.code = 0;
        ok(reader_open(db, &r, &err) == 0, "open %s", err.text);
        ok(export_runs(r, &job, &rows, &err) != 0 && err.code == (f & 1 ? PESC_E_TERM : PESC_E_INT),
           "%s is stopped by a signal: %s", formats[f], err.text);
        ok(!path_exists(out) && !path_exists(tmp), "and leaves nothing");
        reader_close(r);
    }

    /* One state: what is written meanwhile is not seen, and the fence stays. */
    err.code = 0;
    ok(reader_open(db, &r, &err) == 0 && reader_snapshot(r, &err) == 0, "snapshot %s", err.text);
    struct db d;
    ok(db_open(&d, db, &err) == 0 && db_begin(&d, 1000, &err) == 0 &&
           db_run(&d, &err, "INSERT INTO tag VALUES(1, 'k', 'v')", "") == 0 &&
           db_commit(&d, &err) == 0,
       "a writer is not held up %s", err.text);
    db_close(&d);
    long n = 0;
    struct row_sink sink = {&n, no_head, one_value};
    ok(query_run(r, &sink, &err, "SELECT 1 FROM tag", "") == 0 && n == 0, "nor seen");
    ok(query_run(r, &sink, &err,
                 "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c"
                 " WHERE x < 1000002) SELECT x FROM c",
                 "") == 0 &&
           n == 1000002,
       "more rows than a question may have %s", err.text);
    ok(query_run(r, &sink, &err, "PRAGMA table_info(run)", "") != 0 && err.code == PESC_E_DB_QUERY,
       "the fence stays");
    reader_close(r);
    struct pesc_error e = {0};
    ok(dir_remove_all(dir, &e) == 0, "removed");
}

int main(void)
{
    test_job();
    test_crc();
    test_events();
    test_names();
    test_texts();
    return tap_done();
}
