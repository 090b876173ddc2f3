"""embedding.h5ad: written by 1 and 4 ranks, read back with anndata."""
import json
import os
import subprocess
import sys

from support import DATA, IoTest, anndata, h5py, main, np, small_counts

import pandas


def many_columns(n, seed, levels):
    """obs with a column of every kind that can be carried over."""
    random = np.random.default_rng(seed)
    return {"cat": pandas.Categorical(random.choice(levels, n), categories=levels),
            "ordered": pandas.Categorical(random.choice(["lo", "hi"], n), categories=["lo", "hi"], ordered=True),
            "holes": pandas.Categorical([None if i % 5 == 0 else "v" for i in range(n)]),
            "numbers": pandas.Categorical(random.choice([3, 1, 2], n), categories=[3, 1, 2]),
            "int": random.integers(-5, 5, n).astype(np.int16), "unsigned": random.integers(0, 2**63, n).astype(np.uint64),
            "float": random.normal(size=n).astype(np.float32), "double": random.normal(size=n), "flag": random.random(n) < 0.5,
            "nullable_int": pandas.array([None if i % 3 == 0 else i for i in range(n)], dtype="Int32"),
            "nullable_flag": pandas.array([None if i % 4 == 0 else i % 2 == 0 for i in range(n)], dtype="boolean")}


