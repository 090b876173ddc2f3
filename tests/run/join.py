"""Whole runs on several files: genes that one of them lacks, genes in another order, files as levels.

usage: join.py PATH/gmvae_dist
"""
import os
import shutil

from support import CELLS, FEW, RunTest, contents, h5py, main, np, tensors

from cells import replace


class Join(RunTest):
    def setUp(self):
        super().setUp()
        with h5py.File(CELLS) as f:
            self.genes = [name.decode() for name in f["var/_index"][()]]
        with open(self.path("genes.txt"), "w") as out:
            out.write("\n".join(self.genes))
        random = np.random.default_rng(0)
        everything = np.arange(len(self.genes))
        self.lacked = np.sort(random.choice(everything, len(everything) // 3, replace=False))
        self.write("a.h5ad", 0, 800, everything)
        self.write("b.h5ad", 800, 1558, np.setdiff1d(everything, self.lacked))
        self.write("shuffled.h5ad", 800, 1558, random.permutation(np.setdiff1d(everything, self.lacked)))
        self.changes = {"data.train": [self.path("a.h5ad"), self.path("b.h5ad")], "train.reduction": "exact",
                        "data.genes": {"file": self.path("genes.txt")}, "model.input": "standardize"}

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, first, end, genes):
        """Cells first .. end of the real ones with these genes in this order."""
        with h5py.File(CELLS) as old, h5py.File(self.path(name), "w") as new:
            for table in ("obs", "var"):
                old.copy(table, new)
            new.attrs.update(old.attrs.items())
            rows, width = len(old["X/indptr"]) - 1, old["X"].attrs["shape"][1]
            dense = np.zeros((rows, width), np.float32)
            at = np.repeat(np.arange(rows), np.diff(old["X/indptr"][()]))
            dense[at, old["X/indices"][()]] = old["X/data"][()]
            new.create_dataset("X", data=dense[first:end][:, genes])
            new["X"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
            for key in ("batch", "cell_type", "condition"):
                replace(new[f"obs/{key}"], "codes", new[f"obs/{key}/codes"][first:end])
            replace(new["obs"], "_index", new["obs/_index"][first:end])
            replace(new["var"], "_index", new["var/_index"][()][genes])
            for key in [key for key in new["var"] if key != "_index"]:
                del new[f"var/{key}"]
            new["var"].attrs["column-order"] = np.array([], dtype="S1")

    def test_ranks_and_the_order_of_genes_do_not_matter(self):
        first = self.train("np1", self.changes)
        self.assertIn(f"has {len(self.genes) - len(self.lacked)} of the {len(self.genes)} genes", first.out)
        for ranks in (4,) if FEW else (2, 4):
            other = self.train(f"np{ranks}", self.changes, ranks)
            self.assertEqual(contents(other.checkpoint()), contents(first.checkpoint()))
        other = self.train("shuffled", {**self.changes, "data.train": [self.path("a.h5ad"), self.path("shuffled.h5ad")]})
        self.assertEqual(contents(other.checkpoint()), contents(first.checkpoint()))

    def test_a_model_knows_the_ids_of_its_genes(self):
        """Chosen genes keep their ids in the checkpoint; a query that has others beside the same names is warned of."""
        numbers = np.arange(len(self.genes))
        for name, ids in (("ids.h5ad", numbers), ("others.h5ad", numbers[::-1])):
            shutil.copyfile(CELLS, self.path(name))
            with h5py.File(self.path(name), "r+") as f:
                f["var"].create_dataset("gene_ids", data=[f"ENSG{j:011}.3" for j in ids])
                f["var"].attrs["column-order"] = ["gene_ids"]
        changes = {"data.train": [self.path("ids.h5ad")], "data.genes": {"n_top": 50}, "train.epochs": 1}
        run = self.train("run", changes)
        with h5py.File(run.checkpoint()) as f:
            genes, ids = ([text.decode() for text in f[name][()]] for name in ("genes", "gene_ids"))
        self.assertEqual(ids, [f"ENSG{self.genes.index(gene):011}" for gene in genes])
        for ranks, file, warnings in ((1, "ids.h5ad", 0), (2, "others.h5ad", 1)):
            done = self.try_run("run", {**changes, "data.predict": [self.path(file)]}, ranks, word="embed")
            self.assertEqual((done.code, done.err.count("warning")), (0, warnings), done.err)
        self.assertIn(f"'{genes[0]}': {ids[0]} in the model, ENSG", done.err)
        again = self.train("run", {**changes, "train.epochs": 2})
        with h5py.File(again.checkpoint()) as f:
            self.assertEqual([text.decode() for text in f["gene_ids"][()]], ids)

    def test_only_cells_that_have_a_gene_train_its_heads(self):
        """Of genes that only held-out cells have, Adam's means stay where they began."""
        everything = np.arange(len(self.genes))
        kept = np.setdiff1d(everything, self.lacked)
        self.write("a.h5ad", 0, 800, kept)
        self.write("b.h5ad", 800, 1558, everything)
        run = self.train("run", {**self.changes, "data.validation": {"files": ["b.h5ad"]}, "data.batch_keys": [],
                                 "train.epochs": 1})
        for tensor in ("decoder.mean.bias", "decoder.mean.weight", "decoder.theta"):
            mean = np.abs(tensors(run.checkpoint(), "adam/m")[tensor]).reshape(len(everything), -1).max(1)
            self.assertEqual(mean[self.lacked].max(), 0)
            self.assertGreater(mean[kept].min(), 1e-9)

    def test_files_as_levels(self):
        changes = {**self.changes, "data.genes": "all", "data.batch_keys": ["batch", "@file"], "output.embedding": True}
        run = self.train("levels", changes, 2)
        with h5py.File(run.checkpoint()) as f:
            self.assertEqual([name.decode() for name in f["covariates/@file"][()]], ["a.h5ad", "b.h5ad"])
            self.assertEqual(len(f["genes"]), len(self.genes) - len(self.lacked))
        with h5py.File(run.path("embedding.h5ad")) as f:
            self.assertEqual(list(f["obs/gmvae_file/codes"][()]), [0] * 800 + [1] * 758)
        one = {**changes, "checkpoint.path": run.checkpoint("best.h5"), "data.predict": [self.path("b.h5ad")]}
        for word in ("embed", "eval"):
            done = self.try_run("one", one, word=word)
            self.assertEqual((done.code, done.err), (0, ""))
        self.fails(["shuffled.h5ad: the model knows no file of this name"], 3, "one",
                   {**one, "data.predict": [self.path("shuffled.h5ad")]}, word="embed")

    def test_a_batch_key_with_slashes(self):
        """In checkpoint and embedding it is where its name says; a run goes on, embed and eval know it."""
        path = self.path("a.h5ad")
        with h5py.File(path, "r+") as f:
            f["obs"].copy("batch", f["obs"], name="lab/donor")
            f["obs"].attrs["column-order"] = [*f["obs"].attrs["column-order"], "lab/donor"]
        changes = {"data.train": [path], "data.batch_keys": ["lab/donor"], "train.epochs": 1, "output.embedding": True}
        run = self.train("run", changes)
        self.train("run", {**changes, "train.epochs": 2})
        with h5py.File(run.checkpoint()) as f, h5py.File(path) as cells, h5py.File(run.path("embedding.h5ad")) as embedding:
            self.assertEqual((list(f["covariates"].attrs["order"]), f.attrs["epoch"]), (["lab/donor"], 2))
            for file in (cells["obs/lab/donor/categories"], embedding["obs/lab/donor/categories"]):
                self.assertEqual(list(f["covariates/lab/donor"][()]), list(file[()]))
            np.testing.assert_array_equal(embedding["obs/lab/donor/codes"][()], cells["obs/batch/codes"][()])
        for word in ("embed", "eval"):
            done = self.try_run("run", changes, word=word)
            self.assertEqual((done.code, done.err), (0, ""))


if __name__ == "__main__":
    main()
