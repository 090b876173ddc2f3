/* Agreement of the model's own clusters with labels: adjusted Rand index (Hubert and Arabie 1985) and normalised
 * mutual information with the arithmetic mean, as scikit-learn and scib compute them. */
#include "gmvae/evaluate.h"
#include "gmvae/mem.h"

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
    /* every cell a label and a cluster of its own: they agree by definition */
    agreement->ari = most > expected ? (together - expected) / (most - expected) : 1.0;
    agreement->nmi = 2.0 * (h_label + h_cluster - joint) / (h_label + h_cluster);
}

/* Table [labels, clusters] of the wanted cells, then its margins. */
typedef struct contingency {
    const gmv_cells *cells;
    gmv_which_cells which;
    int output; /* of the model, the clusters */
    int clusters;
    int64_t *table, *of_label, *of_cluster;
} contingency;

static gmv_status add_rows(void *context, const gmv_row_results *results)
{
    contingency *c = context;
    for (int i = 0; i < results->n; i++) {
        const float *probability = results->output[c->output] + (int64_t)i * c->clusters;
        int label = gmv_factor_code(c->cells->label, results->row[i] - c->cells->first), best = 0;
        bool wanted = c->which == GMV_CELLS_ALL || gmv_split_holds_out(&c->cells->split, results->row[i]);
        if (label < 0 || !wanted) {
            continue;
        }
        for (int k = 1; k < c->clusters; k++) {
            best = probability[k] > probability[best] ? k : best;
        }
        c->table[label * c->clusters + best]++;
        c->of_label[label]++;
        c->of_cluster[best]++;
    }
    return GMV_OK;
}

gmv_status gmv_label_agreement(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, const gmv_comm *comm,
                               gmv_which_cells which, gmv_agreement *agreement)
{
    memset(agreement, 0, sizeof *agreement);
    const gmv_cell_output *clusters = gmv_clusters_of(&model->outputs);
    agreement->clusters = clusters->cols;
    agreement->ari = agreement->nmi = NAN;
    if (clusters->cols == 0 || cells->label == NULL || cells->label->levels == 0) {
        return GMV_OK;
    }
    int labels = cells->label->levels;
    contingency c = {cells, which, (int)(clusters - model->outputs.at), clusters->cols, NULL, NULL, NULL};
    int64_t entries = (int64_t)labels * c.clusters + labels + c.clusters;
    gmv_row_sink sink = {add_rows, &c};
    gmv_status status;
    GMV_GO(GMV_NEW(c.table, entries, "the table of labels and clusters"));
    c.of_label = c.table + (int64_t)labels * c.clusters;
    c.of_cluster = c.of_label + labels;
    GMV_GO(gmv_embed_rows(model, feed, cells, &sink));
done:
    status = gmv_comm_agree(comm, status);
    if (status == GMV_OK) {
        gmv_comm_sum_i64(comm, c.table, entries);
        for (int i = 0; i < labels; i++) {
            agreement->cells += c.of_label[i];
            agreement->labels += c.of_label[i] > 0;
        }
        if (agreement->labels > 1) {
            finish(c.table, labels, c.clusters, c.of_label, c.of_cluster, agreement);
        }
    }
    GMV_FREE(c.table);
    return status;
}
