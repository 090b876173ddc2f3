/* Streams: chains of items. The NULL stream is not emulated, so that nothing relies on it. */
#include "coh.h"

#include <stdlib.h>

static cudaStream_t streams;
static int last_number;

cudaStream_t coh_streams(void)
{
    return streams;
}

cudaError_t coh_check_stream(cudaStream_t stream)
{
    if (stream == NULL || stream == cudaStreamLegacy || stream == cudaStreamPerThread) {
        coh_explain("the NULL stream was used: everything has to name a stream");
        return cudaErrorInvalidResourceHandle;
    }
    for (cudaStream_t s = streams; s != NULL; s = s->next) {
        if (s == stream) {
            return cudaSuccess;
        }
    }
    return cudaErrorInvalidResourceHandle;
}

static cudaError_t create(cudaStream_t *stream, unsigned int flags, int priority)
{
    if (stream == NULL || flags > cudaStreamNonBlocking) {
        return cudaErrorInvalidValue;
    }
    cudaStream_t s = coh_new(sizeof *s);
    s->number = ++last_number;
    s->device = coh_current_device();
    s->flags = flags;
    s->priority = priority < -5 ? -5 : priority > 0 ? 0 : priority;
    s->next = streams;
    streams = s;
    *stream = s;
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    COH_CALL(cudaStreamCreate);
    return coh_say(create(stream, cudaStreamDefault, 0));
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags)
{
    COH_CALL(cudaStreamCreateWithFlags);
    return coh_say(create(stream, flags, 0));
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned int flags, int priority)
{
    COH_CALL(cudaStreamCreateWithPriority);
    return coh_say(create(stream, flags, priority));
}

/* Work that is still queued goes on. */
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    COH_CALL(cudaStreamDestroy);
    cudaError_t error = coh_check_stream(stream);
    if (error != cudaSuccess || stream->capture != NULL) {
        return coh_say(error != cudaSuccess ? error : cudaErrorStreamCaptureUnsupported);
    }
    cudaStream_t *link = &streams;
    while (*link != stream) {
        link = &(*link)->next;
    }
    *link = stream->next;
    coh_item_release(&stream->tail);
    free(stream->ends);
    free(stream);
    return cudaSuccess;
}

cudaError_t coh_submit(cudaStream_t stream, coh_op *op)
{
    if (stream->capture != NULL) {
        return coh_capture_add(stream, op);
    }
    coh_item *item = coh_item_new(op, stream->number);
    coh_op_release(op);
    coh_item_after(item, stream->tail);
    coh_item_release(&stream->tail);
    stream->tail = item;
    coh_item_ready(item);
    return cudaSuccess;
}

void coh_stream_finish(cudaStream_t stream)
{
    coh_item *tail = stream->tail;
    if (tail != NULL) {
        coh_item_hold(tail);
        coh_item_wait(tail);
        coh_item_release(&tail);
    }
}

/* @return why waiting for the stream, or asking, is not allowed */
static cudaError_t check_wait(cudaStream_t stream)
{
    cudaError_t error = coh_check_stream(stream);
    if (error == cudaSuccess && stream->capture != NULL) {
        coh_invalidate(stream->capture);
        return cudaErrorStreamCaptureUnsupported;
    }
    return error;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    COH_CALL(cudaStreamSynchronize);
    cudaError_t error = check_wait(stream);
    if (error != cudaSuccess) {
        return coh_say(error);
    }
    coh_stream_finish(stream);
    return coh_say(coh_device_error());
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    COH_CALL(cudaStreamQuery);
    cudaError_t error = check_wait(stream);
    if (error != cudaSuccess) {
        return coh_say(error);
    }
    bool done = stream->tail == NULL || coh_item_query(stream->tail);
    error = coh_device_error();
    return coh_say(error != cudaSuccess || done ? error : cudaErrorNotReady);
}

cudaError_t cudaDeviceSynchronize(void)
{
    COH_CALL(cudaDeviceSynchronize);
    cudaError_t error = coh_forbid_in_capture();
    if (error != cudaSuccess) {
        return coh_say(error);
    }
    coh_queue_drain();
    for (cudaStream_t s = streams; s != NULL; s = s->next) {
        coh_stream_finish(s); /* done already: tells a race detector */
    }
    return coh_say(coh_device_error());
}

cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *priority)
{
    COH_CALL(cudaStreamGetPriority);
    cudaError_t error = coh_check_stream(stream);
    if (error == cudaSuccess) {
        *priority = stream->priority;
    }
    return coh_say(error);
}

cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned int *flags)
{
    COH_CALL(cudaStreamGetFlags);
    cudaError_t error = coh_check_stream(stream);
    if (error == cudaSuccess) {
        *flags = stream->flags;
    }
    return coh_say(error);
}

/* ---- host functions ---- */

typedef struct host_call {
    cudaHostFn_t function;
    void *data;
} host_call;

static bool run_host_call(coh_op *op, coh_item *item)
{
    (void)item;
    const host_call *call = coh_payload(op);
    coh_arena_close();
    call->function(call->data);
    return true;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data)
{
    COH_CALL(cudaLaunchHostFunc);
    cudaError_t error = coh_check_stream(stream);
    if (error != cudaSuccess || function == NULL) {
        return coh_say(error != cudaSuccess ? error : cudaErrorInvalidValue);
    }
    coh_op *op = coh_op_new("host function", run_host_call, sizeof(host_call));
    host_call *call = coh_payload(op);
    call->function = function;
    call->data = data;
    return coh_say(coh_submit(stream, op));
}
