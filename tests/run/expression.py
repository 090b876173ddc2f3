"""Commands on expression: markers, denoise, generate. Against the model's formulas in numpy, from the tensors of the checkpoint.

usage: expression.py PATH/gmvae_dist
"""
import csv
import json
import os
import re
import subprocess

from cells import rewrite
from support import CELLS, FEW, RunTest, h5py, main, np, tensors
import anndata
from scipy.special import erf

LEARNT = {"model.clusters": 6, "train.epochs": 10, "train.batch_size": 128, "train.lr": 3e-3, "train.log_steps": 0, "checkpoint.every": 0,
          "eval.every": 10, "output.embedding": True, "output.clusters": 3}
FIRST = 100 # cells that are compared
FIGURES = ("log2_fold_change", "probability", "mean_in", "mean_out", "fraction_in", "fraction_out")


def counts_of(path=CELLS):
    with h5py.File(path) as f:
        rows, genes = f["X"].attrs["shape"]
        counts = np.zeros((rows, genes))
        starts = f["X/indptr"][()]
        counts[np.repeat(np.arange(rows), np.diff(starts)), f["X/indices"][()]] = f["X/data"][()]
        return counts, f["obs/batch/codes"][()]


class Network:
    """The model in double, by the equations of docs/math.md."""

    def __init__(self, checkpoint):
        self.of = {name: value.astype(float) for name, value in tensors(checkpoint).items()}

    def trunk(self, name, x):
        i = 0
        while f"{name}.layers.{i}.linear.weight" in self.of:
            of = {key: self.of[f"{name}.layers.{i}.{key}"] for key in ("linear.weight", "linear.bias", "norm.weight", "norm.bias")}
            x = x @ of["linear.weight"].T + of["linear.bias"]
            x = x * 0.5 * (1 + erf(x / np.sqrt(2)))
            x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
            x = x * of["norm.weight"] + of["norm.bias"]
            i += 1
        return x

    def posterior(self, counts):
        """Means and standard deviations of q(x|y)."""
        out = self.trunk("encoder", np.log1p(counts)) @ self.of["encoder.x.weight"].T + self.of["encoder.x.bias"]
        mean, raw = np.split(out, 2, axis=1)
        return mean, np.sqrt(np.exp(raw) + 1e-4)

    def fractions(self, x, levels, level):
        one_hot = np.zeros((len(x), levels))
        one_hot[np.arange(len(x)), level] = 1
        logits = self.trunk("decoder", np.hstack([x, one_hot])) @ self.of["decoder.mean.weight"].T + self.of["decoder.mean.bias"]
        means = np.exp(logits - logits.max(1, keepdims=True))
        return means / means.sum(1, keepdims=True)

    def averaged(self, x, batch):
        """Under every level, weighted by its cells."""
        shares = np.bincount(batch) / len(batch)
        return sum(share * self.fractions(x, len(shares), level) for level, share in enumerate(shares))


