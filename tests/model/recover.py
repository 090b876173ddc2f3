"""Simulate and recover: cells drawn from a model like the GMVAE's, trained on, and the clusters compared.

    recover.py GMVAE_DIST

gmvae_dist is trained on simulated cells of five types and two batches, with three seeds and as many components
as there are types. The model's own clusters (arg max) must have an adjusted Rand index of at least 0.9 with
the types for two of the three seeds. Exit status 77 means skipped: a Python package is missing.
"""

import os
import sys
import tempfile

import support
import h5py
import numpy as np

CELLS, GENES, TYPES, BATCHES = 1500, 200, 5, 2
GOOD_ARI, GOOD_RUNS, SEEDS = 0.9, 2, (1, 2, 3)


def adjusted_rand(a, b):
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1.0)

    def pairs(n):
        return (n * (n - 1.0) / 2.0).sum()

    both, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    chance = rows * columns / pairs(np.array([float(len(a))]))
    return (both - chance) / (0.5 * (rows + columns) - chance)


def own_clusters(program, folder, data, seed):
    """The trained model's own cluster of every cell."""
    out = os.path.join(folder, f"seed{seed}")
    support.run(program, folder, {
        "seed": seed,
        "data": {"train": [data], "batch_keys": ["batch"], "label_key": "cell_type"},
        "model": {"latent_dim": 5, "w_dim": 5, "clusters": TYPES,
                  "encoder": [64, 64], "decoder": [64, 64], "beta": [64]},
        "train": {"epochs": 60, "batch_size": 64},
        "eval": {"every": 20, "samples": 1},
        "runtime": {"threads": 1},
        "output": {"dir": out},
    })
    with h5py.File(os.path.join(out, "embedding.h5ad")) as file:
        own, probability = file["obs/gmvae_cluster/codes"][()].astype(int), file["obsm/gmvae_cluster_prob"][()]
    if not np.array_equal(own, probability.argmax(1)):
        sys.exit("gmvae_cluster is not the arg max of gmvae_cluster_prob")
    return own


def main():
    good = 0
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "cells.h5ad")
        counts, types, batch = support.simulate(7, CELLS, GENES, TYPES, BATCHES)
        support.write_h5ad(data, counts, types, batch)
        for seed in SEEDS:
            ari = adjusted_rand(types, own_clusters(sys.argv[1], folder, data, seed))
            good += ari >= GOOD_ARI
            print(f"seed {seed}: ARI {ari:.3f}", flush=True)
    if good < GOOD_RUNS:
        print(f"failed: {good} of {len(SEEDS)} runs reach an ARI of {GOOD_ARI}, {GOOD_RUNS} must")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
