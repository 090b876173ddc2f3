"""Many files as one matrix: genes joined by name, levels of covariates united."""
import os

from support import FormatTest, anndata, h5py, main, np, texts


def small_counts(cells=40, genes=12, seed=0):
    return np.random.default_rng(seed).poisson(0.8, (cells, genes)).astype(np.float32)


def names(*numbers):
    return [f"gene{j}" for j in numbers]


class Genes(FormatTest):
    def test_shared_genes_in_the_order_of_the_first(self):
        a, b, c = (small_counts(cells=n, seed=n) for n in (13, 29, 8))
        self.make("a.h5ad", counts=a[:, :10], genes=names(*range(10)))
        order = [11, 7, 3, 2, 9, 5, 0, 8]
        self.make("b.h5ad", counts=b[:, order], genes=names(*order))
        self.make("c.h5ad", counts=c, genes=names(*range(12)))
        loaded = self.load_everywhere("a.h5ad", "b.h5ad", "c.h5ad")
        kept = [0, 2, 3, 5, 7, 8, 9]
        self.assertEqual(loaded["gene"], names(*kept))
        self.same(loaded, np.vstack([a[:, kept], b[:, kept], c[:, kept]]))
        log = "\n".join(loaded["log"])
        for words in ("7 are in all 3 files", "a.h5ad: 10 genes, 10 of them", "b.h5ad: 8 genes, 7 of them",
                      "b.h5ad costs most: it alone lacks 3 that all others have: 'gene1', 'gene4', 'gene6'"):
            self.assertIn(words, log)
        same = self.load("c.h5ad", self.make("d.h5ad", counts=b))
        self.assertFalse(any("in all" in line for line in same["log"]), same["log"])

    def test_variable_genes_of_the_shared_ones(self):
        a, b = small_counts(cells=60, genes=30, seed=1), small_counts(cells=80, genes=25, seed=2)
        self.make("a.h5ad", counts=a)
        self.make("b.h5ad", counts=b)
        loaded = self.load_everywhere("a.h5ad", "b.h5ad", "data.genes.n_top=5")
        both = np.vstack([a[:, :25], b])
        best = np.sort(np.argsort(-np.log1p(both.astype(np.float64)).var(0), kind="stable")[:5])
        self.assertEqual(loaded["gene"], names(*best))
        self.same(loaded, both[:, best])
        self.assertEqual((loaded["sets"], loaded["present"]), (0, 140 * 5)) # every file has all that are chosen

    def test_the_first_file_may_cost_most(self):
        for name, genes in (("a.h5ad", 9), ("b.h5ad", 12), ("c.h5ad", 12)):
            self.make(name, counts=small_counts(genes=genes))
        loaded = self.load("a.h5ad", "b.h5ad", "c.h5ad")
        self.assertIn("a.h5ad costs most: it alone lacks 3 that all others have", "\n".join(loaded["log"]))

    def test_many_files_make_few_lines(self):
        for f in range(30):
            self.make(f"{f:02}.h5ad", counts=small_counts(cells=3, genes=8 + f % 5, seed=f))
        loaded = self.load("*.h5ad")
        self.assertLess(len(loaded["log"]), 15, loaded["log"])
        self.assertIn("and 24 more files; the smallest has 8 genes, the largest 12", "\n".join(loaded["log"]))

    def test_other_names(self):
        ids = [f"ENSG{j:011}" for j in range(12)]
        self.make("symbols.h5ad")
        self.make("ids.h5ad", genes=ids)
        path = self.make("both.h5ad")
        with h5py.File(path, "r+") as f:
            f["var"].create_dataset("gene_ids", data=texts(ids))
            f["var"].attrs["column-order"] = ["gene_ids"]
        self.fails_each([
            (["ids.h5ad: no gene is in all 2 files", "'gene0', 'gene1', 'gene2' ...", "'ENSG00000000000'",
              "data.gene_column"], "symbols.h5ad", "ids.h5ad"),
            (["both.h5ad: no gene", "there are gene_ids"], "ids.h5ad", "both.h5ad")])
        self.make("two.h5ad", genes=ids[:10] + names(10, 11))
        loaded = self.load("symbols.h5ad", "two.h5ad")
        self.assertEqual(loaded["gene"], names(10, 11))
        self.assertIn("two.h5ad: only 2 genes are in all 2 files, of 12 in the smallest", loaded["stderr"])

    def test_ensembl_versions(self):
        first = ["ENSG00000000001.4", "ENSG00000000002", "ENSG00000000003.1", "ENSG00000000003.1_PAR_Y",
                 "ENSMUSG00000000005.2", "AC000001.1", "ENSG00000000006.1"]
        second = ["ENSMUSG00000000005.7", "AC000001.2", "ENSG00000000003.9_PAR_Y", "ENSG00000000002.3",
                  "ENSG00000000001.4", "ENSG00000000003.9", "ENSG00000000006.2"]
        a, b = small_counts(genes=7), small_counts(genes=7, seed=1)
        self.make("a.h5ad", counts=a, genes=first)
        self.make("b.h5ad", counts=b, genes=second)
        loaded = self.load_everywhere("a.h5ad", "b.h5ad")
        self.assertEqual(loaded["gene"], first[:5] + first[6:])
        self.same(loaded, np.vstack([a[:, [0, 1, 2, 3, 4, 6]], b[:, [4, 3, 5, 2, 0, 6]]]))
        self.assertIn("5 names match without their Ensembl versions, such as 'ENSG00000000002.3' of b.h5ad with "
                      "'ENSG00000000002' of a.h5ad", "\n".join(loaded["log"]))

    def test_versions_of_one_gene_are_not_guessed(self):
        self.make("a.h5ad", counts=small_counts(genes=3), genes=["ENSG00000000001.1", "ENSG00000000001.2", "ENSG00000000002.1"])
        self.make("b.h5ad", counts=small_counts(genes=3), genes=["ENSG00000000001.1", "ENSG00000000001.3", "ENSG00000000002.9"])
        loaded = self.load("a.h5ad", "b.h5ad")
        self.assertEqual(loaded["gene"], ["ENSG00000000001.1", "ENSG00000000002.1"])
        self.assertIn("1 gene of a.h5ad matches several", loaded["stderr"])

    def test_column_of_names(self):
        counts, ids = small_counts(), [f"ENSG{j:011}" for j in range(12)]
        path = self.make("a.h5ad", counts=counts)
        with h5py.File(path, "r+") as f:
            f["var"].create_dataset("gene_ids", data=texts(ids))
            kind = f["var"].create_group("kind")
            kind.create_dataset("codes", data=np.array([0, 1, -1] * 4, "i1"))
            kind.create_dataset("categories", data=texts(["x", "y"]))
            kind.attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
            f["var"].create_dataset("mean", data=np.zeros(12))
            f["var"].attrs["column-order"] = ["gene_ids", "kind", "mean"]
        self.make("b.h5ad", counts=counts, genes=ids)
        loaded = self.load_everywhere("a.h5ad", "b.h5ad", "data.gene_column=[gene_ids, index]")
        self.assertEqual(loaded["gene"], ids)
        self.same(loaded, np.vstack([counts, counts]))
        self.assertEqual(self.load("a.h5ad", "data.gene_column=index")["gene"], names(*range(12)))
        self.fails_each([
            (["b.h5ad", "var has no column 'gene_ids'", "data.gene_column"], "b.h5ad", "data.gene_column=gene_ids"),
            (["a.h5ad", "'gene_id'", "gene_ids"], "a.h5ad", "data.gene_column=gene_id"),
            (["a.h5ad", "var/mean holds no names", "float"], "a.h5ad", "data.gene_column=mean")], code=2)
        self.fails(["a.h5ad", "var/kind has no name for gene 2"], "a.h5ad", "data.gene_column=kind")


