"""Figures of the embedding, against their definitions worked out here; the same for all ranks; and where they do not apply.

usage: metrics.py PATH/gmvae_dist
"""
import json
import os
import random
import shutil
import subprocess

import igraph
from cells import rewrite
from scipy.sparse import csr_matrix, triu
from scipy.sparse.csgraph import connected_components
from scipy.stats import chisquare
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_samples
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from support import PROGRAM, RunTest, h5py, main, np, reseal, xxh3

OF_CLUSTERS = {"ari", "nmi", "accuracy"}
KMEANS = {"kmeans_ari", "kmeans_nmi", "kmeans_best_ari", "kmeans_best_nmi"}
LEIDEN = {"leiden_ari", "leiden_nmi", "leiden_best_ari", "leiden_best_nmi"}
OF_LABELS = KMEANS | LEIDEN | {"knn_accuracy", "asw", "clisi", "graph_connectivity"}
OF_BATCHES = {"ilisi", "kbet", "pcr_batch"}
OF_BOTH = {"batch_asw", "isolated_labels"}
ALL = OF_CLUSTERS | OF_LABELS | OF_BATCHES | OF_BOTH
TOLERANCE = 5e-6  # figures have six decimals, embeddings 24 bits; scib-metrics itself is this near
NEAREST = 90      # cells that LISI looks at, the cell itself among them
LEARNT = {"model.clusters": 8, "train.epochs": 6, "train.batch_size": 128, "train.lr": 3e-3, "train.log_steps": 0, "eval.every": 6,
          "checkpoint.every": 0, "eval.k_max": 6, "data.label_key": "type", "data.batch_keys": ["lane"]}


def nearest(x, k):
    """The k nearest cells of each, itself first."""
    distance, index = NearestNeighbors(n_neighbors=k - 1, algorithm="brute").fit(x).kneighbors()
    own = np.arange(len(x))[:, None]
    return np.hstack([np.zeros((len(x), 1)), distance]), np.hstack([own, index])


