#!/usr/bin/env python3
"""What training gains on real cells, against two plain baselines.

    bench/quality.py [--json FILE] [--seeds 1,2,3] [--set KEY=VALUE]... SPEC...

SPEC is PATH[,label=OBS COLUMN][,batch=OBS COLUMN][,n_top=GENES]. Every data set is trained on once per seed;
every number is on all labelled cells or on exactly the cells that the run held out:

  bound      the held-out exact -ELBO, nats per cell, against -log p of independent negative binomials per gene
             without latents (mean: library x gene rate; dispersion by maximum likelihood; the run's training
             cells), once with one rate per gene and once, given batches, with a rate per gene and batch;
  clusters   k-means with the true number of classes on the latent means, against k-means on 50 principal
             components of log(1 + count), of counts scaled to 10,000 or to the median total of a cell, or plain;
             ARI and NMI with the labels. Cells without a label are left out.

Needs numpy, scipy, h5py and scikit-learn.
"""

import argparse
import functools
import json
import os
import sys
import time

import numpy as np
import scipy.sparse
from scipy.special import gammaln
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

import runs

SETTINGS = {
    "data.validation": 0.1,
    "model.latent_dim": 10,
    "model.w_dim": 10,
    "model.clusters": 15,
    "model.encoder": [128, 128],
    "model.decoder": [128, 128],
    "model.beta": [128],
    "model.likelihood": "nb",
    "train.epochs": 50,
    "train.batch_size": 256,
    "eval.samples": 20,
    "runtime.threads": 1,
}
RESTARTS = 10      # of k-means, the best of which counts
REPEATS = 5        # of that, with other seeds; scores are means
COMPONENTS = 50    # principal components
BLOCK_GENES = 256  # genes fitted at a time


# ---- the bound without latents ----


def nb_log_likelihood(y, mean, theta):
    """Sum over cells of log NB(y), for every gene; y and mean [cells, genes], theta [genes]."""
    tail = np.log1p(mean / theta)
    value = -(y + theta) * tail
    cell, gene = np.nonzero(y)
    count, rate = y[cell, gene], theta[gene]
    some = gammaln(count + rate) - gammaln(rate) - gammaln(count + 1.0) + count * np.log(mean[cell, gene] / rate)
    return value.sum(0) + np.bincount(gene, some, minlength=y.shape[1])


def fit_dispersion(y, mean, low=-7.0, high=9.0, steps=40):
    """log theta of largest likelihood, for every gene, by golden-section search."""
    golden = (np.sqrt(5.0) - 1.0) / 2.0
    a, b = np.full(y.shape[1], low), np.full(y.shape[1], high)
    c, d = b - golden * (b - a), a + golden * (b - a)
    at_c, at_d = (nb_log_likelihood(y, mean, np.exp(x)) for x in (c, d))
    for _ in range(steps):
        left = at_c > at_d
        a, b = np.where(left, a, c), np.where(left, d, b)
        new = np.where(left, b - golden * (b - a), a + golden * (b - a))
        value = nb_log_likelihood(y, mean, np.exp(new))
        c, d = np.where(left, new, d), np.where(left, c, new)
        at_c, at_d = np.where(left, value, at_d), np.where(left, at_c, value)
    return 0.5 * (a + b)


def gene_rates(counts, library, batches):
    """Rate of every gene in every cell's batch [batches, genes], and each cell's row in it.

    A batch's rates count one average cell of all batches too, so that no rate is zero where the gene is seen."""
    total = np.maximum(np.asarray(counts.sum(0)).ravel(), 0.5)
    common = total / library.sum()
    if batches is None:
        return common[None]
    average = library.mean()
    rows = []
    for batch in range(batches.max() + 1):
        mine = batches == batch
        rows.append((np.asarray(counts[mine].sum(0)).ravel() + common * average) / (library[mine].sum() + average))
    return np.array(rows)


