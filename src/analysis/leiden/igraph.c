/* The plug-in: igraph's Leiden on our graphs. Links igraph, which makes this file's product GPL. */
#include "gmvae/leiden.h"

#include <igraph/igraph.h>

#if IGRAPH_VERSION_MAJOR == 0 && IGRAPH_VERSION_MINOR < 10
#error "igraph 0.10 or later is needed"
#endif

static const double randomness = 0.01; /* igraph's and leidenalg's beta */
enum { until_nothing_changes = -1 };

/* Each edge once, with its weight; and each point's sum of weights, the degree of modularity. */
static igraph_error_t fill(const gmv_graph *graph, igraph_vector_int_t *ends, igraph_vector_t *weight,
                           igraph_vector_t *strength)
{
    IGRAPH_CHECK(igraph_vector_resize(strength, graph->n));
    igraph_vector_null(strength);
    for (int i = 0; i < graph->n; i++) {
        for (int64_t e = graph->start[i]; e < graph->start[i + 1]; e++) {
            VECTOR(*strength)[i] += (double)graph->weight[e];
            if (graph->to[e] > i) {
                IGRAPH_CHECK(igraph_vector_int_push_back(ends, i));
                IGRAPH_CHECK(igraph_vector_int_push_back(ends, graph->to[e]));
                IGRAPH_CHECK(igraph_vector_push_back(weight, (double)graph->weight[e]));
            }
        }
    }
    return IGRAPH_SUCCESS;
}

static igraph_error_t divide(const gmv_graph *graph, double resolution, igraph_vector_int_t *member,
                             igraph_integer_t *clusters)
{
    igraph_t g;
    igraph_vector_int_t ends;
    igraph_vector_t weight, strength;
    IGRAPH_CHECK(igraph_vector_int_init(&ends, 0));
    IGRAPH_FINALLY(igraph_vector_int_destroy, &ends);
    IGRAPH_CHECK(igraph_vector_init(&weight, 0));
    IGRAPH_FINALLY(igraph_vector_destroy, &weight);
    IGRAPH_CHECK(igraph_vector_init(&strength, 0));
    IGRAPH_FINALLY(igraph_vector_destroy, &strength);
    IGRAPH_CHECK(fill(graph, &ends, &weight, &strength));
    IGRAPH_CHECK(igraph_create(&g, &ends, graph->n, IGRAPH_UNDIRECTED));
    IGRAPH_FINALLY(igraph_destroy, &g);
    double all = igraph_vector_sum(&strength); /* twice the edges */
    IGRAPH_CHECK(igraph_community_leiden(&g, &weight, &strength, all > 0.0 ? resolution / all : 0.0, randomness, false,
                                         until_nothing_changes, member, clusters, NULL));
    igraph_destroy(&g);
    igraph_vector_destroy(&strength);
    igraph_vector_destroy(&weight);
    igraph_vector_int_destroy(&ends);
    IGRAPH_FINALLY_CLEAN(4);
    return IGRAPH_SUCCESS;
}

static const char *partition(const gmv_graph *graph, double resolution, uint64_t seed, int32_t *cluster, int *clusters)
{
    igraph_vector_int_t member;
    igraph_integer_t found = 0;
    igraph_set_error_handler(igraph_error_handler_ignore); /* else it ends the program */
    igraph_error_t error = igraph_rng_seed(igraph_rng_default(), (igraph_uint_t)seed);
    if (error != IGRAPH_SUCCESS || (error = igraph_vector_int_init(&member, 0)) != IGRAPH_SUCCESS) {
        return igraph_strerror(error);
    }
    error = divide(graph, resolution, &member, &found);
    for (int i = 0; error == IGRAPH_SUCCESS && i < graph->n; i++) {
        cluster[i] = (int32_t)VECTOR(member)[i];
    }
    igraph_vector_int_destroy(&member);
    *clusters = (int)found;
    return error == IGRAPH_SUCCESS ? NULL : igraph_strerror(error);
}

const gmv_leiden gmv_leiden_plugin; /* declared before it is defined, as nobody else does */
const gmv_leiden gmv_leiden_plugin = {GMVAE_VERSION, "igraph " IGRAPH_VERSION, partition};
