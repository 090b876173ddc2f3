/* inspect [--json] FILE, without the rest of the program. */
#include "gmvae/app.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <stdio.h>
#include <string.h>

/* Stands in where the config part is not linked. */
__attribute__((weak)) const char *gmv_nearest(const char *word, int n, const char *const *words)
{
    (void)word;
    (void)n;
    (void)words;
    return NULL;
}

int main(int argc, char **argv)
{
    gmv_run run;
    memset(&run, 0, sizeof run);
    if (gmv_comm_init(&run.comm, &argc, &argv) != GMV_OK || argc < 2) {
        return 2;
    }
    gmv_log_init(run.comm.rank == 0);
    run.json = argc > 2 && strcmp(argv[1], "--json") == 0;
    run.file = argv[argc - 1];
    gmv_status status = gmv_cmd_inspect(&run);
    if (status != GMV_OK && run.comm.rank == 0) {
        fprintf(stderr, "gmvae_dist: error: %s\n", gmv_error_message());
    }
    if (gmv_alloc_live() != 0) {
        fprintf(stderr, "%d blocks are left\n", (int)gmv_alloc_live());
        status = GMV_ERR_INTERNAL;
    }
    gmv_comm_fini(&run.comm);
    return gmv_exit_code(status);
}
