/* report: the page and the pictures of a run, from the files that it left. */
#include "gmvae/app.h"
#include "gmvae/log.h"
#include "gmvae/report.h"

gmv_status gmv_cmd_report(gmv_run *run)
{
    gmv_status status = run->comm.rank == 0 ? gmv_write_report(&run->config) : GMV_OK;
    status = gmv_comm_agree(&run->comm, status);
    if (status == GMV_OK) {
        gmv_log("wrote %s/report.html and %s/pictures", run->config.output_dir, run->config.output_dir);
    }
    return status;
}
