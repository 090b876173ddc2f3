/* Graphs: nodes that share the ops of the work they were captured from. */
#include "coh.h"

#include <stdlib.h>
#include <string.h>

/* Lanes of nodes are apart from those of streams. */
enum { NODE_LANES = 1000 };

struct CUgraphExec_st {
    struct CUgraph_st graph;
};

void coh_unite(int **list, int *n, const int *more, int n_more)
{
    for (int i = 0; i < n_more; i++) {
        bool known = false;
        for (int j = 0; j < *n; j++) {
            known = known || (*list)[j] == more[i];
        }
        if (!known) {
            *list = coh_resize(*list, (size_t)(*n + 1) * sizeof **list);
            (*list)[(*n)++] = more[i];
        }
    }
}

int coh_graph_add(cudaGraph_t graph, coh_op *op, int lane, const int *after, int n_after)
{
    if (graph->n == graph->room) {
        graph->room = graph->room > 0 ? 2 * graph->room : 64;
        graph->nodes = coh_resize(graph->nodes, (size_t)graph->room * sizeof *graph->nodes);
    }
    coh_node *node = &graph->nodes[graph->n];
    *node = (coh_node){op, lane, NULL, 0};
    op->references++;
    coh_unite(&node->after, &node->n_after, after, n_after);
    return graph->n++;
}

static void clear(struct CUgraph_st *graph)
{
    for (int i = 0; i < graph->n; i++) {
        coh_op_release(graph->nodes[i].op);
        free(graph->nodes[i].after);
    }
    free(graph->nodes);
    *graph = (struct CUgraph_st){0};
}

void coh_graph_free(cudaGraph_t graph)
{
    clear(graph);
    free(graph);
}

static void copy_graph(struct CUgraph_st *to, const struct CUgraph_st *from)
{
    for (int i = 0; i < from->n; i++) {
        const coh_node *node = &from->nodes[i];
        coh_graph_add(to, node->op, node->lane, node->after, node->n_after);
    }
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    COH_CALL(cudaGraphDestroy);
    if (graph == NULL) {
        return coh_say(cudaErrorInvalidValue);
    }
    coh_graph_free(graph);
    return cudaSuccess;
}

/* Nodes have no handles of their own: only how many there are can be asked. */
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
    COH_CALL(cudaGraphGetNodes);
    if (graph == NULL || count == NULL || nodes != NULL) {
        return coh_say(nodes != NULL ? cudaErrorNotSupported : cudaErrorInvalidValue);
    }
    *count = (size_t)graph->n;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    COH_CALL(cudaGraphInstantiate);
    if (exec == NULL || graph == NULL || flags != 0) {
        return coh_say(cudaErrorInvalidValue);
    }
    *exec = coh_new(sizeof **exec);
    copy_graph(&(*exec)->graph, graph);
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    COH_CALL(cudaGraphExecDestroy);
    if (exec == NULL) {
        return coh_say(cudaErrorInvalidValue);
    }
    clear(&exec->graph);
    free(exec);
    return cudaSuccess;
}

/* @return what of `to` is other than the same graph with other parameters */
static enum cudaGraphExecUpdateResult compare(const struct CUgraph_st *from, const struct CUgraph_st *to)
{
    if (from->n != to->n) {
        return cudaGraphExecUpdateErrorTopologyChanged;
    }
    for (int i = 0; i < from->n; i++) {
        const coh_node *a = &from->nodes[i], *b = &to->nodes[i];
        if (a->n_after != b->n_after ||
            (a->n_after > 0 && memcmp(a->after, b->after, (size_t)a->n_after * sizeof *a->after) != 0)) {
            return cudaGraphExecUpdateErrorTopologyChanged;
        }
        if (a->op->run != b->op->run) {
            return cudaGraphExecUpdateErrorNodeTypeChanged;
        }
    }
    return cudaGraphExecUpdateSuccess;
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo *info)
{
    COH_CALL(cudaGraphExecUpdate);
    if (exec == NULL || graph == NULL || info == NULL) {
        return coh_say(cudaErrorInvalidValue);
    }
    *info = (cudaGraphExecUpdateResultInfo){compare(&exec->graph, graph), NULL, NULL};
    if (info->result != cudaGraphExecUpdateSuccess) {
        return coh_say(cudaErrorGraphExecUpdateFailure);
    }
    clear(&exec->graph);
    copy_graph(&exec->graph, graph);
    return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    COH_CALL(cudaGraphUpload);
    return coh_say(exec == NULL ? cudaErrorInvalidValue : coh_check_stream(stream));
}

static bool nothing(coh_op *op, coh_item *item)
{
    (void)op, (void)item;
    return true;
}

/* All nodes come after what is in the stream, and what follows in the stream after all nodes. */
static void enqueue(const struct CUgraph_st *graph, cudaStream_t stream)
{
    coh_item **items = coh_new((size_t)(graph->n + 1) * sizeof(coh_item *));
    coh_op *op = coh_op_new("end of a graph", nothing, 0);
    coh_item *end = coh_item_new(op, stream->number);
    coh_op_release(op);
    coh_item_after(end, stream->tail);
    for (int i = 0; i < graph->n; i++) {
        const coh_node *node = &graph->nodes[i];
        items[i] = coh_item_new(node->op, NODE_LANES + node->lane);
        coh_item_after(items[i], stream->tail);
        for (int j = 0; j < node->n_after; j++) {
            coh_item_after(items[i], items[node->after[j]]);
        }
        coh_item_after(end, items[i]);
    }
    for (int i = 0; i < graph->n; i++) {
        coh_item_ready(items[i]);
        coh_item_release(&items[i]);
    }
    free(items);
    coh_item_release(&stream->tail);
    stream->tail = end;
    coh_item_ready(end);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    COH_CALL(cudaGraphLaunch);
    cudaError_t error = exec == NULL ? cudaErrorInvalidValue : coh_check_stream(stream);
    if (error == cudaSuccess && stream->capture != NULL) {
        coh_invalidate(stream->capture);
        error = cudaErrorStreamCaptureUnsupported;
    }
    if (error == cudaSuccess) {
        enqueue(&exec->graph, stream);
    }
    return coh_say(error);
}
