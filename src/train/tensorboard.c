/* Event files as TensorBoard reads them: records of TFRecord, each an Event of tensorflow/core/util/event.proto. Of that few
 * fields are needed, in the wire format of protocol buffers. */
#include "metric_logs.h"

#include <string.h>

/* Numbers and types of fields, as they stand before their values. */
enum {
    event_time = 1 << 3 | 1,    /* double */
    event_step = 2 << 3 | 0,    /* varint */
    event_version = 3 << 3 | 2, /* text */
    event_summary = 5 << 3 | 2, /* message */
    summary_value = 1 << 3 | 2, /* message */
    value_tag = 1 << 3 | 2,     /* text */
    value_simple = 2 << 3 | 5   /* float */
};
enum { most_tag = 100, most_value = most_tag + 16, most_event = GMV_MOST_SCALARS * (most_value + 4) + 64 };

typedef struct buffer {
    size_t n;
    unsigned char at[most_event];
} buffer;

/* ---- protocol buffers ---- */

static void put_bytes(buffer *to, const void *bytes, size_t n)
{
    memcpy(to->at + to->n, bytes, n);
    to->n += n;
}

static void put_varint(buffer *to, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) {
        to->at[to->n++] = (unsigned char)(value | 0x80);
    }
    to->at[to->n++] = (unsigned char)value;
}

/* Of 4 or 8 bytes, the lowest first. */
static void put_fixed(buffer *to, uint64_t bits, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        to->at[to->n++] = (unsigned char)(bits >> (8 * i));
    }
}

static void put_double(buffer *to, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_fixed(to, bits, sizeof bits);
}

static void put_float(buffer *to, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_fixed(to, bits, sizeof bits);
}

static void put_field(buffer *to, unsigned char field, const void *bytes, size_t n)
{
    to->at[to->n++] = field;
    put_varint(to, n);
    put_bytes(to, bytes, n);
}

/* ---- records ---- */

/* CRC-32C (RFC 3720, B.4), reflected. */
static uint32_t crc32c(const unsigned char *at, size_t n)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
        }
    }
    return ~crc;
}

/* As records have it: a sum of bytes that hold their own sums would be a weak one. */
static uint32_t masked(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static void put_record(FILE *out, const buffer *event)
{
    buffer head = {0}, tail = {0};
    put_fixed(&head, event->n, 8);
    put_fixed(&head, masked(crc32c(head.at, 8)), 4);
    put_fixed(&tail, masked(crc32c(event->at, event->n)), 4);
    fwrite(head.at, 1, head.n, out);
    fwrite(event->at, 1, event->n, out);
    fwrite(tail.at, 1, tail.n, out);
}

void gmv_tensorboard_begin(FILE *out, double time)
{
    static const char version[] = "brain.Event:2";
    buffer event = {0};
    event.at[event.n++] = event_time;
    put_double(&event, time);
    put_field(&event, event_version, version, sizeof version - 1);
    put_record(out, &event);
}

void gmv_tensorboard_put(FILE *out, double time, int64_t step, int n, const gmv_scalar *scalar)
{
    buffer event = {0}, summary = {0};
    for (int i = 0; i < n && i < GMV_MOST_SCALARS; i++) {
        buffer value = {0};
        char tag[most_tag];
        snprintf(tag, sizeof tag, "%s/%s", scalar[i].split, scalar[i].name);
        put_field(&value, value_tag, tag, strlen(tag));
        value.at[value.n++] = value_simple;
        put_float(&value, (float)scalar[i].value);
        put_field(&summary, summary_value, value.at, value.n);
    }
    event.at[event.n++] = event_time;
    put_double(&event, time);
    event.at[event.n++] = event_step;
    put_varint(&event, (uint64_t)step);
    put_field(&event, event_summary, summary.at, summary.n);
    put_record(out, &event);
}
