#include "gmvae/app.h"

gmv_status gmv_cmd_inspect(gmv_run *run)
{
    (void)run;
    return GMV_FAIL(GMV_ERR_INTERNAL, "inspect is not there yet");
}
