/* Choosing a GPU for this rank, opening it, and the op table. */
#include "cuda.h"

#include "gmvae/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const gmv_ops table = {
#define GMV_OP(name, parameters) .name = gmv_cuda_##name,
#include "gmvae/ops.def"
#undef GMV_OP
};

enum { blas_workspace_bytes = 32 << 20 };

/* ---- which GPU ---- */

/* Number of GPUs that this process sees; *why says what is wrong when there is none. */
static int visible_gpus(char *why, size_t size)
{
    int n = 0, driver = 0;
    cudaError_t error = cudaGetDeviceCount(&n);
    why[0] = '\0';
    if (error != cudaSuccess) {
        cudaGetLastError();
        cudaDriverGetVersion(&driver);
        snprintf(why, size, "%s%s", cudaGetErrorString(error),
                 driver == 0 ? " (no NVIDIA driver on this host)" : " (is the driver older than the CUDA libraries?)");
        return 0;
    }
    if (n == 0) {
        snprintf(why, size,
                 "the driver shows no GPU to this process; see nvidia-smi, CUDA_VISIBLE_DEVICES and, under "
                 "SLURM, --gpus-per-task");
    }
    return n;
}

static void describe_gpu(int device, char *text, size_t size)
{
    struct cudaDeviceProp p;
    if (cudaGetDeviceProperties(&p, device) != cudaSuccess) {
        cudaGetLastError();
        snprintf(text, size, "GPU %d", device);
        return;
    }
    snprintf(text, size, "%s, %d multiprocessors, %.1f GiB, compute capability %d.%d", p.name, p.multiProcessorCount,
             (double)p.totalGlobalMem / 1073741824.0, p.major, p.minor);
}

/* What tells a GPU from all others of the run. */
typedef struct gpu_id {
    char host[64];
    char uuid[16];
} gpu_id;

static gmv_status identify(int device, gpu_id *id)
{
    struct cudaDeviceProp p;
    memset(id, 0, sizeof *id);
    gethostname(id->host, sizeof id->host - 1);
    GMV_CUDA(cudaGetDeviceProperties(&p, device));
    memcpy(id->uuid, p.uuid.bytes, sizeof id->uuid);
    return GMV_OK;
}

/* Whether two ranks have one GPU; *others is how many have mine. Collective. */
static gmv_status find_sharing(const gmv_comm *comm, const gpu_id *mine, bool *shared, int *on_host, int *on_mine)
{
    gpu_id *all = NULL;
    gmv_status status = GMV_NEW(all, comm->size, "GPUs of the ranks");
    GMV_TRY(gmv_comm_agree(comm, status));
    gmv_comm_allgather(comm, mine, all, sizeof *mine);
    *shared = false;
    *on_host = *on_mine = 0;
    for (int i = 0; i < comm->size; i++) {
        *on_host += strcmp(all[i].host, mine->host) == 0;
        *on_mine += memcmp(&all[i], mine, sizeof *mine) == 0;
        for (int j = 0; j < i && !*shared; j++) {
            *shared = memcmp(&all[i], &all[j], sizeof *all) == 0;
        }
    }
    gmv_free(all);
    return GMV_OK;
}

/* Ranks of a host take its visible GPUs in turn; where the launcher shows each rank its own, that is the first. */
static gmv_status choose_gpu(gmv_backend *b, bool may_share, bool *shared)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    const gmv_comm *comm = b->comm;
    char why[512];
    gpu_id mine;
    int on_host = 0, on_mine = 0, n = visible_gpus(why, sizeof why);
    gmv_status status = GMV_OK;
    if (n == 0) {
        status = GMV_FAIL(GMV_ERR_ENVIRONMENT,
                          "backend: cuda was asked for, but no GPU can be used: %s; or take backend: "
                          "cpu",
                          why);
    } else {
        state->device = comm->local_rank % n;
        status = identify(state->device, &mine);
    }
    GMV_TRY(gmv_comm_agree(comm, status));
    GMV_TRY(find_sharing(comm, &mine, shared, &on_host, &on_mine));
    if (*shared && !may_share) {
        status = on_mine > 1
                     ? GMV_FAIL(GMV_ERR_CONFIG,
                                "%d ranks on host %s, which shows them %d GPU%s: start one rank for each GPU, or set "
                                "runtime.share_gpu=true to let them share (slow)",
                                on_host, mine.host, n, n == 1 ? "" : "s")
                     : GMV_OK;
        return gmv_comm_agree(comm, status);
    }
    return GMV_OK;
}

/* ---- opening ---- */

