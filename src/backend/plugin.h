/* Loading the CUDA backend's shared object. */
#pragma once

#include "gmvae/backend.h"

/* The loaded plug-in; it is loaded at the first call and stays. Not collective.
 * Errors: GMV_ERR_ENVIRONMENT, saying which file was tried and what it lacks. */
gmv_status gmv_plugin_cuda(const gmv_plugin **plugin);
