/* Collective operations: queued work that takes its time. When its turn comes, the data are copied from the
 * device to a buffer of the host, on which MPI works; the result is copied back when MPI is done. Only the main
 * thread calls MPI. */
#include "nccl_comm.h"

#include "annotate.h"

#include <stdlib.h>
#include <string.h>

typedef enum { ALL_REDUCE, BROADCAST, REDUCE_SCATTER, ALL_GATHER } collective;

typedef struct call {
    ncclComm_t comm;
    collective what;
    const char *from;
    char *to;
    int count; /* as in the call */
    size_t width;
    ncclDataType_t type;
    ncclRedOp_t operation;
    int root;
    bool hangs;
} call;

typedef struct progress {
    MPI_Request request;
    char *from, *to;
    bool begun;
} progress;

/* ---- types ---- */

static const struct {
    ncclDataType_t type;
    size_t width;
} widths[] = {
    {ncclInt8, 1},   {ncclUint8, 1},   {ncclInt32, 4},   {ncclUint32, 4},   {ncclInt64, 8},
    {ncclUint64, 8}, {ncclFloat32, 4}, {ncclFloat64, 8}, {ncclBfloat16, 2},
};

static size_t width_of(ncclDataType_t type)
{
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        if (widths[i].type == type) {
            return widths[i].width;
        }
    }
    return 0;
}

static MPI_Datatype mpi_type(ncclDataType_t type)
{
    switch (type) {
    case ncclInt8:
        return MPI_INT8_T;
    case ncclUint8:
        return MPI_UINT8_T;
    case ncclInt32:
        return MPI_INT32_T;
    case ncclUint32:
        return MPI_UINT32_T;
    case ncclInt64:
        return MPI_INT64_T;
    case ncclUint64:
        return MPI_UINT64_T;
    case ncclFloat32:
        return MPI_FLOAT;
    case ncclFloat64:
        return MPI_DOUBLE;
    default:
        return MPI_UINT16_T;
    }
}

