#include "config.h"
#include "cli/cmd.h"

#include <stdlib.h>

static void show_note(void *ctx, const char *code, const char *text)
{
    struct cli *cli = ctx;
    fprintf(cli->talk, "pesc: warning[%s] %s\n", code, text);
}

struct notes cli_notes(struct cli *cli)
{
    return (struct notes){show_note, cli};
}

void cli_error(struct cli *cli, const struct pesc_error *err)
{
    if (cli->errors_json) {
        json_t *o = json_pack("{s:s, s:i, s:s}", "error", err->name, "exit", err->exit_status,
                              "text", err->text);
        char *line = o ? json_written(o, JSON_COMPACT) : NULL;
        int shown = line && fprintf(cli->talk, "%s\n", line) > 0;
        free(line);
        json_decref(o);
        if (shown)
            return;
    }
    fprintf(cli->talk, "pesc: error[%s] %s\n", err->name, err->text);
}
