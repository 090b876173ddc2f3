"""10x files, matrices stored by genes, compressions, files that are refused."""
import os
import re
import shutil
import sys

from support import DATA, FormatTest, anndata, h5py, main, np, published, small_counts, texts


def write_10x(group, counts, parts, shape=True):
    """counts, cells x features, as Cell Ranger stores them: features x cells, by cell."""
    import scipy.sparse
    matrix = scipy.sparse.csc_matrix(counts.T)
    for name, values in (("data", matrix.data.astype(np.int32)), ("indices", matrix.indices.astype(np.int64)),
                         ("indptr", matrix.indptr.astype(np.int64))):
        group.create_dataset(name, data=values, compression="gzip", chunks=(min(80, len(values)),))
    if shape:
        group["shape"] = np.array(matrix.shape, np.int32)
    group["barcodes"] = texts([f"cell{i}-1" for i in range(counts.shape[0])], 24)
    for name, values in parts.items():
        group[name] = texts(values, 24)


class TenX(FormatTest):
    TYPES = ["Gene Expression", "Antibody Capture", "Gene Expression", "CRISPR Guide Capture"] * 3

    def write_v3(self, name, counts, types=None, **keywords):
        genes = [f"gene{j}" for j in range(counts.shape[1])]
        parts = {"features/id": [f"ENSG{j}" for j in range(len(genes))], "features/name": genes}
        parts.update({"features/feature_type": types} if types else {}, **keywords.pop("parts", {}))
        return self.create(name, lambda f: write_10x(f.create_group("matrix"), counts, parts, **keywords))

    def test_published(self):
        files = {"10x_v3_filtered_feature_bc_matrix.h5": ("matrix", "features/name"), "liger_ctrl.h5": ("matrix", "features/name"),
                 "10x_v2_filtered_gene_bc_matrices_h5.h5": ("hg19_chr21", "gene_names")}
        each = self.load_everywhere_each(*[(published(name),) for name in files])
        for loaded, (name, (group, genes)) in zip(each, files.items()):
            with self.subTest(name), h5py.File(published(name)) as f:
                group = f[group]
                import scipy.sparse
                features, cells = group["shape"][:]
                counts = scipy.sparse.csc_matrix((group["data"][:], group["indices"][:], group["indptr"][:]), (features, cells))
                self.same(loaded, counts.T.toarray())
                self.assertEqual(loaded["gene"], [text.decode() for text in group[genes][:]])
                seen = self.inspect(published(name))
                self.assertEqual((seen["format"], seen["cells"], seen["genes"], seen["auto"], seen["obs"]),
                                 ("10x", cells, features, loaded["matrix"], {}))

    def test_feature_types(self):
        counts = small_counts()
        path = self.write_v3("a.h5", counts, self.TYPES)
        chosen = {kind: [j for j in range(12) if self.TYPES[j] == kind] for kind in dict.fromkeys(self.TYPES)}
        default, *each = self.load_everywhere_each((path,), *[(path, f"data.matrix={kind}") for kind in chosen])
        for loaded, (kind, columns) in zip(each, chosen.items()):
            with self.subTest(kind):
                self.same(loaded, counts[:, columns])
                self.assertEqual((loaded["matrix"], loaded["gene"]), (kind, [f"gene{j}" for j in columns]))
        self.assertEqual(default["hash"], each[0]["hash"])
        seen = {matrix["name"]: matrix for matrix in self.inspect(path)["matrices"]}
        self.assertEqual({kind: (m["nnz"], m["total"], m["shape"]) for kind, m in seen.items()},
                         {kind: (int((counts[:, columns] > 0).sum()), int(counts[:, columns].sum(dtype=np.int64)), [40, len(columns)])
                          for kind, columns in chosen.items()})
        self.fails(["no matrix 'Antibody capture'", "Antibody Capture, CRISPR Guide Capture", "did you mean 'Antibody Capture'?"],
                   path, "data.matrix=Antibody capture", code=2)

    def test_no_gene_expression(self):
        counts = small_counts()
        path = self.write_v3("a.h5", counts, ["Antibody Capture", "Custom"] * 6)
        self.fails(["a.h5", "data.matrix must say", "Antibody Capture, Custom"], path, code=2)
        self.same(self.load(self.write_v3("b.h5", counts, ["Antibody Capture"] * 12)), counts)

    def test_repeated_names_are_made_unique_among_the_chosen(self):
        names = ["A", "A", "A", "B"] + [f"gene{j}" for j in range(4, 12)]
        path = self.write_v3("a.h5", small_counts(), self.TYPES, parts={"features/name": names})
        self.assertEqual(self.load(path)["gene"][:3], ["A", "A-1", "gene4"])
        self.assertEqual(self.load(path, "data.matrix=Antibody Capture")["gene"][:1], ["A"])

    def test_escapes_in_names_are_not_printed(self):
        path = self.write_v3("a.h5", small_counts(), ["\x1b[31mred"] * 12)
        with h5py.File(path, "r+") as f:
            f["matrix/data"][0] = -1
        done = self.run_load((path,))
        self.assertNotIn("\x1b", done.stdout + done.stderr)
        self.assertIn("counts from ?[31mred", done.stdout)
        self.assertIn("?[31mred, row 0 (cell 'cell0-1'), gene 'gene0': negative", done.stderr)

    def test_genomes(self):
        both = [small_counts(seed=seed) for seed in (1, 2)]

        def fill(f):
            for genome, counts in zip(("GRCh38", "mm10"), both):
                genes = [f"{genome}_{j}" for j in range(12)]
                write_10x(f.create_group(genome), counts, {"genes": genes, "gene_names": genes})

        path = self.create("two.h5", fill)
        self.fails(["two.h5", "data.matrix must say", "GRCh38, mm10"], path, code=2)
        self.fails(["no matrix 'mm1'", "did you mean 'mm10'?"], path, "data.matrix=mm1", code=2)
        for genome, counts, loaded in zip(("GRCh38", "mm10"), both, self.load_each((path, "data.matrix=GRCh38"), (path, "data.matrix=mm10"))):
            self.same(loaded, counts)
            self.assertEqual(loaded["gene"][11], f"{genome}_11")

    def test_embedding_has_the_barcodes(self):
        path = self.write_v3("a.h5", small_counts(), self.TYPES)
        self.load(path, "--embed=out.h5ad", ranks=2)
        data = anndata.read_h5ad(self.path("out.h5ad"))
        self.assertEqual(list(data.obs_names), [f"cell{i}-1" for i in range(40)])
        self.assertEqual(list(data.obs.columns), ["gmvae_cluster", "gmvae_certainty", "gmvae_neg_elbo", "gmvae_counts"])

    def test_with_h5ad_of_the_same_genes(self):
        counts = small_counts()
        path = self.write_v3("a.h5", counts)
        loaded = self.load_everywhere(path, self.make("b.h5ad", counts=counts))
        self.same(loaded, np.vstack([counts, counts]))

    def test_names_of_genes(self):
        path = self.write_v3("a.h5", small_counts(), self.TYPES)
        by = [self.load(path, *choice)["gene"][:2] for choice in ((), ("data.gene_column=[gene_ids, id]",), ("data.gene_column=name",))]
        self.assertEqual(by, [["gene0", "gene2"], ["ENSG0", "ENSG2"], ["gene0", "gene2"]])
        self.fails(["has no column 'gene_ids'", "data.gene_column"], path, "data.gene_column=gene_ids", code=2)

    def test_left_out_parts(self):
        counts = small_counts()
        path = self.write_v3("a.h5", counts, shape=False)
        self.same(self.load(path), counts)
        with h5py.File(path, "r+") as f:
            del f["matrix/features/name"]
        self.assertEqual(self.load(path)["gene"][3], "ENSG3")

    def test_damage(self):
        def spoil(name, part, values=None, at=None):
            path = self.write_v3(name, small_counts(), self.TYPES)
            with h5py.File(path, "r+") as f:
                if at is not None:
                    f[part][at] = values
                else:
                    del f[part]
                    if values is not None:
                        f[part] = values
            return path

        first = "Gene Expression"
        self.fails_each([
            (["gene index 99 is outside 0 .. 5", "cell 'cell39-1'"], spoil("a.h5", "matrix/indices", 99, -1)),
            (["row 39 (cell 'cell39-1')", "gene 'gene", "negative count -2"], spoil("b.h5", "matrix/data", -2, np.s_[-3:])),
            ([f"{first} has shape 41 x 12", "matrix/barcodes has 40 cells"], spoil("c.h5", "matrix/shape", np.array([12, 41]))),
            (["matrix/features/feature_type has 3 entries for 12"], spoil("d.h5", "matrix/features/feature_type", texts(["a"] * 3)),
             "data.matrix=a"),
            (["matrix/features/name is missing"], spoil("e.h5", "matrix/features")),
            (["no valid attribute 'shape'"], spoil("f.h5", "matrix/shape", np.array([12]))),
            (["matrix/indptr is missing"], spoil("g.h5", "matrix/indptr"))], ranks=(1, 4))
        self.fails(["obs has no column 'b'", "there are none"], self.write_v3("h.h5", small_counts()), "data.batch_keys=b", code=2)