def baseline_bound(counts, train, test, batches):
    """Mean -log p per test cell under a negative binomial per gene fitted to the training cells."""
    library = np.asarray(counts.sum(1)).ravel()
    row = np.zeros(len(library), dtype=int) if batches is None else batches
    rates = gene_rates(counts[train], library[train], None if batches is None else batches[train])
    by_gene, total = counts.tocsc(), 0.0
    for first in range(0, counts.shape[1], BLOCK_GENES):
        genes = slice(first, min(first + BLOCK_GENES, counts.shape[1]))
        block = by_gene[:, genes].toarray()
        mean = library[:, None] * rates[row, genes]
        theta = np.exp(fit_dispersion(block[train], mean[train]))
        total += nb_log_likelihood(block[test], mean[test], theta).sum()
    return -total / test.sum()


# ---- clusters ----


def agreement(points, labels):
    """Mean ARI and NMI of k-means with the labels' number of classes, and the spread of ARI over repeats."""
    ari, nmi = [], []
    for seed in range(REPEATS):
        found = KMeans(len(set(labels)), n_init=RESTARTS, random_state=seed).fit_predict(points)
        ari.append(adjusted_rand_score(labels, found))
        nmi.append(normalized_mutual_info_score(labels, found))
    return {"ari": float(np.mean(ari)), "nmi": float(np.mean(nmi)), "ari_sd": float(np.std(ari))}


def principal_components(counts, scale):
    scaled = scipy.sparse.csr_matrix(scipy.sparse.diags(scale) @ counts).log1p()
    return PCA(COMPONENTS, svd_solver="arpack", random_state=0).fit_transform(scaled)


@functools.cache
def baseline_clusters(path, label_key, used):
    """Of the genes in use; the same for every seed of a data set, unless the training cells choose the genes."""
    counts, _, labels, _ = runs.read_cells(path, label_key)
    counts = scipy.sparse.csr_matrix(counts[:, used])
    keep = runs.labelled(labels) & (np.asarray(counts.sum(1)).ravel() > 0)
    total = np.maximum(np.asarray(counts.sum(1)).ravel(), 1.0)
    scales = {"pca_10k": 1e4 / total, "pca_median": np.median(total) / total, "pca_plain": np.ones_like(total)}
    return {name: agreement(principal_components(counts, scale)[keep], labels[keep])
            for name, scale in scales.items()}


# ---- one data set ----


def parse_spec(text):
    path, *options = text.split(",")
    spec = {"path": path, **dict(option.split("=", 1) for option in options)}
    unknown = set(spec) - {"path", "label", "batch", "n_top"}
    if unknown:
        sys.exit(f"{text}: unknown option {', '.join(unknown)}")
    return spec


def settings_for(spec, overrides, seed):
    settings = {**SETTINGS, "seed": seed, "data.train": [spec["path"]], **overrides}
    if "batch" in spec:
        settings["data.batch_keys"] = [spec["batch"]]
    if "n_top" in spec:
        settings["data.genes"] = {"n_top": int(spec["n_top"])}
    return settings