def ids(*numbers):
    return [f"ENSG{j:011}" for j in numbers]


class GeneIds(FormatTest):
    """Files that name genes by symbols and hold ids beside them."""

    def tenx(self, name, counts, numbers, symbols):
        def fill(f):
            import scipy.sparse
            m, x = scipy.sparse.csr_matrix(counts[:, numbers]), f.create_group("matrix")
            x["data"], x["indices"], x["indptr"], x["shape"] = m.data.astype("i4"), m.indices, m.indptr, np.array(m.shape[::-1])
            x["barcodes"] = texts([f"{name}{i}" for i in range(len(counts))])
            x["features/id"], x["features/name"] = texts(ids(*numbers)), texts([symbols[j] for j in numbers])
            x["features/feature_type"] = texts(["Gene Expression"] * len(numbers))
        return self.create(name, fill)

    def h5ad(self, name, counts, genes, **columns):
        path = self.make(name, counts=counts, genes=genes)
        with h5py.File(path, "r+") as f:
            for column, values in columns.items():
                f["var"].create_dataset(column, data=texts(values))
            f["var"].attrs["column-order"] = list(columns)

    def test_a_symbol_for_two_genes(self):
        """Suffixes by place are no names: the two are kept apart, unless they are joined by their ids."""
        a, b = small_counts(cells=20, seed=1), small_counts(cells=30, seed=2)
        symbols = [*names(*range(11)), "gene3"]
        other = [0, 1, 2, 11, 4, 5, 6, 7, 8, 9, 10, 3]
        self.tenx("a.h5", a, list(range(12)), symbols)
        self.tenx("b.h5", b, other, symbols)
        loaded = self.load_everywhere("a.h5", "b.h5")
        self.assertEqual(loaded["gene"], names(0, 1, 2, *range(4, 11)))
        kept = [0, 1, 2, *range(4, 11)]
        self.same(loaded, np.vstack([a, b])[:, kept])
        for words in ("a.h5: 1 gene name is repeated, 'gene3'; the second gets a suffix -1, by which",
                      "2 genes have the same name in several files and other ids, such as 'gene3': ENSG00000000003 in a.h5, "
                      "ENSG00000000011 in b.h5; they count as missing in the second; data.gene_column: [id] joins genes by their ids"):
            self.assertIn(words, loaded["stderr"])
        by_id = self.load("a.h5", "b.h5", "data.gene_column=id")
        self.assertEqual((by_id["gene"], by_id["stderr"]), (ids(*range(12)), ""))
        self.same(by_id, np.vstack([a, b]))
        self.tenx("c.h5", b, list(range(12)), symbols)
        same = self.load("a.h5", "c.h5") # the same places and ids
        self.assertEqual(len(same["gene"]), 12)
        self.assertNotIn("other ids", same["stderr"])

    def test_the_same_names_in_the_same_places(self):
        """Only the ids tell that the two files' third genes are others."""
        counts = small_counts()
        symbols = names(0, 1, 2, 3, 2, 5, 6, 7, 8, 9, 10, 11)
        self.h5ad("a.h5ad", counts, symbols, ensembl=ids(*range(12)))
        self.h5ad("b.h5ad", counts, symbols, ensembl=ids(0, 1, 4, 3, 2, *range(5, 12)))
        loaded = self.load("a.h5ad", "b.h5ad", ranks=2)
        self.assertEqual(loaded["gene"], names(0, 1, 3, *range(5, 12)))
        self.assertIn("'gene2': ENSG00000000002 in a.h5ad, ENSG00000000004 in b.h5ad", loaded["stderr"])

    def test_other_ids_of_one_name(self):
        """Of names that are not repeated the person decides; versions, and files without ids, say nothing."""
        counts = small_counts()
        versions = [f"{name}.{j + 1}" for j, name in enumerate(ids(*range(12)))]
        self.h5ad("a.h5ad", counts, names(*range(12)), length=["17"] * 12, gene_ids=versions)
        self.h5ad("b.h5ad", counts, names(*range(12)), feature_id=ids(*range(11), 99))
        self.make("c.h5ad", counts=counts)
        loaded = self.load("a.h5ad", "b.h5ad", ranks=2)
        self.assertEqual(loaded["gene"], names(*range(12)))
        self.assertIn("1 gene has the same name in several files and other ids, such as 'gene11': ENSG00000000011 in a.h5ad, ENSG00000000099 in "
                      "b.h5ad; it is joined by name all the same; data.gene_column: [gene_ids, feature_id] joins", loaded["stderr"])
        advised = self.load("a.h5ad", "b.h5ad", "data.gene_column=[gene_ids, feature_id]")
        self.assertEqual((len(advised["gene"]), advised["stderr"]), (11, ""))
        loaded = self.load("c.h5ad", "a.h5ad", "b.h5ad")
        self.assertIn("each file needs a column with them (data.gene_column), which there is not in c.h5ad", loaded["stderr"])
        self.assertEqual(self.load_each(("a.h5ad", "c.h5ad"), ("a.h5ad",))[0]["stderr"], "")

    def test_ids_of_a_model(self):
        """What a model was trained on tells its genes by their ids, too, where there were any."""
        counts = small_counts()
        symbols = names(0, 1, 2, 3, 2, 5, 6, 7, 8, 9, 10, 11)
        self.h5ad("model.h5ad", counts, names(*range(12)), gene_ids=[*ids(*range(11)), "none"])
        self.h5ad("same.h5ad", counts, names(*range(12)), gene_ids=[f"{name}.4" for name in ids(*range(12))])
        self.h5ad("other.h5ad", counts, names(*range(12)), gene_ids=ids(*range(9), 10, 9, 11))
        self.make("plain.h5ad", counts=counts)
        silent = self.load_each(("same.h5ad", "--known_from=model.h5ad"), ("plain.h5ad", "--known_from=model.h5ad"),
                                ("other.h5ad", "--known_from=plain.h5ad"))
        self.assertEqual(silent[0]["stderr"], "")
        other = self.load("other.h5ad", "--known_from=model.h5ad")
        self.assertEqual(other["gene"], names(*range(12)))
        self.assertIn("2 genes have the same name in the model and in files and other ids, such as 'gene9': ENSG00000000009 in the "
                      "model, ENSG00000000010 in other.h5ad; they are joined by name all the same; data.gene_column: [gene_ids] "
                      "joins genes by their ids, in a model trained with it", other["stderr"])
        self.h5ad("twice.h5ad", counts, symbols, gene_ids=ids(*range(12)))
        self.h5ad("turned.h5ad", counts, symbols, gene_ids=ids(0, 1, 4, 3, 2, *range(5, 12)))
        apart = self.load("turned.h5ad", "--known_from=twice.h5ad", ranks=2)
        self.assertIn("'gene2': ENSG00000000002 in the model, ENSG00000000004 in turned.h5ad; they count as missing", apart["stderr"])
        self.assertEqual(apart["present"], 40 * 10)

    def test_ids_as_names(self):
        """Joined by ids, other symbols beside them do not matter."""
        counts = small_counts()
        self.h5ad("a.h5ad", counts, ids(*range(12)), symbol=names(*range(12)))
        self.h5ad("b.h5ad", counts, ids(*range(12)), symbol=names(*range(10), 11, 10))
        self.assertEqual(self.load("a.h5ad", "b.h5ad")["stderr"], "")
        loaded = self.load("a.h5ad", "b.h5ad", "data.gene_column=symbol")
        self.assertIn("data.gene_column: [index] joins genes by their ids", loaded["stderr"])
        self.assertEqual(self.load("a.h5ad", "b.h5ad", "data.gene_column=index")["stderr"], "")


