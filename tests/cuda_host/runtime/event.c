/* Events: each refers to the item of its last record. */
#include "coh.h"

#include <stdlib.h>

static bool nothing(coh_op *op, coh_item *item)
{
    (void)op, (void)item;
    return true;
}

static cudaError_t create(cudaEvent_t *event, unsigned int flags)
{
    if (event == NULL || flags > 3) {
        return cudaErrorInvalidValue;
    }
    *event = coh_new(sizeof **event);
    (*event)->flags = flags;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    COH_CALL(cudaEventCreate);
    return coh_say(create(event, cudaEventDefault));
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags)
{
    COH_CALL(cudaEventCreateWithFlags);
    return coh_say(create(event, flags));
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    COH_CALL(cudaEventDestroy);
    if (event == NULL) {
        return coh_say(cudaErrorInvalidResourceHandle);
    }
    coh_item_release(&event->item);
    coh_capture_release(&event->capture);
    free(event->ends);
    free(event);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    COH_CALL(cudaEventRecord);
    cudaError_t error = event == NULL ? cudaErrorInvalidResourceHandle : coh_check_stream(stream);
    if (error != cudaSuccess) {
        return coh_say(error);
    }
    if (stream->capture != NULL) {
        return coh_say(coh_capture_record(stream, event));
    }
    error = coh_submit(stream, coh_op_new("event record", nothing, 0));
    coh_capture_release(&event->capture);
    coh_item_release(&event->item);
    event->item = stream->tail;
    coh_item_hold(event->item);
    return coh_say(error);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags)
{
    COH_CALL(cudaStreamWaitEvent);
    cudaError_t error = event == NULL ? cudaErrorInvalidResourceHandle : coh_check_stream(stream);
    if (error != cudaSuccess || flags != 0) {
        return coh_say(error != cudaSuccess ? error : cudaErrorInvalidValue);
    }
    if (stream->capture != NULL || coh_capture_active(event->capture)) {
        return coh_say(coh_capture_wait(stream, event));
    }
    if (event->item == NULL) {
        return cudaSuccess; /* never recorded: nothing to wait for */
    }
    coh_op *op = coh_op_new("event wait", nothing, 0);
    coh_item *item = coh_item_new(op, stream->number);
    coh_op_release(op);
    coh_item_after(item, stream->tail);
    coh_item_after(item, event->item);
    coh_item_release(&stream->tail);
    stream->tail = item;
    coh_item_ready(item);
    return cudaSuccess;
}

/* @return why the event cannot be waited for or asked about by the host */
static cudaError_t check_use(cudaEvent_t event)
{
    if (event == NULL) {
        return cudaErrorInvalidResourceHandle;
    }
    if (coh_capture_active(event->capture)) {
        coh_invalidate(event->capture);
        return cudaErrorCapturedEvent;
    }
    return coh_forbid_in_capture();
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    COH_CALL(cudaEventSynchronize);
    cudaError_t error = check_use(event);
    if (error != cudaSuccess) {
        return coh_say(error);
    }
    if (event->item != NULL) {
        coh_item_wait(event->item);
    }
    return coh_say(coh_device_error());
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    COH_CALL(cudaEventQuery);
    cudaError_t error = check_use(event);
    if (error != cudaSuccess) {
        return coh_say(error);
    }
    bool done = event->item == NULL || coh_item_query(event->item);
    error = coh_device_error();
    return coh_say(error != cudaSuccess || done ? error : cudaErrorNotReady);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    COH_CALL(cudaEventElapsedTime);
    if (milliseconds == NULL || start == NULL || end == NULL || start->item == NULL || end->item == NULL ||
        ((start->flags | end->flags) & cudaEventDisableTiming) != 0) {
        return coh_say(cudaErrorInvalidResourceHandle);
    }
    if (start->item->state != COH_DONE || end->item->state != COH_DONE) {
        return coh_say(cudaErrorNotReady);
    }
    *milliseconds = (float)((end->item->time - start->item->time) * 1e3);
    return cudaSuccess;
}
