/* Collective operations on any number of ranks. */
#include "support.h"

#include <cuda_bf16.h>
#include <mpi.h>
#include <nccl.h>

static int rank, size;

static ncclComm_t new_comm()
{
    ncclUniqueId id;
    ncclComm_t comm = nullptr;
    if (rank == 0) {
        assert_int_equal(ncclGetUniqueId(&id), ncclSuccess);
    }
    MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, MPI_COMM_WORLD);
    assert_int_equal(ncclCommInitRank(&comm, size, id, rank), ncclSuccess);
    return comm;
}

template <typename T> void reduce_all(ncclDataType_t type, ncclComm_t comm)
{
    enum { COUNT = 257 };
    T x[COUNT];
    for (int i = 0; i < COUNT; i++) {
        x[i] = static_cast<T>(static_cast<float>(i % 8 + rank));
    }
    T *on_device = device(COUNT, x), *greatest = device<T>(COUNT);
    cudaStream_t stream = new_stream();
    assert_int_equal(ncclGroupStart(), ncclSuccess);
    assert_int_equal(ncclAllReduce(on_device, greatest, COUNT, type, ncclMax, comm, stream), ncclSuccess);
    assert_int_equal(ncclAllReduce(on_device, on_device, COUNT, type, ncclSum, comm, stream), ncclSuccess);
    assert_int_equal(ncclGroupEnd(), ncclSuccess);
    OK(cudaStreamSynchronize(stream));
    fetch(x, on_device, COUNT);
    for (int i = 0; i < COUNT; i++) {
        assert_true(static_cast<double>(x[i]) == static_cast<double>(i % 8 * size + size * (size - 1) / 2));
    }
    fetch(x, greatest, COUNT);
    assert_true(static_cast<double>(x[9]) == static_cast<double>(1 + size - 1));
}

static void sums_and_maxima_of_all_types(void **)
{
    ncclComm_t comm = new_comm();
    reduce_all<float>(ncclFloat, comm);
    reduce_all<double>(ncclDouble, comm);
    reduce_all<int>(ncclInt32, comm);
    reduce_all<long long>(ncclInt64, comm);
    reduce_all<unsigned long long>(ncclUint64, comm);
    reduce_all<__nv_bfloat16>(ncclBfloat16, comm);
    assert_int_equal(ncclCommDestroy(comm), ncclSuccess);
}

static void data_are_spread_and_gathered(void **)
{
    ncclComm_t comm = new_comm();
    cudaStream_t stream = new_stream();
    size_t n = static_cast<size_t>(size);
    int mine = rank == size - 1 ? 42 : 0, all[64] = {0}, share = 0;
    int *x = device(1, &mine), *y = device<int>(n), *z = device<int>(1);
    ncclBroadcast(x, x, 1, ncclInt32, size - 1, comm, stream);
    ncclAllGather(x, y, 1, ncclInt32, comm, stream);
    ncclReduceScatter(y, z, 1, ncclInt32, ncclSum, comm, stream);
    OK(cudaStreamSynchronize(stream));
    fetch(all, y, n);
    fetch(&share, z, 1);
    assert_true(all[0] == 42 && all[size - 1] == 42 && share == 42 * size);
    assert_int_equal(ncclCommDestroy(comm), ncclSuccess);
}

/* A rank that never comes: the others see no progress and can leave. */
static void an_operation_without_all_ranks_stays_pending(void **)
{
    ncclComm_t comm = new_comm();
    ncclResult_t error = ncclSuccess;
    cudaStream_t stream = new_stream();
    float one = 1.0f, *x = device(1, &one);
    if (rank != size - 1 || size == 1) {
        ncclAllReduce(x, x, 1, ncclFloat, ncclSum, comm, stream);
        for (int i = 0; i < 50 && size > 1; i++) {
            FAILS(cudaStreamQuery(stream), cudaErrorNotReady);
        }
        assert_int_equal(ncclCommGetAsyncError(comm, &error), ncclSuccess);
        assert_int_equal(error, ncclSuccess);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    assert_int_equal(ncclCommAbort(comm), ncclSuccess);
    OK(cudaStreamSynchronize(stream));
}

static void ids_must_agree(void **)
{
    ncclUniqueId id;
    ncclComm_t comm = nullptr;
    ncclGetUniqueId(&id); /* of each rank its own */
    assert_int_equal(ncclCommInitRank(&comm, size, id, rank), size == 1 ? ncclSuccess : ncclInvalidUsage);
}

/* GMVAE_CUDA_HOST_FAIL=ncclAllReduce:1=hang: only an abort ends it. */
static void a_hang_ends_with_an_abort(void **)
{
    ncclComm_t comm = new_comm();
    cudaStream_t stream = new_stream();
    float one = 1.0f, *x = device(1, &one);
    assert_int_equal(ncclAllReduce(x, x, 1, ncclFloat, ncclSum, comm, stream), ncclSuccess);
    for (int i = 0; i < 50; i++) {
        FAILS(cudaStreamQuery(stream), cudaErrorNotReady);
    }
    assert_int_equal(ncclCommAbort(comm), ncclSuccess);
    OK(cudaStreamSynchronize(stream));
}

int main(int argc, char **argv)
{
    int level = 0;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    const CMUnitTest tests[] = {
        cmocka_unit_test(sums_and_maxima_of_all_types),
        cmocka_unit_test(data_are_spread_and_gathered),
        cmocka_unit_test(an_operation_without_all_ranks_stays_pending),
        cmocka_unit_test(ids_must_agree),
    };
    const CMUnitTest hang[] = {cmocka_unit_test(a_hang_ends_with_an_abort)};
    bool hangs = argc == 2 && strcmp(argv[1], "hang") == 0;
    int failed =
        hangs ? cmocka_run_group_tests(hang, nullptr, nullptr) : cmocka_run_group_tests(tests, nullptr, nullptr);
    if (failed != 0) {
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    MPI_Finalize();
    return 0;
}
