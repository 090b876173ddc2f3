/* What a run comes to, in sentences: what was trained, whether it converged, clusters, batches, and what to do. */
#include "report.h"

#include "gmvae/mem.h"
#include "gmvae/text.h"

#include <math.h>
#include <string.h>

/* Part of a run's epochs that its end is judged by, and changes of the held-out bound that count, as parts of it. */
static const double tail = 0.2, still_falling = 2e-3, risen = 2e-3;
/* A cluster is of one batch with this share of it, which has less of all cells; a small one has less than this share. */
static const double mostly = 0.9, not_mostly = 0.6, small_cluster = 0.005;
/* Counts of the model are others than those of the cells from so many more or fewer zeros on, as a share of all, or from this
 * ratio of variances, or its inverse. */
static const double other_zeros = 0.03, other_variance = 1.4;
enum { few_steps = 300 };

typedef enum mood { FINE, WORRY } mood;

/* One sentence: its head in bold, and what to do about it, if anything. */
static void say(FILE *page, mood how, const char *head, const char *text, const char *advice)
{
    fprintf(page, "<li class=\"%s\"><b>", how == FINE ? "fine" : "worry");
    gmv_print_html_text(page, head);
    fputs("</b> ", page);
    gmv_print_html_text(page, text);
    if (advice[0] != '\0') {
        fputs(" <i>", page);
        gmv_print_html_text(page, advice);
        fputs("</i>", page);
    }
    fputs("</li>\n", page);
}

static const cJSON *last_line(const gmv_run_files *run)
{
    return run->history.lines > 0 ? run->history.line[run->history.lines - 1] : NULL;
}

/* ---- what was trained ---- */

static void say_what(FILE *page, const gmv_run_files *run)
{
    const gmv_config *config = &run->trained;
    double epoch = gmv_number_in(last_line(run), "epoch"), step = gmv_number_in(last_line(run), "step");
    char text[600], files[200] = "";
    if (config->data_train.n > 0) {
        const char *slash = strrchr(config->data_train.at[0], '/');
        snprintf(files, sizeof files, config->data_train.n > 1 ? " of %.120s and %d more" : " of %.120s",
                 slash != NULL ? slash + 1 : config->data_train.at[0], config->data_train.n - 1);
    }
    snprintf(text, sizeof text,
             "family %s, likelihood %s, %s objective, %lld latent dimensions; %.0f of %lld epochs, %.0f steps.",
             gmv_config_choice("model.family", config->model_family),
             gmv_config_choice("model.likelihood", config->model_likelihood),
             gmv_config_choice("model.objective", config->model_objective), (long long)config->model_latent_dim,
             isfinite(epoch) ? epoch : 0.0, (long long)config->train_epochs, isfinite(step) ? step : 0.0);
    char head[300];
    snprintf(head, sizeof head, "%lld cells%s.", (long long)run->result.cells, files);
    say(page, FINE, run->result.there ? head : "The run has no embedding yet.", text, "");
    if (isfinite(step) && step < few_steps) {
        say(page, WORRY, "Few steps.", "Below some 300 optimiser steps clusters are poor.",
            "Lower train.batch_size (64 to 256), or raise train.epochs.");
    }
}

/* Results that an earlier training left in the folder. */
static void say_earlier(FILE *page, const gmv_run_files *run)
{
    if (run->earlier_cells || run->earlier_evaluation) {
        say(page, WORRY, "Results of an earlier training are not shown.",
            !run->earlier_evaluation ? "embedding.h5ad is older than what was trained here last."
            : run->earlier_cells     ? "embedding.h5ad and evaluation.json are older than what was trained here last."
                                     : "evaluation.json is older than what was trained here last.",
            "Run embed and eval, then report.");
    }
}

/* ---- whether it converged ---- */