static float widened(uint16_t half)
{
    uint32_t word = (uint32_t)half << 16;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

static uint16_t narrowed(float value)
{
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    return (uint16_t)(value != value ? 0x7fffu : (word + 0x7fffu + (word >> 16 & 1u)) >> 16);
}

/* MPI's operation for bfloat16, in the parameters that MPI prescribes. */
#define BFLOAT16_OPERATION(name, result)                                                                               \
    static void name(void *in, void *inout, int *n, MPI_Datatype *type)                                                \
    {                                                                                                                  \
        (void)type;                                                                                                    \
        const uint16_t *from = in;                                                                                     \
        uint16_t *to = inout;                                                                                          \
        for (int i = 0; i < *n; i++) {                                                                                 \
            float a = widened(from[i]), b = widened(to[i]);                                                            \
            to[i] = narrowed(result);                                                                                  \
        }                                                                                                              \
    }
BFLOAT16_OPERATION(add_bfloat16, a + b)
BFLOAT16_OPERATION(max_bfloat16, a > b ? a : b)
BFLOAT16_OPERATION(min_bfloat16, a < b ? a : b)

static MPI_Op mpi_operation(ncclDataType_t type, ncclRedOp_t operation)
{
    static MPI_Op own[ncclAvg];
    if (type != ncclBfloat16) {
        return operation == ncclMax ? MPI_MAX : operation == ncclMin ? MPI_MIN : MPI_SUM;
    }
    if (own[ncclSum] == NULL) {
        MPI_Op_create(add_bfloat16, 1, &own[ncclSum]);
        MPI_Op_create(max_bfloat16, 1, &own[ncclMax]);
        MPI_Op_create(min_bfloat16, 1, &own[ncclMin]);
    }
    return own[operation];
}

/* ---- running ---- */

static size_t bytes_in(const call *c)
{
    size_t bytes = (size_t)c->count * c->width;
    return c->what == REDUCE_SCATTER ? bytes * (size_t)c->comm->size : bytes;
}

static size_t bytes_out(const call *c)
{
    size_t bytes = (size_t)c->count * c->width;
    return c->what == ALL_GATHER ? bytes * (size_t)c->comm->size : bytes;
}

static void begin(const call *c, progress *p)
{
    MPI_Datatype type = mpi_type(c->type);
    p->begun = true;
    p->from = coh_new(bytes_in(c) + 1);
    p->to = coh_new(bytes_out(c) + 1);
    coh_arena_open();
    if (c->what != BROADCAST || c->comm->rank == c->root) {
        coh_reads(c->from, bytes_in(c));
        memcpy(p->from, c->from, bytes_in(c));
    }
    switch (c->what) {
    case ALL_REDUCE:
        MPI_Iallreduce(p->from, p->to, c->count, type, mpi_operation(c->type, c->operation), c->comm->mpi, &p->request);
        break;
    case BROADCAST:
        MPI_Ibcast(p->from, c->count, type, c->root, c->comm->mpi, &p->request);
        break;
    case REDUCE_SCATTER:
        MPI_Ireduce_scatter_block(p->from, p->to, c->count, type, mpi_operation(c->type, c->operation), c->comm->mpi,
                                  &p->request);
        break;
    case ALL_GATHER:
        MPI_Iallgather(p->from, c->count, type, p->to, c->count, type, c->comm->mpi, &p->request);
        break;
    }
}

static void end(const call *c, progress *p)
{
    coh_arena_open();
    coh_writes(c->to, bytes_out(c));
    memcpy(c->to, c->what == BROADCAST ? p->from : p->to, bytes_out(c));
    free(p->from);
    free(p->to);
    free(p);
}

static bool go_on(coh_op *op, coh_item *item)
{
    const call *c = coh_payload(op);
    progress *p = item->progress;
    int main_thread = 0, done = 0;
    if (c->comm->aborted) {
        return true; /* what MPI may still be writing to stays allocated */
    }
    MPI_Is_thread_main(&main_thread);
    if (c->hangs || main_thread == 0) {
        return false;
    }
    if (!p->begun) {
        begin(c, p);
    }
    MPI_Test(&p->request, &done, MPI_STATUS_IGNORE);
    if (done != 0) {
        end(c, p);
        item->progress = NULL;
    }
    return done != 0;
}

static bool run_call(coh_op *op, coh_item *item)
{
    item->progress = coh_new(sizeof(progress));
    return go_on(op, item);
}

static void keep_order(coh_op *op, coh_item *item)
{
    ncclComm_t comm = ((call *)coh_payload(op))->comm;
    coh_item_after(item, comm->last);
    coh_item_release(&comm->last);
    comm->last = item;
    coh_item_hold(item);
}

static void dispose(coh_op *op)
{
    coh_comm_release(((call *)coh_payload(op))->comm);
}

/* ---- calls ---- */

static ncclResult_t check(const call *c, size_t count)
{
    if (c->width == 0 || count > INT_MAX || (unsigned int)c->operation > ncclMin || c->operation == ncclProd) {
        return coh_nccl_fail(ncclInvalidArgument, "a type, operation or count that is not emulated");
    }
    if (c->root < 0 || c->root >= c->comm->size) {
        return coh_nccl_fail(ncclInvalidArgument, "the root is not a rank");
    }
    bool sends = c->what != BROADCAST || c->comm->rank == c->root;
    if ((sends && !coh_on_device(c->from, bytes_in(c))) || !coh_on_device(c->to, bytes_out(c))) {
        return coh_nccl_fail(ncclInvalidArgument, "a buffer is not inside an allocation of the device");
    }
    return c->comm->aborted ? ncclInvalidUsage : ncclSuccess;
}

static ncclResult_t submit(const char *name, call c, size_t count, cudaStream_t stream)
{
    int injected = coh_injected(name);
    if (injected > 0) {
        return coh_nccl_fail((ncclResult_t)injected, "injected");
    }
    if (c.comm == NULL || coh_device_error() != cudaSuccess) {
        return c.comm == NULL ? ncclInvalidArgument : ncclUnhandledCudaError;
    }
    c.width = width_of(c.type);
    c.count = (int)count;
    c.hangs = injected == COH_HANG;
    ncclResult_t result = check(&c, count);
    if (result != ncclSuccess || count == 0) {
        return result;
    }
    if (coh_check_stream(stream) != cudaSuccess) {
        return ncclInvalidArgument;
    }
    coh_op *op = coh_op_new(name, run_call, sizeof c);
    coh_copy_quietly(coh_payload(op), &c, sizeof c);
    op->finished = go_on;
    op->ordered = keep_order;
    op->dispose = dispose;
    c.comm->references++;
    return coh_submit(stream, op) == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError;
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t operation,
                           ncclComm_t comm, cudaStream_t stream)
{
    COH_LOCKED;
    call c = {.comm = comm, .what = ALL_REDUCE, .from = from, .to = to, .type = type, .operation = operation};
    return submit("ncclAllReduce", c, count, stream);
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream)
{
    COH_LOCKED;
    call c = {.comm = comm, .what = BROADCAST, .from = from, .to = to, .type = type, .root = root};
    return submit("ncclBroadcast", c, count, stream);
}

ncclResult_t ncclReduceScatter(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t operation,
                               ncclComm_t comm, cudaStream_t stream)
{
    COH_LOCKED;
    call c = {.comm = comm, .what = REDUCE_SCATTER, .from = from, .to = to, .type = type, .operation = operation};
    return submit("ncclReduceScatter", c, count, stream);
}

ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream)
{
    COH_LOCKED;
    call c = {.comm = comm, .what = ALL_GATHER, .from = from, .to = to, .type = type};
    return submit("ncclAllGather", c, count, stream);
}

/* Operations are queued anyway: a group adds nothing, but has to be closed. */
static int groups;

ncclResult_t ncclGroupStart(void)
{
    COH_LOCKED;
    int injected = coh_injected("ncclGroupStart");
    groups += injected == 0;
    return (ncclResult_t)injected;
}

ncclResult_t ncclGroupEnd(void)
{
    COH_LOCKED;
    int injected = coh_injected("ncclGroupEnd");
    if (groups == 0) {
        return coh_nccl_fail(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
    }
    groups--;
    return (ncclResult_t)injected;
}
