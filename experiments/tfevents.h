/* TensorBoard's event files: TFRecord frames around protobuf messages, of which only the few fields
 * that curves and texts need are written here; a protobuf library would not make this shorter.
 * Frame: length (8 bytes), masked CRC-32C of them, bytes, masked CRC-32C of these; little-endian.
 */
#ifndef EXPERIMENTS_TFEVENTS_H
#define EXPERIMENTS_TFEVENTS_H

#include "datasets/unicode.h"

#include <stdio.h>

struct tfevents { /* zeroed before the first use */
    FILE *f;
    struct buf event, value, part;
};
void tfevents_free(struct tfevents *t); /* f stays open */

/* time: seconds since 1970. What cannot be written shows as an error of f; E-MEMORY. tag and text
 * are UTF-8 [n]. A scalar is a 32-bit float, as TensorBoard has them. */
int tfevents_start(struct tfevents *t, double time, struct pesc_error *err) MUST_USE;
int tfevents_scalar(struct tfevents *t, double time, long long step, const char *tag, size_t n,
                    double value, struct pesc_error *err) MUST_USE;
int tfevents_text(struct tfevents *t, double time, const char *tag, const char *markdown, size_t n,
                  struct pesc_error *err) MUST_USE;

uint32_t crc32c(const void *data, size_t n);

#endif
