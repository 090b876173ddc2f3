#include "gmvae/app.h"

gmv_status gmv_cmd_doctor(gmv_run *run)
{
    (void)run;
    return GMV_FAIL(GMV_ERR_INTERNAL, "doctor is not there yet");
}
