/* Writes a history whose names are hostile to file systems and whose values are to formats, with
 * fixed times: fill_export DATABASE [ROWS [old]]; ROWS more metric rows go into a run of their own,
 * old makes the database one of the first version. */
#include "config.h"
#include "core/error.h"
#include "experiments/db.h"
#include "experiments/history.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct pesc_error err;
static char long_key[301], long_value[7001], long_wide[6101 * 2];

static int plain(struct history *h)
{
    static const struct history_dataset data[] = {
        {.sha256 = "d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1",
         .name = "alpaca",
         .path = "/data/al \"paca\".json",
         .format = "alpaca",
         .role = "train",
         .weight = 2,
         .records = 12,
         .used = 10,
         .skipped = 2,
         .tokens = 345},
        {.sha256 = "d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1",
         .name = "alpaca",
         .path = "/data/al \"paca\".json",
         .format = "alpaca",
         .role = "valid",
         .records = 12,
         .used = 12,
         .tokens = 400}};
    static const char *const keys[] = {"lr", "note"}, *const values[] = {"2e-4", "a, \"b\"\nc"};
    struct history_run r = {.experiment = "exp: \"odd\" \xe5\x90\x8d",
                            .name = "plain",
                            .dir = "/runs/plain",
                            .cmdline = "pesc train tiny",
                            .config = "lr: 2e-4\n",
                            .config_sha256 = "c5",
                            .steps_planned = 6,
                            .seed = 42,
                            .threads = 2,
                            .datasets = data,
                            .n_datasets = 2,
                            .param_keys = keys,
                            .param_values = values,
                            .n_params = 2};
    r.env = (struct history_env){
        .host = "box", .cpu_model = "some cpu", .isa = "avx2", .git_commit = "abc123+", .cores = 2};
    r.model = (struct history_model){.fingerprint = "f0", .name = "tiny-llama"};
    r.crafted = (struct history_crafted){
        .config_sha256 = "c0", .n_experts = 2, .top_k = 1, .adapter_dim = 4};
    const double values_of[] = {2.5, 0.1, NAN, INFINITY, -INFINITY, 1e-300};
    TRY(history_run_start(h, "aaaa0000aaaa0000aaaa0000aaaa0000", &r, &err));
    for (int s = 1; s <= 6; s++)
        history_metric(h, "train/loss", s, values_of[s - 1]);
    history_metric(h, "tokens", 3, 4194304);
    history_event(h, 4, "warn", "W-TEST", "seen\033[0m, \"twice\"");
    history_progress(h, 6, 999);
    return history_run_end(h, "interrupted", 130, "stopped", &err);
}

static int hostile(struct history *h)
{
    static const char *const keys[] = {
        "a",       "a/b",         "a//b", "..",      ".hidden", "../up",
        "/abs",    "trail/",      "",     "k\001ey", "_x2e_",   "\xc3\xbc",
        "bad\xff", "a b:c-d.e_f", "cut",  "wide",    "return",  long_key};
    static const char *const values[] = {"1",
                                         "2",
                                         "3",
                                         "4",
                                         "5",
                                         "6",
                                         "7",
                                         "8",
                                         "",
                                         "10",
                                         "11",
                                         "=1+1",
                                         "x\xff",
                                         "\xe2\x82\xac",
                                         long_value,
                                         long_wide,
                                         "one\r\ntwo\r",
                                         "long"};
    struct history_run r = {.name = "../../evil\033[2J\n<script>alert(1)</script>",
                            .dir = "/runs/evil",
                            .cmdline = "pesc",
                            .steps_planned = 1,
                            .param_keys = keys,
                            .param_values = values,
                            .n_params = sizeof keys / sizeof *keys};
    TRY(history_run_start(h, "bbbb1111bbbb1111bbbb1111bbbb1111", &r, &err));
    history_metric(h, "loss", 1, 1);
    history_metric(h, "loss/train", 1, 2);
    history_metric(h, "..", 1, 3);
    history_metric(h, "eval/arc/acc", 1, 4);
    history_metric(h, "bad\xff\033[2J", 1, 5);
    history_progress(h, 1, 1);
    return history_run_end(h, "failed", 11, NULL, &err);
}

static int third(struct history *h, const char *uuid, const char *name, long rows)
{
    struct history_run r = {.name = name, .dir = "/runs/third", .steps_planned = 1};
    TRY(history_run_start(h, uuid, &r, &err));
    for (long i = 0; i < rows; i++) {
        history_metric(h, i & 1 ? "odd" : "even", i, (double)i / 7);
        if (i % 100000 == 0)
            TRY(history_flush(h, &err));
    }
    history_metric(h, "train/loss", 1, 1);
    return history_run_end(h, "finished", 0, NULL, &err);
}

static int run_all(const char *path, const char *const *sql)
{
    struct db d;
    TRY(db_open(&d, path, &err));
    int rc = db_begin(&d, 5000, &err);
    for (; *sql && rc == 0; sql++)
        rc = db_run(&d, &err, *sql, "");
    if (rc == 0)
        rc = db_commit(&d, &err);
    db_close(&d);
    return rc;
}

