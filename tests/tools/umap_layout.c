/* A layout of points whose neighbours are known, for comparison with others'.
 *
 *   umap_layout IN OUT
 *
 * IN: int32 n, k, dims, epochs; int32 neighbours [n, k]; float distances [n, k]; float points [n, dims]. OUT: float [n, 2].
 */
#include "gmvae/umap.h"

#include <stdio.h>
#include <stdlib.h>

static void *take(FILE *in, size_t count, size_t size)
{
    void *block = calloc(count + 1, size);
    if (block == NULL || fread(block, size, count, in) != count) {
        fprintf(stderr, "umap_layout: the input is short\n");
        exit(1);
    }
    return block;
}

int main(int argc, char **argv)
{
    FILE *in = argc == 3 ? fopen(argv[1], "rb") : NULL, *out = argc == 3 ? fopen(argv[2], "wb") : NULL;
    if (in == NULL || out == NULL) {
        fprintf(stderr, "usage: umap_layout IN OUT\n");
        return 2;
    }
    int32_t *head = take(in, 4, sizeof *head);
    size_t n = (size_t)head[0], k = (size_t)head[1], dims = (size_t)head[2];
    int32_t *neighbour = take(in, n * k, sizeof *neighbour);
    float *distance = take(in, n * k, sizeof *distance), *at = take(in, n * dims, sizeof *at);
    float *layout = calloc(2 * n, sizeof *layout);
    gmv_neighbours near = {head[0], head[1], neighbour, distance};
    gmv_umap_input input = {.near = &near, .dims = head[2], .at = at, .epochs = head[3], .seed = 1};
    if (layout == NULL || gmv_umap_layout(&input, layout) != GMV_OK ||
        fwrite(layout, sizeof *layout, 2 * n, out) != 2 * n) {
        fprintf(stderr, "umap_layout: %s\n", gmv_error_message());
        return 1;
    }
    fclose(in);
    fclose(out);
    free(head);
    free(neighbour);
    free(distance);
    free(at);
    free(layout);
    return 0;
}
