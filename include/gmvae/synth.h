/* Synthetic atlases: counts with known types and batches, drawn in blocks of cells and written as one h5ad file.
 *
 * Cell i has a type k, a batch b and a library size L; its count of gene g is negative binomial with mean L p_kbg and
 * variance mean + phi mean^2, all counts independent given k, b, L (docs/formats.md). Everything is a function of the
 * seed, the parameters and the cell's number, so the file is the same for every number of ranks and threads.
 */
#pragma once

#include "gmvae/comm.h"
#include "gmvae/config.h"

/* Writes synth.path. Collective.
 * Errors: GMV_ERR_CONFIG for a density out of reach or tables beyond memory, GMV_ERR_ENVIRONMENT when the file cannot
 * be written, GMV_STOPPED after a signal; then nothing is left under synth.path but what was there before.
 * @param[in] dry_run  checks everything, says what would be written and how large it would be; writes nothing */
gmv_status gmv_synth_write(const gmv_config *config, const gmv_comm *comm, bool dry_run);
