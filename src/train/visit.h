/* What a feed keeps for visits of streamed cells. */
#pragma once

#include "gmvae/feed.h"

/* Slots for the spans of a visit. Ownership: gmv_slots_fini. */
gmv_status gmv_visit_reserve(gmv_slots *slots, const gmv_cells *cells);
