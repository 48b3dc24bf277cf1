#include "config.h"
#include "cli/db_arg.h"

#include "experiments/history.h"

#include <stdlib.h>

int cli_db_path(const char *db_option, char *out, struct pesc_error *err)
{
    const char *db = db_option && *db_option ? db_option : getenv("PESC_DB");
    return history_default_path(db, getenv("XDG_DATA_HOME"), getenv("HOME"), out, err);
}
