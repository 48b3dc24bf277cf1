/* Whether a file is one well-formed XML element, with what an HTML page begins with: tags nest,
 * attributes are quoted and named once, text has no stray < or &, no control characters, valid
 * UTF-8, ids differ, and what refers to one finds it. Says what is wrong.
 *   well_formed FILE */
#include "config.h"
#include "datasets/unicode.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAP = 64 << 20, DEPTH = 100, IDS = 100000, NAME = 64 };
static char *text, *at;
static char open_tags[DEPTH][NAME];
static int depth, elements;
static char *ids[IDS], *refs[IDS];
static long n_ids, n_refs;

static int wrong(const char *what)
{
    long line = 1;
    for (char *s = text; s < at; s++)
        line += *s == '\n';
    printf("line %ld: %s: %.60s\n", line, what, at);
    exit(1);
}

static void reference(void)
{
    static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (int i = 0; i < 5; i++)
        if (!strncmp(at, known[i], strlen(known[i]))) {
            at += strlen(known[i]);
            return;
        }
    wrong("a stray &");
}

static void name(char *out)
{
    int n = 0;
    while (isalnum((unsigned char)*at) || *at == '-' || *at == ':') {
        if (n == NAME - 1)
            wrong("a long name");
        out[n++] = *at++;
    }
    out[n] = 0;
    if (n == 0)
        wrong("a name is missing");
}

static char *value(void)
{
    if (at[0] != '=' || at[1] != '"')
        wrong("an attribute without a quoted value");
    at += 2;
    char *from = at;
    while (*at != '"') {
        if (*at == '<' || *at == 0)
            wrong("a value without an end");
        if (*at == '&')
            reference();
        else
            at++;
    }
    return strndup(from, (size_t)(at++ - from));
}

static void add(char **list, long *n, char *v)
{
    if (*n == IDS)
        wrong("too many ids");
    list[(*n)++] = v;
}

static void keep(const char *key, char *v)
{
    if (!strcmp(key, "id")) {
        add(ids, &n_ids, v);
    } else if (!strcmp(key, "href")) {
        if (*v != '#')
            wrong("a link that leaves the file");
        add(refs, &n_refs, v + 1);
    } else if (!strcmp(key, "aria-labelledby")) {
        for (char *word = v, *next; word; word = next) {
            next = strchr(word, ' ');
            if (next)
                *next++ = 0;
            add(refs, &n_refs, word);
        }
    } else {
        if (!strcmp(key, "src") || !strncmp(key, "on", 2) || !strcmp(key, "style"))
            wrong("an attribute that must not be there");
        free(v);
    }
}

static void tag(void)
{
    char element[NAME], key[20][NAME];
    int n = 0, closing = at[1] == '/';
    at += 1 + closing;
    name(element);
    if (closing) {
        if (*at++ != '>' || depth == 0 || strcmp(open_tags[--depth], element))
            wrong("an end without its beginning");
        return;
    }
    elements++;
    while (isspace((unsigned char)*at)) {
        while (isspace((unsigned char)*at))
            at++;
        if (*at == '>' || *at == '/')
            break;
        if (n == 20)
            wrong("many attributes");
        name(key[n]);
        for (int i = 0; i < n; i++)
            if (!strcmp(key[i], key[n]))
                wrong("an attribute twice");
        char *v = value();
        keep(key[n++], v);
    }
    int empty = *at == '/';
    at += empty;
    if (*at++ != '>')
        wrong("a tag without an end");
    if (!empty) {
        if (depth == DEPTH)
            wrong("too deep");
        strcpy(open_tags[depth++], element);
    }
    if (!strcmp(element, "script"))
        wrong("a script");
}

int main(int argc, char **argv)
{
    FILE *f = argc == 2 ? fopen(argv[1], "rb") : NULL;
    text = f ? malloc(CAP) : NULL;
    size_t n = text ? fread(text, 1, CAP - 1, f) : 0;
    if (n == 0)
        return 2;
    fclose(f);
    text[n] = 0;
    at = text;
    if (strlen(text) != n || utf8_valid(text, n, NULL, NULL) != n)
        wrong("no UTF-8");
    for (; *at; at++)
        if (((unsigned char)*at < 0x20 && *at != '\n') || *at == 0x7f)
            wrong("a control character");
    at = text;
    if (!strncmp(at, "<!DOCTYPE html>\n", 16))
        at += 16;
    while (*at) {
        if (*at == '<')
            tag();
        else if (*at == '&')
            reference();
        else if (*at == '>' || (depth == 0 && !isspace((unsigned char)*at)))
            wrong("text where none may be");
        else
            at++;
        if (depth == 0 && elements > 0 && *at && *at != '\n')
            wrong("more than one element");
    }
    if (depth || !elements)
        wrong("an element without an end");
    for (long i = 0; i < n_refs; i++) {
        int found = 0;
        for (long k = 0; k < n_ids; k++)
            found += !strcmp(refs[i], ids[k]);
        if (found != 1) {
            printf("#%s is there %d times\n", refs[i], found);
            return 1;
        }
    }
    for (long i = 0; i < n_ids; i++)
        for (long k = 0; k < i; k++)
            if (!strcmp(ids[i], ids[k])) {
                printf("id %s is there twice\n", ids[i]);
                return 1;
            }
    return 0;
}
