#include "config.h"
#include "experiments/tfevents.h"

#include <string.h>

/* Castagnoli's polynomial, reflected, four bits at a time. */
uint32_t crc32c(const void *data, size_t n)
{
    static const uint32_t of[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    const unsigned char *p = data;
    uint32_t c = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        c = c >> 4 ^ of[c & 15];
        c = c >> 4 ^ of[c & 15];
    }
    return ~c;
}

static void put_le(FILE *f, uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++)
        putc((int)(x >> (8 * i) & 0xff), f);
}

static uint32_t masked(const void *data, size_t n)
{
    uint32_t c = crc32c(data, n);
    return (c >> 15 | c << 17) + 0xa282ead8;
}

static void put_frame(FILE *f, const struct buf *b)
{
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)b->n >> (8 * i));
    fwrite(length, 1, 8, f);
    put_le(f, masked(length, 8), 4);
    fwrite(b->p, 1, b->n, f);
    put_le(f, masked(b->p, b->n), 4);
}

/* Protobuf's wire format: key is field << 3 | kind. */
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static int put_varint(struct buf *b, uint64_t x, struct pesc_error *err)
{
    unsigned char out[10];
    size_t n = 0;
    for (; x > 0x7f; x >>= 7)
        out[n++] = (unsigned char)(x | 0x80);
    out[n++] = (unsigned char)x;
    return buf_put(b, out, n, err);
}

static int put_int(struct buf *b, unsigned field, long long x, struct pesc_error *err)
{
    TRY(put_varint(b, field << 3 | VARINT, err));
    return put_varint(b, (uint64_t)x, err);
}

static int put_fixed(struct buf *b, unsigned field, unsigned kind, uint64_t bits,
                     struct pesc_error *err)
{
    unsigned char out[8];
    for (int i = 0; i < 8; i++)
        out[i] = (unsigned char)(bits >> (8 * i));
    TRY(put_varint(b, field << 3 | kind, err));
    return buf_put(b, out, kind == FIXED64 ? 8 : 4, err);
}

static int put_double(struct buf *b, unsigned field, double x, struct pesc_error *err)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return put_fixed(b, field, FIXED64, bits, err);
}

static int put_float(struct buf *b, unsigned field, double x, struct pesc_error *err)
{
    float y = (float)x;
    uint32_t bits;
    memcpy(&bits, &y, sizeof bits);
    return put_fixed(b, field, FIXED32, bits, err);
}

static int put_bytes(struct buf *b, unsigned field, const void *data, size_t n,
                     struct pesc_error *err)
{
    TRY(put_varint(b, field << 3 | BYTES, err));
    TRY(put_varint(b, n, err));
    return n ? buf_put(b, data, n, err) : 0;
}

/* Event: wall_time 1, step 2, file_version 3, summary 5. Summary: value 1. */
int tfevents_start(struct tfevents *t, double time, struct pesc_error *err)
{
    static const char version[] = "brain.Event:2";
    t->event.n = 0;
    TRY(put_double(&t->event, 1, time, err));
    TRY(put_bytes(&t->event, 3, version, strlen(version), err));
    put_frame(t->f, &t->event);
    return 0;
}

static int put_value(struct tfevents *t, double time, long long step, struct pesc_error *err)
{
    t->event.n = t->part.n = 0;
    TRY(put_bytes(&t->part, 1, t->value.p, t->value.n, err));
    TRY(put_double(&t->event, 1, time, err));
    TRY(put_int(&t->event, 2, step, err));
    TRY(put_bytes(&t->event, 5, t->part.p, t->part.n, err));
    put_frame(t->f, &t->event);
    return 0;
}

/* Value: tag 1, simple_value 2, tensor 8, metadata 9. */
int tfevents_scalar(struct tfevents *t, double time, long long step, const char *tag, size_t n,
                    double value, struct pesc_error *err)
{
    t->value.n = 0;
    TRY(put_bytes(&t->value, 1, tag, n, err));
    TRY(put_float(&t->value, 2, value, err));
    return put_value(t, time, step, err);
}

/* TensorProto: dtype 1 (7: string), tensor_shape 2 (dim 2 (size 1)), string_val 8. SummaryMetadata:
 * plugin_data 1 (plugin_name 1), data_class 4 (2: tensor). */
int tfevents_text(struct tfevents *t, double time, const char *tag, const char *markdown, size_t n,
                  struct pesc_error *err)
{
    static const unsigned char shape[] = {0x12, 2, 0x08, 1},
                               plugin[] = {0x0a, 4, 't', 'e', 'x', 't'};
    t->value.n = t->part.n = 0;
    TRY(put_bytes(&t->value, 1, tag, strlen(tag), err));
    TRY(put_int(&t->part, 1, 7, err));
    TRY(put_bytes(&t->part, 2, shape, sizeof shape, err));
    TRY(put_bytes(&t->part, 8, markdown, n, err));
    TRY(put_bytes(&t->value, 8, t->part.p, t->part.n, err));
    t->part.n = 0;
    TRY(put_bytes(&t->part, 1, plugin, sizeof plugin, err));
    TRY(put_int(&t->part, 4, 2, err));
    TRY(put_bytes(&t->value, 9, t->part.p, t->part.n, err));
    return put_value(t, time, 0, err);
}

void tfevents_free(struct tfevents *t)
{
    buf_free(&t->event);
    buf_free(&t->value);
    buf_free(&t->part);
}
