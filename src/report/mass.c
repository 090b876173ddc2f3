/* How the shares of components, and of the clusters that they became, change in the course of a training. */
#include "report.h"

#include "gmvae/mem.h"

#include <stdio.h>

/* What a picture shows: not every epoch of many, and small components of a cluster as one, where they never reach a part of
 * the cells; of many clusters the small ones as one, too. */
static const float alone = 0.01f;
enum { most_points = 150, most_clusters = 40, name_room = 24 };

typedef struct stack {
    int components, clusters, points, bands;
    int *cluster;            /* [components] */
    int *band;               /* [components] */
    float *highest;          /* [components], then [clusters] */
    double *x;               /* [points] */
    const float **row;       /* [points] shares of that epoch, [components] */
    float *share;            /* [bands, points] */
    gmv_band *of;            /* [bands] */
    char (*name)[name_room]; /* [bands] */
} stack;

/* Epochs that are evenly apart, and the last. */
static void choose_points(stack *s, const gmv_history *history)
{
    int every = (history->epochs + most_points - 1) / most_points;
    for (int i = (history->epochs - 1) % every; i < history->epochs; i += every) {
        if (history->shares[i].n == s->components) {
            s->x[s->points] = history->shares[i].epoch;
            s->row[s->points++] = history->shares[i].share;
        }
    }
}

static void find_highest(stack *s)
{
    float *of_cluster = s->highest + s->components;
    for (int k = 0; k < s->components; k++) {
        float highest = 0.0f;
        for (int i = 0; i < s->points; i++) {
            highest = s->row[i][k] > highest ? s->row[i][k] : highest;
        }
        s->highest[k] = highest;
        of_cluster[s->cluster[k]] = highest > of_cluster[s->cluster[k]] ? highest : of_cluster[s->cluster[k]];
    }
}

/* A band of its own for each large component of a cluster, then one for its others. */
static void add_bands(stack *s, int cluster)
{
    int others = -1;
    for (int large = 1; large >= 0; large--) {
        for (int k = 0; k < s->components; k++) {
            if (s->cluster[k] != cluster || (s->highest[k] >= alone) != (large == 1)) {
                continue;
            }
            if (large == 0 && others >= 0) {
                s->band[k] = others;
                continue;
            }
            snprintf(s->name[s->bands], name_room, "cluster %d", cluster);
            s->of[s->bands] = (gmv_band){.group = s->name[s->bands], .color = cluster};
            others = large == 0 ? s->bands : -1;
            s->band[k] = s->bands++;
        }
    }
}

static void make_bands(stack *s)
{
    int rest = 0;
    for (int c = 0; c < s->clusters; c++) {
        if (s->clusters <= most_clusters || s->highest[s->components + c] >= alone) {
            add_bands(s, c);
        } else {
            rest++;
        }
    }
    if (rest == 0) {
        return;
    }
    snprintf(s->name[s->bands], name_room, "%d others", rest);
    s->of[s->bands] = (gmv_band){.group = s->name[s->bands], .color = -1};
    for (int k = 0; k < s->components; k++) {
        bool small = s->highest[s->components + s->cluster[k]] < alone;
        s->band[k] = small ? s->bands : s->band[k];
    }
    s->bands++;
}

static void add_up(stack *s)
{
    for (int i = 0; i < s->points; i++) {
        for (int k = 0; k < s->components; k++) {
            s->share[(int64_t)s->band[k] * s->points + i] += s->row[i][k];
        }
    }
    for (int b = 0; b < s->bands; b++) {
        s->of[b].share = s->share + (int64_t)b * s->points;
    }
}

/* Clusters are those of the embedding; without one, components stand for themselves. */
static gmv_status make_room(stack *s, const gmv_history *history, const gmv_result_cells *result)
{
    int64_t components = s->components;
    bool known = result->cluster_of != NULL && result->component.levels == s->components;
    GMV_TRY(GMV_NEW(s->cluster, components, "shares of components"));
    GMV_TRY(GMV_NEW(s->band, components, "shares of components"));
    GMV_TRY(GMV_NEW(s->highest, 2 * components, "shares of components"));
    GMV_TRY(GMV_NEW(s->x, most_points + 1, "shares of components"));
    GMV_TRY(GMV_NEW(s->row, most_points + 1, "shares of components"));
    GMV_TRY(GMV_NEW(s->of, components + 1, "shares of components"));
    GMV_TRY(GMV_NEW(s->name, components + 1, "shares of components"));
    for (int k = 0; k < s->components; k++) {
        s->cluster[k] = known ? result->cluster_of[k] : k;
        s->clusters = s->cluster[k] >= s->clusters ? s->cluster[k] + 1 : s->clusters;
    }
    choose_points(s, history);
    return GMV_OK;
}

gmv_status gmv_draw_mass(gmv_gallery *gallery, const gmv_history *history, const gmv_result_cells *result)
{
    stack s = {.components = history->epochs > 0 ? history->shares[history->epochs - 1].n : 0};
    gmv_status status = GMV_OK;
    if (s.components < 2) {
        return GMV_OK;
    }
    GMV_GO(make_room(&s, history, result));
    if (s.points < 2) {
        goto done;
    }
    find_highest(&s);
    make_bands(&s);
    GMV_GO(GMV_NEW(s.share, (int64_t)s.bands * s.points, "shares of components"));
    add_up(&s);
    status = gmv_draw_areas(gallery, "component-mass", "Shares of components over epochs", "epoch",
                            "share of the training cells", s.points, s.x, s.bands, s.of);
done:
    gmv_free(s.cluster);
    gmv_free(s.band);
    gmv_free(s.highest);
    gmv_free(s.x);
    gmv_free((void *)s.row);
    gmv_free(s.share);
    gmv_free(s.of);
    gmv_free(s.name);
    return status;
}
