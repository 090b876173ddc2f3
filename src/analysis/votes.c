/* Labels of cells by the votes of their nearest neighbours, and the variance between groups. */
#include "gmvae/mem.h"
#include "gmvae/metrics.h"

#include <string.h>

double gmv_vote_accuracy(const gmv_neighbours *neighbours, int k, const int32_t *label, const int32_t *of_neighbour,
                         int labels, int32_t *votes)
{
    int64_t right = 0;
    for (int64_t i = 0; i < neighbours->n; i++) {
        int winner = 0;
        memset(votes, 0, (size_t)labels * sizeof *votes);
        for (int j = 0; j < k; j++) {
            votes[of_neighbour[neighbours->index[i * neighbours->k + j]]]++;
        }
        for (int l = 1; l < labels; l++) {
            winner = votes[l] > votes[winner] ? l : winner;
        }
        right += winner == label[i] ? 1 : 0;
    }
    return (double)right / (double)neighbours->n;
}
