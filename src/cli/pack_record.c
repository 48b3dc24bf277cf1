#include "config.h"
#include "cli/cmd_pack.h"

#include "cli/db_arg.h"
#include "core/json.h"
#include "experiments/history.h"
#include "experiments/rundir.h"
#include "experiments/runlist.h"

#include <string.h>

/* Where runs rebuild finds it: in the folder of its run, or by the list of the history. */
static int keep(const char *db, const char *run, const struct history_pack *p,
                struct pesc_error *err)
{
    if (!run)
        return runlist_add(db, p->path, err);
    json_t *line =
        json_pack("{s:s, s:o, s:o, s:o, s:o, s:I}", "digest", p->digest, "name", json_text(p->name),
                  "version", json_text(p->version), "path", json_text(p->path), "manifest",
                  json_text(p->manifest), "t_ms", (json_int_t)p->t_ms);
    json_put(&line, "model_fingerprint", json_text(p->model_fingerprint));
    if (p->license)
        json_put(&line, "license", json_text(p->license));
    int rc = line ? rundir_append_to(run, "packs.jsonl", line, err)
                  : FAIL(err, MEMORY, "no memory for a pack");
    json_decref(line);
    return rc;
}

static int record(const char *run, const char *digest, const char *path, const char *manifest,
                  const json_t *m, struct notes *notes, struct pesc_error *err)
{
    char db[PATH_CAP], real[PATH_CAP];
    struct history *h;
    struct pesc_error e = {0};
    TRY(path_real(real, path, err));
    TRY(cli_db_path(NULL, db, err));
    const struct history_pack p = {
        .digest = digest,
        .name = json_string_value(json_object_get(m, "name")),
        .version = json_string_value(json_object_get(m, "version")),
        .origin = run ? "exported" : "imported",
        .run_uuid = json_string_value(json_object_get(json_object_get(m, "training"), "run")),
        .model_fingerprint =
            json_string_value(json_object_get(json_object_get(m, "base"), "fingerprint")),
        .license = json_string_value(json_object_get(m, "license")),
        .path = real,
        .manifest = manifest,
        .t_ms = history_now(),
    };
    if (keep(db, run, &p, &e) != 0)
        note(notes, "W-DB-LIST", "runs rebuild would not find this pack: %s", e.text);
    TRY(history_open(db, &h, err));
    int rc = history_pack(h, &p, err);
    history_close(h);
    return rc;
}

void pack_record(struct cli *cli, const char *run, const char *digest, const char *path,
                 const char *manifest)
{
    struct pesc_error err = {0};
    struct notes notes = cli_notes(cli);
    json_t *m = json_parse(manifest, strlen(manifest), NULL, NULL, 0);
    if (!m || record(run, digest, path, manifest, m, &notes, &err) != 0)
        note(&notes, "W-DB", "the pack is not in the history: %s",
             err.code ? err.text : "no memory");
    json_decref(m);
}
