/* synth: a synthetic atlas with known types and batches. */
#include "gmvae/app.h"
#include "gmvae/synth.h"

gmv_status gmv_cmd_synth(gmv_run *run)
{
    return gmv_synth_write(&run->config, &run->comm, run->dry_run);
}