static int age(const char *path)
{
    static const char *const sql[] = {"DROP VIEW v_metric",
                                      "DROP VIEW v_last",
                                      "DROP VIEW v_run",
                                      "DROP VIEW v_plan",
                                      "DROP VIEW v_router",
                                      "DROP VIEW v_router_domain",
                                      "DROP VIEW v_router_eval",
                                      "DROP VIEW v_eval",
                                      "DROP VIEW v_event",
                                      "DROP VIEW v_lineage",
                                      "DROP TABLE router_domain_layer",
                                      "DROP TABLE router_eval",
                                      "DROP TABLE router_eval_layer",
                                      "DROP TABLE plan",
                                      "ALTER TABLE eval DROP COLUMN lo",
                                      "ALTER TABLE eval DROP COLUMN hi",
                                      "ALTER TABLE router_layer DROP COLUMN top1",
                                      "ALTER TABLE router_layer DROP COLUMN tokens",
                                      "ALTER TABLE router_expert DROP COLUMN first",
                                      "ALTER TABLE router_domain DROP COLUMN prob",
                                      "ALTER TABLE router_domain DROP COLUMN first",
                                      "ALTER TABLE run_dataset DROP COLUMN records",
                                      "ALTER TABLE run_dataset DROP COLUMN reasons",
                                      "ALTER TABLE run_dataset DROP COLUMN truncated",
                                      "ALTER TABLE run_dataset DROP COLUMN split",
                                      "ALTER TABLE run_dataset DROP COLUMN pieces_dropped",
                                      "ALTER TABLE run_dataset DROP COLUMN samples",
                                      "ALTER TABLE run_dataset DROP COLUMN trained_tokens",
                                      "PRAGMA user_version = 1",
                                      NULL};
    return run_all(path, sql);
}

/* What the calls above have no words for, and times that are the same each time. */
static int settle(const char *path)
{
    static const char *const sql[] = {
        "UPDATE run SET created_ms = 1700000000000 + id, started_ms = 1700000000100,"
        " heartbeat_ms = 1700000001000, ended_ms = 1700000002500",
        "UPDATE experiment SET created_ms = 1700000000000, note = iif(name = 'default', '', 'why')",
        "UPDATE metric SET t_ms = 1700000000000 + 250 * step",
        "INSERT INTO eval(run_id, step, task, metric, value, stderr, n, t_ms, lo, hi) VALUES"
        "(1, 6, 'arc', 'accuracy', 0.5, 0.05, 100, 1700000002000, 0.4, 0.6),"
        "(1, 6, 'boolq', 'accuracy', NULL, NULL, 0, 1700000002000, NULL, NULL),"
        "(2, 1, 'arc', 'acc', 6, 0, 1, 1700000002000, 0.4, 0.6),"
        "(2, 1, '../arc', 'acc', 7, 0, 1, 1700000002000, NULL, NULL)",
        "INSERT INTO router_layer(run_id, layer, step, entropy, aux_loss, top1, tokens)"
        " VALUES(1, 3, 5, 0.5, NULL, 0.9, 64)",
        "INSERT INTO router_expert(run_id, layer, expert, step, load, prob, first)"
        " VALUES(1, 3, 0, 5, 0.25, 0.4, 0.125), (1, 3, 1, 5, 0.75, 0.6, NULL)",
        "INSERT INTO router_domain(run_id, layer, expert, domain, step, load)"
        " VALUES(1, 3, 1, 'code/c', 5, 1)",
        "INSERT INTO router_domain_layer(run_id, layer, domain, step, entropy, top1, tokens)"
        " VALUES(1, 3, 'code/c', 5, 0.25, 0.75, 32)",
        "INSERT INTO router_eval(run_id, step, task, domain, layer, expert, load, prob)"
        " VALUES(1, 6, 'arc', '', 3, 0, 1, 1)",
        "INSERT INTO router_eval_layer(run_id, step, task, domain, layer, entropy, tokens)"
        " VALUES(1, 6, 'arc', '', 3, 0, 64)",
        "UPDATE event SET t_ms = 1700000001000",
        "UPDATE segment SET pid = 1, boot_id = 'b', started_ms = 1700000000100,"
        " ended_ms = 1700000002500",
        "UPDATE env SET os = '', tool_version = '0', compiler = '', libs = '{}'",
        "INSERT INTO tag SELECT id, 'team', 'blue' FROM run WHERE name = 'plain'",
        "UPDATE run SET note = 'first\nsecond',"
        " parent_run_id = (SELECT id FROM run WHERE name LIKE '%evil%') WHERE name = 'plain'",
        "UPDATE run SET deleted_ms = 1700000003000 WHERE name = 'deleted'",
        NULL};
    return run_all(path, sql);
}

int main(int argc, char **argv)
{
    struct history *h = NULL;
    memset(long_key, 'k', sizeof long_key - 1);
    memset(long_value, 'v', sizeof long_value - 1);
    for (size_t i = 0; i + 2 < sizeof long_wide; i += 2)
        memcpy(long_wide + i, "\xc3\xa9", 2);
    int rc = argc >= 2 ? history_open(argv[1], &h, &err) : -1;
    if (rc == 0)
        rc = plain(h);
    if (rc == 0)
        rc = hostile(h);
    if (rc == 0)
        rc = third(h, "cccc2222cccc2222cccc2222cccc2222", "deleted", 0);
    if (rc == 0 && argc > 2)
        rc = third(h, "dddd3333dddd3333dddd3333dddd3333", "many", atol(argv[2]));
    if (rc == 0 && argc > 2)
        rc = third(h, "dddd3333dddd3333dddd3333dddd3334", "many", 0);
    history_close(h);
    if (rc == 0)
        rc = settle(argv[1]);
    if (rc == 0 && argc > 3)
        rc = age(argv[1]);
    if (rc != 0)
        fprintf(stderr, "fill_export: %s\n", err.text);
    return rc != 0;
}
