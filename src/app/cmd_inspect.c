#include "gmvae/app.h"
#include "gmvae/data.h"

gmv_status gmv_cmd_inspect(gmv_run *run)
{
    double seconds = run->config.data_check_seconds;
    gmv_status status = run->comm.rank == 0 ? gmv_inspect(run->file, run->json, seconds) : GMV_OK;
    return gmv_comm_agree(&run->comm, status);
}
