/* Streams, events, copies, memory, graphs, injected errors; and the faults of code that forgets to order work. */
#include "support.h"

__global__ void add_kernel(float *x, int n, float value)
{
    int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) {
        x[i] += value;
    }
}

enum { N = 1000 };

static void add(float *x, float value, cudaStream_t stream)
{
    GMV_LAUNCH(add_kernel, (N + 127) / 128, 128, 0, stream, x, N, value);
}

static float *pinned(float value)
{
    float *x = nullptr;
    OK(cudaMallocHost(&x, N * sizeof(float)));
    for (int i = 0; i < N; i++) {
        x[i] = value;
    }
    return x;
}

static void copy_in(float *to, const float *from, cudaStream_t stream)
{
    OK(cudaMemcpyAsync(to, from, N * sizeof(float), cudaMemcpyHostToDevice, stream));
}

static void copy_out(float *to, const float *from, cudaStream_t stream)
{
    OK(cudaMemcpyAsync(to, from, N * sizeof(float), cudaMemcpyDeviceToHost, stream));
}

static cudaEvent_t new_event()
{
    cudaEvent_t event = nullptr;
    OK(cudaEventCreate(&event));
    return event;
}

/* Copies on one stream, works on another, with or without an event between. @return x[0], 8 when right */
static float overlapped(bool with_event)
{
    cudaStream_t copies = new_stream(), work = new_stream();
    cudaEvent_t copied = new_event(), worked = new_event();
    float *host = pinned(5.0f), *result = pinned(0.0f), *x = device<float>(N);
    OK(cudaMemsetAsync(x, 0, N * sizeof(float), copies));
    copy_in(x, host, copies);
    OK(cudaEventRecord(copied, copies));
    if (with_event) {
        OK(cudaStreamWaitEvent(work, copied, 0));
    }
    add(x, 3.0f, work);
    OK(cudaEventRecord(worked, work));
    OK(cudaStreamWaitEvent(copies, worked, 0));
    copy_out(result, x, copies);
    OK(cudaStreamSynchronize(copies));
    return result[N - 1];
}

static void events_order_streams(void **)
{
    for (int i = 0; i < 20; i++) {
        assert_true(overlapped(true) == 8.0f);
    }
}

static void work_is_done_when_it_is_waited_for(void **)
{
    cudaStream_t stream = new_stream();
    cudaEvent_t start = new_event(), end = new_event();
    float *x = device<float>(N), milliseconds = -1.0f;
    OK(cudaEventRecord(start, stream));
    add(x, 1.0f, stream);
    OK(cudaEventRecord(end, stream));
    FAILS(cudaEventElapsedTime(&milliseconds, start, end), cudaErrorNotReady);
    FAILS(cudaEventQuery(end), cudaErrorNotReady);
    int queries = 1;
    while (cudaStreamQuery(stream) == cudaErrorNotReady) {
        queries++;
    }
    assert_int_equal(queries, 2);
    OK(cudaEventElapsedTime(&milliseconds, start, end));
    assert_true(milliseconds >= 0.0f);
    OK(cudaEventDestroy(start));
    OK(cudaStreamDestroy(stream));
}

static void pageable_memory_is_read_at_the_call_and_pinned_memory_later(void **)
{
    cudaStream_t stream = new_stream();
    float pageable[N] = {1.0f}, *x = device<float>(N), *y = device<float>(N), got = 0.0f;
    float *late = pinned(1.0f);
    copy_in(x, pageable, stream);
    copy_in(y, late, stream);
    pageable[0] = 2.0f;
    if (!with_tsan) {
        late[0] = 2.0f;
    }
    OK(cudaStreamSynchronize(stream));
    fetch(&got, x, 1);
    assert_true(got == 1.0f);
    fetch(&got, y, 1);
    assert_true(got == (with_tsan ? 1.0f : 2.0f));
}

