/* Ids that a file holds beside the names of its genes: "ENSG00000123456", "FBgn0000008". */
#pragma once

#include "../rows/matrix.h"

enum { GMV_ID_COLUMN_ROOM = 64 };

/* Ids of a matrix's genes from whichever column of its table has them, without Ensembl versions; "" for genes without one.
 * ids->n is 0 where there are none, and where `names` are ids themselves. Columns that cannot be read count as none.
 * @param[out] column  [GMV_ID_COLUMN_ROOM] what data.gene_column calls it; "" for none
 * Ownership: gmv_texts_free(ids), also after an error. */
gmv_status gmv_matrix_gene_ids(const gmv_matrix *matrix, const gmv_texts *names, gmv_texts *ids, char *column);

/* Whether two ids are of one kind, so that they say something when they differ: Ensembl genes of any species, or the same
 * letters. */
bool gmv_gene_ids_compare(const char *a, const char *b);
