/* Agreement of clusters with labels. */
#include "gmvae/clusters.h"
#include "gmvae/mem.h"
#include "gmvae/metrics.h"

#include <math.h>

static double pairs(double n)
{
    return 0.5 * n * (n - 1.0);
}

/* Sums over the groups of a partition: pairs of cells in the same one, and the entropy in nats. */
typedef struct partition {
    double pairs, entropy;
    int groups;
} partition;

static void add_group(partition *p, int64_t count, double n)
{
    if (count > 0) {
        double share = (double)count / n;
        p->pairs += pairs((double)count);
        p->entropy -= share * log(share);
        p->groups++;
    }
}

static gmv_agreement compare(const gmv_census *census)
{
    gmv_agreement agreement = {.clusters = census->clusters, .ari = NAN, .nmi = NAN, .accuracy = NAN};
    partition both = {0}, label = {0}, cluster = {0};
    int labels = census->levels, clusters = census->clusters;
    for (int64_t i = 0; i < (int64_t)labels * clusters; i++) {
        agreement.cells += census->table[i];
    }
    double n = (double)agreement.cells;
    for (int l = 0; l < labels; l++) {
        int64_t count = 0;
        for (int c = 0; c < clusters; c++) {
            count += census->table[(int64_t)l * clusters + c];
            add_group(&both, census->table[(int64_t)l * clusters + c], n);
        }
        add_group(&label, count, n);
    }
    for (int c = 0; c < clusters; c++) {
        int64_t count = 0;
        for (int l = 0; l < labels; l++) {
            count += census->table[(int64_t)l * clusters + c];
        }
        add_group(&cluster, count, n);
    }
    agreement.labels = label.groups;
    if (label.groups > 1) {
        double expected = label.pairs * cluster.pairs / pairs(n), most = 0.5 * (label.pairs + cluster.pairs);
        /* every cell a label and a cluster of its own: they agree by definition */
        agreement.ari = most > expected ? (both.pairs - expected) / (most - expected) : 1.0;
        agreement.nmi = 2.0 * (label.entropy + cluster.entropy - both.entropy) / (label.entropy + cluster.entropy);
    }
    return agreement;
}

gmv_status gmv_agreement_of(const gmv_census *census, gmv_agreement *agreement)
{
    int64_t matched = 0;
    *agreement = compare(census);
    if (agreement->labels > 1) {
        GMV_TRY(gmv_largest_assignment(census->table, census->levels, census->clusters, &matched));
        agreement->accuracy = (double)matched / (double)agreement->cells;
    }
    return GMV_OK;
}
