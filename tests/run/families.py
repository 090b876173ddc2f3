"""Every family of models, end to end: ranks, stops, results, and what only its table knows.

usage: families.py PATH/gmvae_dist
"""
import glob
import os
import re

from support import FEW, RunTest, contents, datasets, main

TREE = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir)
TABLE = os.path.join(TREE, "include", "gmvae", "families.def")
EXACT = {"train.reduction": "exact", "train.micro_batches": 4, "train.batch_size": 128, "data.label_key": "cell_type",
         "output.metrics": ["ari", "nmi"]}


def families():
    with open(TABLE) as table:
        return re.findall(r'^GMV_FAMILY\((\w+), "\{(.*?)\}"', table.read(), re.M)


class Families(RunTest):
    def test_end_to_end(self):
        """Two epochs at once, and one, then the other on another number of ranks: the same bits, and the same embedding."""
        names = [name for name, _ in families()]
        self.assertGreater(len(names), 2)
        for name in names[-1:] if FEW else names:
            changes = {**EXACT, "model.family": name, "output.embedding": True}
            whole = self.train(f"{name}-whole", {**changes, "train.epochs": 2, "train.kl_warmup.steps": 5})
            for epochs, ranks in ((1, 2), (2, 4 if not FEW else 1)):
                parts = self.train(f"{name}-parts", {**changes, "train.epochs": epochs, "train.kl_warmup.steps": 5}, ranks)
            self.same_run(whole, parts)
            self.check_results(name, whole)

    def check_results(self, name, run):
        """Clusters, and what is said of them, where the prior has any; a term for each of its parts."""
        in_file = set(datasets(run.path("embedding.h5ad")))
        has_clusters = "obsm/gmvae_cluster_prob" in in_file
        self.assertEqual(has_clusters, "normal" not in dict(families())[name], name)
        for name in ("obs/gmvae_cluster/codes", "obs/gmvae_certainty", "obs/gmvae_component/codes", "obsm/gmvae_component_prob",
                     "uns/gmvae_dist/cluster_tree"):
            self.assertEqual(name in in_file, has_clusters, name)
        self.assertIn("obsm/X_gmvae", in_file)
        for row in run.metrics("validation"):
            self.assertEqual("active_clusters" in row, has_clusters)
            parts = sum(value for key, value in row.items() if key == "reconstruction" or key.startswith("kl_")
                        and key != "kl_weight")
            self.assertAlmostEqual(parts, row["neg_elbo"], delta=1e-6 * row["neg_elbo"])
        self.assertEqual("components in use" in run.out, has_clusters)
        self.assertEqual("clusters against" in run.out, has_clusters)

    def test_settings(self):
        """A family is a name for settings that a config may set otherwise."""
        shown = self.try_run("settings", {"model.family": "vae", "model.prior": "mixture"})
        self.assertIn("K 4", shown.out)
        same = self.train("same", {"model.family": "vae_mog"})
        self.assertEqual(contents(shown.checkpoint()), contents(same.checkpoint()))
        for family in ("vae", "vae_mog"):
            self.fails(["model.objective: published", "leave the objective marginal"], 2, "objective",
                       {"model.family": family, "model.objective": "published"})
        self.fails(["model.family", "vae_mog"], 2, "typo", {"model.family": "vae_mgo"})

    def test_other_checkpoints(self):
        """A family does not go on from another's checkpoint, nor embed with it as if it were its own."""
        self.train("run", {"train.epochs": 1})
        self.fails(["model.family", "model.prior"], 2, "run", {"train.epochs": 2, "model.family": "vae"})

    def test_only_the_table_knows_their_names(self):
        """But for the default's, which is the program's prefix."""
        names = "|".join(name for name, _ in families())
        alone = re.compile(rf'(?<![\w/."-])({names})(?![\w/.-])')
        found = [f"{file}: {line.strip()}" for folder in ("src", "kernels", "include")
                 for file in glob.glob(os.path.join(TREE, folder, "**", "*.*"), recursive=True)
                 if os.path.realpath(file) != os.path.realpath(TABLE)
                 for line in open(file, encoding="utf-8") if alone.search(line)]
        self.assertEqual(found, [])


if __name__ == "__main__":
    main()