class NamedMatrices(FormatTest):
    """Every kind of file, and every value of data.matrix that docs/formats.md and messages name, through the program
    itself, whose config stands before the files."""

    def write_all(self):
        import pandas
        import scipy.sparse
        counts = small_counts()
        sparse, obs = scipy.sparse.csr_matrix(counts), pandas.DataFrame(index=[f"c{i}" for i in range(40)])
        data = anndata.AnnData(sparse, obs, pandas.DataFrame(index=[f"gene{j}" for j in range(12)]), layers={"spliced": sparse})
        for name, matrix in (("csr", sparse), ("csc", sparse.tocsc()), ("dense", counts)):
            anndata.AnnData(matrix, obs, data.var).write_h5ad(self.path(f"{name}.h5ad"))
        data.raw = data.copy()
        data.write_h5ad(self.path("a.h5ad"))
        from anndata.experimental import write_elem
        for name, gex in (("b.h5mu", "gex"), ("rna.h5mu", "rna")):
            with h5py.File(self.path(name), "w") as f:
                f.attrs["encoding-type"] = "MuData"
                write_elem(f, f"mod/{gex}", data)
                write_elem(f, "mod/prot", data[:, :5])
                write_elem(f, "obs", obs)
                f[f"obsmap/{gex}"] = f["obsmap/prot"] = np.arange(1, 41)
        names = [f"gene{j}" for j in range(12)]
        types = ["Gene Expression", "Antibody Capture"] * 6
        with h5py.File(self.path("typed.h5"), "w") as typed, h5py.File(self.path("plain.h5"), "w") as plain:
            write_10x(typed.create_group("matrix"), counts, {"features/name": names, "features/feature_type": types})
            write_10x(plain.create_group("matrix"), counts, {"features/name": names})
        for name, genomes in (("genomes.h5", ("GRCh38", "mm10")), ("genome.h5", ("GRCh38",))):
            with h5py.File(self.path(name), "w") as f:
                for genome in genomes:
                    write_10x(f.create_group(genome), counts, {"genes": names, "gene_names": names})

    def dry_runs(self, taken):
        """{(file, data.matrix): where its counts come from}."""
        each = self.run_trainings(*[("--dry-run", f"data.train={file}", f"data.matrix={matrix}") for file, matrix in taken])
        for done, ((file, matrix), name) in zip(each, taken.items()):
            with self.subTest(file=file, matrix=matrix):
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn(f"{file}: counts from {name}\n", done.stdout)
                self.assertIn("dry run: config, data, memory and output.dir are in order", done.stdout)

    def test_dry_runs(self):
        self.write_all()
        self.dry_runs({("csr.h5ad", "auto"): "X", ("csc.h5ad", "auto"): "X", ("dense.h5ad", "auto"): "X",
                       ("a.h5ad", "auto"): "raw/X", ("a.h5ad", "X"): "X", ("a.h5ad", "raw/X"): "raw/X",
                       ("typed.h5", "auto"): "Gene Expression", ("plain.h5", "auto"): "matrix", ("plain.h5", "matrix"): "matrix",
                       ("genome.h5", "auto"): "GRCh38", ("rna.h5mu", "auto"): "mod/rna/raw/X", ("rna.h5mu", "X"): "mod/rna/X",
                       ("rna.h5mu", "layers/spliced"): "mod/rna/layers/spliced", ("b.h5mu", "mod/gex"): "mod/gex/raw/X"})

    def test_what_messages_name(self):
        self.write_all()
        there = {"a.h5ad": ["X", "raw/X", "layers/spliced"], "typed.h5": ["Gene Expression", "Antibody Capture"],
                 "genomes.h5": ["GRCh38", "mm10"],
                 "b.h5mu": [f"mod/{name}" for name in ("gex/X", "gex/raw/X", "gex/layers/spliced", "prot/X", "prot/raw/X",
                                                       "prot/layers/spliced")]}
        wrong = self.run_trainings(*[("--dry-run", f"data.train={file}", "data.matrix=nothing") for file in there])
        for done, (file, names) in zip(wrong, there.items()):
            self.assertEqual(done.returncode, 2)
            self.assertIn("no matrix 'nothing' in the file (data.matrix); there are ", done.stderr)
            self.assertEqual(sorted(done.stderr.split("there are ")[1].strip().split(", ")), sorted(names))
        several = self.run_trainings(*[("--dry-run", f"data.train={file}") for file in ("b.h5mu", "genomes.h5")])
        for done, file in zip(several, ("b.h5mu", "genomes.h5")):
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"data.matrix must say which matrix to take; there are {there[file][0]}", done.stderr)
        self.dry_runs({(file, name): name for file, names in there.items() for name in names})

    def test_a_modality_trains_and_is_evaluated(self):
        self.write_all()
        for command in ("train", "eval"):
            done, = self.run_trainings((command, "data.train=b.h5mu", "data.matrix=mod/gex", "output.dir=run"))
            self.assertEqual((done.returncode, done.stderr), (0, ""), command)
        self.assertEqual(anndata.read_h5ad(self.path("run/embedding.h5ad")).n_obs, 40)


