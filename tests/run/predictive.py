"""Counts of a sample of cells that train leaves for the report: posterior predictive checks (predictive.json) against the cells'
counts, the model's formulas in numpy, and what generate draws; and the counts of a heat map (heatmap.json).

usage: predictive.py PATH/gmvae_dist
"""
import json
import os

from expression import Network, counts_of
from support import CELLS, DEEP, FEW, RunTest, h5py, main, np
import anndata

LEARNT = {"model.clusters": 6, "train.epochs": 10, "train.batch_size": 128, "train.lr": 3e-3, "train.log_steps": 0, "checkpoint.every": 0,
          "eval.every": 10, "output.report": True, "output.clusters": 3}
KIDNEY = os.path.join(os.path.dirname(CELLS), "human_kidney.h5ad")


def read(run):
    with open(run.path("predictive.json"), encoding="utf-8") as file:
        found = json.load(file)
    return found, {name: np.array(values, object if name == "name" else float) for name, values in found["gene"].items()}


class Predictive(RunTest):
    def observed(self, genes, counts):
        """Shares, means and variances, to the digits that the file has."""
        for name, expected in (("zeros", (counts == 0).mean(0)), ("mean", counts.mean(0)), ("variance", counts.var(0))):
            np.testing.assert_allclose(genes[name], expected, rtol=1e-8, atol=1e-9, err_msg=name)

    def drawn(self, run, found, genes, counts, batch):
        """Within the error of a sample of what the likelihood says, given the posteriors."""
        network, library = Network(run.checkpoint("best.h5")), counts.sum(1)
        theta, noise = np.exp(network.of["decoder.theta"]), np.random.default_rng(3)
        mean, sd = network.posterior(counts)
        draws = [network.fractions(mean + sd * noise.standard_normal(mean.shape), 4, batch) * library[:, None] for _ in range(4)]
        none = np.mean([(theta / (theta + means)) ** theta for means in draws], 0)
        error = 6 * np.sqrt((none * (1 - none)).sum(0)) / len(counts) + 0.004 # the last: other latents
        self.assertLess((abs(genes["zeros_drawn"] - none.mean(0)) / error).max(), 1)
        means, within = np.mean(draws, 0), np.mean([means + means ** 2 / theta for means in draws], 0)
        error = 7 * np.sqrt(within.sum(0)) / len(counts) + 0.05 * means.mean(0)
        self.assertLess((abs(genes["mean_drawn"] - means.mean(0)) / error).max(), 1)
        expected = within.mean(0) + np.mean([means.var(0) for means in draws], 0)
        self.assertAlmostEqual(np.median(genes["variance_drawn"] / expected), 1, delta=0.05)
        apart = (np.array(found["library_drawn"]) - library) / np.sqrt(within.sum(1))
        self.assertLess(abs(apart.mean()), 0.2)
        self.assertTrue(0.85 < apart.std() < 1.15, apart.std())

    def summary(self, found, genes):
        """All genes are in the file: the numbers follow from it."""
        there = genes["cells"] > 0
        zeros, drawn = genes["zeros"][there], genes["zeros_drawn"][there]
        compared = genes["cells"] * (1 - genes["zeros"]) > 19.5
        self.assertEqual(found["compared_genes"], compared.sum())
        for name, expected in (("zeros", zeros.mean()), ("zeros_drawn", drawn.mean()), ("zeros_difference", abs(zeros - drawn).mean()),
                               ("zeros_correlation", np.corrcoef(zeros, drawn)[0, 1]),
                               ("mean_ratio", np.median((genes["mean_drawn"] / genes["mean"])[compared])),
                               ("variance_ratio", np.median((genes["variance_drawn"] / genes["variance"])[compared])),
                               ("library_ratio", np.median(np.array(found["library_drawn"]) / found["library"]))):
            self.assertAlmostEqual(found[name], expected, delta=1e-6, msg=name)

    def check(self, run, counts, batch):
        found, genes = read(run)
        self.assertEqual((found["cells"], found["cells_of"], found["genes"]), (len(counts), len(counts), counts.shape[1]))
        with h5py.File(CELLS) as f:
            self.assertEqual(list(genes["name"]), list(f["var/_index"].asstr()[()]))
        np.testing.assert_array_equal(found["library"], counts.sum(1))
        self.observed(genes, counts)
        self.drawn(run, found, genes, counts, batch)
        self.summary(found, genes)

    def heat_map(self, run, counts, names, present=None):
        """Of 600 cells those genes that vary most, and their counts as they are."""
        with open(run.path("heatmap.json"), encoding="utf-8") as file:
            found = json.load(file)
        chosen = np.arange(600) * len(counts) // 600
        some, there = counts[chosen], np.ones((600, counts.shape[1]), bool) if present is None else present[chosen]
        values = np.where(there, np.log1p(1e4 * some / some.sum(1, keepdims=True)), np.nan)
        variance = np.nanvar(values, 0)
        self.assertEqual((found["cells"], found["cells_of"], len(found["gene"])), (600, len(counts), 60))
        np.testing.assert_array_equal(found["row"], chosen)
        np.testing.assert_array_equal(found["library"], some.sum(1))
        at = [names.index(gene) for gene in found["gene"]]
        np.testing.assert_allclose(found["variance"], np.sort(variance)[::-1][:60], rtol=1e-6)
        np.testing.assert_allclose(found["variance"], variance[at], rtol=1e-6)
        np.testing.assert_array_equal(np.array(found["count"], float), np.where(there, some, np.nan)[:, at])

    def file(self, run):
        with open(run.path("predictive.json")) as checks, open(run.path("heatmap.json")) as counts:
            return checks.read() + counts.read()

    def test_all_cells(self):
        """A finished run writes its results again: the same on any number of ranks, in memory and streamed."""
        counts, batch = counts_of()
        with h5py.File(CELLS) as f:
            names = list(f["var/_index"].asstr()[()])
        for residence in ("host",) if FEW else ("host", "stream"):
            how = {**LEARNT, "data.residence": residence}
            run = self.train(residence, how)
            self.check(run, counts, batch)
            self.heat_map(run, counts, names)
            text = self.file(run)
            for ranks in (2, 3) if DEEP else (2 if residence == "host" else 3,):
                for name in ("predictive.json", "heatmap.json"):
                    os.remove(run.path(name))
                self.train(residence, how, ranks=ranks)
                self.assertTrue(self.file(run) == text, (residence, ranks))
        # generate draws the same counts for the same cells
        run = self.try_run("host", {**LEARNT, "generate.from": "cells", "generate.cells": len(counts)}, word="generate")
        self.assertEqual((run.code, run.err), (0, ""))
        drawn, (found, genes) = anndata.read_h5ad(run.path("generated.h5ad")).X.toarray(), read(run)
        np.testing.assert_allclose(genes["zeros_drawn"], (drawn == 0).mean(0), rtol=1e-8)
        np.testing.assert_array_equal(found["library_drawn"], drawn.sum(1))

    def test_a_sample(self):
        """Of more than 2,000 cells every so-and-so-many-th; of more than 2,000 genes likewise, but the summary is of all."""
        how = {**LEARNT, "data.train": [KIDNEY], "data.batch_keys": [], "train.epochs": 1, "train.batch_size": 512, "data.genes": "all"}
        run = self.train("kidney", how, ranks=2)
        found, genes = read(run)
        with h5py.File(KIDNEY) as f:
            counts = anndata.io.read_elem(f["X"])
        rows, columns = counts.shape
        chosen = np.arange(2000) * rows // 2000
        some = counts[chosen].toarray().astype(float)
        self.assertEqual((found["cells"], found["cells_of"], found["genes"]), (2000, rows, columns))
        np.testing.assert_array_equal(found["library"], some.sum(1))
        listed = min(columns, 2000)
        self.observed(genes, some[:, np.arange(listed) * columns // listed])
        self.assertAlmostEqual(found["zeros"], (some == 0).mean(), places=7)

    def test_genes_that_files_lack(self):
        """They have no part in either side; a cell's library is shared out among the others."""
        counts, batch = counts_of()
        with h5py.File(CELLS) as f:
            names = list(f["var/_index"].asstr()[()])
        few = anndata.AnnData(counts[:400, :600].astype(np.float32))
        few.var_names, few.obs["batch"] = names[:600], "stim101"
        few.obs_names = [f"few{i}" for i in range(400)]
        few.write(os.path.join(self.folder, "few.h5ad"))
        wanted = os.path.join(self.folder, "genes.txt")
        with open(wanted, "w") as out:
            out.write("\n".join(names))
        run = self.train("lack", {**LEARNT, "data.train": [CELLS, os.path.join(self.folder, "few.h5ad")], "data.genes": {"file": wanted}})
        found, genes = read(run)
        np.testing.assert_array_equal(genes["cells"], [1958] * 600 + [1558] * 667)
        both = np.vstack([counts[:, :600], few.X])
        np.testing.assert_allclose(genes["zeros"][:600], (both == 0).mean(0), rtol=1e-8)
        np.testing.assert_allclose(genes["zeros"][600:], (counts[:, 600:] == 0).mean(0), rtol=1e-8)
        np.testing.assert_array_equal(found["library"], np.concatenate([counts.sum(1), few.X.sum(1)]))
        ratio = np.array(found["library_drawn"][1558:]).sum() / few.X.sum()
        self.assertAlmostEqual(ratio, 1, delta=0.03)
        every, present = np.zeros((1958, 1267)), np.ones((1958, 1267), bool)
        every[:1558], every[1558:, :600], present[1558:, 600:] = counts, few.X, False
        self.heat_map(run, every, names, present)
        self.summary(found, genes)

    def test_verdicts(self):
        folder = os.path.join(self.folder, "said")
        os.makedirs(folder)
        with open(os.path.join(folder, "metrics.jsonl"), "w") as out:
            out.write('{"epoch": 1, "step": 1000, "split": "train", "neg_elbo": 3.0}\n')
        some = {"name": ["A", "<b>"], "cells": [9, 9]}
        for name in ("zeros", "mean", "variance"):
            some[name], some[f"{name}_drawn"] = [0.5, 0.25], [0.5, None]
        said = {"zeros": 0.9, "zeros_drawn": 0.9, "variance_ratio": 1.1, "gene": some, "library": [5, 3], "library_drawn": [4, 4]}
        for change, mood, words in (({}, "fine", "draws counts like those of the cells"), ({"zeros_drawn": 0.94}, "worry", "draws more zeros"),
                                    ({"zeros_drawn": 0.86}, "worry", "draws fewer zeros"), ({"variance_ratio": 1.5}, "worry", "counts vary more"),
                                    ({"variance_ratio": 0.6}, "worry", "counts vary less")):
            with open(os.path.join(folder, "predictive.json"), "w") as out:
                json.dump({**said, **change}, out)
            run = self.try_run("said", LEARNT, word="report")
            self.assertEqual((run.code, run.err), (0, ""))
            with open(run.path("report.html"), encoding="utf-8") as file:
                page = file.read()
            self.assertRegex(page, f'class="{mood}"><b>The model(\'s)? {words}')
            self.assertIn('data-tip="A\nobserved: 0.5\ndrawn from the model: 0.5"', page)
        for text, words in (("[]", "not a JSON object"), (json.dumps({**said, "library": [1]}), "library and library_drawn are not two lists of one length")):
            with open(os.path.join(folder, "predictive.json"), "w") as out:
                out.write(text)
            self.fails(["predictive.json", words], 3, "said", LEARNT, word="report")


if __name__ == "__main__":
    main()
