"""Clusters: what a run merges, against the rule worked out here; the same for all ranks, for other cells, and later.

usage: clusters.py PATH/gmvae_dist
"""
import json
import os

from cells import rewrite
from support import RunTest, contents, h5py, main, np
from scipy.cluster.hierarchy import fcluster, is_monotonic, is_valid_linkage

# enough to tell some types apart: 8 components, two to four clusters
LEARNT = {"model.clusters": 8, "train.epochs": 40, "train.batch_size": 128, "train.lr": 3e-3, "train.log_steps": 0, "data.label_key": "cell_type",
          "output.embedding": True, "output.metrics": ["ari", "nmi"], "checkpoint.every": 0, "eval.every": 40}
TOGETHER, APART = 0.8, 0.2


def rule(p):
    """Clusters of the components, by the definition: all pairs looked at again after every merge."""
    groups, node = [[k] for k in range(p.shape[1])], list(range(p.shape[1]))
    lifts, tree = [], []

    def lift(a, b):
        pa, pb = p[:, groups[a]].sum(1), p[:, groups[b]].sum(1)
        return (pa * pb).mean() / (pa.mean() * pb.mean())
    partitions = [[list(group) for group in groups]]
    while len(groups) > 1:
        value, a, b = max((lift(a, b), a, b) for b in range(len(groups)) for a in range(b))
        lifts.append(value)
        tree.append((min(node[a], node[b]), max(node[a], node[b])))
        groups[a], node[a] = groups[a] + groups[b], p.shape[1] + len(tree) - 1
        del groups[b], node[b]
        partitions.append([list(group) for group in groups])
    edges = np.clip(np.minimum.accumulate([np.inf, *lifts, 0.0]), APART, TOGETHER)
    return tree, lifts, partitions, int(np.argmax(edges[:-1] / edges[1:]))


