/* sweep.svg, sweep.png */
#include "sweep_rows.h"

#include "gmvae/mem.h"
#include "gmvae/pictures.h"

#include <string.h>

enum { name_room = 96 };

/* Values of a combination, without the names of keys where there is one key. */
static void name_place(const gmv_sweep_rows *t, int combination, char *text, size_t room)
{
    size_t used = 0;
    for (int a = 0; a < t->over->n && used < room; a++) {
        used += (size_t)snprintf(text + used, room - used, "%s%s", a > 0 ? ", " : "", t->plan->value[combination][a]);
    }
}

gmv_status gmv_sweep_draw(const gmv_sweep_rows *t)
{
    const gmv_config *config = &t->plan->run->config;
    int places = t->plan->combinations, repeats = t->repeats, panels = 0;
    gmv_panel panel[GMV_COLUMNS];
    char title[160] = "";
    double *values = NULL;
    char(*name)[name_room] = NULL;
    char **place = NULL;
    gmv_gallery gallery = {.folder = config->output_dir};
    gmv_status status;
    GMV_GO(GMV_NEW(values, (int64_t)GMV_COLUMNS * t->plan->n, "the figure of a sweep"));
    GMV_GO(GMV_NEW(name, places, "the figure of a sweep"));
    GMV_GO(GMV_NEW(place, places, "the figure of a sweep"));
    for (int i = 0; i < places; i++) {
        name_place(t, i, name[i], sizeof name[i]);
        place[i] = name[i];
    }
    for (int c = 0; c < GMV_COLUMNS; c++) {
        double *to = values + (int64_t)panels * t->plan->n;
        for (int i = 0; i < t->plan->n; i++) {
            to[i] = t->row[i].value[c];
        }
        panel[panels] = (gmv_panel){gmv_sweep_columns[c].title, to};
        panels += t->shown[c] ? 1 : 0;
    }
    for (int a = 0; a < t->over->n; a++) {
        size_t used = strlen(title);
        snprintf(title + used, sizeof title - used, "%s%s", a > 0 ? ", " : "Over ", gmv_axis_name(t->over, a));
    }
    if (repeats > 1) {
        size_t used = strlen(title);
        snprintf(title + used, sizeof title - used, ": mean ± standard deviation of %d runs", repeats);
    }
    status = panels > 0 ? gmv_draw_panels(&gallery, "sweep", title, places, place, repeats, panels, panel) : GMV_OK;
done:
    gmv_free(values);
    gmv_free(name);
    gmv_free(place);
    return status;
}
