#include "config.h"
#include "cli/data_facts.h"

json_t *data_reasons_json(const long *skips)
{
    json_t *o = json_object();
    for (int k = 0; k < SKIP_COUNT; k++)
        json_put(&o, data_skip_name((enum data_skip)k), json_integer(skips[k]));
    return o;
}

json_t *data_source_json(const struct dataset_source *s)
{
    const struct {
        const char *key;
        long n;
    } counts[] = {
        {"read", s->read},           {"used", s->used},     {"skipped", s->skipped},
        {"truncated", s->truncated}, {"split", s->split},   {"pieces_dropped", s->pieces_dropped},
        {"samples", s->samples},     {"tokens", s->tokens}, {"trained_tokens", s->trained_tokens}};
    json_t *o = json_pack("{s:s, s:s, s:I, s:s, s:o}", "name", s->name, "format",
                          data_format_name(s->format), "bytes", (json_int_t)s->bytes, "sha256",
                          s->sha256, "skipped_by_reason", data_reasons_json(s->skips));
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        json_put(&o, counts[i].key, json_integer(counts[i].n));
    if (*s->archive_sha256)
        json_put(&o, "archive_sha256", json_string(s->archive_sha256));
    return o;
}

json_t *data_sources_json(const struct dataset *d)
{
    json_t *list = json_array();
    for (long i = 0; i < dataset_source_count(d); i++)
        json_add(&list, data_source_json(dataset_source_at(d, i)));
    return list;
}