/* Of the held-out bound, or without one that of the training. */
static void say_converged(FILE *page, const gmv_curve *bound, bool held_out)
{
    char text[400];
    int n = bound->points, best = 0, from = (int)((1.0 - tail) * (n - 1));
    for (int i = 1; i < n; i++) {
        best = bound->y[i] < bound->y[best] ? i : best;
    }
    if (n < 5) {
        say(page, WORRY, "Nothing can be said of convergence.", "There are fewer than five epochs.", "");
        return;
    }
    double size = fabs(bound->y[best]), fallen = (bound->y[from] - bound->y[best]) / size,
           since = (bound->y[n - 1] - bound->y[best]) / size;
    const char *what = held_out ? "held-out" : "training";
    if (!isfinite(bound->y[n - 1])) {
        say(page, WORRY, "The loss is not finite.", "", "Lower train.lr.");
    } else if (best > from && fallen > still_falling) {
        snprintf(text, sizeof text, "The %s -ELBO still fell by %.2g %% over the last fifth of the epochs.", what,
                 100.0 * fallen);
        say(page, WORRY, "It had not converged.", text,
            "Raise train.epochs: the same command goes on from the checkpoint.");
    } else if (since > risen) {
        snprintf(text, sizeof text, "The %s -ELBO was lowest at epoch %.0f and has risen by %.2g %% since.", what,
                 bound->x[best], 100.0 * since);
        say(page, WORRY, "It overfits.", text,
            "The results are those of the best epoch. More dropout, fewer epochs or a smaller model lose less time.");
    } else {
        snprintf(text, sizeof text,
                 "The %s -ELBO, %.6g at its best (epoch %.0f), changed by less than %.1f %% over the last "
                 "fifth of the epochs.",
                 what, bound->y[best], bound->x[best], 100.0 * risen);
        say(page, FINE, "It converged.", text, "");
    }
}

static gmv_status say_history(FILE *page, const gmv_run_files *run)
{
    gmv_curve bound = {0};
    bool held_out = true;
    GMV_TRY(gmv_history_curve(&run->history, "validation", "neg_elbo", &bound));
    if (bound.points == 0) {
        gmv_curve_fini(&bound);
        held_out = false;
        GMV_TRY(gmv_history_curve(&run->history, "train", "neg_elbo", &bound));
    }
    say_converged(page, &bound, held_out);
    gmv_curve_fini(&bound);
    return GMV_OK;
}

/* ---- clusters ---- */

static gmv_status say_clusters(FILE *page, const gmv_run_files *run)
{
    const gmv_result_cells *result = &run->result;
    int64_t *size = NULL;
    int clusters = result->cluster.levels, little = 0;
    char head[120], text[400] = "";
    if (clusters == 0) {
        return GMV_OK;
    }
    GMV_TRY(GMV_NEW(size, clusters, "sizes of clusters"));
    for (int64_t i = 0; i < result->cells; i++) {
        if (result->cluster.code[i] >= 0) {
            size[result->cluster.code[i]]++;
        }
    }
    for (int c = 0; c < clusters; c++) {
        little += (double)size[c] < small_cluster * (double)result->cells ? 1 : 0;
    }
    double ari = gmv_number_in(run->evaluation, "ari"), nmi = gmv_number_in(run->evaluation, "nmi");
    size_t used = (size_t)snprintf(
        text, sizeof text,
        result->component.levels == 1 ? "The model has %d component; it has %.0f %% of the cells."
                                      : "%d components were merged where cells do not tell them apart; the largest "
                                        "cluster has %.0f %% of the cells.",
        result->component.levels, 100.0 * (double)size[0] / fmax(1.0, (double)result->cells));
    if (isfinite(ari)) {
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 " On held-out cells they agree with %.60s at ARI %.2f, NMI %.2f.",
                                 run->config->data_label_key, ari, nmi);
    }
    snprintf(head, sizeof head, "%d cluster%s.", clusters, clusters == 1 ? "" : "s");
    say(page, clusters == 1 ? WORRY : FINE, head, text,
        clusters == 1
            ? "Train longer, or see whether the components are wanted as they are (output.clusters: components)."
            : "");
    if (little > 0) {
        snprintf(head, sizeof head, "%d small cluster%s.", little, little == 1 ? "" : "s");
        say(page, WORRY, head, "Less than half a percent of the cells each: a rare type, doublets or damaged cells.",
            "Look at their markers and counts before naming them.");
    }
    gmv_free(size);
    return GMV_OK;
}

/* ---- batches ---- */

static double entropy(int n, const double *share)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++) {
        sum -= share[i] > 0.0 ? share[i] * log(share[i]) : 0.0;
    }
    return sum;
}

/* How mixed batches are in clusters: the mean entropy of batches in a cluster over that of all cells; and how many clusters
 * are mostly one batch. @param[in] count  [levels, clusters] */
