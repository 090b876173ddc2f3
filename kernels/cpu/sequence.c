/* Steps on the host: nothing is recorded, and reports are there at once. */
#include "cpu.h"

gmv_status GMV_CPU(set_step)(gmv_backend *b, gmv_step *to, const gmv_step *values)
{
    (void)b;
    *to = *values;
    return GMV_OK;
}

gmv_status GMV_CPU(sequence)(gmv_backend *b, const gmv_sequence_key *key, gmv_sequence_body *body, void *context)
{
    (void)b;
    (void)key;
    return body(context);
}

/* One operation after the other is what the CPU does. */
gmv_status GMV_CPU(aside_begin)(gmv_backend *b)
{
    (void)b;
    return GMV_OK;
}

gmv_status GMV_CPU(aside_end)(gmv_backend *b)
{
    (void)b;
    return GMV_OK;
}

gmv_status GMV_CPU(aside_wait)(gmv_backend *b)
{
    (void)b;
    return GMV_OK;
}

gmv_status GMV_CPU(report)(gmv_backend *b, const void *from, int64_t bytes)
{
    gmv_cpu_state *state = b->state;
    GMV_CHECK(bytes <= GMV_REPORT_BYTES && state->reported - state->collected < GMV_REPORTS);
    memcpy(state->report[state->reported++ % GMV_REPORTS], from, (size_t)bytes);
    return GMV_OK;
}

gmv_status GMV_CPU(collect)(gmv_backend *b, void *host_to, int64_t bytes)
{
    gmv_cpu_state *state = b->state;
    GMV_CHECK(bytes <= GMV_REPORT_BYTES && state->collected < state->reported);
    memcpy(host_to, state->report[state->collected++ % GMV_REPORTS], (size_t)bytes);
    return GMV_OK;
}
