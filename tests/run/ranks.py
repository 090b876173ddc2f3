"""The same run on other numbers of ranks and threads.

usage: ranks.py PATH/gmvae_dist
"""
import unittest

from support import DEEP, FEW, RunTest, contents, main, np, tensors

RANKS = (1, 4) if FEW else (1, 2, 4, 8) if DEEP else (1, 2, 4)
RICH = {"model.dropout": 0.1, "data.batch_keys": ["batch", "condition"], "train.mc_samples": 2,
        "model.objective": "published", "train.z_free_nats": 0.3, "model.input": "standardize"}


class Ranks(RunTest):
    def test_losses_agree(self):
        first = self.train("np1", {"model.dropout": 0.0})
        self.assertGreaterEqual(len(first.losses("step")), 10)
        for ranks in RANKS[1:]:
            other = self.train(f"np{ranks}", {"model.dropout": 0.0}, ranks)
            np.testing.assert_allclose(other.losses("step")[:10], first.losses("step")[:10], rtol=1e-6)
            np.testing.assert_allclose(other.losses("validation")[-1], first.losses("validation")[-1], rtol=1e-3)

    def same_bits(self, changes):
        changes = {"train.reduction": "exact", **changes}
        first = self.train("np1", changes, threads=2)
        for ranks in RANKS[1:]:
            other = self.train(f"np{ranks}", changes, ranks)
            self.same_run(first, other)
            self.assertEqual(contents(first.checkpoint("best.h5")), contents(other.checkpoint("best.h5")))
            self.assertEqual(first.metrics("validation")[-1]["cells"], 1558 - first.metrics("train")[-1]["cells"])

    @unittest.skipUnless(DEEP, "what the next one does with less")
    def test_exact_gives_the_same_bits(self):
        self.same_bits({})

    def test_exact_with_dropout_draws_and_two_covariates(self):
        self.same_bits(RICH)

    def test_the_same_ranks_give_the_same_bits(self):
        for ranks in (1, 3) if DEEP else (3,): # one rank: as with other threads, below
            one, other = (self.train(f"{name}{ranks}", RICH, ranks) for name in ("one", "other"))
            self.same_run(one, other)

    def test_threads_do_not_matter(self):
        one = self.train("threads1", RICH, threads=1)
        for threads in (2, 5) if DEEP else (5,):
            self.same_run(one, self.train(f"threads{threads}", RICH, threads=threads))

    def test_other_seeds_differ(self):
        one, other = self.train("one"), self.train("other", {"seed": 2})
        self.assertNotEqual(list(one.losses("step")), list(other.losses("step")))

    def test_uneven_shards(self):
        """Ranks that host other numbers of shards, shards that differ in size, and ranks that host none."""
        for shards, numbers in ((7, (3,)), (2, (4,))):
            changes = {"data.shards": shards, "train.epochs": 1}
            first = self.train(f"s{shards}", changes)
            for ranks in numbers:
                other = self.train(f"s{shards}np{ranks}", changes, ranks)
                np.testing.assert_allclose(other.losses("step"), first.losses("step"), rtol=1e-6)
                np.testing.assert_allclose(other.losses("validation"), first.losses("validation"), rtol=1e-3)

    def test_exact_with_ranks_that_do_not_divide(self):
        self.fails(["train.micro_batches", "3 ranks"], 2, "np3", {"train.reduction": "exact"}, ranks=3)

    def test_a_short_batch_weighs_what_its_cells_weigh(self):
        """At learning rate 0 Adam's mean gradient is a sum of those of the batches, from which they follow."""
        still = {"train.lr": 0.0, "train.kl_warmup": 0, "train.epochs": 1, "train.clip_norm": 0}

        def mean_gradient(name, changes, ranks):
            run = self.train(f"{name}np{ranks}", {**still, **changes}, ranks)
            values = tensors(run.checkpoint(), "adam/m")
            return [row["cells"] for row in run.metrics("step")], np.concatenate([v.ravel() for v in values.values()])

        whole_cells, whole = mean_gradient("whole", {"train.batch_size": 100000, "train.adam.beta1": 0.0}, 1)
        for ranks, reduction in ((1, "fast"), (3, "fast"), (2, "exact")):
            split = {"train.batch_size": 1000, "train.reduction": reduction}
            cells, second = mean_gradient(f"zero-{reduction}", {**split, "train.adam.beta1": 0.0}, ranks)
            _, both = mean_gradient(f"half-{reduction}", {**split, "train.adam.beta1": 0.5}, ranks)
            first = 4.0 * (both - 0.5 * second)
            self.assertEqual((cells[0], sum(cells)), (1000, whole_cells[0]))
            mixed = (cells[0] * first + cells[1] * second) / sum(cells)
            self.assertLess(np.linalg.norm(mixed - whole), 1e-5 * np.linalg.norm(whole))
            self.assertGreater(np.linalg.norm(first - second), 1e-2 * np.linalg.norm(whole))

    def test_means_of_an_epoch_weigh_cells(self):
        run = self.train("run")
        for epoch in (0, 1):
            steps = [row for row in run.metrics("step") if row["epoch"] == epoch]
            total = run.metrics("train")[epoch]
            self.assertEqual(sum(row["cells"] for row in steps), total["cells"])
            mean = sum(row["cells"] * row["neg_elbo"] for row in steps) / total["cells"]
            self.assertAlmostEqual(mean / total["neg_elbo"], 1.0, places=7)


if __name__ == "__main__":
    main()
