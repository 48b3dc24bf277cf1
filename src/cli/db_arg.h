/* Where the history lies, the same for every command that has a --db option. */
#ifndef PESC_CLI_DB_ARG_H
#define PESC_CLI_DB_ARG_H

#include "core/file.h"

#define DB_ARG_HELP "history database; PESC_DB and the XDG data folder come after it"

/* --db (may be NULL), else PESC_DB, else the XDG default. out: PATH_CAP bytes. */
int cli_db_path(const char *db_option, char *out, struct pesc_error *err) MUST_USE;

#endif
