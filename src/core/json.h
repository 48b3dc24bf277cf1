/* Strict JSON on jansson: duplicate keys, NUL in strings, bad UTF-8, lone surrogates, trailing
 * text and deep nesting are refused. The one home of jansson's loading; trees are jansson's. */
#ifndef PESC_CORE_JSON_H
#define PESC_CORE_JSON_H

#include "core/error.h"

#include <jansson.h>

enum json_fault {
    JSON_FAULT_SYNTAX, /* also truncated, too deep, numbers out of range */
    JSON_FAULT_DUP,
    JSON_FAULT_UTF8,
    JSON_FAULT_NUL,
    JSON_FAULT_MEMORY
};

/* Parses text[len]. NULL on failure, with fault (may be NULL), and a short reason in why (may be
 * NULL, size why_size) that names line and column. */
json_t *json_parse(const char *text, size_t len, enum json_fault *fault, char *why,
                   size_t why_size);

/* The same for text that is data and nothing else: \u0000 may stand in it. */
json_t *json_parse_nul(const char *text, size_t len, enum json_fault *fault, char *why,
                       size_t why_size);

/* Reads and parses a file of at most cap bytes; any JSON fault gets the given code. */
json_t *json_file(const char *path, size_t cap, enum pesc_code code, struct pesc_error *err);

/* json_dumps, but NULL where that leaves out what it had no memory for. Caller frees. */
char *json_written(const json_t *v, size_t flags);

/* Canonical text: sorted keys, no white space, UTF-8. Caller frees. NULL without memory. */
char *json_canonical(const json_t *v);

/* A copy, of the first level or of all; NULL without memory, where jansson's leave keys out. */
json_t *json_copy_whole(const json_t *v);
json_t *json_copy_deep(const json_t *v);

/* Building a tree without a look at each step: v (taken) goes in; without memory, or when v is NULL
 * for want of it, the tree is freed and *o becomes NULL, and stays that. */
void json_put(json_t **o, const char *key, json_t *v);
void json_add(json_t **list, json_t *v);

/* Number of '{' outside strings: a cheap bound on objects before anything is built. */
size_t json_count_objects(const char *text, size_t len);

#endif
