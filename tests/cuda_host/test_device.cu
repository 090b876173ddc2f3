/* Threads, barriers, warps, atomics, shared memory, limits of launches; and the faults of kernels. */
#include "support.h"

#include <cuda_bf16.h>

#include <csignal>
#include <ctime>

template <int threads> __global__ void sum_kernel(const float *x, int n, float *sum)
{
    __shared__ float part[threads];
    float mine = 0.0f;
    for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < n;
         i += threads * static_cast<int>(gridDim.x)) {
        mine += x[i];
    }
    part[threadIdx.x] = mine;
    __syncthreads();
    for (int half = threads / 2; half >= 32; half /= 2) {
        if (static_cast<int>(threadIdx.x) < half) {
            part[threadIdx.x] += part[threadIdx.x + static_cast<unsigned int>(half)];
        }
        __syncthreads();
    }
    if (threadIdx.x < 32) {
        float total = part[threadIdx.x];
        for (unsigned int delta = 16; delta > 0; delta /= 2) {
            total += __shfl_down_sync(0xffffffffu, total, delta);
        }
        if (threadIdx.x == 0) {
            atomicAdd(sum, total);
        }
    }
}

static void sums_over_blocks(void **)
{
    enum { N = 10007 };
    static float x[N];
    for (int i = 0; i < N; i++) {
        x[i] = static_cast<float>(i % 17);
    }
    float want = 0.0f, got = 0.0f;
    for (float value : x) {
        want += value;
    }
    float *on_device = device(N, x), *sum = device(1, &got);
    cudaStream_t stream = new_stream();
    GMV_LAUNCH((sum_kernel<256>), 7, 256, 0, stream, on_device, N, sum);
    GMV_LAUNCH(sum_kernel<64>, dim3(3), dim3(64), 0, stream, on_device, N, sum);
    OK(cudaGetLastError());
    OK(cudaStreamSynchronize(stream));
    fetch(&got, sum, 1);
    assert_true(got == 2.0f * want);
}

__global__ void warp_kernel(int *out)
{
    int lane = static_cast<int>(threadIdx.x) % 32;
    int errors = 0;
    errors += __shfl_sync(~0u, lane, 5) != 5;
    errors += __shfl_sync(~0u, lane, 3, 8) != lane / 8 * 8 + 3;
    errors += __shfl_up_sync(~0u, lane, 2u) != (lane < 2 ? lane : lane - 2);
    errors += __shfl_down_sync(~0u, lane, 4u, 16) != (lane % 16 + 4 < 16 ? lane + 4 : lane);
    errors += __shfl_xor_sync(~0u, static_cast<double>(lane), 1) != static_cast<double>(lane ^ 1);
    errors += __shfl_xor_sync(~0u, static_cast<unsigned long long>(lane) << 40, 16) !=
              static_cast<unsigned long long>(lane ^ 16) << 40;
    errors += __ballot_sync(~0u, lane % 3 == 0) != 0x49249249u;
    errors += __any_sync(~0u, lane == 31) != 1;
    errors += __all_sync(~0u, lane < 31) != 0;
    errors += __reduce_add_sync(~0u, lane) != 496;
    errors += __reduce_min_sync(~0u, lane - 7) != -7;
    errors += __reduce_max_sync(~0u, static_cast<unsigned int>(lane)) != 31u;
    errors += __match_any_sync(~0u, lane / 16) != (lane < 16 ? 0xffffu : 0xffff0000u);
    if (lane < 8) {
        errors += __reduce_or_sync(0xffu, 1u << lane) != 0xffu;
        __syncwarp(0xffu);
    } else {
        errors += __shfl_sync(0xffffff00u, lane, 9) != 9;
    }
    errors += __syncthreads_count(lane == 0) != 3;
    errors += __syncthreads_or(lane == 99) != 0;
    errors += __syncthreads_and(lane < 32) != 1;
    out[threadIdx.x] = errors;
}

static void warps_exchange_values(void **)
{
    int errors[96];
    int *out = device<int>(96);
    cudaStream_t stream = new_stream();
    GMV_LAUNCH(warp_kernel, 2, 96, 0, stream, out);
    OK(cudaStreamSynchronize(stream));
    fetch(errors, out, 96);
    for (int error : errors) {
        assert_int_equal(error, 0);
    }
}

