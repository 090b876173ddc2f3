#include "gmvae/app.h"

gmv_status gmv_cmd_eval(gmv_run *run)
{
    (void)run;
    return GMV_FAIL(GMV_ERR_INTERNAL, "eval is not there yet");
}
