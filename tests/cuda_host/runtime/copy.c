/* Copies and fills. What is asynchronous about them depends on the host memory, as on a device: pinned memory
 * is read and written when the copy runs, other memory at the call. */
#include "coh.h"

#include "annotate.h"

#include <string.h>

typedef struct transfer {
    char *to;
    const char *from; /* NULL: behind the struct */
    size_t to_pitch, from_pitch, width, height;
    int value; /* of a fill */
} transfer;

static const char *source(const transfer *t)
{
    return t->from != NULL ? t->from : (const char *)(t + 1);
}

static bool run_copy(coh_op *op, coh_item *item)
{
    (void)item;
    const transfer *t = coh_payload(op);
    coh_arena_open();
    for (size_t row = 0; row < t->height; row++) {
        coh_reads(source(t) + row * t->from_pitch, t->width);
        coh_writes(t->to + row * t->to_pitch, t->width);
        memmove(t->to + row * t->to_pitch, source(t) + row * t->from_pitch, t->width);
    }
    return true;
}

static bool run_fill(coh_op *op, coh_item *item)
{
    (void)item;
    const transfer *t = coh_payload(op);
    coh_arena_open();
    coh_writes(t->to, t->width);
    memset(t->to, t->value, t->width);
    return true;
}

static size_t span(size_t pitch, const transfer *t)
{
    return t->height == 0 || t->width == 0 ? 0 : (t->height - 1) * pitch + t->width;
}

/* @return whether the side that starts at `at` is device memory; sets an error when it leaves its allocation */
static bool on_device(const void *at, size_t bytes, cudaError_t *error)
{
    int device;
    bool there = coh_points_to_device(at, &device);
    if (there && !coh_on_device(at, bytes)) {
        *error = cudaErrorInvalidValue;
    }
    return there;
}

static cudaError_t check(const transfer *t, enum cudaMemcpyKind kind, bool *to_device, bool *from_device)
{
    cudaError_t error = cudaSuccess;
    if (t->width > t->to_pitch || t->width > t->from_pitch) {
        return cudaErrorInvalidPitchValue;
    }
    *to_device = on_device(t->to, span(t->to_pitch, t), &error);
    *from_device = on_device(t->from, span(t->from_pitch, t), &error);
    if (error == cudaSuccess && kind != cudaMemcpyDefault) {
        bool wants_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
        bool wants_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
        error = wants_to != *to_device || wants_from != *from_device ? cudaErrorInvalidValue : cudaSuccess;
    }
    return error;
}

/* Rows are packed into the snapshot. */
static coh_op *copy_op(const transfer *t, bool snapshot)
{
    coh_op *op = coh_op_new("cudaMemcpyAsync", run_copy, sizeof *t + (snapshot ? t->width * t->height : 0));
    transfer *own = coh_payload(op);
    *own = *t;
    if (snapshot) {
        own->from = NULL;
        own->from_pitch = t->width;
        for (size_t row = 0; row < t->height; row++) {
            const char *from = t->from + row * t->from_pitch;
            coh_reads(from, t->width);
            coh_copy_quietly((char *)(own + 1) + row * t->width, from, t->width);
        }
    }
    return op;
}

static cudaError_t copy_async(const transfer *t, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    bool to_device, from_device;
    cudaError_t error = coh_check_stream(stream);
    if (error == cudaSuccess && t->width > 0 && t->height > 0) {
        error = check(t, kind, &to_device, &from_device);
    }
    if (error != cudaSuccess || t->width == 0 || t->height == 0) {
        return error;
    }
    bool from_pageable = !from_device && !coh_is_pinned(t->from, span(t->from_pitch, t));
    bool to_pageable = !to_device && !coh_is_pinned(t->to, span(t->to_pitch, t));
    if (stream->capture != NULL && (from_pageable || to_pageable)) {
        coh_explain("a copy of pageable host memory cannot be captured");
        coh_invalidate(stream->capture);
        return cudaErrorStreamCaptureUnsupported;
    }
    error = coh_submit(stream, copy_op(t, from_pageable));
    if (to_pageable) {
        coh_stream_finish(stream);
        error = coh_device_error();
    }
    return error;
}

/* Blocking copies and fills wait for the streams that synchronise with the NULL stream, and for no others. */
static cudaError_t finish_blocking_streams(void)
{
    cudaError_t error = coh_forbid_in_capture();
    for (cudaStream_t s = coh_streams(); s != NULL && error == cudaSuccess; s = s->next) {
        if ((s->flags & cudaStreamNonBlocking) == 0 && s->capture == NULL) {
            coh_stream_finish(s);
        }
    }
    return error == cudaSuccess ? coh_device_error() : error;
}

static cudaError_t copy_now(const transfer *t, enum cudaMemcpyKind kind)
{
    bool to_device, from_device;
    cudaError_t error = finish_blocking_streams();
    if (error == cudaSuccess && t->width > 0 && t->height > 0) {
        error = check(t, kind, &to_device, &from_device);
    }
    if (error == cudaSuccess && t->width > 0) {
        coh_op *op = copy_op(t, false);
        coh_set_running("cudaMemcpy");
        run_copy(op, NULL);
        coh_set_running("");
        coh_op_release(op);
    }
    return error;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    COH_CALL(cudaMemcpy);
    transfer t = {to, from, bytes, bytes, bytes, 1, 0};
    return coh_say(copy_now(&t, kind));
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    COH_CALL(cudaMemcpyAsync);
    transfer t = {to, from, bytes, bytes, bytes, 1, 0};
    return coh_say(copy_async(&t, kind, stream));
}

cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                         enum cudaMemcpyKind kind)
{
    COH_CALL(cudaMemcpy2D);
    transfer t = {to, from, to_pitch, from_pitch, width, height, 0};
    return coh_say(copy_now(&t, kind));
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    COH_CALL(cudaMemcpy2DAsync);
    transfer t = {to, from, to_pitch, from_pitch, width, height, 0};
    return coh_say(copy_async(&t, kind, stream));
}

static coh_op *fill_op(void *block, int value, size_t bytes)
{
    coh_op *op = coh_op_new("cudaMemsetAsync", run_fill, sizeof(transfer));
    transfer *t = coh_payload(op);
    t->to = block;
    t->value = value;
    t->width = bytes;
    return op;
}

cudaError_t cudaMemset(void *block, int value, size_t bytes)
{
    COH_CALL(cudaMemset);
    cudaError_t error = finish_blocking_streams();
    if (error != cudaSuccess || bytes == 0) {
        return coh_say(error);
    }
    if (!coh_on_device(block, bytes)) {
        return coh_say(cudaErrorInvalidValue);
    }
    coh_op *op = fill_op(block, value, bytes);
    run_fill(op, NULL);
    coh_op_release(op);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *block, int value, size_t bytes, cudaStream_t stream)
{
    COH_CALL(cudaMemsetAsync);
    cudaError_t error = coh_check_stream(stream);
    if (error != cudaSuccess || bytes == 0) {
        return coh_say(error);
    }
    if (!coh_on_device(block, bytes)) {
        return coh_say(cudaErrorInvalidValue);
    }
    return coh_say(coh_submit(stream, fill_op(block, value, bytes)));
}