static double mixing(int levels, int clusters, const int64_t *count, double *share, int *one_sided)
{
    double cells = 0.0, within = 0.0, all;
    *one_sided = 0;
    for (int i = 0; i < levels * clusters; i++) {
        cells += (double)count[i];
    }
    for (int c = 0; c < clusters; c++) {
        double of_cluster = 0.0;
        for (int l = 0; l < levels; l++) {
            of_cluster += (double)count[l * clusters + c];
        }
        for (int l = 0; l < levels && of_cluster > 0.0; l++) {
            double of_level = 0.0;
            share[l] = (double)count[l * clusters + c] / of_cluster;
            for (int d = 0; d < clusters; d++) {
                of_level += (double)count[l * clusters + d];
            }
            *one_sided += share[l] >= mostly && of_level < not_mostly * cells ? 1 : 0;
        }
        within += of_cluster > 0.0 ? of_cluster / cells * entropy(levels, share) : 0.0;
    }
    for (int l = 0; l < levels; l++) {
        share[l] = 0.0;
        for (int c = 0; c < clusters; c++) {
            share[l] += (double)count[l * clusters + c] / cells;
        }
    }
    all = entropy(levels, share);
    return all > 0.0 ? within / all : NAN;
}

static gmv_status say_batch(FILE *page, const gmv_run_files *run, const gmv_column *batch)
{
    const gmv_result_cells *result = &run->result;
    int64_t *count = NULL;
    double *share = NULL;
    int one_sided;
    char head[200], text[300];
    gmv_status status;
    GMV_GO(gmv_count_pairs(result->cells, batch, &result->cluster, &count));
    GMV_GO(GMV_NEW(share, batch->levels, "shares of batches"));
    double mixed = mixing(batch->levels, result->cluster.levels, count, share, &one_sided);
    if (isfinite(mixed)) {
        snprintf(head, sizeof head, "The levels of %.100s are %s.", batch->key,
                 mixed > 0.9   ? "well mixed"
                 : mixed > 0.7 ? "mixed"
                               : "not mixed");
        snprintf(text, sizeof text, "Within clusters their mixture is %.0f %% of that of all cells%s.", 100.0 * mixed,
                 one_sided > 0 ? "; some clusters are nearly all of one level" : "");
        say(page, mixed > 0.7 && one_sided == 0 ? FINE : WORRY, head, text,
            one_sided > 0
                ? "See in the map below which: cells that only one level has, or a difference that was not removed."
                : "");
    }
done:
    gmv_free(count);
    gmv_free(share);
    return status;
}

/* ---- counts that the model draws ---- */

static void say_counts(FILE *page, const cJSON *predictive)
{
    double zeros = gmv_number_in(predictive, "zeros"), drawn = gmv_number_in(predictive, "zeros_drawn"),
           ratio = gmv_number_in(predictive, "variance_ratio");
    char text[300];
    if (!isfinite(zeros) || !isfinite(drawn)) {
        return;
    }
    size_t used = (size_t)snprintf(text, sizeof text,
                                   "A gene has %.1f %% zeros in counts drawn for these cells, %.1f %% in their own",
                                   100.0 * drawn, 100.0 * zeros);
    if (isfinite(ratio)) {
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "; its variance is %.2f times theirs (median)", ratio);
    }
    snprintf(text + used, sizeof text - used, ".");
    bool more_zeros = drawn > zeros + other_zeros,
         fewer_zeros = drawn<zeros - other_zeros, wider = ratio> other_variance,
         narrower = ratio < 1.0 / other_variance;
    if (!more_zeros && !fewer_zeros && !wider && !narrower) {
        say(page, FINE, "The model draws counts like those of the cells.", text, "");
        return;
    }
    say(page, WORRY,
        more_zeros    ? "The model draws more zeros than the cells have."
        : fewer_zeros ? "The model draws fewer zeros than the cells have."
        : wider       ? "The model's counts vary more than those of the cells."
                      : "The model's counts vary less than those of the cells.",
        text,
        "See in the pictures below which genes. Train longer or with a larger model; if that does not help, another "
        "model.likelihood may fit better.");
}

gmv_status gmv_write_verdicts(FILE *page, const gmv_run_files *run)
{
    fputs("<ul class=\"verdicts\">\n", page);
    say_what(page, run);
    say_earlier(page, run);
    GMV_TRY(say_history(page, run));
    GMV_TRY(say_clusters(page, run));
    for (int b = 0; b < run->result.batches && run->result.cluster.levels > 0; b++) {
        if (run->result.batch[b].levels > 1) {
            GMV_TRY(say_batch(page, run, &run->result.batch[b]));
        }
    }
    say_counts(page, run->predictive);
    fputs("</ul>\n", page);
    return GMV_OK;
}