__global__ void atomic_kernel(int *i, unsigned int *u, double *d, unsigned long long *l)
{
    int me = static_cast<int>(threadIdx.x);
    atomicAdd(&i[0], me);
    atomicMax(&i[1], me);
    atomicMin(&i[2], -me);
    atomicOr(&u[0], 1u << me);
    atomicAnd(&u[1], ~(1u << me));
    atomicInc(&u[2], 9);
    atomicAdd(d, 0.5);
    atomicAdd(l, 1ull << 33);
    if (atomicCAS(&i[3], 0, me + 1) == 0) {
        atomicExch(&i[4], me + 1);
    }
}

static void atomics_count(void **)
{
    int i[5] = {0, 0, 0, 0, 0};
    unsigned int u[3] = {0, ~0u, 0};
    double d = 0.0;
    unsigned long long l = 0;
    int *di = device(5, i);
    unsigned int *du = device(3, u);
    double *dd = device(1, &d);
    unsigned long long *dl = device(1, &l);
    cudaStream_t stream = new_stream();
    GMV_LAUNCH(atomic_kernel, 1, 32, 0, stream, di, du, dd, dl);
    OK(cudaStreamSynchronize(stream));
    fetch(i, di, 5);
    fetch(u, du, 3);
    fetch(&d, dd, 1);
    fetch(&l, dl, 1);
    assert_int_equal(i[0], 496);
    assert_int_equal(i[1], 31);
    assert_int_equal(i[2], -31);
    assert_int_equal(i[3], i[4]);
    assert_true(u[0] == ~0u && u[1] == 0 && u[2] == 2);
    assert_true(d == 16.0 && l == 32ull << 33);
}

__global__ void shared_kernel(int n, int *not_poisoned)
{
    __shared__ unsigned int fixed[32];
    GMV_DYNAMIC_SHARED(unsigned int, dynamic);
    int me = static_cast<int>(threadIdx.x);
    int bad = fixed[me] != ~0u;
    for (int i = me; i < n; i += 32) {
        bad |= dynamic[i] != ~0u;
        dynamic[i] = 0;
    }
    fixed[me] = 0;
    if (bad != 0) {
        atomicAdd(not_poisoned, 1);
    }
}

static void shared_memory_starts_as_nan_and_is_limited(void **)
{
    int count = 0;
    int *not_poisoned = device(1, &count);
    cudaStream_t stream = new_stream();
    GMV_LAUNCH(shared_kernel, 4, 32, 400, stream, 100, not_poisoned);
    OK(cudaGetLastError());
    GMV_LAUNCH(shared_kernel, 1, 32, 49153, stream, 1, not_poisoned);
    FAILS(cudaGetLastError(), cudaErrorInvalidValue);
    OK(cudaFuncSetAttribute(shared_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 * 1024));
    GMV_LAUNCH(shared_kernel, 1, 32, 227 * 1024, stream, 227 * 256, not_poisoned);
    OK(cudaGetLastError());
    FAILS(cudaFuncSetAttribute(shared_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 * 1024 + 1),
          cudaErrorInvalidValue);
    OK(cudaStreamSynchronize(stream));
    fetch(&count, not_poisoned, 1);
    assert_int_equal(count, 0);
}

__global__ void nothing_kernel()
{
}

static void launches_are_checked(void **)
{
    cudaStream_t stream = new_stream();
    const dim3 bad_grids[] = {{0, 1, 1}, {1, 65536, 1}, {1, 1, 65536}, {1, 1, 0}};
    for (dim3 grid : bad_grids) {
        GMV_LAUNCH(nothing_kernel, grid, 1, 0, stream);
        FAILS(cudaGetLastError(), cudaErrorInvalidConfiguration);
    }
    const dim3 bad_blocks[] = {{0, 1, 1}, {1025, 1, 1}, {32, 33, 1}, {1, 1, 65}};
    for (dim3 block : bad_blocks) {
        GMV_LAUNCH(nothing_kernel, 1, block, 0, stream);
        FAILS(cudaGetLastError(), cudaErrorInvalidConfiguration);
    }
    GMV_LAUNCH(nothing_kernel, dim3(1, 65535), dim3(1, 1, 1), 0, stream);
    OK(cudaPeekAtLastError());
    GMV_LAUNCH(nothing_kernel, 1, 1, 0, nullptr);
    FAILS(cudaPeekAtLastError(), cudaErrorInvalidResourceHandle);
    FAILS(cudaGetLastError(), cudaErrorInvalidResourceHandle);
    OK(cudaGetLastError());
    OK(cudaStreamSynchronize(stream));
}

__global__ void early_exit_kernel(int *out)
{
    if (threadIdx.x >= 20) {
        return;
    }
    __syncwarp();
    out[threadIdx.x] = static_cast<int>(__ballot_sync(~0u, 1));
}

