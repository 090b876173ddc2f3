/* Capture of streams into a graph. A stream that captures knows the nodes its next one comes after; an event
 * carries such a set from stream to stream, and waiting for it makes the other stream part of the capture. */
#include "coh.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct coh_capture {
    struct coh_capture *next; /* of those that are active */
    int references;
    cudaStream_t origin;
    cudaGraph_t graph;
    enum cudaStreamCaptureMode mode;
    pthread_t thread;
    bool active, invalid;
};

static coh_capture *captures;

coh_capture *coh_capture_hold(coh_capture *capture)
{
    capture->references++;
    return capture;
}

void coh_capture_release(coh_capture **capture)
{
    coh_capture *one = *capture;
    *capture = NULL;
    if (one != NULL && --one->references == 0) {
        free(one);
    }
}

bool coh_capture_active(const coh_capture *capture)
{
    return capture != NULL && capture->active;
}

cudaError_t coh_invalidate(coh_capture *capture)
{
    capture->invalid = true;
    return cudaErrorStreamCaptureInvalidated;
}

cudaError_t coh_forbid_in_capture(void)
{
    for (coh_capture *c = captures; c != NULL; c = c->next) {
        bool here = pthread_equal(c->thread, pthread_self()) != 0;
        if (c->mode == cudaStreamCaptureModeGlobal || (c->mode == cudaStreamCaptureModeThreadLocal && here)) {
            c->invalid = true;
            return cudaErrorStreamCaptureUnsupported;
        }
    }
    return cudaSuccess;
}

static cudaError_t check_valid(const coh_capture *capture)
{
    return capture->invalid ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
}

cudaError_t coh_capture_add(cudaStream_t stream, coh_op *op)
{
    cudaError_t error = check_valid(stream->capture);
    if (error == cudaSuccess) {
        int node = coh_graph_add(stream->capture->graph, op, stream->number, stream->ends, stream->n_ends);
        stream->n_ends = 0;
        coh_unite(&stream->ends, &stream->n_ends, &node, 1);
    }
    coh_op_release(op);
    return error;
}

cudaError_t coh_capture_record(cudaStream_t stream, coh_event *event)
{
    coh_capture_release(&event->capture);
    coh_item_release(&event->item);
    event->capture = coh_capture_hold(stream->capture);
    event->n_ends = 0;
    coh_unite(&event->ends, &event->n_ends, stream->ends, stream->n_ends);
    return check_valid(stream->capture);
}

cudaError_t coh_capture_wait(cudaStream_t stream, const coh_event *event)
{
    if (!coh_capture_active(event->capture)) {
        if (event->item == NULL && event->capture == NULL) {
            return cudaSuccess; /* never recorded */
        }
        coh_invalidate(stream->capture);
        return cudaErrorStreamCaptureIsolation;
    }
    if (stream->capture != NULL && stream->capture != event->capture) {
        coh_invalidate(stream->capture);
        coh_invalidate(event->capture);
        return cudaErrorStreamCaptureMerge;
    }
    if (stream->capture == NULL) {
        stream->capture = coh_capture_hold(event->capture);
        stream->n_ends = 0;
    }
    coh_unite(&stream->ends, &stream->n_ends, event->ends, event->n_ends);
    return check_valid(stream->capture);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    COH_CALL(cudaStreamBeginCapture);
    cudaError_t error = coh_check_stream(stream);
    if (error != cudaSuccess || stream->capture != NULL || (int)mode < 0 || mode > cudaStreamCaptureModeRelaxed) {
        return coh_say(error != cudaSuccess      ? error
                       : stream->capture != NULL ? cudaErrorIllegalState
                                                 : cudaErrorInvalidValue);
    }
    coh_capture *capture = coh_new(sizeof *capture);
    capture->references = 1;
    capture->origin = stream;
    capture->graph = coh_new(sizeof *capture->graph);
    capture->mode = mode;
    capture->thread = pthread_self();
    capture->active = true;
    capture->next = captures;
    captures = capture;
    stream->capture = capture;
    stream->n_ends = 0;
    return cudaSuccess;
}

/* @return whether all work of the other streams comes before the last node of the origin */
static bool joined(const coh_capture *capture)
{
    const struct CUgraph_st *graph = capture->graph;
    char *reached = coh_new((size_t)graph->n + 1);
    for (int i = 0; i < capture->origin->n_ends; i++) {
        reached[capture->origin->ends[i]] = 1;
    }
    for (int node = graph->n - 1; node >= 0; node--) {
        for (int i = 0; i < graph->nodes[node].n_after && reached[node]; i++) {
            reached[graph->nodes[node].after[i]] = 1;
        }
    }
    bool all = memchr(reached, 0, (size_t)graph->n) == NULL;
    free(reached);
    return all;
}

static void leave_streams(coh_capture *capture)
{
    for (cudaStream_t s = coh_streams(); s != NULL; s = s->next) {
        if (s->capture == capture) {
            coh_capture_release(&s->capture);
            s->n_ends = 0;
        }
    }
}

static void deactivate(coh_capture *capture)
{
    coh_capture **link = &captures;
    while (*link != capture) {
        link = &(*link)->next;
    }
    *link = capture->next;
    capture->active = false;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    COH_CALL(cudaStreamEndCapture);
    cudaError_t error = coh_check_stream(stream);
    if (error != cudaSuccess || graph == NULL || stream->capture == NULL) {
        return coh_say(error != cudaSuccess ? error : graph == NULL ? cudaErrorInvalidValue : cudaErrorIllegalState);
    }
    *graph = NULL;
    coh_capture *capture = stream->capture;
    if (capture->origin != stream) {
        coh_invalidate(capture);
        return coh_say(cudaErrorStreamCaptureUnmatched);
    }
    if (capture->mode != cudaStreamCaptureModeRelaxed && pthread_equal(capture->thread, pthread_self()) == 0) {
        return coh_say(cudaErrorStreamCaptureWrongThread);
    }
    error = check_valid(capture);
    if (error == cudaSuccess && !joined(capture)) {
        error = cudaErrorStreamCaptureUnjoined;
    }
    cudaGraph_t captured = capture->graph;
    capture->graph = NULL;
    deactivate(capture);
    leave_streams(capture);
    if (error == cudaSuccess) {
        *graph = captured;
    } else {
        coh_graph_free(captured);
    }
    return coh_say(error);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status)
{
    COH_CALL(cudaStreamIsCapturing);
    cudaError_t error = coh_check_stream(stream);
    if (error == cudaSuccess) {
        const coh_capture *capture = stream->capture;
        *status = capture == NULL    ? cudaStreamCaptureStatusNone
                  : capture->invalid ? cudaStreamCaptureStatusInvalidated
                                     : cudaStreamCaptureStatusActive;
    }
    return coh_say(error);
}