def measure(program, spec, overrides, seed, baselines):
    settings = settings_for(spec, overrides, seed)
    counts, genes, labels, batches = runs.read_cells(spec["path"], spec.get("label"), spec.get("batch"))
    if batches is not None:
        batches = np.unique(batches, return_inverse=True)[1]
    start = time.time()
    with runs.Run(program, settings) as run:
        seconds = time.time() - start
        evaluation, history = run.evaluation(), run.history("validation")
        latent, cluster = run.embedding()
        place = {name: i for i, name in enumerate(genes)}
        used = [place[name] for name in run.genes()]
    counts = scipy.sparse.csr_matrix(counts[:, used])
    some = np.asarray(counts.sum(1)).ravel() > 0
    out = runs.held_out(counts.shape[0], seed, settings["data.validation"])
    train, test = ~out & some, out & some
    if test.sum() != evaluation["cells"]:
        sys.exit(f"{spec['path']}: {test.sum()} cells held out here, {evaluation['cells']} by gmvae_dist")
    result = {"data": os.path.basename(spec["path"]), "seed": seed, "cells": counts.shape[0], "genes": len(used),
              "held_out": int(test.sum()), "seconds": round(seconds, 1), "epoch": evaluation["epoch"],
              "neg_elbo": evaluation["neg_elbo"], "neg_elbo_se": evaluation["neg_elbo_se"],
              "kl_x": evaluation["kl_x"] + evaluation["kl_z"], "kl_w": evaluation["kl_w"],
              "last_epoch_neg_elbo": history[-1]["neg_elbo"], "in_use": runs.in_use(cluster, settings["model.clusters"])}
    if baselines:
        result["nb"] = baseline_bound(counts, train, test, None)
        if batches is not None:
            result["nb_by_batch"] = baseline_bound(counts, train, test, batches)
    if labels is not None:
        keep = runs.labelled(labels) & some
        result.update(classes=len(set(labels[keep])), labelled=int(keep.sum()))
        result["latent"] = agreement(latent[keep], labels[keep])
        result["own"] = {"ari": adjusted_rand_score(labels[keep], cluster[keep]),
                         "nmi": normalized_mutual_info_score(labels[keep], cluster[keep])}
        if baselines:
            result.update(baseline_clusters(spec["path"], spec["label"], tuple(used)))
    return result


COLUMNS = (("neg_elbo", "-ELBO", "{:.1f}"), ("nb", "NB", "{:.1f}"), ("nb_by_batch", "NB/batch", "{:.1f}"),
           ("latent", "latent", None), ("pca_10k", "PCA 10k", None), ("pca_median", "PCA median", None),
           ("pca_plain", "PCA plain", None), ("own", "own", None), ("in_use", "in use", "{}"))


def cell_text(result, key, form):
    value = result.get(key)
    if value is None:
        return "-"
    return f"{value['ari']:.3f} {value['nmi']:.3f}" if form is None else form.format(value)


def print_row(texts):
    print("  ".join(text.ljust(width) for text, width in zip(texts, [24, 4] + [12] * len(texts))), flush=True)


def report(args, bench, overrides, result, columns):
    print_row([result["data"], str(result["seed"])] + [cell_text(result, key, form) for key, _, form in columns])
    if args.json:
        line = {"bench": bench, "version": runs.git_version(), "note": args.note, "settings": overrides, **result}
        with open(args.json, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def add_options(parser):
    parser.add_argument("spec", nargs="+", help="PATH[,label=COLUMN][,batch=COLUMN][,n_top=N]")
    parser.add_argument("--program", default=runs.default_program())
    parser.add_argument("--json", help="append one JSON line for every run to this file")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting of gmvae_dist")
    parser.add_argument("--note", default="", help="kept in the JSON lines")


def overrides_of(items):
    overrides = {}
    for item in items:
        key, value = item.split("=", 1)
        try:
            overrides[key] = json.loads(value)
        except json.JSONDecodeError:
            overrides[key] = value
    return overrides


def main():
    parser = argparse.ArgumentParser(description="Quality on real cells, against plain baselines.")
    add_options(parser)
    parser.add_argument("--no-baselines", action="store_true", help="train and score only")
    args = parser.parse_args()
    overrides = overrides_of(args.set)
    print("clusters: ARI NMI with the labels; latent and PCA: k-means; own: the model's components")
    print_row(["data", "seed"] + [title for _, title, _ in COLUMNS])
    for spec in map(parse_spec, args.spec):
        baselines = not args.no_baselines
        for seed in map(int, args.seeds.split(",")):
            report(args, "quality", overrides, measure(args.program, spec, overrides, seed, baselines), COLUMNS)


if __name__ == "__main__":
    main()
