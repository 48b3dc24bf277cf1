#include "config.h"
#include "experiments/history.h"

#include "core/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

int history_uuid(char out[33], struct pesc_error *err)
{
    unsigned char raw[16];
    size_t n = 0;
    while (n < sizeof raw) {
        ssize_t got = getrandom(raw + n, sizeof raw - n, 0);
        if (got < 0 && errno != EINTR)
            return FAIL(err, IO, "no random numbers: %s", strerror(errno));
        if (got > 0)
            n += (size_t)got;
    }
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", raw[i]);
    return 0;
}

int history_default_path(const char *pesc_db, const char *xdg_data_home, const char *home,
                         char *out, struct pesc_error *err)
{
    char dir[PATH_CAP];
    int n;
    if (pesc_db && *pesc_db) {
        if (snprintf(out, PATH_CAP, "%s", pesc_db) >= PATH_CAP)
            return FAIL(err, DB, "PESC_DB is too long: %.200s...", pesc_db);
        return 0;
    }
    /* The XDG specification: a relative path is to be ignored. */
    if (xdg_data_home && xdg_data_home[0] == '/')
        n = snprintf(dir, sizeof dir, "%s/pesc", xdg_data_home);
    else if (home && home[0] == '/')
        n = snprintf(dir, sizeof dir, "%s/.local/share/pesc", home);
    else
        return FAIL(err, DB, "no place for the history: set HOME, PESC_DB or give --db");
    if (n >= (int)sizeof dir)
        return FAIL(err, DB, "path too long: %.200s...", dir);
    TRY(path_join(out, dir, "history.db", err));
    /* A folder that cannot be made is reported by whoever opens the database for writing. */
    if (!path_is_dir(dir)) {
        *strrchr(dir, '/') = 0;
        if (dir_make_all(dir, NULL) == 0) {
            dir[strlen(dir)] = '/';
            mkdir(dir, 0700);
        }
    }
    return 0;
}
