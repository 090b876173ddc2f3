/* Steps as CUDA graphs, and reports to the host.
 *
 * A sequence runs as it is called when its key is first met: kernels are loaded, libraries warm up, scratch memory
 * grows to its size. The second time it is recorded, from the third on only replayed. */
#include "cuda.h"

#include "gmvae/mem.h"

#include <string.h>

enum { most_sequences = 64 };

struct gmv_cuda_record {
    gmv_sequence_key key;
    int64_t used;
    bool met;                /* this entry is taken */
    cudaGraphExec_t program; /* NULL until it is recorded */
};

gmv_status gmv_cuda_sequences_open(gmv_cuda_state *state)
{
    GMV_TRY(GMV_NEW(state->sequences, most_sequences, "recorded sequences"));
    GMV_CUDA(cudaMallocHost((void **)&state->reports, (size_t)GMV_REPORTS * GMV_REPORT_BYTES));
    for (int i = 0; i < GMV_REPORTS; i++) {
        GMV_CUDA(cudaEventCreateWithFlags(&state->reported[i], cudaEventDisableTiming));
    }
    return GMV_OK;
}

static void forget(gmv_cuda_record *sequence)
{
    if (sequence->program != NULL) {
        cudaGraphExecDestroy(sequence->program);
    }
    memset(sequence, 0, sizeof *sequence);
}

void gmv_cuda_forget_sequences(gmv_cuda_state *state)
{
    for (int i = 0; i < most_sequences; i++) {
        if (&state->sequences[i] != state->under_way) {
            forget(&state->sequences[i]);
        }
    }
}

void gmv_cuda_sequences_close(gmv_cuda_state *state)
{
    if (state->sequences != NULL) {
        state->under_way = NULL;
        gmv_cuda_forget_sequences(state);
        GMV_FREE(state->sequences);
    }
    for (int i = 0; i < GMV_REPORTS; i++) {
        if (state->reported[i] != NULL) {
            cudaEventDestroy(state->reported[i]);
        }
    }
    if (state->reports != NULL) {
        cudaFreeHost(state->reports);
    }
}

/* The entry of this key, or the one that was used longest ago, emptied. */
static gmv_cuda_record *entry_of(gmv_cuda_state *state, const gmv_sequence_key *key)
{
    gmv_cuda_record *oldest = &state->sequences[0];
    for (int i = 0; i < most_sequences; i++) {
        gmv_cuda_record *entry = &state->sequences[i];
        if (entry->met && memcmp(&entry->key, key, sizeof *key) == 0) {
            return entry;
        }
        oldest = entry->used < oldest->used ? entry : oldest;
    }
    forget(oldest);
    return oldest;
}

static gmv_status record(gmv_cuda_state *state, gmv_cuda_record *entry, gmv_sequence_body *body, void *context)
{
    cudaGraph_t graph = NULL;
    GMV_CUDA(cudaStreamBeginCapture(state->compute, cudaStreamCaptureModeThreadLocal));
    state->capturing = true;
    GMV_TRY(body(context));
    state->capturing = false;
    GMV_CUDA(cudaStreamEndCapture(state->compute, &graph));
    cudaError_t error = cudaGraphInstantiate(&entry->program, graph, 0);
    cudaGraphDestroy(graph);
    GMV_CUDA(error);
    return GMV_OK;
}

gmv_status gmv_cuda_sequence(gmv_backend *b, const gmv_sequence_key *key, gmv_sequence_body *body, void *context)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    GMV_CHECK(state->under_way == NULL);
    if (!gmv_cuda_sums_on_device(b)) {
        return body(context); /* the host takes part in sums */
    }
    gmv_cuda_record *entry = entry_of(state, key);
    bool met = entry->met;
    entry->key = *key;
    entry->met = true;
    entry->used = ++state->clock;
    state->under_way = entry;
    if (entry->program == NULL) {
        GMV_TRY(met ? record(state, entry, body, context) : body(context));
    }
    state->under_way = NULL;
    if (entry->program != NULL) {
        GMV_CUDA(cudaGraphLaunch(entry->program, state->compute));
    }
    return GMV_OK;
}

void gmv_cuda_sequence_drop(gmv_cuda_state *state)
{
    cudaGraph_t graph = NULL;
    if (state->capturing) {
        cudaStreamEndCapture(state->compute, &graph);
        cudaGetLastError();
        state->capturing = false;
    }
    if (graph != NULL) {
        cudaGraphDestroy(graph);
    }
    state->under_way = NULL;
    state->aside = false;
}

gmv_status gmv_cuda_aside_begin(gmv_backend *b)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    GMV_CHECK(!state->aside);
    GMV_CUDA(cudaEventRecord(state->forked, state->compute));
    GMV_CUDA(cudaStreamWaitEvent(state->copies, state->forked, 0));
    state->aside = true;
    return GMV_OK;
}

gmv_status gmv_cuda_aside_end(gmv_backend *b)
{
    gmv_cuda_state_of(b)->aside = false;
    return GMV_OK;
}

gmv_status gmv_cuda_aside_wait(gmv_backend *b)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    GMV_CUDA(cudaEventRecord(state->copied, state->copies));
    GMV_CUDA(cudaStreamWaitEvent(state->compute, state->copied, 0));
    return GMV_OK;
}

gmv_status gmv_cuda_report(gmv_backend *b, const void *from, int64_t bytes)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    GMV_CHECK(bytes <= GMV_REPORT_BYTES && state->reports_made - state->reports_collected < GMV_REPORTS);
    int place = (int)(state->reports_made++ % GMV_REPORTS);
    GMV_CUDA(cudaMemcpyAsync(state->reports + place * GMV_REPORT_BYTES, from, (size_t)bytes, cudaMemcpyDeviceToHost,
                             state->compute));
    GMV_CUDA(cudaEventRecord(state->reported[place], state->compute));
    return GMV_OK;
}

gmv_status gmv_cuda_collect(gmv_backend *b, void *host_to, int64_t bytes)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    GMV_CHECK(bytes <= GMV_REPORT_BYTES && state->reports_collected < state->reports_made);
    int place = (int)(state->reports_collected++ % GMV_REPORTS);
    GMV_TRY(gmv_cuda_wait(b, state->reported[place]));
    memcpy(host_to, state->reports + place * GMV_REPORT_BYTES, (size_t)bytes);
    return GMV_OK;
}
