#include "gmvae/app.h"

gmv_status gmv_cmd_train(gmv_run *run)
{
    (void)run;
    return GMV_FAIL(GMV_ERR_INTERNAL, "train is not there yet");
}