class StoredByGenes(FormatTest):
    """CSC: the packed result is that of the same matrix in CSR, bit by bit."""

    def both(self, counts, name, **keywords):
        """The same matrix by cells and by genes."""
        import pandas
        import scipy.sparse
        paths = []
        for kind, order in ((scipy.sparse.csr_matrix, "cells"), (scipy.sparse.csc_matrix, "genes")):
            data = anndata.AnnData(kind(counts), obs=pandas.DataFrame({"b": [f"b{i % 3}" for i in range(counts.shape[0])]},
                                                                     index=[f"cell{i}" for i in range(counts.shape[0])]),
                                   var=pandas.DataFrame(index=[f"gene{j}" for j in range(counts.shape[1])]))
            paths.append(self.path(f"{name}_by_{order}.h5ad"))
            data.write_h5ad(paths[-1], **keywords)
        return paths

    def check_same(self, csr, csc):
        """All but the path, and the line about the transposition."""
        self.assertEqual({k: v for k, v in csc.items() if k not in ("log", "stderr", "file")},
                         {k: v for k, v in csr.items() if k not in ("log", "stderr", "file")})
        self.assertEqual(sum("stored by genes (CSC)" in line for line in csc["log"]), 1, csc["log"])
        self.assertFalse(any("stored by genes" in line for line in csr["log"]))

    def test_published(self):
        for name, row_type in (("rna", 47), ("mod2", 47)):
            path = published(f"openproblems_bmmc_cite_starter.output_{name}.h5ad")
            source = anndata.read_h5ad(path)
            loaded = self.load_everywhere(path, "data.batch_keys=batch", "data.label_key=cell_type")
            self.same(loaded, source.layers["counts"].toarray())
            self.assertEqual((loaded["gene"], loaded["matrix"]), (list(source.var_names), "layers/counts"))
            self.assertEqual((len(loaded["label"]), loaded["batch"]), (row_type, list(source.obs["batch"].cat.categories)))
        for name in ("mini_mat.anndata-v0.6.22.h5ad", "mini_mat.anndata-v0.7.h5ad", "mini_mat.anndata-v0.10.9.h5ad"):
            csr, csc = self.load_each((published(name),), (published(name), "data.matrix=layers/transpose"))
            self.assertEqual(csc["hash"], csr["hash"])

    def test_many_windows(self):
        """585,842 counts: three windows and more on one rank, and several on each of four."""
        source = anndata.read_h5ad(os.path.join(DATA, "kang_pbmc_4sample.h5ad"))
        csr, csc = self.both(source.X.toarray(), "kang", compression="gzip")
        requests = [(path, *arguments) for arguments in (("data.batch_keys=b",), ("data.genes.n_top=300", "data.validation=0.2"), ("data.shards=1",)) for path in (csr, csc)]
        loaded = self.load_everywhere_each(*requests)
        for i in range(0, len(loaded), 2):
            self.check_same(loaded[i], loaded[i + 1])

    def test_one_long_row(self):
        counts = np.zeros((3, 90000), np.float32)
        counts[1], counts[0, 5], counts[2, 89999] = 1, 300, 2**24 - 1
        self.check_same(*self.load_everywhere_each(*[(path,) for path in self.both(counts, "wide")]))

    def test_ranks_without_cells_or_counts(self):
        last = np.zeros((5, 4), np.float32)
        last[4, 1] = 7
        for name, counts in (("few", small_counts(cells=3)), ("last", last)):
            csr, csc = self.both(counts, name)
            self.check_same(*self.load_everywhere_each((csr, "data.batch_keys=b"), (csc, "data.batch_keys=b")))

    def test_several_files(self):
        csr, csc = self.both(small_counts(), "a")
        one, other = self.load_everywhere_each((csr, csc), (csc, csr))
        self.assertEqual(other["hash"], one["hash"])

    def spoiled(self, change, name="a"):
        path = self.both(small_counts(), name)[1]
        with h5py.File(path, "r+") as f:
            change(f["X"], f["X/indices"][:], f["X/indptr"][:])
        return path

    def test_bad_values(self):
        """The first bad value by cells is told, as it is, wherever the file has another one of a later cell."""
        def place(rows, start, gene, cell):
            return start[gene] + np.flatnonzero(rows[start[gene]:start[gene + 1]] == cell)[0]

        of_33, cases = np.flatnonzero(small_counts()[33]), []
        for value, words in ((-3, ["negative count -3"]), (1 + 2**-50, ["is not a whole number"]), (np.nan, ["NaN"]), (1e300, ["1e+300"])):
            for gene, other in ((of_33[-1], 0), (0, np.flatnonzero(small_counts()[38])[-1])):
                def change(x, rows, start, value=value, gene=gene, other=other):
                    values = x["data"][:].astype(np.float64)
                    values[place(rows, start, gene, 33)], values[place(rows, start, other, 38)] = value, -99
                    del x["data"]
                    x["data"] = values

                cases.append((["X, row 33 (cell 'cell33')", f"'gene{gene}'", *words], self.spoiled(change, f"f{len(cases)}")))
        self.fails_each(cases, ranks=(1, 4))

    def test_explicit_zeros(self):
        def change(x, rows, start):
            x["data"][start[3]:start[4]] = 0

        counts = small_counts()
        counts[:, 3] = 0
        self.same(self.load(self.spoiled(change)), counts)

    def test_damage(self):
        def set_value(part, at, value):
            def change(x, rows, start):
                x[part][at] = value

            return change

        def repeat(x, rows, start):
            x["indices"][start[4] + 1] = rows[start[4]]

        changes = ((["gene 11: cell index 40 is outside 0 .. 39"], set_value("indices", -1, 40)),
                   (["gene 0: cell index -1 is outside"], set_value("indices", 0, -1)),
                   (["X/indptr: gene 5 starts at", "damaged"], set_value("indptr", 6, 0)),
                   (["X/indptr runs from 0 to 99999"], set_value("indptr", -1, 99999)),
                   (["gene 'gene4' is repeated", "sum_duplicates"], repeat))
        self.fails_each([(words, self.spoiled(change, f"f{i}")) for i, (words, change) in enumerate(changes)], ranks=(1, 4))

    def test_inspect(self):
        csr, csc = (self.inspect(path) for path in self.both(small_counts(), "a"))
        self.assertEqual((csc["matrices"][0].pop("kind"), csr["matrices"][0].pop("kind")), ("csc", "csr"))
        self.assertEqual({k: v for k, v in csc.items() if k != "file"}, {k: v for k, v in csr.items() if k != "file"})


    def test_stored_types(self):
        counts = np.minimum(small_counts(), 100)
        path = self.both(counts, "a")[1]
        stored = [(part, kind) for part, kinds in (("data", ("f2", ">f4", ">i8", "u8", "u1")), ("indices", ("u1", ">u2", "u8")),
                                                   ("indptr", (">i8", "u2"))) for kind in kinds]
        for part, kind in stored:
            shutil.copy(path, self.path(part + kind))
            with h5py.File(self.path(part + kind), "r+") as f:
                values = f["X"][part][:]
                del f["X"][part]
                f["X"].create_dataset(part, data=values.astype(kind), compression="lzf", shuffle=True, chunks=(11,))
        for case, loaded in zip(stored, self.load_each(*[(part + kind,) for part, kind in stored])):
            with self.subTest(case):
                self.same(loaded, counts)
        self.same(self.load(self.both(counts > 0, "bool")[1]), counts > 0)