static void lanes_that_exited_are_excused(void **)
{
    int got[20];
    int *out = device<int>(20);
    cudaStream_t stream = new_stream();
    GMV_LAUNCH(early_exit_kernel, 1, 48, 0, stream, out);
    OK(cudaStreamSynchronize(stream));
    fetch(got, out, 20);
    for (int value : got) {
        assert_int_equal(value, 0xfffff);
    }
}

static void bfloat16_rounds_to_even(void **)
{
    assert_true(static_cast<float>(__float2bfloat16(1.0f + 1.0f / 256.0f)) == 1.0f);
    assert_true(static_cast<float>(__float2bfloat16(1.0f + 3.0f / 256.0f)) == 1.0f + 4.0f / 256.0f);
    assert_true(std::isnan(static_cast<float>(__float2bfloat16(NAN))));
    assert_int_equal(__bfloat16_as_ushort(__float2bfloat16(INFINITY)), 0x7f80);
}

/* ---- faults ---- */

__global__ void race_kernel(float *out, bool with_barrier)
{
    __shared__ float all[64];
    unsigned int me = threadIdx.x;
    all[me] = static_cast<float>(me);
    if (with_barrier) {
        __syncthreads();
    }
    out[me] = all[63 - me];
}

/* @return whether the values are those of a program with a barrier */
static bool reversed(bool with_barrier)
{
    float got[64];
    float *out = device<float>(64);
    cudaStream_t stream = new_stream();
    GMV_LAUNCH(race_kernel, 1, 64, 0, stream, out, with_barrier);
    OK(cudaStreamSynchronize(stream));
    fetch(got, out, 64);
    bool right = true;
    for (int i = 0; i < 64; i++) {
        right = right && got[i] == static_cast<float>(63 - i);
    }
    return right;
}

static void missing_barrier_fault()
{
    exit(reversed(false) ? 0 : 3);
}

/* Races before and after which the threads meet; lanes of one warp, with __syncwarp. */
__global__ void hedged_race_kernel(float *out, bool of_warp)
{
    __shared__ float all[32];
    unsigned int me = threadIdx.x;
    if (of_warp) {
        __syncwarp();
    } else {
        __syncthreads();
    }
    all[me] = static_cast<float>(me);
    float other = all[31 - me];
    if (of_warp) {
        __syncwarp();
    } else {
        __syncthreads();
    }
    out[me] = other;
}

template <bool of_warp> void hedged_race_fault()
{
    cudaStream_t stream = new_stream();
    GMV_LAUNCH(hedged_race_kernel, 1, 32, 0, stream, device<float>(32), of_warp);
    cudaStreamSynchronize(stream);
}

__global__ void one_too_many_kernel(float *x, int n)
{
    x[n] = 1.0f;
}

static void out_of_bounds_fault()
{
    float *x = device<float>(100);
    cudaStream_t stream = new_stream();
    GMV_LAUNCH(one_too_many_kernel, 1, 1, 0, stream, x, 100);
    cudaStreamSynchronize(stream);
}

static void in_front_fault()
{
    float *x = device<float>(100);
    cudaStream_t stream = new_stream();
    GMV_LAUNCH(one_too_many_kernel, 1, 1, 0, stream, x, -1);
    cudaStreamSynchronize(stream);
}

__global__ void dynamic_overflow_kernel(int n)
{
    GMV_DYNAMIC_SHARED(float, x);
    x[n] = 1.0f;
}

static void dynamic_overflow_fault()
{
    cudaStream_t stream = new_stream();
    GMV_LAUNCH(dynamic_overflow_kernel, 1, 1, 64, stream, 16);
    cudaStreamSynchronize(stream);
}

__global__ void divergent_kernel(int mode)
{
    if (mode == 0 && threadIdx.x % 2 == 0) {
        __syncthreads();
    } else if (mode == 0) {
        __syncthreads();
    } else if (mode == 1 && threadIdx.x < 30) {
        __syncthreads();
    } else if (mode == 2) {
        __shfl_sync(threadIdx.x < 16 ? 0xffffffffu : 0xffff0000u, 1, 0);
    }
}

template <int mode> void divergent_fault()
{
    cudaStream_t stream = new_stream();
    GMV_LAUNCH(divergent_kernel, 2, 64, 0, stream, mode);
    cudaStreamSynchronize(stream);
}

static void host_read_fault()
{
    volatile float *x = device<float>(10);
    printf("%g\n", static_cast<double>(x[0]));
}