def lisi(distance, index, level):
    """Median over cells; beta so that the weights of the others have the entropy of a third of the cells."""
    values = []
    for d, i in zip(distance[:, 1:], index[:, 1:]):
        low, high, beta, wanted = 0.0, np.inf, 1.0, np.log(distance.shape[1] // 3)
        for _ in range(50):
            p = np.exp(-beta * d)
            entropy = np.log(p.sum()) + beta * (d * p).sum() / p.sum()
            if abs(entropy - wanted) < 1e-5:
                break
            low, high = (beta, high) if entropy > wanted else (low, beta)
            beta = 2 * beta if high == np.inf else (low + high) / 2
        values.append(1 / (np.bincount(level[i], weights=p / p.sum()) ** 2).sum())
    return np.median(values)


def batch_asw(x, label, batch):
    means = []
    for l in np.unique(label):
        of, b = x[label == l], batch[label == l]
        if 1 < len(np.unique(b)) < len(b):
            means.append((1 - np.abs(silhouette_samples(of, b))).mean())
    return np.mean(means)


def isolated(x, label, batch):
    s, batches = (silhouette_samples(x, label) + 1) / 2, {l: len(np.unique(batch[label == l])) for l in np.unique(label)}
    return np.mean([s[label == l].mean() for l, n in batches.items() if n == min(batches.values())])


def connectivity(index, label):
    rows = np.repeat(np.arange(len(label)), 14)
    graph, shares = csr_matrix((np.ones(len(rows)), (rows, index[:, 1:15].ravel())), (len(label), len(label))), []
    for l in np.unique(label):
        of = label == l
        shares.append(np.bincount(connected_components(graph[of][:, of], connection="strong")[1]).max() / of.sum())
    return np.mean(shares)


def explained(x, batch):
    """By regressions of the principal components on the batch."""
    pca = PCA().fit(x)
    hot, parts = np.eye(batch.max() + 1)[batch], pca.transform(x)
    r2 = [LinearRegression().fit(hot, part).score(hot, part) for part in parts.T]
    return (np.array(r2) * pca.explained_variance_).sum() / pca.explained_variance_.sum()


def fuzzy_graph(distance, index):
    """umap's, as scanpy takes it: 15 nearest with the cell itself, memberships that add up to log2 of that, fuzzy union."""
    d, i = distance[:, 1:15], index[:, 1:15]
    over = np.maximum(0, d - d.min(1, keepdims=True))
    low, high = np.zeros(len(d)), np.full(len(d), 1e3)
    for _ in range(100):
        middle = (low + high) / 2
        below = np.exp(-over / middle[:, None]).sum(1) < np.log2(15)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    one_way = csr_matrix((np.exp(-over / high[:, None]).ravel(), i.ravel(), np.arange(0, i.size + 1, 14)), (len(d), len(d)))
    return one_way + one_way.T - one_way.multiply(one_way.T)


def leiden(graph, resolution, seed):
    random.seed(seed)
    upper = triu(graph).tocoo()
    g = igraph.Graph(graph.shape[0], list(zip(upper.row, upper.col)))
    return g.community_leiden("modularity", upper.data, resolution, n_iterations=-1).membership


class Metrics(RunTest):
    def evaluate(self, name, changes, ranks=1):
        run = self.try_run("run", {**LEARNT, "output.metrics": "all", "output.name": name, **changes}, ranks, word="eval")
        self.assertEqual(run.code, 0, run.err)
        with open(run.path(f"evaluation-{name}.json")) as file:
            return run.out, json.load(file)

    def cells(self):
        """Two types are in few lanes only, and some cells have no type."""
        path = os.path.join(self.folder, "cells.h5ad")
        with h5py.File(rewrite(path)) as f:
            label, lane = f["obs/cell_type/codes"][()].astype(int), f["obs/batch/codes"][()].astype(int)
        label[(np.arange(len(label)) % 7 == 0) | ((label < 2) & (lane > 1))] = -1
        return rewrite(path, columns={"type": label, "lane": lane}), label, lane

    def test_figures(self):
        path, label, lane = self.cells()
        own = {"data.train": [path], "data.validation": {"key": "lane", "levels": ["level2"]}, "output.embedding": True}
        run = self.try_run("run", {**LEARNT, **own, "output.metrics": ["ari", "knn_accuracy"]})
        self.assertEqual(run.code, 0, run.err)
        with open(run.path("evaluation.json")) as file:
            at_the_end = json.load(file)
        with h5py.File(run.path("embedding.h5ad")) as f:
            x = f["obsm/X_gmvae"][()].astype(float)
        self.held_out(own, at_the_end, x, label, lane)
        everything = {**own, "data.predict": [path]}
        out, found = self.evaluate("all", everything)
        self.check_all(found, x, label, lane)
        for name in OF_LABELS | OF_BATCHES | OF_BOTH:
            self.assertRegex(out, rf"\n  {name} +\d\.\d\d\d ")
        self.assertEqual(self.evaluate("all", everything, 3)[1], found)
        self.samples(everything, found, len(x))
        self.without_igraph(everything)
        self.where_they_do_not_apply(own, label)
        self.not_finite(run, own)

    def held_out(self, own, at_the_end, x, label, lane):
        """A batch that was not trained on, by the cells that were; its figures of batches do not apply."""
        out, found = self.evaluate("held", own)
        known, asked = (label >= 0) & (lane != 2), (label >= 0) & (lane == 2)
        wanted = KNeighborsClassifier(15, algorithm="brute").fit(x[known], label[known]).score(x[asked], label[asked])
        self.assertAlmostEqual(found["knn_accuracy"], wanted, delta=TOLERANCE)
        self.assertEqual(at_the_end["knn_accuracy"], found["knn_accuracy"])
        self.assertEqual(set(at_the_end) & (OF_CLUSTERS | OF_LABELS | OF_BATCHES | OF_BOTH), {"ari", "knn_accuracy"})
        self.assertIn(f"by {known.sum()} labelled training cells", out)
        self.assertEqual({name for name in ALL if found[name] is None}, OF_BATCHES | OF_BOTH)
        self.assertIn("all cells are of one batch", out)

    def check_all(self, found, x, label, lane):
        has = label >= 0
        xl, l, b = x[has], label[has], lane[has]
        distance, index = nearest(xl, NEAREST)
        wanted = {"asw": (silhouette_samples(xl, l).mean() + 1) / 2, "isolated_labels": isolated(xl, l, b), "batch_asw": batch_asw(xl, l, b),
                  "graph_connectivity": connectivity(index, l), "pcr_batch": explained(x, lane)}
        labels, lanes = len(np.unique(l)), len(np.unique(lane))
        wanted["clisi"] = (labels - lisi(distance, index, l)) / (labels - 1)
        wanted["ilisi"] = (lisi(*nearest(x, NEAREST), lane) - 1) / (lanes - 1)
        counts = np.array([np.bincount(lane[i], minlength=lanes) for i in nearest(x, 50)[1]])
        wanted["kbet"] = (chisquare(counts, 50 * np.bincount(lane) / len(lane), axis=1).pvalue >= 0.05).mean()
        wanted["knn_accuracy"] = np.mean(np.array([np.bincount(l[i]).argmax() for i in index[:, 1:16]]) == l)
        for name, value in wanted.items():
            self.assertAlmostEqual(found[name], value, delta=TOLERANCE, msg=name)
            self.assertTrue(0.001 < value < 0.999, (name, value)) # else it says little
        runs = [KMeans(labels, n_init=1, random_state=seed).fit(xl).labels_ for seed in range(6)]
        for name, score in (("kmeans_ari", adjusted_rand_score), ("kmeans_nmi", normalized_mutual_info_score)):
            scores = [score(l, run) for run in runs] # k-means can end in several ways
            self.assertTrue(min(scores) - 0.02 <= found[name] <= max(scores) + 0.02, (name, found[name], scores))
            best = name.replace("_", "_best_")
            self.assertTrue(found[best] >= found[name] and 1 <= found[f"{best}_k"] <= LEARNT["eval.k_max"])
        graph = fuzzy_graph(distance, index)
        runs = {at: [leiden(graph, at, seed) for seed in range(6)] for at in (1.0, found["leiden_best_ari_resolution"])}
        for name, score in (("leiden_ari", adjusted_rand_score), ("leiden_nmi", normalized_mutual_info_score)):
            for figure, at in ((name, 1.0), (name.replace("_", "_best_"), found["leiden_best_ari_resolution"])):
                scores = [score(l, run) for run in runs[at]]
                enough = figure == "leiden_best_nmi" # which may be best elsewhere
                self.assertTrue(min(scores) - 0.02 <= found[figure] and (enough or found[figure] <= max(scores) + 0.02),
                                (figure, found[figure], scores))
        self.assertEqual((found["metric_cells"], found["metric_cells_of"]), (len(x), len(x)))

    def samples(self, everything, found, n):
        """The same for all ranks; what is of clusters is still of all cells."""
        few = {**everything, "eval.metric_cells": 400, "output.metrics": ["asw", "pcr_batch", "ari"]}
        out, some = self.evaluate("some", few, 2)
        self.assertEqual((some["metric_cells"], some["metric_cells_of"], some["ari"]), (400, n, found["ari"]))
        self.assertIn("embedding of 400 cells of more, a sample (eval.metric_cells), labels type, batches lane:", out)
        self.assertEqual(self.evaluate("some", few)[1], some)
        for name in ("asw", "pcr_batch"):
            self.assertTrue(0 < abs(some[name] - found[name]) < 0.1, (name, some[name], found[name]))

    def without_igraph(self, everything):
        """On one of the ranks is enough; other figures are there."""
        lacks = shutil.copy(PROGRAM[0], os.path.join(self.folder, "gmvae_dist")) # no plug-in beside it
        command = self.command("run", {**LEARNT, **everything, "output.metrics": ["leiden_ari", "pcr_batch"], "output.name": "lacks"}, 2, "eval")
        at = command.index(PROGRAM[0])
        one_lacks = ["sh", "-c", f'test "$OMPI_COMM_WORLD_RANK" = 0 && exec {PROGRAM[0]} "$@"; exec {lacks} "$@"', "sh"]
        done = subprocess.run([*command[:at], *one_lacks, *command[at + 1:]], cwd=self.folder, env=self.environment(),
                              capture_output=True, text=True, check=True)
        self.assertRegex(done.stdout, r"leiden_ari +- .*libgmvae_leiden.so is not there; install igraph")
        self.assertRegex(done.stdout, r"pcr_batch +0\.")

    def where_they_do_not_apply(self, own, label):
        """Few cells, of one label; those of all labels that are held out are of one batch, above."""
        query = rewrite(os.path.join(self.folder, "query.h5ad"), rows=14,
                        columns={"type": int(label[label >= 0][0]), "lane": np.arange(14) % 3})
        out, found = self.evaluate("few", {**own, "data.predict": [query]})
        self.assertEqual({name for name in ALL if found[name] is None}, OF_CLUSTERS | OF_LABELS | OF_BOTH | {"ilisi", "kbet"})
        for why in ("all cells have the same label", "14 cells, and it takes 90", "14 cells, and it takes 50"):
            self.assertIn(why, out)

    def not_finite(self, run, own):
        bad = shutil.copy(run.checkpoint("best.h5"), run.path("bad.h5"))
        with h5py.File(bad, "r+") as f:
            bias = f["params/encoder.x.bias"][()]
            bias[0] = np.nan
            f["params/encoder.x.bias"][...] = bias
            f["params/encoder.x.bias"].attrs.modify("xxh3", np.uint64(xxh3(bias.tobytes())))
        reseal(bad)
        self.fails(["cells.h5ad: the embedding of row ", "is not finite", "leave the cell out"], 4, "run",
                   {**LEARNT, **own, "checkpoint.path": bad, "output.name": "bad", "output.metrics": ["asw"]}, word="eval")


if __name__ == "__main__":
    main()