static void close_backend(gmv_backend *b)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    if (state->compute != NULL) {
        gmv_cuda_sequence_drop(state);
        cudaStreamSynchronize(state->compute);
        cudaStreamSynchronize(state->copies);
    }
    gmv_cuda_reduce_close(state);
    gmv_cuda_sequences_close(state);
    gmv_cuda_release_all(state);
    gmv_cuda_unmap_all(state);
    if (state->blas != NULL) {
        cublasDestroy(state->blas);
    }
    cudaEvent_t events[] = {state->ready, state->summed, state->forked, state->copied};
    cudaStream_t streams[] = {state->compute, state->sums, state->copies};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        if (events[i] != NULL) {
            cudaEventDestroy(events[i]);
        }
    }
    for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
        if (streams[i] != NULL) {
            cudaStreamDestroy(streams[i]);
        }
    }
    GMV_FREE(state);
    b->state = NULL;
}

static void describe_nccl(char *text, size_t size)
{
    int version = 0;
    ncclGetVersion(&version);
    snprintf(text, size, "NCCL %d.%d.%d", version / 10000, version % 10000 / 100, version % 100);
}

static void describe(const gmv_backend *b, char *text, size_t size)
{
    static const char *const precision[] = {GMV_PRECISIONS(GMV_CHOICE_NAME)};
    const gmv_cuda_state *state = (const gmv_cuda_state *)b->state;
    char gpu[384], nccl[32];
    int runtime = 0;
    describe_gpu(state->device, gpu, sizeof gpu);
    describe_nccl(nccl, sizeof nccl);
    cudaRuntimeGetVersion(&runtime);
    snprintf(text, size, "cuda: %s, %s products, CUDA %d.%d, sums %s%s", gpu, precision[state->precision],
             runtime / 1000, runtime % 1000 / 10,
             state->nccl != NULL ? "by " : (b->comm->size == 1 ? "on one rank" : "through MPI"),
             state->nccl != NULL ? nccl : "");
}

static gmv_status open_blas(gmv_backend *b)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    GMV_CUBLAS(cublasCreate(&state->blas));
    GMV_TRY(gmv_cuda_allocate(b, &state->blas_workspace, blas_workspace_bytes, "cuBLAS"));
    GMV_CUBLAS(cublasSetStream(state->blas, state->compute));
    GMV_CUBLAS(cublasSetWorkspace(state->blas, state->blas_workspace, blas_workspace_bytes)); /* graphs, same bits */
    GMV_CUBLAS(cublasSetMathMode(state->blas,
                                 state->precision == GMV_TF32 ? CUBLAS_TF32_TENSOR_OP_MATH : CUBLAS_DEFAULT_MATH));
    return GMV_OK;
}

static gmv_status open_device(gmv_backend *b)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    int least = 0, greatest = 0;
    GMV_CUDA(cudaSetDevice(state->device));
    GMV_CUDA(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    GMV_CUDA(cudaStreamCreateWithPriority(&state->compute, cudaStreamNonBlocking, least));
    GMV_CUDA(cudaStreamCreateWithPriority(&state->sums, cudaStreamNonBlocking, greatest)); /* others wait for it */
    GMV_CUDA(cudaStreamCreateWithPriority(&state->copies, cudaStreamNonBlocking, least));
    cudaEvent_t *events[] = {&state->ready, &state->summed, &state->forked, &state->copied};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        GMV_CUDA(cudaEventCreateWithFlags(events[i], cudaEventDisableTiming));
    }
    GMV_TRY(gmv_cuda_sequences_open(state));
    return open_blas(b);
}

static gmv_status open_backend(gmv_backend *b, const gmv_backend_options *options)
{
    gmv_cuda_state *state;
    bool shared = false;
    gmv_status status = GMV_NEW(state, 1, "the CUDA backend");
    GMV_TRY(gmv_comm_agree(b->comm, status));
    b->state = state;
    b->op = &table;
    b->host_memory = false;
    b->close = close_backend;
    b->describe = describe;
    b->ranges = gmv_cuda_ranges();
    state->precision = options->precision;
    state->timeout = options->timeout;
    status = choose_gpu(b, options->share_gpu, &shared);
    if (status == GMV_OK) {
        status = gmv_comm_agree(b->comm, open_device(b));
    }
    if (status == GMV_OK) {
        status = gmv_cuda_reduce_open(b, shared, options->lone_sums);
    }
    if (status != GMV_OK) {
        close_backend(b);
    }
    return status;
}

static bool find_gpu(char *text, size_t size)
{
    int n = visible_gpus(text, size);
    if (n == 0) {
        return false;
    }
    char gpu[384], nccl[32];
    describe_gpu(0, gpu, sizeof gpu);
    describe_nccl(nccl, sizeof nccl);
    snprintf(text, size, "%d GPU%s; the first: %s; %s", n, n == 1 ? "" : "s", gpu, nccl);
    return true;
}

extern const gmv_plugin gmv_cuda_plugin;
__attribute__((visibility("default")))
const gmv_plugin gmv_cuda_plugin = {GMVAE_VERSION, sizeof(gmv_ops), open_backend, find_gpu};
