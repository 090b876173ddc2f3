"""Numbers and shapes at their limits: divergence, warm-up, inputs, clipping, empty cells, one of everything.

usage: numeric.py PATH/gmvae_dist
"""
import json
import os

from cells import rewrite
from support import RunTest, contents, h5py, main, np, tensors

ALL = 1558
ONE_STEP = {"train.epochs": 1, "train.batch_size": 100000, "train.kl_warmup": 0, "train.lr": 0.0, "train.adam.beta1": 0.0}


class Numeric(RunTest):
    def cells(self, **keywords):
        return [rewrite(os.path.join(self.folder, "cells.h5ad"), **keywords)]

    def test_divergence(self):
        # a step of lr m / |g| of this one gradient, which may be as small as it likes
        wild = {"train.lr": 10.0, "train.adam.beta2": 0.0, "train.adam.epsilon": 1e-16}
        for reduction in ("fast", "exact"):
            calm = {"train.reduction": reduction, "model.library": "none", "train.clip_norm": 0}
            first = self.train(reduction, {**calm, "train.epochs": 1})
            before = {name: contents(first.checkpoint(name)) for name in first.checkpoints()}
            for ranks in (1, 2):
                run = self.fails(["epoch 2, step ", "finite", "train.lr"], 4, reduction,
                                 {**calm, **wild, "train.epochs": 30}, ranks)
                step = run.metrics("step")[-1]["step"] + 1
                self.assertIn(f"step {step}:", run.err)
                self.assertEqual({name: contents(run.checkpoint(name)) for name in run.checkpoints()}, before)
            self.train(reduction, calm)

    def test_a_finite_loss_that_grows_a_thousandfold(self):
        calm = {"model.likelihood": "nb_logit", "train.clip_norm": 0}
        first = self.train("grows", {**calm, "train.epochs": 1})
        before = {name: contents(first.checkpoint(name)) for name in first.checkpoints()}
        for ranks in (1, 2):
            run = self.fails(["step ", "-ELBO has grown from ", "train.lr"], 4, "grows",
                             {**calm, "train.lr": 10.0, "train.epochs": 30}, ranks)
            self.assertNotIn("finite", run.err)
            self.assertEqual({name: contents(run.checkpoint(name)) for name in run.checkpoints()}, before)
        self.fails(["epoch 1, step ", "-ELBO has grown"], 4, "new", {**calm, "train.lr": 10.0})

    def test_warm_up_longer_than_the_run(self):
        run = self.try_run("run", {"train.kl_warmup": {"steps": 1000}, "train.epochs": 1})
        self.assertEqual(run.code, 0, run.err)
        self.assertIn("gmvae_dist: warning: the KL warm-up of 1000 steps cannot finish: only 6 steps", run.err)
        self.assertEqual(run.err.count("\n"), 1)

    def test_warm_up(self):
        run = self.train("run", {"train.kl_warmup": {"steps": 8}})
        weights = [row["kl_weight"] for row in run.metrics("step")]
        np.testing.assert_allclose(weights, np.minimum(1.0, np.arange(12) / 8))
        run = self.train("none", {"train.kl_warmup": 0, "train.epochs": 1})
        self.assertEqual({row["kl_weight"] for row in run.metrics("step")}, {1.0})

    def test_inputs(self):
        for kind in ("none", "unit_sphere", "standardize", "log1p"):
            run = self.train(kind, {"model.input": kind, "train.epochs": 4})
            held_out = run.losses("validation")
            self.assertLess(held_out[-1], held_out[0], kind)
            self.assertTrue(np.isfinite(run.losses("step")).all())

    def test_clipping(self):
        """One step at learning rate 0 and beta1 0 leaves the clipped gradient in Adam's mean."""
        def gradient(name, limit):
            run = self.train(name, {**ONE_STEP, "train.clip_norm": limit})
            values = tensors(run.checkpoint(), "adam/m")
            return run.metrics("step")[0]["grad_norm"], np.concatenate([v.ravel() for v in values.values()]).astype(float)

        norm, free = gradient("free", 0)
        self.assertAlmostEqual(np.linalg.norm(free) / norm, 1.0, places=5)
        limit = norm / 3
        norm_clipped, clipped = gradient("clipped", limit)
        self.assertEqual(norm_clipped, norm)
        np.testing.assert_allclose(clipped, free / 3, rtol=1e-4, atol=1e-6 * np.abs(free).max())
        _, loose = gradient("loose", norm * 1.01)
        np.testing.assert_array_equal(loose, free)

    def test_learning_rate_schedule(self):
        run = self.train("run", {"train.epochs": 3, "train.lr": 0.002, "train.lr_schedule": {"after": 2, "factor": 0.5}})
        rates = [row["lr"] for row in run.metrics("step")]
        self.assertEqual(rates, [0.002] * 12 + [0.001] * 6)

    def test_empty_cells(self):
        empty = [0, 5, 6, 7, 800, ALL - 1]
        for ranks, residence in ((1, "host"), (3, "stream")):
            run = self.try_run(f"np{ranks}", {"data.train": self.cells(empty=empty), "data.validation": 0, "output.embedding": True,
                                              "data.label_key": "cell_type", "data.residence": residence}, ranks)
            self.assertEqual(run.code, 0, run.err)
            self.assertIn("gmvae_dist: warning: 6 cells have no count", run.err)
            self.assertEqual(run.err.count("\n"), 1)
            self.assertEqual({row["cells"] for row in run.metrics("train")}, {ALL - 6})
            with h5py.File(run.path("embedding.h5ad")) as f: # no cluster and no place
                labelled = int((np.delete(f["obs/cell_type/codes"][()], empty) >= 0).sum())
                for name in ("obs/gmvae_neg_elbo", "obs/gmvae_certainty", "obsm/X_gmvae", "obsm/gmvae_cluster_prob"):
                    missing = np.isnan(f[name][()].reshape(ALL, -1))
                    self.assertEqual((list(np.where(missing.all(1))[0]), missing.any(1).sum()), (empty, 6), name)
                self.assertEqual(list(np.where(f["obs/gmvae_cluster/codes"][()] == -1)[0]), empty)
            self.assertIn(f"clusters against cell_type on {labelled} labelled cells: ARI", run.out)
        whole = self.try_run("held", {"data.train": self.cells(empty=empty)})
        self.assertEqual(whole.metrics("train")[0]["cells"] + whole.metrics("validation")[0]["cells"], ALL - 6)

    def test_figures_that_are_not_defined(self):
        """The error of a single cell's figure, and the agreement with labels that are none or one."""
        with h5py.File(self.cells(rows=300)[0], "r+") as f:
            f["obs"].create_dataset("unknown", data=np.full(300, np.nan)).attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
            f["obs"].attrs["column-order"] = [*f["obs"].attrs["column-order"], "unknown"]
        changes = {"data.train": [os.path.join(self.folder, "cells.h5ad")], "data.label_key": "unknown", "train.epochs": 1}
        run = self.train("run", changes)
        self.assertIn("label unknown is missing for 300 cells: there is nothing to compare clusters with", run.out)
        self.assertRegex(run.out, r"held-out -ELBO [0-9.]+ \+- [0-9.]+ nats per cell on")
        with open(run.path("evaluation.json")) as file:
            self.assertLess({"ari": None, "nmi": None}.items(), json.load(file).items())
        rewrite(os.path.join(self.folder, "one.h5ad"), rows=1)
        done = self.try_run("run", {**changes, "data.predict": [os.path.join(self.folder, "one.h5ad")], "data.label_key": "cell_type"}, word="eval")
        self.assertEqual((done.code, done.err), (0, ""))
        self.assertNotIn("+-", done.out)
        self.assertIn("clusters against cell_type: no figure, as all cells have the same label", done.out)
        with open(run.path("evaluation-one.json")) as file:
            found = json.load(file)
        self.assertEqual((found["cells"], found["neg_elbo_se"], found["kl_x_se"], found["ari"]), (1, None, None, None))
        self.assertGreater(found["neg_elbo"], 0)

    def test_nothing_but_empty_cells(self):
        for ranks in (1, 2):
            self.fails(["no cell"], 3, "run", {"data.train": self.cells(rows=20, empty=range(20))}, ranks)

    def test_one_cluster(self):
        for objective in ("marginal", "published", "mc"):
            run = self.train(objective, {"model.clusters": 1, "model.objective": objective})
            np.testing.assert_allclose([row["kl_z"] for row in run.metrics("train")], 0.0, atol=1e-4)
            self.assertLess(run.losses("validation")[-1], run.losses("validation")[0])

    def test_one_dimension(self):
        run = self.train("run", {"model.latent_dim": 1, "model.w_dim": 1, "model.beta": [], "model.encoder": [1],
                                 "model.decoder": [1]})
        self.assertTrue(np.isfinite(run.losses("step")).all())

    def test_covariates(self):
        for keys, levels in ((["one"], {"one": 0}), ([], {}), (["one", "batch"], {"one": 0})):
            run = self.train("-".join(["run", *keys]), {"data.batch_keys": keys, "data.train": self.cells(columns=levels)})
            self.assertEqual(run.metrics("step")[-1]["step"], 12)

    def test_batch_larger_than_the_data(self):
        for reduction in ("fast", "exact"):
            run = self.train(reduction, {"train.batch_size": 16777216, "train.reduction": reduction})
            self.assertEqual([row["cells"] for row in run.metrics("step")], [row["cells"] for row in run.metrics("train")])

    def test_batches_of_one_cell(self):
        run = self.train("run", {"train.batch_size": 1, "data.train": self.cells(rows=40), "data.validation": 0})
        self.assertEqual({row["cells"] for row in run.metrics("step")}, {1})
        self.assertEqual(len(run.metrics("step")), 80)

    def test_fewer_cells_than_ranks(self):
        changes = {"data.train": self.cells(rows=3), "data.validation": 0, "data.shards": 64}
        first = self.train("np1", {**changes, "train.reduction": "exact"})
        self.same_run(first, self.train("np4", {**changes, "train.reduction": "exact"}, 4))
        other = self.train("fast", changes, 8)
        np.testing.assert_allclose(other.losses("step"), first.losses("step"), rtol=1e-6)

    def test_held_out_files(self):
        held, others = (os.path.join(self.folder, name) for name in ("held.h5ad", "others.h5ad"))
        rewrite(held, rows=100)
        rewrite(others, first=100)
        run = self.train("run", {"data.train": [others], "data.validation": [held]}, 2)
        self.assertEqual(run.metrics("validation")[-1]["cells"], 100)
        self.assertEqual(run.metrics("train")[-1]["cells"], ALL - 100)


if __name__ == "__main__":
    main()