static void use_after_free_fault()
{
    float *x = device<float>(10);
    cudaStream_t stream = new_stream();
    OK(cudaFree(x));
    GMV_LAUNCH(one_too_many_kernel, 1, 1, 0, stream, x, 0);
    cudaStreamSynchronize(stream);
}

/* As under a test framework, which has handlers of its own. */
static void wild_fault()
{
    cudaStream_t stream = new_stream();
    signal(SIGSEGV, [](int) { _exit(0); });
    GMV_LAUNCH(one_too_many_kernel, 1, 1, 0, stream, reinterpret_cast<float *>(4096), 0);
    cudaStreamSynchronize(stream);
}

static const fault faults[] = {
    {"missing barrier", missing_barrier_fault},
    {"race between barriers", hedged_race_fault<false>},
    {"race in a warp", hedged_race_fault<true>},
    {"out of bounds", out_of_bounds_fault},
    {"in front", in_front_fault},
    {"dynamic overflow", dynamic_overflow_fault},
    {"other barrier", divergent_fault<0>},
    {"missing thread", divergent_fault<1>},
    {"other mask", divergent_fault<2>},
    {"host read", host_read_fault},
    {"use after free", use_after_free_fault},
    {"wild", wild_fault},
};

static void a_missing_barrier_is_found(void **)
{
    assert_true(reversed(true));
    for (const char *order :
         {"GMVAE_CUDA_HOST_ORDER=forward", "GMVAE_CUDA_HOST_ORDER=reverse", "GMVAE_CUDA_HOST_ORDER=scattered"}) {
        outcome result = child("missing barrier", order);
        assert_true(result.failed);
        if (with_tsan) {
            expect(result, "data race");
            expect(result, "race_kernel");
            expect(child("race between barriers", order), "data race");
            expect(child("race in a warp", order), "data race");
        }
    }
}

static void accesses_out_of_bounds_are_found(void **)
{
    for (const char *which : {"out of bounds", "in front"}) {
        outcome result = child(which);
        expect(result, "one_too_many_kernel");
        expect(result, with_asan ? "test_device.cu" : "of 400 bytes");
    }
    expect(child("dynamic overflow"), "dynamic_overflow_kernel");
    outcome wild = child("wild");
    expect(wild, "one_too_many_kernel");
    expect(wild, "which is no device memory");
    expect(child("use after free"), with_asan ? "use-after-poison" : "freed allocation of 40 bytes");
}

static void divergent_barriers_are_found(void **)
{
    for (const char *which : {"other barrier", "missing thread", "other mask"}) {
        outcome result = child(which);
        expect(result, "divergent barrier: kernel divergent_kernel");
        expect(result, "test_device.cu");
    }
}

static void host_accesses_are_found(void **)
{
    expect(child("host read"), "host code touched device memory");
}

static void switches_are_fast(void **);

__global__ void switch_kernel(int n)
{
    for (int i = 0; i < n; i++) {
        __syncthreads();
    }
}

static double seconds()
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

static void switches_are_fast(void **)
{
    cudaStream_t stream = new_stream();
    const int rounds = with_tsan ? 100 : 1000;
    for (int warm = 0; warm < 2; warm++) {
        double start = seconds();
        GMV_LAUNCH(switch_kernel, 1, 256, 0, stream, rounds);
        OK(cudaStreamSynchronize(stream));
        printf("# %.1f ns a switch\n", (seconds() - start) * 1e9 / (256.0 * rounds));
    }
    double start = seconds();
    GMV_LAUNCH(nothing_kernel, 4096, 256, 0, stream);
    OK(cudaStreamSynchronize(stream));
    printf("# %.1f ns a thread without barriers\n", (seconds() - start) * 1e9 / (256.0 * 4096));
}

int main(int argc, char **argv)
{
    run_fault(argc, argv, faults, sizeof faults / sizeof *faults);
    const CMUnitTest tests[] = {
        cmocka_unit_test(sums_over_blocks),
        cmocka_unit_test(warps_exchange_values),
        cmocka_unit_test(atomics_count),
        cmocka_unit_test(shared_memory_starts_as_nan_and_is_limited),
        cmocka_unit_test(launches_are_checked),
        cmocka_unit_test(lanes_that_exited_are_excused),
        cmocka_unit_test(bfloat16_rounds_to_even),
        cmocka_unit_test(a_missing_barrier_is_found),
        cmocka_unit_test(accesses_out_of_bounds_are_found),
        cmocka_unit_test(divergent_barriers_are_found),
        cmocka_unit_test(host_accesses_are_found),
        cmocka_unit_test(switches_are_fast),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