static void memory_is_limited_and_starts_as_nan(void **)
{
    size_t free_before = 0, free_now = 0, total = 0;
    void *block = nullptr;
    float value = 0.0f;
    OK(cudaMemGetInfo(&free_before, &total));
    FAILS(cudaMalloc(&block, free_before + 1), cudaErrorMemoryAllocation);
    FAILS(cudaGetLastError(), cudaErrorMemoryAllocation);
    OK(cudaMalloc(&block, 1000));
    assert_int_equal(reinterpret_cast<uintptr_t>(block) % 256, 0);
    OK(cudaMemGetInfo(&free_now, &total));
    assert_int_equal(free_before - free_now, 1000);
    fetch(&value, static_cast<float *>(block), 1);
    assert_true(value != value);
    FAILS(cudaMemcpy(&value, static_cast<char *>(block) + 998, 4, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    FAILS(cudaMemcpy(&value, block, 4, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    cudaPointerAttributes attributes;
    OK(cudaPointerGetAttributes(&attributes, block));
    assert_int_equal(attributes.type, cudaMemoryTypeDevice);
    OK(cudaPointerGetAttributes(&attributes, &value));
    assert_int_equal(attributes.type, cudaMemoryTypeUnregistered);
    OK(cudaFree(block));
    FAILS(cudaFree(block), cudaErrorInvalidValue);
    cudaGetLastError();
}

static void a_device_is_described(void **)
{
    cudaDeviceProp p;
    int value = 0;
    OK(cudaGetDeviceProperties(&p, 0));
    assert_string_equal(p.name, "CUDA on host");
    OK(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0));
    assert_int_equal(value, 132);
    FAILS(cudaSetDevice(1), cudaErrorInvalidDevice);
    cudaGetLastError();
}

/* ---- graphs ---- */

/* x += 1, then on two streams y += 2 and x += 4, joined. */
static cudaGraph_t captured(cudaStream_t stream, cudaStream_t other, float *x, float *y, bool join,
                            cudaError_t expected)
{
    cudaEvent_t fork = new_event(), joined = new_event();
    cudaGraph_t graph = nullptr;
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    add(x, 1.0f, stream);
    OK(cudaEventRecord(fork, stream));
    OK(cudaStreamWaitEvent(other, fork, 0));
    add(y, 2.0f, other);
    add(x, 4.0f, stream);
    OK(cudaEventRecord(joined, other));
    if (join) {
        OK(cudaStreamWaitEvent(stream, joined, 0));
    }
    assert_int_equal(cudaStreamEndCapture(stream, &graph), expected);
    return graph;
}

static void graphs_repeat_what_was_captured(void **)
{
    cudaStream_t stream = new_stream(), other = new_stream();
    float *x = device<float>(N), *y = device<float>(N), got[2];
    OK(cudaMemset(x, 0, N * sizeof(float)));
    OK(cudaMemset(y, 0, N * sizeof(float)));
    cudaGraph_t graph = captured(stream, other, x, y, true, cudaSuccess);
    cudaGraphExec_t exec = nullptr;
    size_t nodes = 0;
    OK(cudaGraphGetNodes(graph, nullptr, &nodes));
    assert_int_equal(nodes, 3);
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphDestroy(graph));
    for (int i = 0; i < 5; i++) {
        OK(cudaGraphLaunch(exec, stream));
    }
    graph = captured(stream, other, y, x, true, cudaSuccess);
    cudaGraphExecUpdateResultInfo info;
    OK(cudaGraphExecUpdate(exec, graph, &info));
    OK(cudaGraphLaunch(exec, stream));
    OK(cudaStreamSynchronize(stream));
    fetch(&got[0], x, 1);
    fetch(&got[1], y, 1);
    assert_true(got[0] == 27.0f && got[1] == 15.0f);
    OK(cudaGraphDestroy(graph));
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
    add(x, 1.0f, stream);
    OK(cudaStreamEndCapture(stream, &graph));
    FAILS(cudaGraphExecUpdate(exec, graph, &info), cudaErrorGraphExecUpdateFailure);
    assert_int_equal(info.result, cudaGraphExecUpdateErrorTopologyChanged);
    OK(cudaGraphDestroy(graph));
    OK(cudaGraphExecDestroy(exec));
    cudaGetLastError();
}

static void captures_refuse_what_devices_refuse(void **)
{
    cudaStream_t stream = new_stream(), other = new_stream();
    float *x = device<float>(N);
    cudaGraph_t graph = nullptr;
    void *block = nullptr;
    assert_null(captured(stream, other, x, x, false, cudaErrorStreamCaptureUnjoined));
    for (int which = 0; which < 4; which++) {
        OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
        cudaError_t error = which == 0   ? cudaMalloc(&block, 4)
                            : which == 1 ? cudaStreamSynchronize(stream)
                            : which == 2 ? cudaMemcpy(x, x, 4, cudaMemcpyDeviceToDevice)
                                         : cudaDeviceSynchronize();
        assert_int_equal(error, cudaErrorStreamCaptureUnsupported);
        cudaStreamCaptureStatus status;
        OK(cudaStreamIsCapturing(stream, &status));
        assert_int_equal(status, cudaStreamCaptureStatusInvalidated);
        FAILS(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    }
    OK(cudaStreamSynchronize(stream));
    cudaGetLastError();
}

/* ---- faults ---- */

static void missing_event_fault()
{
    bool right = true;
    for (int i = 0; i < 20; i++) {
        right = overlapped(false) == 8.0f && right;
    }
    exit(right ? 0 : 3);
}

static void early_overwrite_fault()
{
    cudaStream_t stream = new_stream();
    float *host = pinned(1.0f), *x = device<float>(N), got[N];
    copy_in(x, host, stream);
    for (int i = 0; i < N; i++) {
        host[i] = 7.0f;
    }
    OK(cudaStreamSynchronize(stream));
    fetch(got, x, N);
    exit(got[0] == 1.0f ? 0 : 3);
}

/* Prints what each call of a run says. */
static void calls_fault()
{
    cudaStream_t stream = nullptr;
    void *block = nullptr, *second = nullptr;
    int count = -1;
    cudaError_t error = cudaGetDeviceCount(&count);
    printf("count %s %d; ", cudaGetErrorName(error), count);
    printf("malloc %s; ", cudaGetErrorName(cudaMalloc(&block, 4096)));
    printf("malloc %s; ", cudaGetErrorName(cudaMalloc(&second, 4096)));
    printf("stream %s; ", cudaGetErrorName(cudaStreamCreate(&stream)));
    if (block != nullptr && stream != nullptr) {
        add(static_cast<float *>(block), 1.0f, stream);
        printf("launch %s; ", cudaGetErrorName(cudaGetLastError()));
        printf("sync %s; ", cudaGetErrorName(cudaStreamSynchronize(stream)));
        printf("free %s; ", cudaGetErrorName(cudaFree(block)));
    }
    exit(3);
}

static const fault faults[] = {
    {"missing event", missing_event_fault},
    {"early overwrite", early_overwrite_fault},
    {"calls", calls_fault},
};

static void missing_order_is_found(void **)
{
    /* streams run in the order they were made in, or the other way round: one of them is the wrong one */
    for (const char *order : {"GMVAE_CUDA_HOST_ORDER=reverse", "GMVAE_CUDA_HOST_ORDER=scattered"}) {
        assert_true(child("missing event", order).failed);
    }
    outcome result = child("early overwrite");
    assert_true(result.failed);
    if (with_tsan) {
        expect(result, "data race");
        expect(child("missing event", "GMVAE_CUDA_HOST_ORDER=forward"), "data race");
    }
}

static void errors_are_injected(void **)
{
    expect(child("calls", "GMVAE_CUDA_HOST_FAIL=cudaMalloc:2=2"),
           "malloc cudaSuccess; malloc cudaErrorMemoryAllocation; ");
    expect(child("calls", "GMVAE_CUDA_HOST_FAIL=add_kernel:1=700"),
           "launch cudaSuccess; sync cudaErrorIllegalAddress; free cudaErrorIllegalAddress");
    expect(child("calls", "GMVAE_CUDA_HOST_FAIL=cudaLaunchKernel:1=701"),
           "launch cudaErrorLaunchOutOfResources; sync cudaSuccess");
    expect(child("calls", "GMVAE_CUDA_HOST_MEMORY=5000"), "malloc cudaSuccess; malloc cudaErrorMemoryAllocation; ");
    expect(child("calls", "GMVAE_CUDA_HOST_DEVICES=0"), "count cudaErrorNoDevice 0; malloc cudaErrorNoDevice; ");
    expect(child("calls", "GMVAE_CUDA_HOST_DEVICES=3"), "count cudaSuccess 3; ");
    expect(child("calls", "CUDA_VISIBLE_DEVICES="), "count cudaErrorNoDevice 0; ");
}

int main(int argc, char **argv)
{
    run_fault(argc, argv, faults, sizeof faults / sizeof *faults);
    const CMUnitTest tests[] = {
        cmocka_unit_test(events_order_streams),
        cmocka_unit_test(work_is_done_when_it_is_waited_for),
        cmocka_unit_test(pageable_memory_is_read_at_the_call_and_pinned_memory_later),
        cmocka_unit_test(memory_is_limited_and_starts_as_nan),
        cmocka_unit_test(a_device_is_described),
        cmocka_unit_test(graphs_repeat_what_was_captured),
        cmocka_unit_test(captures_refuse_what_devices_refuse),
        cmocka_unit_test(missing_order_is_found),
        cmocka_unit_test(errors_are_injected),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
