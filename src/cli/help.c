#include "config.h"
#include "cli/cmd.h"

#include <stdlib.h>
#include <string.h>

enum { WIDTH = 79, COMMAND_COLUMN = 13, OPTION_COLUMN = 33, OPTION_HEAD = 30 };

/* Words within WIDTH columns; at: where the first one stands, indent: where further lines begin.
 * An empty line of the text stays one. */
static void wrap(FILE *f, const char *text, int at, int indent)
{
    int fresh = 1; /* nothing on this line yet */
    while (*text) {
        int n = (int)strcspn(text, " \n");
        if (!fresh && at + 1 + n > WIDTH) {
            fprintf(f, "\n%*s", indent, "");
            at = indent;
            fresh = 1;
        }
        if (!fresh)
            fputc(' ', f);
        fprintf(f, "%.*s", n, text);
        at += n + !fresh;
        fresh = 0;
        text += n;
        if (text[0] == '\n' && text[1] == '\n') {
            fprintf(f, "\n\n%*s", indent, "");
            at = indent;
            fresh = 1;
            text++;
        }
        text += *text != 0;
    }
    fputc('\n', f);
}

static void option(FILE *f, const struct opt *o, const void *defaults)
{
    char head[160], value[64], text[512];
    snprintf(head, sizeof head, "%s%s%s%s%s%s", o->name[1] ? "--" : "-", o->name,
             o->alias ? (o->alias[1] ? ", --" : ", -") : "", o->alias ? o->alias : "",
             o->kind == OPT_FLAG ? "" : " ", o->kind == OPT_FLAG ? "" : o->arg);
    const char *d = o->kind == OPT_FLAG && !*(const int *)((const char *)defaults + o->offset)
                        ? NULL
                        : opts_text(o, defaults, value, sizeof value);
    snprintf(text, sizeof text, d && *d ? "%s [%s]" : "%s", o->help, d);
    if (strlen(head) > OPTION_HEAD)
        fprintf(f, "  %s\n%*s", head, OPTION_COLUMN, "");
    else
        fprintf(f, "  %-*s ", OPTION_HEAD, head);
    wrap(f, text, OPTION_COLUMN, OPTION_COLUMN);
}

void cmd_help(FILE *f, const char *path, const struct cmd *cmd)
{
    char usage[512];
    snprintf(usage, sizeof usage, "Usage: %s %s", path, cmd->usage);
    wrap(f, usage, 0, 7);
    fputc('\n', f);
    wrap(f, cmd->summary, 0, 0);
    if (cmd->details) {
        fputc('\n', f);
        wrap(f, cmd->details, 0, 0);
    }
    if (cmd->subs) {
        fprintf(f, "\nCommands:\n");
        for (int i = 0; cmd->subs[i]; i++) {
            fprintf(f, "  %-10s ", cmd->subs[i]->name);
            wrap(f, cmd->subs[i]->summary, COMMAND_COLUMN, COMMAND_COLUMN);
        }
    }
    void *defaults = opts_count(cmd) ? calloc(1, cmd->opts_size) : NULL;
    if (!defaults)
        return;
    if (cmd->defaults)
        cmd->defaults(defaults);
    fprintf(f, "\nOptions:\n");
    for (const struct opt *o = cmd->opts; o->name; o++)
        option(f, o, defaults);
    free(defaults);
}
