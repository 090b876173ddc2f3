#!/usr/bin/env python3
"""Figures of held-out cells under peers, beside those of a sweep: on the same cells, by the same definitions (docs/metrics.md).

    bench/results.py [--json FILE] [--seeds 6] [--fraction 0.15] [--peers pca,scvi] SPEC...
    bench/results.py [--json FILE] --sweep FOLDER SPEC

SPEC is PATH[,label=OBS COLUMN][,batch=OBS COLUMN]. For each seed the cells that gmvae_dist holds out by that seed are held out here, too.

  pca    the first 50 principal components of log1p of counts per 10,000, found on the cells trained on
  scvi   scvi-tools' SCVI with its own defaults (10 latents, one layer of 128, zinb, its own number of epochs)

Figures: asw, batch_asw, kbet; ARI and NMI of Leiden at resolution 1, and the best over resolutions 0.1 to 2 and over k-means with
k = 1 to 22, both chosen by the labels; neg_elbo where there is one, of scvi by one draw. With --sweep the rows of sweep.json are
written instead. Needs numpy, scipy, h5py, scikit-learn, umap-learn and igraph; scvi-tools for scvi.
"""
import argparse
import json
import os
import warnings

import numpy as np
from scipy.stats import chi2
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_samples
from sklearn.neighbors import NearestNeighbors

import clusters
import runs

RESOLUTIONS = tuple(round(0.1 * i, 1) for i in range(1, 21))


# ---- figures of an embedding ----


def kbet(x, batch, nearest=50):
    """Share of cells whose nearest have the batches as frequent as all cells have them."""
    of = NearestNeighbors(n_neighbors=min(nearest, len(x))).fit(x).kneighbors(x, return_distance=False)
    levels, code = np.unique(batch, return_inverse=True)
    expected = np.bincount(code) / len(code) * of.shape[1]
    found = np.stack([np.bincount(row, minlength=len(levels)) for row in code[of]])
    return float((chi2.sf(((found - expected) ** 2 / expected).sum(1), len(levels) - 1) >= 0.05).mean())


def batch_asw(x, label, batch):
    means = []
    for level in np.unique(label):
        of, b = x[label == level], batch[label == level]
        if 1 < len(np.unique(b)) < len(b):
            means.append((1 - np.abs(silhouette_samples(of, b))).mean())
    return float(np.mean(means)) if means else None


def figures(x, label, batch):
    known = runs.labelled(label)
    of = x[known], label[known]
    found = {"asw": float((silhouette_samples(*of).mean() + 1) / 2)}
    if batch is not None:
        found.update(batch_asw=batch_asw(*of, batch[known]), kbet=kbet(x, batch))
    tried = {"leiden": clusters.leiden(x, RESOLUTIONS),
             "kmeans": {k: KMeans(k, n_init=1, random_state=0).fit_predict(of[0]) for k in range(1, min(22, len(of[0])) + 1)}}
    for name, score in ("ari", adjusted_rand_score), ("nmi", normalized_mutual_info_score):
        scores = {how: {key: score(of[1], c[known] if how == "leiden" else c) for key, c in found_by.items()} for how, found_by in tried.items()}
        found[f"leiden_{name}"] = scores["leiden"][1.0]
        found[f"leiden_best_{name}"], found[f"kmeans_best_{name}"] = max(scores["leiden"].values()), max(scores["kmeans"].values())
    return found


# ---- peers: an embedding of the held-out cells, and its -ELBO if there is one ----


def by_pca(counts, batch, out, seed):
    total = np.maximum(counts.sum(1), 1)
    x = np.log1p(np.asarray(counts.multiply(1e4 / total).todense()))
    fit = PCA(min(50, (~out).sum(), x.shape[1]), random_state=seed).fit(x[~out])
    return fit.transform(x[out]), None


def by_scvi(counts, batch, out, seed):
    import anndata
    import scvi

    scvi.settings.seed = seed
    scvi.settings.verbosity = 30
    cells = anndata.AnnData(counts.astype(np.float32).tocsr())
    cells.obs["batch"] = batch if batch is not None else "all"
    train, held = cells[~out].copy(), cells[out].copy()
    scvi.model.SCVI.setup_anndata(train, batch_key="batch")
    model = scvi.model.SCVI(train)
    model.train(train_size=1.0, enable_progress_bar=False, enable_checkpointing=False, logger=False)
    return model.get_latent_representation(held), -float(model.get_elbo(held))


PEERS = {"pca": by_pca, "scvi": by_scvi}


def rows_of_sweep(folder, data):
    with open(os.path.join(folder, "sweep.json"), encoding="utf-8") as file:
        found = json.load(file)
    for run in found["runs"]:
        yield {"bench": "results", "method": "gmvae_dist", "data": data, **run}


def rows_of_peers(arguments, path, columns):
    counts, _, label, batch = runs.read_cells(path, columns.get("label", "cell_type"), columns.get("batch"))
    for seed in range(1, arguments.seeds + 1):
        out = runs.held_out(counts.shape[0], seed, arguments.fraction)
        for name in arguments.peers.split(","):
            x, neg_elbo = PEERS[name](counts, batch, out, seed)
            found = figures(np.asarray(x, dtype=float), label[out], batch[out] if batch is not None else None)
            yield {"bench": "results", "method": name, "data": os.path.basename(path), "seed": seed, "cells": int(out.sum()), "neg_elbo": neg_elbo, **found}


def main():
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("specs", nargs="+")
    parser.add_argument("--json")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--fraction", type=float, default=0.15)
    parser.add_argument("--peers", default="pca,scvi")
    parser.add_argument("--sweep")
    arguments = parser.parse_args()
    for spec in arguments.specs:
        path, *columns = spec.split(",")
        columns = dict(column.split("=", 1) for column in columns)
        rows = rows_of_sweep(arguments.sweep, os.path.basename(path)) if arguments.sweep else rows_of_peers(arguments, path, columns)
        for row in rows:
            print(json.dumps(row), flush=True)
            if arguments.json:
                with open(arguments.json, "a", encoding="utf-8") as out:
                    out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
