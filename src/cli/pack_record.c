#include "config.h"
#include "cli/cmd_pack.h"

#include "cli/db_arg.h"
#include "core/json.h"
#include "experiments/history.h"

#include <string.h>

static int record(const char *origin, const char *digest, const char *path, const char *manifest,
                  const json_t *m, struct pesc_error *err)
{
    char db[PATH_CAP], real[PATH_CAP];
    struct history *h;
    TRY(path_real(real, path, err));
    TRY(cli_db_path(NULL, db, err));
    TRY(history_open(db, &h, err));
    const struct history_pack p = {
        .digest = digest,
        .name = json_string_value(json_object_get(m, "name")),
        .version = json_string_value(json_object_get(m, "version")),
        .origin = origin,
        .run_uuid = json_string_value(json_object_get(json_object_get(m, "training"), "run")),
        .model_fingerprint =
            json_string_value(json_object_get(json_object_get(m, "base"), "fingerprint")),
        .license = json_string_value(json_object_get(m, "license")),
        .path = real,
        .manifest = manifest,
    };
    int rc = history_pack(h, &p, err);
    history_close(h);
    return rc;
}

void pack_record(struct cli *cli, const char *origin, const char *digest, const char *path,
                 const char *manifest)
{
    struct pesc_error err = {0};
    struct notes notes = cli_notes(cli);
    json_t *m = json_parse(manifest, strlen(manifest), NULL, NULL, 0);
    if (!m || record(origin, digest, path, manifest, m, &err) != 0)
        note(&notes, "W-DB", "the pack is not in the history: %s",
             err.code ? err.text : "no memory");
    json_decref(m);
}
