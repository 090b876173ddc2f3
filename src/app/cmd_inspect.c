#include "gmvae/app.h"
#include "gmvae/data.h"
#include "gmvae/inspect.h"

gmv_status gmv_cmd_inspect(gmv_run *run)
{
    gmv_status status = run->comm.rank == 0 ? gmv_inspect(run->file, run->json, &run->config) : GMV_OK;
    return gmv_comm_agree(&run->comm, status);
}