class Embedding(IoTest):
    def embed(self, *paths, ranks=1):
        self.load(*paths, "--embed=out.h5ad", ranks=ranks)
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith(".part")], [])
        return anndata.read_h5ad(self.path("out.h5ad"))

    def check_numbers(self, data, gaps=False):
        """The values that load_cells derives from the row number."""
        rows = np.arange(data.n_obs)
        out = gaps & (rows % 11 == 4)
        latent = np.where(out[:, None], np.nan, rows[:, None] * 10 + np.arange(3)).astype(np.float32)
        np.testing.assert_array_equal(data.obsm["X_gmvae"], latent)
        np.testing.assert_array_equal(data.obsm["gmvae_cluster_prob"][~out].argmax(1), rows[~out] % 3)
        self.assertTrue(np.isnan(data.obsm["gmvae_cluster_prob"][out]).all())
        self.assertEqual(data.obsm["gmvae_cluster_prob"].dtype, np.float32)
        np.testing.assert_array_equal(data.obsm["gmvae_twice"][:, 0], np.where(out, np.nan, 2 * rows))
        self.assertEqual(set(data.obsm), {"X_gmvae", "gmvae_cluster_prob", "gmvae_twice"})
        self.assertEqual(list(data.obs["gmvae_cluster"].cat.categories), ["0", "1", "2", "3"])
        np.testing.assert_array_equal(data.obs["gmvae_cluster"].cat.codes, np.where(out, -1, rows % 3))
        np.testing.assert_array_equal(data.obs["gmvae_certainty"], np.where(out, np.nan, 0.7).astype(np.float32))
        bound = np.where(rows % 7 == 5, np.float32("nan"), rows.astype(np.float32) + 0.5)  # those left out
        np.testing.assert_array_equal(data.obs["gmvae_neg_elbo"], bound)
        np.testing.assert_array_equal(data.obs["gmvae_counts"], bound * 2)
        found = data.uns["gmvae_dist"]
        self.assertEqual((found["config"], found["checkpoint"], int(found["epoch"])), ("seed: 1\n", "out/run/best.h5", 7))
        self.assertEqual(set(found), {"config", "checkpoint", "epoch", "files", "version"})

    def check_obs(self, data, source):
        ours = ["gmvae_cluster", "gmvae_certainty", "gmvae_neg_elbo", "gmvae_counts"]
        theirs = source.drop(columns=[name for name in ours if name in source])
        self.assertEqual(list(data.obs.columns), [*theirs.columns, *ours])
        pandas.testing.assert_frame_equal(data.obs[list(theirs.columns)], theirs)

    def test_cells_that_are_left_out(self):
        path = self.make(counts=small_counts(cells=50))
        for ranks in (1, 3):
            self.check_numbers(self.embed(path, "--gaps", ranks=ranks), gaps=True)

    def test_every_kind_of_column(self):
        source = anndata.read_h5ad(self.make(counts=small_counts(cells=50), obs=many_columns(50, 1, ["b", "a", "unused"])))
        for ranks in (1, 2, 4):
            data = self.embed("cells.h5ad", ranks=ranks)
            self.check_numbers(data)
            self.check_obs(data, source.obs)
            self.assertEqual(data.shape, (50, 0))
            os.remove(self.path("out.h5ad"))

    def test_backed_and_scanpy(self):
        self.make(obs={"b": ["x", "y"] * 20})
        self.embed("cells.h5ad", ranks=2)
        backed = anndata.read_h5ad(self.path("out.h5ad"), backed="r")
        self.assertEqual(backed.n_obs, 40)
        backed.file.close()
        script = "import scanpy, sys; d = scanpy.read_h5ad(sys.argv[1]); scanpy.pp.neighbors(d, use_rep='X_gmvae', n_neighbors=5)"
        done = subprocess.run([sys.executable, "-c", script, self.path("out.h5ad")], capture_output=True, text=True)
        if "No module named 'scanpy'" not in done.stderr:
            self.assertEqual(done.returncode, 0, done.stderr)
        again = anndata.read_h5ad(self.path("out.h5ad"))
        again.write_h5ad(self.path("copy.h5ad"))

    def test_published_files(self):
        for name in ("kang_pbmc_4sample.h5ad", "as_found/anndata_v0.7.8.h5ad", "as_found/TM_droplet_mat.h5ad"):
            with self.subTest(name):
                path = os.path.join(DATA, name)
                data = self.embed(path, ranks=4)
                self.check_numbers(data)
                source = anndata.read_h5ad(path).obs
                source.index.name = data.obs.index.name
                self.check_obs(data, source)

    def test_named_index(self):
        path = self.make()
        with h5py.File(path, "r+") as f:
            f["obs"].move("_index", "barcode")
            f["obs"].attrs["_index"] = "barcode"
        data = self.embed(path)
        self.assertEqual(data.obs.index.name, "barcode")
        self.assertEqual(data.obs_names[39], "cell39")

    def test_columns_of_ours_are_replaced(self):
        self.make(obs={"gmvae_cluster": ["old"] * 40, "keep": ["k"] * 40, "gmvae_neg_elbo": np.zeros(40)})
        data = self.embed("cells.h5ad")
        self.check_numbers(data)
        self.assertEqual(list(data.obs.columns), ["keep", "gmvae_cluster", "gmvae_certainty", "gmvae_neg_elbo", "gmvae_counts"])

    def test_several_files(self):
        first, second = many_columns(20, 1, ["b", "a"]), many_columns(31, 2, ["c", "a"])
        second["int"] = second["int"].astype(np.int32)
        first["only_here"], second["float"] = np.arange(20), np.array(["text"] * 31)
        a = anndata.read_h5ad(self.make("a.h5ad", counts=small_counts(cells=20), obs=first)).obs
        b = anndata.read_h5ad(self.make("b.h5ad", counts=small_counts(cells=31), obs=second)).obs
        loaded = self.load("a.h5ad", "b.h5ad", "--embed=out.h5ad", ranks=4)
        self.assertIn("out.h5ad: obs columns that were not copied: ", loaded["stderr"])
        self.assertIn("only_here (not in b.h5ad)", loaded["stderr"])
        self.assertIn("float (float in a.h5ad, categorical in b.h5ad)", loaded["stderr"])
        data = anndata.read_h5ad(self.path("out.h5ad"))
        self.check_numbers(data)
        self.assertEqual(list(data.obs_names), list(a.index) + list(b.index))
        self.assertEqual(list(data.obs["cat"].cat.categories), ["b", "a", "c"])
        self.assertTrue(data.obs["ordered"].cat.ordered)
        for name in ("cat", "ordered", "holes", "numbers", "unsigned", "double", "flag", "int", "nullable_int", "nullable_flag"):
            expected = list(a[name]) + list(b[name])
            for i, (x, y) in enumerate(zip(data.obs[name], expected)):
                self.assertTrue(x == y if not pandas.isna(y) else pandas.isna(x), (name, i, x, y))
        self.assertEqual((data.obs["int"].dtype, data.obs["unsigned"].dtype), (np.int64, np.uint64))

    def test_covariates_and_label_have_a_text_for_every_cell(self):
        """A number in one file and a text in the other; names with slashes, which anndata itself writes as groups."""
        self.make("a.h5ad", counts=small_counts(cells=20), obs={"plate": np.arange(20) % 2 + 1, "lab/plate": ["x", "y"] * 10, "flag": [True, False] * 10,
                                                                "kind": pandas.Categorical([None if i % 5 == 0 else "v" for i in range(20)])})
        self.make("b.h5ad", counts=small_counts(cells=31), obs={"plate": [str(i % 3) for i in range(31)], "lab/plate": ["z"] * 31, "flag": ["True"] * 31,
                                                                "kind": pandas.Categorical(["w"] * 31)})
        expected = {"plate": [str(i % 2 + 1) for i in range(20)] + [str(i % 3) for i in range(31)], "lab/plate": ["x", "y"] * 10 + ["z"] * 31,
                    "flag": ["True", "False"] * 10 + ["True"] * 31, "kind": [None if i % 5 == 0 else "v" for i in range(20)] + ["w"] * 31}
        for ranks, residence in ((1, "host"), (2, "stream"), (4, "host")):
            loaded = self.load("a.h5ad", "b.h5ad", "data.batch_keys=[plate, lab/plate, flag]", "data.label_key=kind", f"data.residence={residence}", "--embed=out.h5ad", ranks=ranks)
            self.assertNotIn("not copied", loaded["stderr"])
            data = anndata.read_h5ad(self.path("out.h5ad"))
            self.check_numbers(data)
            self.assertEqual(list(data.obs.columns), ["plate", "lab/plate", "flag", "kind", "gmvae_cluster", "gmvae_certainty", "gmvae_neg_elbo", "gmvae_counts", "gmvae_file"])
            for name, values in expected.items():
                self.assertEqual(data.obs[name].dtype, "category", name)
                self.assertEqual([None if pandas.isna(v) else v for v in data.obs[name]], values, (name, ranks))

    def test_names_with_slashes(self):
        path = self.make(obs={"donor": pandas.Categorical(["d1", "d2"] * 20), "donor/sample": np.arange(40), "a/b/c": ["t"] * 40})
        data = self.embed(path)
        pandas.testing.assert_frame_equal(data.obs[["donor", "donor/sample"]], anndata.read_h5ad(path).obs[["donor", "donor/sample"]], check_names=False)
        self.assertEqual(list(data.obs["a/b/c"]), ["t"] * 40)
        self.fails(["obs has no column 'donor/codes'"], path, "data.batch_keys=donor/codes", code=2)
        self.fails(["cells.h5ad: obs/_index is the index"], path, "data.batch_keys=_index", code=2)

    def test_odd_names(self):
        """Keys and levels with line ends, of any length, and in Latin-1, which would make the file unreadable."""
        long = "k" * 300
        keys = ["line\nend", "..", long]
        path = self.make(obs={name: pandas.Categorical(["a", "b\nc"] * 20) for name in ("line\nend", "..", long, "latin")})
        with h5py.File(path, "r+") as f:
            del f["obs/latin/categories"]
            f["obs/latin"].create_dataset("categories", data=np.array([b"caf\xe9", b"b\nc"])).attrs.update(
                {"encoding-type": "string-array", "encoding-version": "0.2.0"})
        self.load(path, f"data.batch_keys={json.dumps(keys)}", "--embed=out.h5ad")
        data = anndata.read_h5ad(self.path("out.h5ad"))
        for name in ("line\nend", "..", long):
            self.assertEqual(list(data.obs[name]), ["a", "b\nc"] * 20)
        self.assertEqual(list(data.obs["latin"]), ["caf\u00e9", "b\nc"] * 20)

    def test_cells_of_one_name(self):
        """Files that share names, and a file that has one twice, are noticed in one line."""
        counts = small_counts(cells=12)
        for name in ("a.h5ad", "b.h5ad"):
            self.make(name, counts=counts)
        with h5py.File(self.path("b.h5ad"), "r+") as f:
            f["obs/_index"][:4] = [b"n0", b"n1", b"n2", b"n1"]
        for ranks in (1, 2):
            loaded = self.load("a.h5ad", "b.h5ad", "--embed=out.h5ad", ranks=ranks)
            self.assertEqual(loaded["stderr"].count("warning"), 1, loaded["stderr"])
            self.assertIn("out.h5ad: 18 of 24 cells have a name that another cell has, too, 2 of them a cell of the same file; obs/gmvae_file says",
                          loaded["stderr"])
            data = anndata.read_h5ad(self.path("out.h5ad"))
            self.assertEqual(list(data.obs["gmvae_file"]), ["a.h5ad"] * 12 + ["b.h5ad"] * 12)
            one = data[data.obs["gmvae_file"] == "a.h5ad"]
            np.testing.assert_array_equal(one[[f"cell{i}" for i in range(12)]].obsm["X_gmvae"], data.obsm["X_gmvae"][:12])
        loaded = self.load("b.h5ad", "--embed=out.h5ad")
        self.assertIn("out.h5ad: 2 of 12 cells have a name that another cell has, too; rows are in the order", loaded["stderr"])

    def test_failure_leaves_nothing(self):
        self.make()
        os.mkdir(self.path("out"))
        self.fails(["no/such/out.h5ad", "cannot be written"], "cells.h5ad", "--embed=no/such/out.h5ad", code=5)
        os.mkdir(self.path("out/taken.h5ad"))
        self.fails(["out/taken.h5ad"], "cells.h5ad", "--embed=out/taken.h5ad", code=5)
        self.assertEqual(os.listdir(self.path("out")), ["taken.h5ad"])

    def test_full_disk(self):
        """Every size of disk on which some part of the file does not fit, from the first string to the last number."""
        self.make(counts=small_counts(cells=900), obs=many_columns(900, 1, ["b", "a"]))
        disk = self.path("disk")
        os.mkdir(disk)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", disk], capture_output=True).returncode != 0:
            self.skipTest("a small disk cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", disk])
        for size in ("8k", "24k", "64k", "96k", "128k"):
            subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
            self.fails(["error: disk/out.h5ad: cannot be written: No space left"], "cells.h5ad", "--embed=disk/out.h5ad", code=5)
            self.assertEqual(os.listdir(disk), [])


if __name__ == "__main__":
    main()