class Masks(FormatTest):
    """Files that lack some of the genes that are asked for."""

    def list_of(self, *wanted):
        with open(self.path("genes.txt"), "w") as out:
            out.write("\n".join(wanted))
        return "data.genes.file=genes.txt"

    def masked(self, loaded, counts, present):
        """counts, present: [cells, genes in use]."""
        self.same(loaded, np.where(present, counts, 0))
        rows, columns = np.arange(1, counts.shape[0] + 1), np.arange(1, counts.shape[1] + 1)
        self.assertEqual(loaded["present"], present.sum())
        self.assertEqual(loaded["present_checksum"], 0 if present.all() else int(rows @ present @ columns))
        mean = counts[present].mean(dtype=np.float64)
        self.assertAlmostEqual(float.fromhex(loaded["mean"]) / mean, 1, places=12)
        self.assertAlmostEqual(float.fromhex(loaded["std"]) / counts[present].std(dtype=np.float64), 1, places=6)

    def test_a_list_that_files_lack_some_of(self):
        a, b, c = (small_counts(cells=n, seed=n) for n in (13, 29, 8))
        self.make("a.h5ad", counts=a)
        self.make("b.h5ad", counts=b[:, [9, 2, 0, 5]], genes=names(9, 2, 0, 5))
        self.make("c.h5ad", counts=c[:, [2, 9, 1, 5, 0]], genes=names(2, 9, 1, 5, 0))
        chosen = [5, 2, 9, 7]
        loaded = self.load_everywhere("a.h5ad", "b.h5ad", "c.h5ad", self.list_of(*names(*chosen)))
        self.assertEqual((loaded["gene"], loaded["sets"]), (names(*chosen), 2))
        present = np.ones((50, 4), bool)
        present[13:, 3] = False
        self.masked(loaded, np.vstack([a, b, c])[:, chosen], present)
        log = "\n".join(loaded["log"])
        self.assertIn("b.h5ad: has 3 of the 4 genes of genes.txt; the others are masked in its cells: 'gene7'", log)
        self.assertNotIn("a.h5ad: has", log)
        self.assertEqual(self.load("a.h5ad", "data.genes.file=genes.txt")["sets"], 0)

    def test_lists_that_do_not_fit(self):
        self.make("a.h5ad")
        self.make("b.h5ad", genes=[f"ENSG{j:011}" for j in range(12)])
        self.fails(["genes.txt: 1 of 3 genes are not in any of the files", "'gone'"], "a.h5ad", "b.h5ad",
                   self.list_of("gene1", "gone", "ENSG00000000003"), code=2)
        self.fails(["b.h5ad: has 0 of the 2 genes of genes.txt", "'ENSG00000000000'"], "a.h5ad", "b.h5ad",
                   self.list_of("gene1", "gene2"))

    def test_genes_of_a_checkpoint(self):
        counts = small_counts(genes=60)
        self.make("model.h5ad", counts=counts[:, :30], genes=names(*range(30)))
        new = {"most.h5ad": range(5, 50), "half.h5ad": range(15, 60), "hardly.h5ad": range(29, 60), "none.h5ad": range(30, 60)}
        for name, genes in new.items():
            self.make(name, counts=counts[:, genes], genes=names(*genes))
        loaded = self.load_everywhere("most.h5ad", "--known_from=model.h5ad")
        self.assertEqual((loaded["gene"], loaded["sets"], loaded["stderr"]), (names(*range(30)), 1, ""))
        self.assertIn("most.h5ad: has 25 of the 30 genes of the model", "\n".join(loaded["log"]))
        self.masked(loaded, counts[:, :30], np.repeat([np.arange(30) >= 5], 40, 0))
        loaded = self.load("half.h5ad", "--known_from=model.h5ad")
        self.assertIn("warning: half.h5ad: has 15 of the 30 genes of the model", loaded["stderr"])
        self.fails_each([
            (["hardly.h5ad: has 1 of the 30 genes of the model, too few"], "hardly.h5ad", "--known_from=model.h5ad"),
            (["none.h5ad: has 0 of the 30 genes of the model"], "none.h5ad", "--known_from=model.h5ad")])