class Expression(RunTest):
    def later(self, name, word, changes=None, ranks=1):
        run = self.try_run(name, {**LEARNT, **(changes or {})}, ranks, word=word)
        self.assertEqual((run.code, run.err), (0, ""))
        return run


    def table(self, run, name="markers"):
        """Layers and cells of the anndata file; the rows of the CSV must say the same."""
        file = anndata.read_h5ad(run.path(f"{name}.h5ad"))
        found = {figure: file.layers[figure] for figure in FIGURES}
        found["cells"], found["pseudocount"] = file.obs["cells"].to_numpy(), file.uns["gmvae_dist"]["pseudocount"]
        genes = list(file.var_names)
        with open(run.path(f"{name}.csv"), newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            at = int(row["cluster"]), genes.index(row["gene"])
            np.testing.assert_allclose([float(row[figure]) for figure in FIGURES], [found[figure][at] for figure in FIGURES], rtol=1e-5)
        for cluster in range(len(found["cells"])):
            changes = [float(row["log2_fold_change"]) for row in rows if int(row["cluster"]) == cluster]
            best = np.sort(found["log2_fold_change"][cluster])[::-1]
            np.testing.assert_allclose(changes, best[:len(changes)], rtol=1e-5)
        found["rows"] = len(rows)
        return found

    def expect_figures(self, found, cluster):
        """Figures by their definitions, with other draws; and how far those of 2,000 draws may be from them."""
        counts, batch, network, rng, repeats = self.counts, self.batch, self.network, np.random.default_rng(1), 2
        mean, sd = network.posterior(counts)
        expected = np.concatenate([network.averaged(mean + sd * rng.standard_normal(mean.shape), batch) for _ in range(repeats)])
        logs, of = np.log2(expected + found["pseudocount"] / 1e4), np.tile(cluster, repeats)
        self.assertAlmostEqual(found["pseudocount"], 0.05 * 1e4 / counts.sum(1).mean(), places=5)
        for c in range(3):
            inside, outside = logs[of == c], logs[of != c]
            error = 6 * np.sqrt(inside.var(0) + outside.var(0)) / np.sqrt(2000) + 1e-3
            self.assertLess((abs(found["log2_fold_change"][c] - inside.mean(0) + outside.mean(0)) / error).max(), 1)
            pairs = inside[rng.integers(len(inside), size=8000)] - outside[rng.integers(len(outside), size=8000)]
            self.assertLess(abs(found["probability"][c] - (abs(pairs) > 0.5).mean(0)).max(), 6 * 0.5 / np.sqrt(1600))
            for name, rows in (("mean_in", of == c), ("mean_out", of != c)):
                error = 6e4 * expected[rows].std(0) / np.sqrt(2000) + 1e-4
                self.assertLess((abs(found[name][c] - 1e4 * expected[rows].mean(0)) / error).max(), 1, name)
            np.testing.assert_allclose(found["fraction_in"][c], (counts[cluster == c] > 0).mean(0), rtol=1e-6)
            np.testing.assert_allclose(found["fraction_out"][c], (counts[cluster != c] > 0).mean(0), rtol=1e-6)

    def test_commands(self):
        """One training serves all."""
        run = self.train("run", LEARNT)
        self.network, (self.counts, self.batch) = Network(run.checkpoint("best.h5")), counts_of()
        self.markers(run)
        self.denoise()
        self.generate(run)
        self.wishes(run)

    def markers(self, run):
        wanted = {"markers.cells": 2000, "markers.delta": 0.5}
        with h5py.File(run.path("embedding.h5ad")) as f:
            cluster = f["obs/gmvae_cluster/codes"][()]
        self.later("run", "markers", wanted)
        found = self.table(run)
        self.assertEqual((found["cells"].tolist(), found["rows"]), (np.bincount(cluster, minlength=3).tolist(), 300))
        self.expect_figures(found, cluster)
        if FEW:
            return
        self.later("run", "markers", {**wanted, "data.residence": "stream"}, ranks=3)
        again = self.table(run)
        for key in found:
            np.testing.assert_array_equal(again[key], found[key], err_msg=key)
        self.markers_of_others(run, found)

    def check_ranking(self, run):
        """What scanpy makes of the file's table; p-values, which there are none of, are NaN."""
        import scanpy # takes seconds, also in predictive.py
        file = anndata.read_h5ad(run.path("markers.h5ad"))
        with open(run.path("markers.csv"), newline="") as table:
            rows = list(csv.DictReader(table))
        for cluster in map(str, range(3)):
            found = scanpy.get.rank_genes_groups_df(file, group=cluster)
            wanted = [row for row in rows if row["cluster"] == cluster]
            self.assertEqual(list(found["names"]), [row["gene"] for row in wanted])
            for name, figure in (("logfoldchanges", "log2_fold_change"), ("scores", "probability")):
                np.testing.assert_allclose(found[name], [float(row[figure]) for row in wanted], rtol=1e-5)
            self.assertTrue(found["pvals"].isna().all() and found["pvals_adj"].isna().all())
        self.assertEqual(len(scanpy.get.rank_genes_groups_df(file, group=None, log2fc_min=0.5)), sum(float(row["log2_fold_change"]) > 0.5 for row in rows))
        self.assertEqual(file.uns["rank_genes_groups"]["params"], {"groupby": "gmvae_cluster", "reference": "rest", "method": "gmvae_dist"})
        file.write_h5ad(run.path("again.h5ad"))
        again = anndata.read_h5ad(run.path("again.h5ad")).uns["rank_genes_groups"]
        for name in ("names", "scores", "pvals"):
            self.assertEqual(again[name].dtype, file.uns["rank_genes_groups"][name].dtype)
        os.remove(run.path("again.h5ad"))

    def test_end_of_training(self):
        """The files that the command writes later, on any number of ranks; where there is nothing to compare, a line says so."""
        few = {**LEARNT, "train.epochs": 2, "output.embedding": False, "output.markers": True, "markers.cells": 60, "eval.every": 2}
        run = self.train("end", few, ranks=1 if FEW else 2)
        self.assertIn(", markers.csv, markers.h5ad, run.json\n", run.out)
        found = self.table(run)
        with open(run.path("markers.csv")) as file:
            rows = file.read()
        with open(run.path("run.json")) as file:
            self.assertGreater(json.load(file)["sessions"][0]["seconds"]["markers"], 0)
        for name in ("markers.csv", "markers.h5ad"):
            os.remove(run.path(name))
        self.later("end", "markers", few)
        again = self.table(run)
        for key in found:
            np.testing.assert_array_equal(again[key], found[key], err_msg=key)
        with open(run.path("markers.csv")) as file:
            self.assertEqual(file.read(), rows)
        self.check_ranking(run)
        before = run.files()
        for changes, words in (({"output.clusters": 1}, "all cells are of one cluster"),
                               ({"model.family": "vae", "output.clusters": "auto", "train.epochs": 1}, "the model has no clusters"),
                               ({"model.clusters": 101, "output.clusters": "components", "train.epochs": 1}, "101 clusters take long to compare; gmvae_dist markers does it")):
            os.makedirs(os.path.join(self.folder, f"other{len(words)}"))
            with open(os.path.join(self.folder, f"other{len(words)}", "markers.csv"), "w") as out:
                out.write("of a training before this one")
            other = self.train(f"other{len(words)}", {**few, **changes})
            self.assertIn(f"markers are left out: {words}\n", other.out)
            self.assertFalse({"markers.csv", "markers.h5ad"} & set(other.files()))
        self.assertEqual(run.files(), before)
        command = [*self.command("dry", {**few, "output.clusters": 100, "model.clusters": 100}), "--dry-run"]
        done = subprocess.run(["bash", "-c", 'ulimit -f 2500; exec "$@"', "-", *command], env=self.environment(), capture_output=True, text=True)
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertRegex(done.stderr, r"markers.h5ad takes [0-9.]+ MB, but files may have 2.6 MB here .* output.markers=false")

    def markers_of_others(self, run, found):
        """Cells that were not trained on get files of their own; a cluster that has none of them has no figures."""
        query = rewrite(os.path.join(self.folder, "query.h5ad"), rows=60, empty=[3])
        wanted = {**LEARNT, "data.predict": [query], "markers.genes": 0, "markers.cells": 1, "output.clusters": "components"}
        self.assertEqual(self.try_run("run", wanted, word="markers").code, 0)
        other = self.table(run, "markers-query")
        self.assertEqual((other["cells"].sum(), len(other["cells"])), (59, 6))
        there = other["cells"] > 0
        self.assertEqual(other["rows"], there.sum() * other["mean_in"].shape[1])
        for figure in FIGURES:
            self.assertTrue(np.isfinite(other[figure][there]).all() and np.isnan(other[figure][~there]).all(), figure)
        np.testing.assert_array_equal(self.table(run)["mean_in"], found["mean_in"])

    def test_models_without_clusters(self):
        changes = {"model.family": "vae", "train.epochs": 1}
        self.train("vae", changes)
        self.fails(["best.h5: a model with model.prior: normal has no clusters", "another model.prior"], 2, "vae", changes, word="markers")
        self.fails(["best.h5: a model with model.prior: normal has no clusters"], 2, "vae", {**changes, "generate.from": "cluster 0"}, word="generate")

    def test_library_of_the_decoder(self):
        changes = {"model.likelihood": "nb_logit", "model.library": "none", "train.epochs": 1, "output.embedding": False, "generate.cells": 40}
        self.train("own", changes)
        self.fails(["generate.library: 2000", "take own"], 2, "own", {**changes, "generate.library": 2000}, word="generate")
        run = self.later("own", "generate", changes)
        self.assertTrue(np.isnan(anndata.read_h5ad(run.path("generated.h5ad")).obs["gmvae_library"]).all())

    # denoise

    def result(self, changes=None, ranks=1, name="denoised"):
        run = self.try_run("run", {**LEARNT, **(changes or {})}, ranks, word="denoise")
        self.assertEqual(run.code, 0, run.err)
        return anndata.read_h5ad(run.path(f"{name}.h5ad"))

    def compare(self, found, means, spread, samples):
        """Averages over draws, with those of other draws; spread: of one draw."""
        found = found[:FIRST]
        error = 6 * spread * np.sqrt(1 / samples + 1 / 30) + 2e-4 * abs(means) + 1e-7
        self.assertLess((abs(found - means) / error).max(), 1)

    def expect(self, decode):
        """Mean and standard deviation over draws of q, of the first cells."""
        rng = np.random.default_rng(2)
        mean, sd = self.network.posterior(self.counts[:FIRST])
        draws = np.array([decode(mean + sd * rng.standard_normal(mean.shape)) for _ in range(30)])
        return draws.mean(0), draws.std(0)

    def denoise(self):
        network, batch, library = self.network, self.batch, self.counts.sum(1, keepdims=True)
        with h5py.File(CELLS) as f:
            cells, genes = list(f["obs/_index"].asstr()[()]), list(f["var/_index"].asstr()[()])
        found = self.result({"denoise.samples": 25})
        self.assertEqual((list(found.obs_names), list(found.var_names)), (cells, genes))
        self.assertEqual(found.layers["denoised"].dtype, np.float32)
        np.testing.assert_allclose(found.layers["denoised"].sum(1, keepdims=True), library, rtol=1e-5)
        means, spread = self.expect(lambda x: network.fractions(x, 4, batch[:FIRST]) * library[:FIRST])
        self.compare(found.layers["denoised"], means, spread, 25)
        if not FEW:
            again = self.result({"denoise.samples": 25, "data.residence": "stream"}, ranks=2)
            np.testing.assert_array_equal(again.layers["denoised"], found.layers["denoised"])
        self.levels(genes)

    def levels(self, genes):
        """Other batches, some genes, another scale; cells without counts, and such that lack genes."""
        network, batch, counts = self.network, self.batch, self.counts
        file, wanted = os.path.join(self.folder, "wanted.txt"), [genes[700], genes[3]]
        with open(file, "w") as out:
            out.write("\n".join(wanted))
        for level, decode in (("average", lambda x: network.averaged(x, batch)), ("batch=stim101", lambda x: network.fractions(x, 4, 2))):
            genes_of = {"denoise.genes": wanted} if level == "average" else {"denoise.genes_file": file}
            found = self.result({"denoise.batch": level, "denoise.scale": 1000, "denoise.samples": 12, **genes_of})
            self.assertEqual(list(found.var_names), wanted)
            means, spread = self.expect(lambda x: 1000 * decode(x)[:, [700, 3]])
            self.compare(found.layers["denoised"], means, spread, 12)
        some = anndata.AnnData(counts[:90, :1100].astype(np.float32))
        some.X[7] = 0
        some.var_names, some.obs["batch"] = genes[:1100], "stim101"
        some.write(os.path.join(self.folder, "some.h5ad"))
        other = {"data.predict": [os.path.join(self.folder, "some.h5ad")], "denoise.samples": 1}
        found = self.result(other, name="denoised-some").layers["denoised"]
        self.assertTrue(np.isnan(found[7]).all() and np.isfinite(np.delete(found, 7, 0)).all())
        np.testing.assert_allclose(np.delete(found, 7, 0)[:, :1100].sum(1), np.delete(some.X, 7, 0).sum(1), rtol=1e-5)
        self.assertTrue((np.delete(found, 7, 0)[:, 1100:] > 0).all())

    # generate

    def generated(self, changes, ranks=1):
        run = self.try_run("run", {**LEARNT, **changes}, ranks, word="generate")
        self.assertEqual((run.code, run.err), (0, ""))
        return anndata.read_h5ad(run.path("generated.h5ad"))

    def generate(self, run):
        theta = np.exp(self.network.of["decoder.theta"])
        found = self.generated({"generate.from": "cells", "generate.cells": 1600})
        self.assertEqual(found.X.dtype, np.int32)
        self.assertTrue(found.X.has_sorted_indices and found.X.data.min() > 0)
        np.testing.assert_array_equal(found.obs["gmvae_source"], np.arange(1600) % 1558)
        np.testing.assert_array_equal(found.obs["batch"].cat.codes[:1558], self.batch)
        library = found.obs["gmvae_library"].to_numpy().astype(float)
        np.testing.assert_array_equal(library[:1558], self.counts.sum(1))
        mean, sd = self.network.posterior(self.counts)
        fractions = np.mean([self.network.fractions(mean + sd * noise, 4, self.batch) for noise in np.random.default_rng(3).standard_normal((3, *mean.shape))], 0)
        means = fractions * library[:1558, None]
        counts = np.asarray(found.X[:1558].todense()).astype(float)
        error = 7 * np.sqrt((means + means ** 2 / theta).sum(0)) + 0.05 * means.sum(0)
        self.assertLess((abs(counts.sum(0) - means.sum(0)) / error).max(), 1)
        squares = ((counts - means) ** 2).sum() / (means + means ** 2 / theta).sum()
        self.assertTrue(0.9 < squares < 1.3, squares) # the latents' noise is on top
        if FEW:
            return
        again = self.generated({"generate.from": "cells", "generate.cells": 1600, "data.residence": "stream"}, 2)
        self.assertEqual((again.X != found.X).nnz, 0)
        self.assertTrue(again.obs.equals(found.obs))
        self.origins(run)

    def origins(self, run):
        """Of clusters, components and the prior; embed gives them back."""
        clusters = []
        for cluster in range(3):
            found = self.generated({"generate.from": f"cluster {cluster}", "generate.cells": 200})
            found.obs_names = [f"{cluster}_{name}" for name in found.obs_names]
            found.write(os.path.join(self.folder, f"cluster{cluster}.h5ad"))
            clusters.append(os.path.join(self.folder, f"cluster{cluster}.h5ad"))
        later = self.later("run", "embed", {"data.predict": clusters, "output.name": "back"})
        back = anndata.read_h5ad(later.path("embedding-back.h5ad")).obs["gmvae_cluster"].cat.codes.to_numpy()
        table = np.array([np.bincount(back[200 * c:200 * c + 200], minlength=3) for c in range(3)]) # of a model that has hardly begun to learn
        self.assertTrue((table.argmax(1) == [0, 1, 2]).all() and np.trace(table) > 360, table)
        prior = self.generated({"generate.cells": 600})
        of = prior.obs["gmvae_component"].cat.codes.value_counts()
        self.assertTrue(of.min() > 60 and of.max() < 140 and len(of) == 6, of)
        other = self.generated({"generate.cells": 600, "generate.seed": 1}, 2)
        self.assertGreater((other.X != prior.X).nnz, 1000)
        found = self.generated({"generate.from": "component 4", "generate.cells": 200, "generate.batch": "stim101", "generate.library": 2000})
        self.assertEqual((set(found.obs["gmvae_component"]), set(found.obs["batch"])), ({"4"}, {"stim101"}))
        self.assertAlmostEqual(found.X.sum() / 200, 2000, delta=40)

    def wishes(self, run):
        before = run.files()
        self.fails(["all cells are of one cluster", "output.clusters"], 3, "run", {**LEARNT, "output.clusters": 1}, word="markers")
        for words, change in ((['no gene "CD3d"', 'did you mean "CD3'], {"denoise.genes": ["LYZ", "CD3d"]}),
                              (['no level "ctrl"', "batch has ctrl101, ctrl107, stim101, stim107"], {"denoise.batch": "ctrl"})):
            self.fails(words, 2, "run", {**LEARNT, **change}, word="denoise")
        self.fails(["there is no component 6", "0 to 5"], 2, "run", {**LEARNT, "generate.from": "component 6"}, word="generate")
        self.fails(['"cluster"', "neither prior, nor component N"], 2, "run", {**LEARNT, "generate.from": "cluster"}, word="generate")
        self.dry_generate(run, before)
        command = [*self.command("run", LEARNT, word="denoise"), "--dry-run"]
        done = subprocess.run(["bash", "-c", 'ulimit -f 6000; exec "$@"', "-", *command], env=self.environment(), capture_output=True, text=True)
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertIn("denoised.h5ad takes about 7.9 MB, but files may have 6.1 MB here", done.stderr)
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("nothing was written", done.stdout)
        self.assertEqual(run.files(), before)

    def dry_generate(self, run, before):
        """What it says of the file's size is what that then has, nearly; it writes nothing, and checks what a run checks."""
        size = os.path.getsize(self.later("run", "generate", {"generate.cells": 2000}).path("generated.h5ad")) / 1e6
        for ranks in (1, 2):
            command = [*self.command("run", {**LEARNT, "generate.cells": 2000}, ranks, word="generate"), "--dry-run"]
            done = subprocess.run(command, env=self.environment(), capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("dry run: config, data, memory and room are in order; nothing was written\n", done.stdout)
            told = float(re.search(r"generated.h5ad: about ([0-9.]+) MB\n", done.stdout)[1])
            self.assertTrue(0.7 * size < told < 1.4 * size, (size, told))
        self.assertEqual(run.files(), before)
        for changes, limit, code, words in (({"generate.cells": 2000000}, 100000, 5, "generated.h5ad takes about"),
                                            ({"generate.from": "component 6"}, "unlimited", 2, "there is no component 6"),
                                            ({"generate.batch": "ctrl"}, "unlimited", 2, 'no level "ctrl"')):
            command = [*self.command("run", {**LEARNT, **changes}, word="generate"), "--dry-run"]
            done = subprocess.run(["bash", "-c", f'ulimit -f {limit}; exec "$@"', "-", *command], env=self.environment(), capture_output=True, text=True)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(words, done.stderr)
        self.assertEqual(run.files(), before)


if __name__ == "__main__":
    main()