class Clusters(RunTest):
    def result(self, run, name="embedding.h5ad"):
        with h5py.File(run.path(name)) as f:
            found = {key: f[path][()] for key, path in (
                ("p", "obsm/gmvae_component_prob"), ("q", "obsm/gmvae_cluster_prob"), ("component", "obs/gmvae_component/codes"),
                ("cluster", "obs/gmvae_cluster/codes"), ("certainty", "obs/gmvae_certainty"), ("tree", "uns/gmvae_dist/cluster_tree"),
                ("cut", "uns/gmvae_dist/cluster_cut"), ("of", "uns/gmvae_dist/component_cluster"))}
            found["names"] = f["obs/_index"][()] if "_index" in f["obs"] else None
        return found

    def check_consistent(self, found):
        """Of one file: sums, arg max, certainty, and that scipy cuts the tree into the same clusters."""
        sums = np.zeros_like(found["q"])
        np.add.at(sums.T, found["of"], found["p"].T)
        np.testing.assert_allclose(found["q"], sums, atol=1e-6)
        np.testing.assert_array_equal(found["cluster"], found["q"].argmax(1))
        np.testing.assert_array_equal(found["component"], found["p"].argmax(1))
        np.testing.assert_array_equal(found["certainty"], found["q"].max(1))
        self.assertTrue(is_valid_linkage(found["tree"]) and is_monotonic(found["tree"]))
        cut = fcluster(found["tree"], found["cut"], "distance")
        self.assertEqual(len(set(zip(cut, found["of"]))), len(set(cut)))
        self.assertEqual(len(set(cut)), found["q"].shape[1])

    def check_order(self, found):
        """Larger clusters first, by cells."""
        sizes = np.bincount(found["cluster"], minlength=found["q"].shape[1]).tolist()
        self.assertEqual(sizes, sorted(sizes, reverse=True))

    def partition(self, found):
        return sorted(sorted(np.where(found["of"] == c)[0].tolist()) for c in set(found["of"].tolist()))

    def test_the_rule(self):
        run = self.train("run", LEARNT)
        found = self.result(run)
        self.check_consistent(found)
        tree, lifts, partitions, merges = rule(found["p"].astype(float))
        self.assertEqual([(int(a), int(b)) for a, b in found["tree"][:, :2]], tree)
        np.testing.assert_allclose(1 / found["tree"][:, 2] - 1, np.minimum.accumulate(lifts), rtol=1e-4, atol=1e-5)
        self.assertEqual(self.partition(found), sorted(map(sorted, partitions[merges])))
        clusters = len(partitions[merges])
        self.assertTrue(1 < clusters < 8, clusters) # else this says little
        self.check_order(found)
        self.assertIn(f"8 components, {clusters} clusters", run.out)
        with open(run.path("evaluation.json")) as file:
            evaluation = json.load(file)
        self.assertEqual((evaluation["components"], evaluation["clusters"]), (8, clusters))
        self.others(run, found)

    def others(self, run, found):
        """Cells embedded later, all of them or some, have the clusters of the training; another cut is of the same tree."""
        again = self.result(self.later("run", "embed"))
        for key in found:
            np.testing.assert_array_equal(again[key], found[key], err_msg=key)
        query = rewrite(os.path.join(self.folder, "query.h5ad"), rows=300, first=100)
        other = self.result(self.later("run", "embed", {"data.predict": [query]}), "embedding-query.h5ad")
        self.check_consistent(other)
        np.testing.assert_array_equal(other["of"], found["of"])
        np.testing.assert_array_equal(other["tree"], found["tree"])
        for wanted in ("components", 5, 1):
            cut = self.result(self.later("run", "embed", {"output.clusters": wanted, "output.name": "cut"}), "embedding-cut.h5ad")
            self.check_consistent(cut)
            self.assertEqual(cut["q"].shape[1], 8 if wanted == "components" else wanted)
            np.testing.assert_array_equal(cut["tree"], found["tree"])
        before = contents(run.checkpoint("best.h5"))
        self.train("run", LEARNT) # the same command once more
        self.assertEqual(contents(run.checkpoint("best.h5")), before)
        early = self.later("run", "embed", {"checkpoint.path": run.checkpoint("last.h5"), "output.name": "early"})
        self.assertIn("last.h5 has no clusters, which it gets when training ends; they are made of the cells at hand", early.out)

    def later(self, name, word, changes=None):
        run = self.try_run(name, {**LEARNT, **(changes or {})}, word=word)
        self.assertEqual((run.code, run.err), (0, ""))
        return run

    def test_the_same_on_any_number_of_ranks(self):
        changes = {**LEARNT, "train.epochs": 4, "eval.every": 4, "train.reduction": "exact", "output.clusters": "components",
                   "output.umap": True, "eval.metric_cells": 1000}
        one = self.train("np1", changes)
        self.check_order(self.result(one))
        for ranks, more in ((2, {}), (4, {"data.residence": "host"})):
            other = self.train(f"np{ranks}", {**changes, **more}, ranks)
            self.same_run(one, other, "best.h5")
            a, b = self.result(one), self.result(other)
            for key in a:
                np.testing.assert_array_equal(a[key], b[key], err_msg=key)
            np.testing.assert_array_equal(self.layout(other), self.layout(one))

    def layout(self, run):
        """Of a sample of the cells."""
        with h5py.File(run.path("embedding.h5ad")) as f:
            found = f["obsm/X_umap"][()]
        self.assertEqual(np.isfinite(found).all(1).sum(), 1000)
        self.assertEqual(np.isnan(found).all(1).sum(), len(found) - 1000)
        return found

    def test_a_cluster_of_one_batch(self):
        """One site has all monocytes, and a fifth of the other cells."""
        with h5py.File(rewrite(os.path.join(self.folder, "sites.h5ad"))) as f:
            types, names = f["obs/cell_type/codes"][()], list(f["obs/cell_type/categories"].asstr()[()])
        monocytes = np.isin(types, [i for i, name in enumerate(names) if name.endswith("Monocytes")])
        self.assertLess(monocytes.mean(), 0.45)
        sites = rewrite(os.path.join(self.folder, "sites.h5ad"), columns={"site": np.where(monocytes | (np.arange(len(types)) % 5 == 0), 1, 0)})
        run = self.try_run("run", {**LEARNT, "data.train": [sites], "data.batch_keys": ["site"]})
        self.assertEqual(run.code, 0, run.err)
        self.assertRegex(run.err, r"^gmvae_dist: warning: clusters? \d+ \(\d+ % level\d\).* nearly all of one level of site: [^\n]*\n$")

    def test_wrong_wishes(self):
        self.fails(["output.clusters", '"atuo"', "auto, components or a number"], 2, "typo", {"output.clusters": "atuo"})
        self.fails(["output.clusters: 5 of 4 components", "take 1 to 4"], 2, "many", {"output.clusters": 5})
        self.fails(["output.clusters: 0 of 4", "take 1 to 4"], 2, "none", {"output.clusters": 0})
        self.fails(["output.clusters: 3", "model.prior: normal has no components"], 2, "vae", {"output.clusters": 3, "model.family": "vae"})


if __name__ == "__main__":
    main()
