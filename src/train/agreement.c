/* Agreement of the model's own clusters with labels: adjusted Rand index (Hubert and Arabie 1985) and normalised
 * mutual information with the arithmetic mean, as scikit-learn and scib compute them. */
#include "gmvae/mem.h"
#include "gmvae/train.h"

#include <math.h>
#include <string.h>

static double pairs(double n)
{
    return 0.5 * n * (n - 1.0);
}

/* Entropy of a distribution of `n` things over counts, in nats. */
static double entropy(const int64_t *count, int groups, double n)
{
    double sum = 0.0;
    for (int i = 0; i < groups; i++) {
        if (count[i] > 0) {
            double p = (double)count[i] / n;
            sum -= p * log(p);
        }
    }
    return sum;
}

/* From the contingency table [labels, clusters] with its margins. */
static void finish(const int64_t *table, int labels, int clusters, const int64_t *of_label, const int64_t *of_cluster,
                   gmv_agreement *agreement)
{
    double n = (double)agreement->cells, together = 0.0, label_pairs = 0.0, cluster_pairs = 0.0, joint = 0.0;
    for (int i = 0; i < labels * clusters; i++) {
        together += pairs((double)table[i]);
        if (table[i] > 0) {
            double p = (double)table[i] / n;
            joint -= p * log(p);
        }
    }
    for (int i = 0; i < labels; i++) {
        label_pairs += pairs((double)of_label[i]);
    }
    for (int k = 0; k < clusters; k++) {
        cluster_pairs += pairs((double)of_cluster[k]);
    }
    double expected = n > 1.0 ? label_pairs * cluster_pairs / pairs(n) : 0.0;
    double most = 0.5 * (label_pairs + cluster_pairs);
    double h_label = entropy(of_label, labels, n), h_cluster = entropy(of_cluster, clusters, n);
    /* both partitions trivial: they agree by definition */
    agreement->ari = most > expected ? (together - expected) / (most - expected) : 1.0;
    agreement->nmi = h_label + h_cluster > 0.0 ? 2.0 * (h_label + h_cluster - joint) / (h_label + h_cluster) : 1.0;
}

gmv_status gmv_label_agreement(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, const gmv_comm *comm,
                               gmv_which_cells which, gmv_agreement *agreement)
{
    memset(agreement, 0, sizeof *agreement);
    agreement->ari = agreement->nmi = NAN;
    if (cells->label == NULL || cells->label->levels == 0) {
        return GMV_OK;
    }
    int labels = cells->label->levels, clusters = model->clusters;
    gmv_row_output rows = {0};
    int64_t *table = NULL;
    gmv_status status;
    GMV_GO(GMV_NEW(rows.probability, cells->count * clusters, "cluster probabilities"));
    /* table [labels, clusters], then its margins */
    GMV_GO(GMV_NEW(table, (int64_t)labels * clusters + labels + clusters, "the table of labels and clusters"));
    GMV_GO(gmv_embed_rows(model, feed, cells, &rows));
done:
    status = gmv_comm_agree(comm, status);
    if (status == GMV_OK) {
        int64_t *of_label = table + (int64_t)labels * clusters, *of_cluster = of_label + labels;
        for (int64_t i = 0; i < cells->count; i++) {
            int label = cells->label->code[i], best = 0;
            bool wanted = which == GMV_CELLS_ALL || gmv_split_holds_out(&cells->split, cells->first + i);
            if (label < 0 || !wanted) {
                continue;
            }
            for (int k = 1; k < clusters; k++) {
                best = rows.probability[i * clusters + k] > rows.probability[i * clusters + best] ? k : best;
            }
            table[label * clusters + best]++;
            of_label[label]++;
            of_cluster[best]++;
        }
        gmv_comm_sum_i64(comm, table, (int64_t)labels * clusters + labels + clusters);
        for (int i = 0; i < labels; i++) {
            agreement->cells += of_label[i];
        }
        if (agreement->cells > 0) {
            finish(table, labels, clusters, of_label, of_cluster, agreement);
        }
    }
    GMV_FREE(rows.probability);
    GMV_FREE(table);
    return status;
}
