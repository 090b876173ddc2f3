#include "gmvae/app.h"

gmv_status gmv_cmd_embed(gmv_run *run)
{
    (void)run;
    return GMV_FAIL(GMV_ERR_INTERNAL, "embed is not there yet");
}
