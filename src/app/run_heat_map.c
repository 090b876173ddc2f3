#include "run_heat_map.h"

#include "gmvae/files.h"
#include "gmvae/heat_map.h"
#include "gmvae/stage.h"
#include "gmvae/text.h"

#include <inttypes.h>
#include <stdio.h>

enum { most_cells = 600, most_genes = 60 };

static void put_integers(FILE *out, int64_t n, const int64_t *value)
{
    fputc('[', out);
    for (int64_t i = 0; i < n; i++) {
        fputs(i > 0 ? ", " : "", out);
        if (value[i] >= 0) {
            fprintf(out, "%" PRId64, value[i]);
        } else {
            fputs("null", out);
        }
    }
    fputc(']', out);
}

static gmv_status write_file(const char *path, const gmv_heat_map *map, char *const *gene)
{
    gmv_output output;
    GMV_TRY(gmv_output_begin(&output, path));
    FILE *out = output.stream;
    fprintf(out, "{\n  \"cells\": %" PRId64 ",\n  \"cells_of\": %" PRId64 ",\n  \"gene\": [", map->cells, map->of);
    for (int m = 0; m < map->genes; m++) {
        fputs(m > 0 ? ", " : "", out);
        gmv_print_json_text(out, gene[map->gene[m]]);
    }
    fputs("],\n  \"variance\": [", out);
    for (int m = 0; m < map->genes; m++) {
        fprintf(out, "%s%.9g", m > 0 ? ", " : "", map->variance[m]);
    }
    fputs("],\n  \"row\": ", out);
    put_integers(out, map->cells, map->row);
    fputs(",\n  \"library\": ", out);
    put_integers(out, map->cells, map->library);
    fputs(",\n  \"count\": [", out);
    for (int64_t i = 0; i < map->cells; i++) {
        fputs(i > 0 ? ",\n    " : "\n    ", out);
        put_integers(out, map->genes, map->count + i * map->genes);
    }
    fputs("\n  ]\n}\n", out);
    return gmv_output_end(&output, GMV_OK);
}

static gmv_status write_map(const gmv_config *config, const gmv_comm *comm, const gmv_model *model, gmv_feed *feed,
                            const gmv_cells *cells)
{
    gmv_heat_map map = {0};
    char path[GMV_PATH_ROOM];
    snprintf(path, sizeof path, "%.4000s/heatmap.json", config->output_dir);
    gmv_status status = gmv_heat_map_take(&map, most_cells, most_genes, feed, cells, comm, model->input);
    if (status == GMV_OK) {
        status = gmv_comm_agree(comm, comm->rank == 0 ? write_file(path, &map, cells->gene) : GMV_OK);
    }
    gmv_heat_map_fini(&map);
    return status;
}

gmv_status gmv_write_heat_map(const gmv_config *config, const gmv_comm *comm, const gmv_model *model, gmv_feed *feed,
                              const gmv_cells *cells)
{
    gmv_stage before = gmv_stage_enter(GMV_STAGE_PREDICTIVE);
    gmv_status status = write_map(config, comm, model, feed, cells);
    gmv_stage_enter(before);
    return status;
}