class Compressed(FormatTest):
    def test_plugins(self):
        """With the plug-ins of hdf5plugin; a mask of zeros becomes 1/50,000 of its size."""
        import hdf5plugin
        counts = small_counts()
        path = self.make(counts=counts)
        os.environ["HDF5_PLUGIN_PATH"] = hdf5plugin.PLUGIN_PATH
        self.addCleanup(os.environ.pop, "HDF5_PLUGIN_PATH")
        filters = {"zstd": hdf5plugin.Zstd(22), "blosc": hdf5plugin.Blosc(), "blosc2": hdf5plugin.Blosc2(), "lz4": hdf5plugin.LZ4(),
                   "bitshuffle": hdf5plugin.Bitshuffle(), "bzip2": hdf5plugin.BZip2()}
        for name, settings in filters.items():
            shutil.copy(path, self.path(name))
            with h5py.File(self.path(name), "r+") as f:
                for part in ("data", "indices", "indptr"):
                    values = f["X"][part][:]
                    del f["X"][part]
                    f["X"].create_dataset(part, data=values, chunks=(len(values) // 2,), **settings)
                f.create_dataset("layers/zeros", data=np.zeros((40, 12)), chunks=True, **settings)
        streamed = self.load_each(*[("data.residence=stream", self.path(name)) for name in filters])
        for name, loaded, copied in zip(filters, self.load_everywhere_each(*[(name,) for name in filters]), streamed):
            with self.subTest(name):
                self.same(loaded, counts)
                self.same(copied, counts)
                self.assertTrue(any(line.startswith("cache:") for line in copied["log"]))
        empty = np.zeros((1000, 20000), np.uint8)
        empty[:, 3] = 1
        with h5py.File(self.make("sparse.h5ad", counts=np.ones((1000, 20000), np.uint8), dense=True), "r+") as f:
            del f["X"]
            f.create_dataset("X", data=empty, chunks=empty.shape, **filters["zstd"])
            self.assertGreater(empty.nbytes, 2000 * f["X"].id.get_storage_size())
        self.same(self.load("sparse.h5ad"), empty)

    def test_szip(self):
        counts = small_counts(cells=200)
        path = self.make(counts=counts)
        with h5py.File(path, "r+") as f:
            values = f["X/data"][:]
            del f["X/data"]
            try:
                f["X"].create_dataset("data", data=values, chunks=(512,), compression="szip")
            except ValueError:
                self.skipTest("this h5py cannot write szip")
        self.same(self.load(path), counts)


class Refused(FormatTest):
    def test_loom(self):
        """The command in the message converts the file."""
        counts = small_counts()

        def fill(f):
            f["matrix"] = counts.T.astype(np.float64)
            f["row_attrs/Gene"] = texts([f"gene{j}" for j in range(12)], 9)
            f["col_attrs/CellID"] = texts([f"cell{i}" for i in range(40)])
            f["col_attrs/type"] = texts([f"t{i % 3}" for i in range(40)], 9)
            f["col_attrs/place"], f["col_attrs/batch"] = np.zeros((40, 2)), np.arange(40) % 2

        self.fails(["cells.loom", "Loom", "convert it: python -c"], self.create("cells.loom", fill))
        command = re.search('python -c "(.*)"', self.run_load((self.path("cells.loom"),)).stderr)[1]
        done = self.run_command([sys.executable, "-W", "ignore", "-c", command])
        self.assertEqual(done.returncode, 0, done.stderr)
        loaded = self.load("cells.h5ad", "data.batch_keys=batch", "data.label_key=type")
        self.same(loaded, counts)
        self.assertEqual((loaded["gene"][11], loaded["label"]), ("gene11", ["t0", "t1", "t2"]))
        self.assertEqual(list(anndata.read_h5ad(self.path("cells.h5ad")).obs_names), [f"cell{i}" for i in range(40)])


if __name__ == "__main__":
    main()
