#include "../fast_rows.h"

#include <string.h>

#define NAME_(isa) gmv_fast_rows_##isa
#define NAME(isa)  NAME_(isa)

enum { most_count = (1 << 24) - 1, escape = 255 };

/* Of whole numbers: a negative one is huge without its sign. The loops are written so that vectors come out of them. */
#define COUNT_INTEGERS(type, as)                                                                                       \
    do {                                                                                                               \
        const type *from = in.at;                                                                                      \
        as low = (as)-1, high = 0;                                                                                     \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            as wide = (as)from[i];                                                                                     \
            low = wide < low ? wide : low;                                                                             \
            high = wide > high ? wide : high;                                                                          \
            count8[i] = (uint8_t)(wide < escape ? wide : escape);                                                      \
        }                                                                                                              \
        return seen((uint64_t)low, (uint64_t)high, false);                                                             \
    } while (0)

/* Of reals: out of range, no whole number and NaN do not come back as they were. */
#define COUNT_REALS(type)                                                                                              \
    do {                                                                                                               \
        const type *from = in.at;                                                                                      \
        int32_t low = INT32_MAX, high = 0, differ = 0;                                                                 \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            type within = from[i] < (type)most_count ? from[i] : (type)most_count;                                     \
            int32_t whole = (int32_t)(within > (type)-1 ? within : (type)-1);                                          \
            differ |= (type)whole != from[i];                                                                          \
            low = whole < low ? whole : low;                                                                           \
            high = whole > high ? whole : high;                                                                        \
            count8[i] = (uint8_t)(whole < escape ? whole : escape);                                                    \
        }                                                                                                              \
        return seen((uint64_t)low, (uint64_t)high, differ != 0);                                                       \
    } while (0)

static int seen(uint64_t low, uint64_t high, bool differ)
{
    bool bad = differ || high > most_count || low > most_count;
    return (bad ? GMV_COUNTS_BAD : 0) | (low == 0 ? GMV_COUNTS_ZERO : 0) | (high >= escape ? GMV_COUNTS_LARGE : 0);
}

static int counts(gmv_numbers in, int64_t n, uint8_t *restrict count8)
{
    bool negative = in.kind == GMV_NUMBER_INT;
    if (in.kind == GMV_NUMBER_FLOAT) {
        if (in.size == 4) {
            COUNT_REALS(float);
        }
        COUNT_REALS(double);
    }
    switch (in.size) {
    case 8:
        COUNT_INTEGERS(uint64_t, uint64_t);
    case 4:
        COUNT_INTEGERS(uint32_t, uint32_t);
    case 2:
        if (negative) {
            COUNT_INTEGERS(int16_t, uint32_t);
        }
        COUNT_INTEGERS(uint16_t, uint32_t);
    default:
        if (negative) {
            COUNT_INTEGERS(int8_t, uint32_t);
        }
        COUNT_INTEGERS(uint8_t, uint32_t);
    }
}

#define COLUMNS(type)                                                                                                  \
    do {                                                                                                               \
        const type *from = in.at;                                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            int32_t narrow = (int32_t)from[i];                                                                         \
            column[i] = narrow >= 0 && (type)narrow == from[i] ? narrow : -1;                                          \
        }                                                                                                              \
    } while (0)

static void columns(gmv_numbers in, int64_t n, int32_t *restrict column)
{
    bool negative = in.kind == GMV_NUMBER_INT;
    switch (negative ? in.size : -in.size) {
    case 1:
        COLUMNS(int8_t);
        break;
    case 2:
        COLUMNS(int16_t);
        break;
    case 4:
        COLUMNS(int32_t);
        break;
    case 8:
        COLUMNS(int64_t);
        break;
    case -1:
        COLUMNS(uint8_t);
        break;
    case -2:
        COLUMNS(uint16_t);
        break;
    case -4:
        COLUMNS(uint32_t);
        break;
    default:
        COLUMNS(uint64_t);
    }
}

static bool ascends(const int32_t *column, int64_t n)
{
    int descents = 0;
    for (int64_t j = 1; j < n; j++) {
        descents |= column[j] <= column[j - 1];
    }
    return descents == 0;
}

static bool genes(const int32_t *column, int64_t n, uint16_t *restrict gene16)
{
    int descents = 0;
    gene16[0] = (uint16_t)column[0];
    for (int64_t j = 1; j < n; j++) {
        descents |= column[j] <= column[j - 1];
        gene16[j] = (uint16_t)column[j];
    }
    return descents == 0;
}

/* Without a branch: what is not wanted is written over. */
static int64_t keep(const int32_t *column, const uint8_t *count, int64_t n, const int32_t *map, uint16_t *gene16,
                    uint32_t *gene32, uint8_t *kept)
{
    int64_t k = 0;
    for (int64_t j = 0; j < n; j++) {
        int32_t gene = map == NULL ? column[j] : map[column[j]];
        uint8_t only = count[j];
        if (gene16 != NULL) {
            gene16[k] = (uint16_t)gene;
        } else {
            gene32[k] = (uint32_t)gene;
        }
        kept[k] = only;
        k += (gene >= 0) & (only > 0);
    }
    return k;
}

extern const gmv_fast_rows NAME(GMV_CPU_ISA);
const gmv_fast_rows NAME(GMV_CPU_ISA) = {counts, columns, ascends, genes, keep};
