"""Reading cells: the sums of published files, every encoding, genes and covariates, on 1, 2 and 4 ranks."""
import os
import shutil

from support import DATA, FormatTest, anndata, checks, h5py, main, np, small_counts, sums


def held_out_number(seed, row):
    """The uniform number behind gmv_is_held_out: Philox4x32-10, stream 3."""
    counter, key = [0, 3, row & 0xFFFFFFFF, row >> 32 << 24], [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [b >> 32 ^ counter[1] ^ key[0], b & 0xFFFFFFFF, a >> 32 ^ counter[3] ^ key[1], a & 0xFFFFFFFF]
        key = [key[0] + 0x9E3779B9 & 0xFFFFFFFF, key[1] + 0xBB67AE85 & 0xFFFFFFFF]
    return (counter[0] << 21 | counter[1] >> 11) / 2**53


class Load(FormatTest):
    # published files

    def test_published_sums(self):
        names = {"cells": "cells", "genes": "genes", "nonzeros": "nnz", "sum": "sum", "max": "max",
                 "row_checksum": "row_checksum", "column_checksum": "column_checksum"}
        requests = [(os.path.join(DATA, row["file"]), "data.matrix=" + row["counts_in"]) for row in checks()]
        for row, loaded in zip(checks(), self.load_each(*requests)):
            with self.subTest(row["file"]):
                self.assertEqual({k: loaded[v] for k, v in names.items()}, {k: int(row[k]) for k in names})

    def test_inspect_published_sums(self):
        for row in checks():
            with self.subTest(row["file"]):
                seen = self.inspect(os.path.join(DATA, row["file"]))
                self.assertEqual([seen["cells"], seen["genes"], seen["nnz"], seen["total"], seen["max"]],
                                 [int(row[key]) for key in ("cells", "genes", "nonzeros", "sum", "max")])
                self.assertAlmostEqual(100 * seen["zeros"], float(row["zeros_percent"]), places=2)
                self.assertEqual(seen["matrix"], row["counts_in"])
                for column, key in (("cell_type", "labels"), ("batch", "batches")):
                    if row[key]:
                        self.assertEqual(seen["obs"][column]["levels"], int(row[key]))
                        self.assertEqual(seen["obs"][column]["kind"], "categorical")
                        self.assertEqual(sum(seen["obs"][column]["counts"].values()), seen["cells"])

    def test_ranks_agree(self):
        path = os.path.join(DATA, "kang_pbmc_4sample.h5ad")
        loaded = self.load_everywhere(path, "data.batch_keys=[batch, condition]", "data.label_key=cell_type", "data.genes.n_top=300", "data.validation=0.1")
        self.assertEqual(loaded["genes"], 300)
        source = anndata.read_h5ad(path)
        self.assertEqual(loaded["batch"], list(source.obs["batch"].cat.categories))
        rows = np.arange(1, source.n_obs + 1)
        codes = [source.obs[key].cat.codes.to_numpy().astype(np.int64) for key in ("batch", "condition", "cell_type")]
        self.assertEqual(loaded["level_checksum"], int(rows @ (codes[0] + 1) + rows @ (codes[1] + 4 + 1)))
        self.assertEqual(loaded["label_checksum"], int(rows @ (codes[2] + 1)))

    # encodings

    def test_more_ranks_than_cells(self):
        counts = small_counts(cells=3)
        self.same(self.load_everywhere(self.make(counts=counts, obs={"b": list("xyx")}), "data.batch_keys=b", "data.shards=64"), counts)

    def test_values_that_the_config_refuses(self):
        """Cells are loaded by the program's own config."""
        path = self.make()
        self.fails_each([((words), path, word) for words, word in (
            (["data.shards", "0"], "data.shards=0"), (["data.window", "256"], "data.window=255"),
            (["data.matrx", "data.matrix"], "data.matrx=X"), (["data.genes.flavor", "n_top"], "data.genes.flavor=seurat_v3"))],
                        code=2, ranks=(1,))

    def test_statistics(self):
        counts = small_counts()
        loaded = self.load_everywhere(self.make(counts=counts))
        self.assertAlmostEqual(float.fromhex(loaded["mean"]) / counts.mean(dtype=np.float64), 1, places=12)
        self.assertAlmostEqual(float.fromhex(loaded["std"]) / counts.std(dtype=np.float64), 1, places=12)

    def test_stored_types(self):
        counts = np.minimum(small_counts(), 100)
        path = self.make(counts=counts)
        stored = [(part, kind) for part, kinds in (("data", ("u1", "i2", "i4", "i8", "f2", "f8", ">f4", "u8")),
                                                   ("indices", ("u1", "u2", "u4", "u8", "i8", ">i4")),
                                                   ("indptr", ("i8", "u4", ">i8"))) for kind in kinds]
        for part, kind in stored:
            shutil.copy(path, self.path(part + kind))
            with h5py.File(self.path(part + kind), "r+") as f:
                values = f["X"][part][:]
                del f["X"][part]
                f["X"].create_dataset(part, data=values.astype(kind), compression="gzip", chunks=(17,))
        for case, loaded in zip(stored, self.load_each(*[(part + kind,) for part, kind in stored])):
            with self.subTest(case):
                self.same(loaded, counts)

    def test_boolean_counts(self):
        counts = (small_counts() > 0).astype(np.float32)
        self.same(self.load(self.make(counts=counts.astype(bool))), counts)
        self.same(self.load(self.make(counts=counts.astype(bool), dense=True)), counts)

    def test_dense(self):
        counts = small_counts(cells=101)
        self.same(self.load_everywhere(self.make(counts=counts, dense=True, compression="lzf")), counts)

    def test_unsorted_and_explicit_zeros(self):
        counts = small_counts()
        path = self.make(counts=counts)
        with h5py.File(path, "r+") as f:
            x = f["X"]
            data, indices, indptr = x["data"][:], x["indices"][:], x["indptr"][:]
            for i in range(len(indptr) - 1):
                row = slice(indptr[i], indptr[i + 1])
                data[row], indices[row] = data[row][::-1].copy(), indices[row][::-1].copy()
            data[0] = 0
            dropped = counts.copy()
            dropped[0, indices[0]] = 0
            x["data"][:], x["indices"][:] = data, indices
        self.same(self.load(path), dropped)
        seen = self.inspect(path)
        self.assertEqual((seen["nnz"], seen["total"]), (sums(dropped)["nnz"], sums(dropped)["sum"]))

    def test_wide_matrix_has_large_indices(self):
        counts = np.zeros((4, 70000), np.float32)
        counts[[0, 1, 2, 3], [0, 65535, 65536, 69999]] = (1, 2, 300, 4)
        self.same(self.load(self.make(counts=counts)), counts)

    def test_empty_rows_stay(self):
        counts = small_counts()
        counts[[3, 7]] = 0
        loaded = self.load(self.make(counts=counts))
        self.same(loaded, counts)
        self.assertIn("2 cells have no count", loaded["stderr"])

    # which matrix

    def test_choice_of_matrix(self):
        counts = small_counts()
        normal = np.log1p(counts)
        loaded = self.load(self.make(counts=normal, layers={"counts": counts}))
        self.assertEqual(loaded["matrix"], "layers/counts")
        self.same(loaded, counts)
        loaded = self.load(self.make(counts=counts, layers={"counts": normal}))
        self.assertEqual(loaded["matrix"], "X")
        loaded = self.load(self.make(counts=normal, layers={"other": counts}), "data.matrix=layers/other")
        self.assertEqual(loaded["matrix"], "layers/other")

    def test_raw_has_its_own_genes(self):
        counts = small_counts()
        path = self.make(counts=counts)
        data = anndata.read_h5ad(path)
        data.raw = data.copy()
        data = data[:, :4].copy()
        data.X = data.X.log1p()
        data.write_h5ad(path)
        loaded = self.load_everywhere(path)
        self.assertEqual((loaded["matrix"], loaded["gene"]), ("raw/X", [f"gene{j}" for j in range(12)]))
        self.same(loaded, counts)

    # genes

    def test_n_top_is_the_variance_of_logs(self):
        counts = small_counts(cells=200, genes=50)
        counts[5] = 0
        loaded = self.load_everywhere(self.make(counts=counts), "data.genes.n_top=7")
        variance = np.log1p(counts[counts.sum(1) > 0].astype(np.float64)).var(0)
        kept = np.sort(np.argsort(-variance, kind="stable")[:7])
        self.assertEqual(loaded["gene"], [f"gene{j}" for j in kept])
        self.same(loaded, counts[:, kept])

    def test_held_out_rows_do_not_choose(self):
        """Against an own Philox: a row is out when the first 53 bits of its block are below the fraction."""
        counts = small_counts(cells=300, genes=60, seed=3)
        path = self.make(counts=counts)
        chosen, fractions = set(), (0, 0.5, 0.9)
        each = self.load_everywhere_each(*[(path, "data.genes.n_top=6", f"data.validation={fraction}") for fraction in fractions])
        for fraction, loaded in zip(fractions, each):
            kept = [i for i in range(300) if held_out_number(seed=1, row=i) >= fraction]
            variance = np.log1p(counts[kept].astype(np.float64)).var(0)
            best = np.sort(np.argsort(-variance, kind="stable")[:6])
            self.assertEqual(loaded["gene"], [f"gene{j}" for j in best])
            mean = counts[kept][:, best].mean(dtype=np.float64)
            self.assertAlmostEqual(float.fromhex(loaded["mean"]) / mean, 1, places=12)
            chosen.add(tuple(best))
        self.assertEqual(len(chosen), 3)

    def test_genes_from_a_file(self):
        counts = small_counts()
        with open(self.path("genes.txt"), "w") as out:
            out.write("gene5\r\n\n  gene2 \ngene9\n")
        loaded = self.load_everywhere(self.make(counts=counts), "data.genes.file=genes.txt")
        self.assertEqual(loaded["gene"], ["gene5", "gene2", "gene9"])
        self.same(loaded, counts[:, [5, 2, 9]])
        with open(self.path("genes.txt"), "a") as out:
            out.write("GENE1\nnone\n")
        self.fails(["genes.txt", "2 of 5 genes", "'GENE1', 'none'"], self.path("cells.h5ad"), "data.genes.file=genes.txt", code=2)

    def test_repeated_gene_names(self):
        loaded = self.load(self.make(counts=small_counts(genes=5), genes=["A", "B", "A", "A-1", "A"]))
        self.assertEqual(loaded["gene"], ["A", "B", "A-2", "A-1", "A-3"])
        self.assertIn("2 gene names are repeated", loaded["stderr"])

    def test_genes_of_a_checkpoint(self):
        counts = small_counts()
        self.make("model.h5ad", counts=counts[:, :5], genes=[f"gene{j}" for j in (4, 2, 0, 6, 8)], obs={"b": ["x", "y"] * 20})
        self.make("new.h5ad", counts=counts, obs={"b": ["y"] * 40})
        loaded = self.load("--known_from=model.h5ad", "data.batch_keys=b", "new.h5ad")
        self.assertEqual((loaded["gene"], loaded["b"]), ([f"gene{j}" for j in (4, 2, 0, 6, 8)], ["x", "y"]))
        self.same(loaded, counts[:, [4, 2, 0, 6, 8]])
        self.make("other.h5ad", counts=counts, obs={"b": ["z"] * 40})
        self.fails(["other.h5ad", "obs/b", "'z'"], "--known_from=model.h5ad", "data.batch_keys=b", "other.h5ad")

    # several files

    def test_several_files(self):
        a, b, c = (small_counts(cells=n, seed=n) for n in (13, 29, 8))
        order = np.random.default_rng(1).permutation(12)
        self.make("part_1.h5ad", counts=a, obs={"b": ["x"] * 13})
        self.make("part_2.h5ad", counts=b[:, order], genes=[f"gene{j}" for j in order], obs={"b": ["w", "x"] * 14 + ["w"]})
        self.make("last.h5ad", counts=c, obs={"b": ["v"] * 8})
        loaded = self.load_everywhere("part_*.h5ad", "last.h5ad", "data.batch_keys=b")
        self.assertEqual(loaded["file"], ["part_1.h5ad", "part_2.h5ad", "last.h5ad"])
        self.assertEqual(loaded["b"], ["x", "w", "v"])
        self.same(loaded, np.vstack([a, b, c]))
        codes = np.array([0] * 13 + [1, 0] * 14 + [1] + [2] * 8)
        self.assertEqual(loaded["level_checksum"], int(np.arange(1, 51) @ (codes + 1)))

    def test_paths(self):
        self.make("a.h5ad")
        self.fails(["no_*.h5ad", "no file matches"], "no_*.h5ad")
        self.fails(["none.h5ad", "No such file"], "none.h5ad")
        self.fails(["*.h5ad", "once"], "a.h5ad", "*.h5ad", code=2)

    # covariates

    def test_kinds_of_covariates(self):
        import pandas
        n = 40
        obs = {"cat": pandas.Categorical(["b", "a"] * 20, categories=["b", "unused", "a"]),
               "text": [f"t{i % 3}" for i in range(n)], "number": [10 * (i % 3) - 1 for i in range(n)],
               "flag": [i % 4 == 0 for i in range(n)], "nullable": pandas.array([i % 2 for i in range(n)], dtype="Int64")}
        path = self.make(obs=obs)
        with h5py.File(path, "r+") as f:  # anndata makes categoricals of strings; other writers do not
            del f["obs/text"]
            f["obs"].create_dataset("text", data=np.array(obs["text"], dtype="S4"))
        loaded = self.load_everywhere(path, "data.batch_keys=[cat, text, number, flag, nullable]")
        self.assertEqual([loaded[key] for key in obs],
                         [["b", "unused", "a"], ["t0", "t1", "t2"], ["-1", "9", "19"], ["False", "True"], ["0", "1"]])
        codes = np.zeros(n, np.int64)
        for i in range(n):
            codes[i] = (0 if i % 2 == 0 else 2) + 3 + i % 3 + 6 + i % 3 + 9 + (i % 4 == 0) + 11 + i % 2 + 5
        self.assertEqual(loaded["level_checksum"], int(np.arange(1, n + 1) @ codes))

    def test_old_categories(self):
        loaded = self.load_everywhere(os.path.join(DATA, "as_found", "anndata_v0.7.8.h5ad"), "data.matrix=X", "data.batch_keys=cat_ordered")
        self.assertEqual(len(loaded["cat_ordered"]), 24)

    def test_missing_labels_are_allowed(self):
        import pandas
        labels = pandas.Categorical(["a", None, "b", "a"] * 10)
        loaded = self.load_everywhere(self.make(obs={"label": labels}), "data.label_key=label")
        codes = np.array([0, -1, 1, 0] * 10)
        self.assertEqual(loaded["label_checksum"], int(np.arange(1, 41) @ (codes + 1)))
        self.fails(["obs/label", "10 of 40 cells"], "cells.h5ad", "data.batch_keys=label")


if __name__ == "__main__":
    main()