class Levels(FormatTest):
    def test_levels_of_all_files(self):
        import pandas
        self.make("a.h5ad", obs={"b": pandas.Categorical(["y", "x"] * 20, categories=["y", "x", "unused"])})
        self.make("b.h5ad", obs={"b": pandas.Categorical(["x", "2"] * 20, categories=["x", "2"])})
        self.make("c.h5ad", obs={"b": [2, 7] * 20})
        loaded = self.load_everywhere("a.h5ad", "b.h5ad", "c.h5ad", "data.batch_keys=b")
        self.assertEqual(loaded["b"], ["y", "x", "unused", "2", "7"])
        codes = np.array([0, 1] * 20 + [1, 3] * 20 + [3, 4] * 20)
        self.assertEqual(loaded["level_checksum"], int(np.arange(1, 121) @ (codes + 1)))

    def test_levels_that_are_written_differently(self):
        import pandas
        self.make("a.h5ad", obs={"b": ["Donor", "donor ", "1", "2"] * 10, "l": [True, False] * 20})
        self.make("b.h5ad", obs={"b": pandas.Categorical(["1.0", "10"] * 20), "l": ["TRUE", "true"] * 20})
        self.make("c.h5ad", obs={"b": [2, 10] * 20, "l": ["True", "False"] * 20})
        err = self.load("a.h5ad", "b.h5ad", "data.batch_keys=b", "data.label_key=l", ranks=2)["stderr"]
        self.assertIn("""obs/b: 2 of 6 levels differ from another only by case, blanks or ".0": 'Donor' and 'donor ', '1' and '1.0'; they count""", err)
        self.assertIn("""obs/l: 2 of 4 levels differ from another only by case, blanks or ".0": 'True' and 'TRUE', 'True' and 'true'; they""", err)
        self.assertNotIn("differ", self.load("c.h5ad", "data.batch_keys=b", "data.label_key=l")["stderr"])
        self.fails(["c.h5ad: obs/b has the level '10', which the checkpoint does not know", "there are 1, 2, Donor, donor "], "c.h5ad", "data.batch_keys=b", "--known_from=a.h5ad")

    def test_what_is_said_of_levels(self):
        import pandas
        self.make("a.h5ad", obs={"b": pandas.Categorical(["y", "x"] * 20, categories=["y", "x", "unused"]), "one": ["same"] * 40,
                                 "many": [f"m{i % 15:02}" for i in range(40)], "name": [f"n{i}" for i in range(40)],
                                 "most": [f"n{i // 2 if i < 30 else i}" for i in range(40)]})
        loaded = self.load("a.h5ad", "data.batch_keys=[b, one, many, most]", ranks=2)
        for line in ("covariate b: 2 levels (y, x)", "covariate b: 1 more without cells (unused)", "covariate one: 1 level (same); the same for all "
                     "cells, it has no effect", "covariate many: 15 levels (m00, m01, m02, m03, m04, m05, ...)"):
            self.assertIn(line, loaded["log"])
        self.assertIn("covariate most: 25 levels for 40 cells; is it a batch?", loaded["stderr"])
        self.fails(["a.h5ad: obs/name has another value for every one of the 40 cells"], "a.h5ad", "data.batch_keys=name")

    def test_a_file_without_the_column(self):
        self.make("a.h5ad", obs={"b": ["x"] * 40})
        self.make("b.h5ad", obs={"donor": ["x"] * 40})
        self.fails(["b.h5ad", "obs has no column 'b'", "donor"], "a.h5ad", "b.h5ad", "data.batch_keys=b", code=2)

    def test_files_are_levels(self):
        paths = ["one/a.h5ad", "two/a.h5ad", "two/b.h5ad"]
        for folder in ("one", "two", "new"):
            os.mkdir(self.path(folder))
        for path in paths:
            self.make(path, counts=small_counts(cells=10), obs={"b": ["x", "y"] * 5})
        self.make("new/b.h5ad", counts=small_counts(cells=10), obs={"b": ["y"] * 10})
        loaded = self.load_everywhere(*paths, "data.batch_keys=[b, '@file']")
        self.assertEqual(loaded["@file"], ["one/a.h5ad", "two/a.h5ad", "b.h5ad"])
        codes = np.array([0, 1] * 15) + np.repeat([2, 3, 4], 10) + 2
        self.assertEqual(loaded["level_checksum"], int(np.arange(1, 31) @ codes))
        self.assertEqual(self.load(*paths, "data.label_key=@file")["label"], ["one/a.h5ad", "two/a.h5ad", "b.h5ad"])

    def test_files_of_a_checkpoint(self):
        os.mkdir(self.path("new"))
        for path in ("a.h5ad", "new/a.h5ad", "c.h5ad"):
            self.make(path, counts=small_counts(cells=10))
        loaded = self.load_everywhere("new/a.h5ad", "data.batch_keys=@file", "--known_from=a.h5ad")
        self.assertEqual((loaded["@file"], loaded["level_checksum"]), (["a.h5ad"], 55))
        self.fails(["c.h5ad: the model knows no file of this name", "a.h5ad", "link"], "c.h5ad", "data.batch_keys=@file", "--known_from=a.h5ad")

    def test_files_in_the_embedding(self):
        self.make("a.h5ad", counts=small_counts(cells=10))
        self.make("b.h5ad", counts=small_counts(cells=7))
        self.load("a.h5ad", "b.h5ad", "data.batch_keys=@file", "--embed=out.h5ad")
        data = anndata.read_h5ad(self.path("out.h5ad"))
        self.assertEqual(list(data.obs["gmvae_file"]), ["a.h5ad"] * 10 + ["b.h5ad"] * 7)
        self.load("a.h5ad", "b.h5ad", "--embed=out.h5ad")
        self.assertEqual(list(anndata.read_h5ad(self.path("out.h5ad")).obs["gmvae_file"]), ["a.h5ad"] * 10 + ["b.h5ad"] * 7)
        self.load("a.h5ad", "--embed=out.h5ad")
        self.assertNotIn("gmvae_file", anndata.read_h5ad(self.path("out.h5ad")).obs)


if __name__ == "__main__":
    main()
