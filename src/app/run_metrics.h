/* Figures that output.metrics asks for. */
#pragma once

#include "session.h"

#include <stdio.h>

/* Compares clusters with labels and computes the figures that are wanted of all, or of the held-out, cells. Collective. */
gmv_status gmv_measure_cells(const gmv_config *config, const gmv_comm *comm, gmv_model *model, gmv_feed *feed,
                             const gmv_cells *cells, gmv_which_cells which, const gmv_clustering *clustering,
                             gmv_agreement *agreement, gmv_figures *figures);

/* Logs what the clusters agree in with the labels, in one line, or why that cannot be said; nothing without a label key. */
void gmv_show_agreement(const gmv_config *config, const gmv_agreement *agreement);

/* Logs the other figures of cells as a table; nothing where none is wanted. */
void gmv_show_figures(const gmv_cells *cells, const gmv_figures *figures);

/* The keys of evaluation.json. @param[in] compared  false: there are no clusters or no labels, and no figures of both */
void gmv_put_figures(FILE *out, bool compared, const gmv_figures *figures);

/* "NAME": VALUE, with null for what is not defined. */
void gmv_put_number(FILE *out, const char *name, const char *suffix, const char *format, double value);
