"""Tables of anndata since 0.5 and of MuData: published files, and files in exactly their layouts made with h5py."""
from support import FormatTest, anndata, h5py, main, np, published, small_counts, texts


def spread(codes, seed=0):
    """Missing values here and there."""
    return np.where(np.random.default_rng(seed).random(len(codes)) < 0.2, -1, codes).astype(np.int8)


class MuData(FormatTest):
    """As mudata 0.3 writes: an anndata group per modality, the cells of all of them in obs and obsmap."""

    def setUp(self):
        super().setUp()
        import pandas
        import scipy.sparse
        self.rna, self.protein = small_counts(cells=40), small_counts(cells=25, genes=5, seed=1)
        self.normal = np.log1p(self.rna)
        rna = anndata.AnnData(scipy.sparse.csr_matrix(self.normal), layers={"counts": scipy.sparse.csr_matrix(self.rna)},
                              obs=pandas.DataFrame({"b": ["x", "y"] * 20}, index=[f"c{i}" for i in range(40)]),
                              var=pandas.DataFrame(index=[f"gene{j}" for j in range(12)]))
        rna.raw = anndata.AnnData(scipy.sparse.csr_matrix(self.rna[:, ::-1].copy()), obs=rna.obs, var=rna.var)
        protein = anndata.AnnData(self.protein, obs=pandas.DataFrame(index=[f"c{i}" for i in range(59, 34, -1)]),
                                  var=pandas.DataFrame(index=[f"adt{j}" for j in range(5)]))
        self.modalities = {"rna": rna, "prot": protein}
        # c0 ... c59; every other cell first, as an update after a sort leaves it
        self.cells = [f"c{i}" for i in [*range(0, 60, 2), *range(1, 60, 2)]]
        n = len(self.cells)
        self.obs = pandas.DataFrame({"donor": pandas.Categorical([f"d{i % 7}" for i in range(n)]),
                                     "b": ["not of rna"] * n, "rna:b": ["x"] * n, "score": np.arange(n, dtype=np.float32),
                                     "text": [f"t{i % 3}" for i in range(n)], "flag": [i % 4 == 0 for i in range(n)],
                                     "maybe": pandas.array([None if i % 5 == 0 else i for i in range(n)], dtype="Int64")},
                                    index=self.cells)

    def write(self, name="cells.h5mu", modalities=None, obsmap=True):
        from anndata.experimental import write_elem
        modalities = modalities or self.modalities
        with h5py.File(self.path(name), "w", userblock_size=512) as f:
            f.attrs.update({"encoding-type": "MuData", "encoding-version": "0.1.0"})
            for key, data in modalities.items():
                write_elem(f, f"mod/{key}", data)
                if obsmap:
                    rows = {cell: i + 1 for i, cell in enumerate(data.obs_names)}
                    f[f"obsmap/{key}"] = np.array([rows.get(cell, 0) for cell in self.cells], np.uint32)
            write_elem(f, "obs", self.obs)
            write_elem(f, "var", modalities[next(iter(modalities))].var[[]])
        with open(self.path(name), "r+b") as out:
            out.write(b"MuData (format-version=0.1.0;creator=mudata;creator-version=0.3.10)")
        return self.path(name)

    def test_matrices(self):
        path = self.write()
        wanted = {"auto": ("mod/rna/layers/counts", self.rna), "mod/rna": ("mod/rna/layers/counts", self.rna),
                  "mod/rna/raw/X": ("mod/rna/raw/X", self.rna[:, ::-1]), "raw/X": ("mod/rna/raw/X", self.rna[:, ::-1]),
                  "layers/counts": ("mod/rna/layers/counts", self.rna), "mod/prot": ("mod/prot/X", self.protein),
                  "mod/prot/X": ("mod/prot/X", self.protein)}
        for loaded, (name, counts) in zip(self.load_everywhere_each(*[(path, f"data.matrix={key}") for key in wanted]), wanted.values()):
            self.assertEqual(loaded["matrix"], name)
            self.same(loaded, counts)
        self.assertEqual(loaded["gene"], [f"adt{j}" for j in range(5)])
        self.fails(["no matrix 'mod/rna/layers/count'", "mod/prot/X", "did you mean 'mod/rna/layers/counts'?"], path,
                   "data.matrix=mod/rna/layers/count", code=2)
        self.fails(["mod/rna/X, row 0 (cell 'c0')", "not a whole number"], path, "data.matrix=X")
        seen = self.inspect(path)
        self.assertEqual((seen["format"], seen["matrix"], seen["auto"], seen["cells"], seen["genes"], seen["total"]),
                         ("h5mu", "mod/rna/layers/counts", "mod/rna/layers/counts", 40, 12, int(self.rna.sum(dtype=np.int64))))
        self.assertEqual([m["name"] for m in seen["matrices"]],
                         ["mod/prot/X", "mod/rna/X", "mod/rna/raw/X", "mod/rna/layers/counts"])
        self.assertEqual(list(seen["obs"]), ["b", "donor", "score", "text", "flag", "maybe"])

    def test_no_rna(self):
        path = self.write(modalities={"a": self.modalities["rna"], "b": self.modalities["prot"]})
        self.fails(["data.matrix must say", "mod/a/X", "mod/b/X"], path, code=2)
        self.same(self.load(path, "data.matrix=mod/b"), self.protein)
        self.same(self.load(self.write("one.h5mu", modalities={"cells": self.modalities["prot"]})), self.protein)

    def test_columns_of_all_cells(self):
        """donor is only in the table of all cells; b of the modality comes first."""
        path = self.write()
        for modality, data in self.modalities.items():
            with self.subTest(modality):
                loaded = self.load_everywhere(path, f"data.matrix=mod/{modality}", "data.batch_keys=[donor, text]", "data.label_key=b")
                here = self.obs.loc[data.obs_names]
                codes = here["donor"].cat.codes.to_numpy().astype(np.int64) + [int(t[1:]) for t in here["text"]]
                self.assertEqual(loaded["donor"], [f"d{i}" for i in range(7)])
                self.assertEqual(loaded["level_checksum"], int(np.arange(1, data.n_obs + 1) @ (codes + 7 + 2)))
                self.assertEqual(loaded["label"], ["x", "y"] if modality == "rna" else ["not of rna"])
        self.fails(["obs has no column 'doner'", "did you mean 'donor'?"], path, "data.batch_keys=doner", code=2)

    def test_embedding_has_the_columns(self):
        for ranks, modality in ((1, "rna"), (2, "prot")):
            self.load(self.write(), f"data.matrix=mod/{modality}", "--embed=out.h5ad", ranks=ranks)
            data, here = anndata.read_h5ad(self.path("out.h5ad")), self.modalities[modality]
            self.assertEqual(list(data.obs_names), list(here.obs_names))
            common = self.obs.loc[here.obs_names]
            for name in ("donor", "score", "text", "flag"):
                self.assertEqual(list(data.obs[name]), list(common[name]), name)
            self.assertEqual(list(data.obs["maybe"].fillna(-1)), list(common["maybe"].fillna(-1)))
            self.assertEqual(list(data.obs["b"]), list(here.obs["b"] if modality == "rna" else common["b"]))

    def test_without_a_map(self):
        path = self.write(obsmap=False)
        self.same(self.load(path, "data.batch_keys=b"), self.rna)
        self.fails(["obs has no column 'donor'"], path, "data.batch_keys=donor", code=2)

    def test_damaged_map(self):
        path = self.write()
        with h5py.File(path, "r+") as f:
            f["obsmap/rna"][3] = 0
        self.fails(["obsmap/rna places 39 of the 40 cells of mod/rna/obs"], path, "data.batch_keys=donor", ranks=(1, 4))
        loaded = self.load(path, "data.batch_keys=b", "--embed=out.h5ad", ranks=2)
        self.assertIn("not copied: donor (not readable), score (not readable)", loaded["stderr"])
        self.assertEqual(list(anndata.read_h5ad(self.path("out.h5ad")).obs["b"]), ["x", "y"] * 20)


class Anndata07(FormatTest):
    """dataframe 0.1.0: categories are a reference from the codes to __categories."""

    def test_published(self):
        for name in ("anndata_v0.7.0.h5ad", "anndata_v0.7.8.h5ad"):
            source = anndata.read_h5ad(published(name))
            raw, x = self.load_everywhere_each((published(name), "data.matrix=raw/X", "data.batch_keys=[obs_cat, cat_ordered, int64]"),
                                               (published(name), "data.matrix=X", "data.label_key=obs_cat"))
            with self.subTest(name):
                self.same(raw, source.raw.X.toarray())
                self.same(x, source.X.toarray())
                self.assertEqual(raw["gene"], list(source.raw.var_names))
                self.assertEqual(x["gene"], list(source.var_names))
                rows, level, offset = np.arange(1, source.n_obs + 1), 0, 0
                for column in ("obs_cat", "cat_ordered", "int64"):
                    values = source.obs[column].astype("category").cat
                    self.assertEqual(raw[column], [str(category) for category in values.categories])
                    level += rows @ (values.codes.to_numpy().astype(np.int64) + offset + 1)
                    offset += len(values.categories)
                self.assertEqual(raw["level_checksum"], int(level))
                seen = self.inspect(published(name))
                self.assertEqual(seen["obs"]["obs_cat"]["counts"], {str(k): int(v) for k, v in source.obs["obs_cat"].value_counts().items()})

    def test_layout(self):
        """As 0.7 writes a frame; missing values, an order, and no column-order."""
        counts = small_counts()
        path = self.make(counts=counts)
        labels, order = spread(np.arange(40) % 3), np.arange(40) % 2
        with h5py.File(path, "r+") as f:
            del f["obs"]
            obs = f.create_group("obs")
            obs.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.1.0", "_index": "barcode"})
            obs["barcode"] = texts([f"c{i}" for i in range(40)])
            for name, codes, levels, ordered in (("type", labels, ["T", "B", "NK"], False), ("phase", order, ["S", "G1"], True)):
                obs[f"__categories/{name}"] = texts(levels)
                obs[f"__categories/{name}"].attrs["ordered"] = ordered
                obs[name] = codes.astype(np.int8)
                obs[name].attrs["categories"] = obs[f"__categories/{name}"].ref
        loaded = self.load_everywhere(path, "data.batch_keys=phase", "data.label_key=type")
        self.assertEqual((loaded["phase"], loaded["label"]), (["S", "G1"], ["T", "B", "NK"]))
        self.assertEqual(loaded["label_checksum"], int(np.arange(1, 41) @ (labels.astype(np.int64) + 1)))
        self.load(path, "--embed=out.h5ad", ranks=2)
        data = anndata.read_h5ad(self.path("out.h5ad"))
        self.assertEqual((data.obs_names[7], data.obs.index.name), ("c7", "barcode"))
        self.assertEqual(list(self.inspect(path)["obs"]), ["phase", "type"])
        self.assertEqual(list(data.obs["type"].cat.codes), list(labels))
        self.assertTrue(data.obs["phase"].cat.ordered)


class Indices(FormatTest):
    """Names of cells and genes in every encoding that anndata writes for a column of texts."""

    def encoded(self, group, name, names, kind):
        """Writes names as an index; every kind stands for the same names, and categories are in another order."""
        del group[name]
        order = np.argsort([n[::-1] for n in names])
        place = np.argsort(order)
        levels = texts([names[i] for i in order])
        if kind == "categorical":
            part = group.create_group(name)
            part.attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
            part["codes"], part["categories"] = place.astype(np.int8), levels
        elif kind == "nullable":
            part = group.create_group(name)
            part.attrs.update({"encoding-type": "nullable-string-array", "encoding-version": "0.1.0"})
            part["values"], part["mask"] = texts(names), np.zeros(len(names), bool)
        elif kind == "nullable levels":
            part = group.create_group(name)
            part.attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
            part["codes"] = place.astype(np.int16)
            part["categories/values"], part["categories/mask"] = levels, np.zeros(len(names), bool)
        elif kind == "referred":
            group[f"__categories/{name}"] = levels
            group[name] = place.astype(np.int8)
            group[name].attrs["categories"] = group[f"__categories/{name}"].ref
        else:
            group[name] = texts(names, 8) if kind == "fixed" else np.array([int(n.lstrip("cgen")) for n in names])

    def test_every_encoding(self):
        kinds = ("categorical", "nullable", "nullable levels", "referred", "fixed", "whole")
        counts, cells, genes = small_counts(), [f"c{i}" for i in range(40)], [f"gene{j}" for j in range(12)]
        for i, kind in enumerate(kinds):
            path = self.make(f"{i}.h5ad", counts=counts, layers={"counts": counts})
            with h5py.File(path, "r+") as f:
                f.copy("X", f, "raw/X")
                f.copy("var", f, "raw/var")
                for table, names in (("obs", cells), ("var", genes), ("raw/var", genes)):
                    self.encoded(f[table], "_index", names, kind)
        loaded = self.load_each(*[(f"{i}.h5ad", f"--embed=out{i}.h5ad", "data.matrix=raw/X") for i in range(len(kinds))], ranks=2)
        for i, (kind, one) in enumerate(zip(kinds, loaded)):
            with self.subTest(kind):
                self.same(one, counts)
                strip = (lambda n: n.lstrip("cgen")) if kind == "whole" else (lambda n: n)
                self.assertEqual(one["gene"], [strip(n) for n in genes])
                self.assertEqual(list(anndata.read_h5ad(self.path(f"out{i}.h5ad")).obs_names), [strip(n) for n in cells])
        self.assertEqual([list(self.inspect("0.h5ad")["obs"]), self.inspect("0.h5ad")["genes"]], [[], 12])

    def test_no_name(self):
        """Of a gene an error, of a cell in a message about another thing none."""
        cases = []
        for i, (table, words) in enumerate((("var", ["var/_index has no name for gene 3"]), ("obs", ["X, row 33, gene 'gene0': negative"]))):
            path = self.make(f"{i}.h5ad")
            with h5py.File(path, "r+") as f:
                self.encoded(f[table], "_index", [f"{table}{j}" for j in range(len(f[table]["_index"]))], "categorical")
                f[f"{table}/_index/codes"][3 if table == "var" else 33] = -1
                f["X/data"][f["X/indptr"][33]] = -1
            cases.append((words, path))
        self.fails_each(cases)

    def test_bad_codes(self):
        path = self.make()
        with h5py.File(path, "r+") as f:
            self.encoded(f["var"], "_index", [f"gene{j}" for j in range(12)], "categorical")
            f["var/_index/codes"][3] = 12
        self.fails(["var/_index/codes, row 3: code 12 of 12 names; the file is damaged"], path, ranks=(1,))


class Anndata06(FormatTest):
    """Tables are compound datasets, their categories in uns, sparse matrices have h5sparse attributes."""

    def test_published(self):
        names = ("mini_mat.anndata-v0.6.22.h5ad", "TM_droplet_mat.h5ad")
        for name, loaded in zip(names, self.load_everywhere_each(*[(published(name),) for name in names])):
            with self.subTest(name), h5py.File(published(name)) as f:
                import scipy.sparse
                x = f["X"]
                counts = scipy.sparse.csr_matrix((x["data"][:], x["indices"][:], x["indptr"][:]), x.attrs["h5sparse_shape"])
                self.same(loaded, counts.toarray())
                self.assertEqual(loaded["gene"], [v[0].decode() for v in f["var"][:]])
                self.assertIn("there are none", self.run_load((published(name), "data.batch_keys=b")).stderr)
                self.load(published(name), "--embed=out.h5ad")
                self.assertEqual(list(anndata.read_h5ad(self.path("out.h5ad")).obs_names), [v[0].decode() for v in f["obs"][:]])

    def write(self, name="old.h5ad", strings="S9", dense=False):
        """As 0.6 writes; 0.5 has the same with strings of fixed length."""
        import scipy.sparse
        self.counts, n = small_counts(), 40
        kind = h5py.string_dtype() if strings == "O" else strings
        self.codes = spread(np.arange(n) % 3)
        obs = np.zeros(n, np.dtype([("index", kind), ("n_counts", "f4"), ("type", "i1"), ("plate", "i8"), ("text", kind),
                                    ("flag", bool), ("one", "i1")]))
        obs["index"], obs["text"] = texts([f"c{i}" for i in range(n)]), texts([f"t{i % 2}" for i in range(n)])
        obs["n_counts"], obs["type"], obs["plate"], obs["flag"] = self.counts.sum(1), self.codes, np.arange(n) % 4 - 1, np.arange(n) % 3 == 0
        genes = np.zeros(12, np.dtype([("index", kind), ("n", "i4")]))
        genes["index"] = texts([f"gene{j}" for j in range(12)])

        def sparse(f, path, matrix):
            matrix = scipy.sparse.csr_matrix(matrix)
            group = f.create_group(path)
            group.attrs.update({"h5sparse_format": b"csr", "h5sparse_shape": np.array(matrix.shape)})
            for part in ("data", "indices", "indptr"):
                group.create_dataset(part, data=getattr(matrix, part), maxshape=(None,), compression="gzip")

        def fill(f):
            f["obs"], f["var"], f["raw.var"] = obs, genes[:5], genes
            f["uns/type_categories"], f["uns/one_categories"] = texts(["T", "B", "NK"]), texts(["only"])
            f["uns/louvain_colors"] = texts(["#fff"])
            if dense:
                f["X"] = np.log1p(self.counts[:, :5])
            else:
                sparse(f, "X", np.log1p(self.counts[:, :5]))
            sparse(f, "raw.X", self.counts)

        self.obs = obs
        return self.create(name, fill)

    def test_layout(self):
        for strings in ("S9", "O"):
            with self.subTest(strings):
                path = self.write(strings=strings, dense=strings == "S9")
                loaded = self.load_everywhere(path, "data.batch_keys=[plate, text, flag, one]", "data.label_key=type")
                self.same(loaded, self.counts)
                self.assertEqual((loaded["matrix"], loaded["gene"]), ("raw/X", [f"gene{j}" for j in range(12)]))
                self.assertEqual([loaded[key] for key in ("plate", "text", "flag", "one", "label")],
                                 [["-1", "0", "1", "2"], ["t0", "t1"], ["False", "True"], ["only"], ["T", "B", "NK"]])
                rows, i = np.arange(1, 41), np.arange(40)
                self.assertEqual(loaded["level_checksum"], int(rows @ (i % 4 + 1 + i % 2 + 5 + (i % 3 == 0) + 7 + 9)))
                self.assertEqual(loaded["label_checksum"], int(rows @ (self.codes.astype(np.int64) + 1)))
                seen = self.inspect(path)
                self.assertEqual([seen["obs"]["type"]["counts"][key] for key in ("T", "B", "NK")], list(np.bincount(self.codes + 1, minlength=4)[1:]))
                self.assertEqual((seen["auto"], seen["encoding"]), ("raw/X", "anndata 0.6"))
        self.fails(["obs has no column 'typ'", "n_counts, type, plate, text, flag, one", "did you mean 'type'?"], path, "data.batch_keys=typ", code=2)
        self.fails(["obs/n_counts holds floats"], path, "data.batch_keys=n_counts")

    def test_embedding_has_the_columns(self):
        self.load(self.write(), "--embed=out.h5ad", ranks=2)
        data = anndata.read_h5ad(self.path("out.h5ad"))
        self.assertEqual(list(data.obs_names), [f"c{i}" for i in range(40)])
        self.assertEqual(list(data.obs.columns)[:6], ["n_counts", "type", "plate", "text", "flag", "one"])
        for name in ("n_counts", "plate", "flag"):
            self.assertEqual((list(data.obs[name]), data.obs[name].dtype), (list(self.obs[name]), self.obs[name].dtype), name)
        self.assertEqual(list(data.obs["text"]), [f"t{i % 2}" for i in range(40)])
        self.assertEqual((list(data.obs["type"].cat.codes), list(data.obs["type"].cat.categories)), (list(self.codes), ["T", "B", "NK"]))

    def test_code_out_of_range(self):
        path = self.write()
        with h5py.File(path, "r+") as f:
            row = f["obs"][35]
            row["type"] = 3
            f["obs"][35] = row
        self.fails(["obs/type, row 35: code 3 of 3"], path, "data.label_key=type", ranks=(1, 4))


class Anndata013(FormatTest):
    """Strings as groups of values and a mask: the index, categories, columns."""

    def nullable(self, group, name, values, mask, kind="string-array"):
        part = group.create_group(name)
        part.attrs.update({"encoding-type": f"nullable-{kind}", "encoding-version": "0.1.0"})
        if kind == "string-array":
            part.attrs["na-value"] = "NA"
        part["values"] = texts(values) if kind == "string-array" else np.array(values)
        part["mask"] = np.array(mask, bool)

    def test_layout(self):
        counts, path = small_counts(), self.make()
        some = [i % 4 == 1 for i in range(40)]
        with h5py.File(path, "r+") as f:
            for table, names in (("obs", [f"c{i}" for i in range(40)]), ("var", [f"symbol{j}" for j in range(12)])):
                del f[f"{table}/_index"]
                self.nullable(f[table], "_index", names, [False] * len(names))
            obs = f["obs"]
            obs.create_group("type").attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
            obs["type/codes"] = spread(np.arange(40) % 2)
            self.nullable(obs["type"], "categories", ["B", "A"], [False, False])
            self.nullable(obs, "name", [f"n{i % 3}" for i in range(40)], some)
            self.nullable(obs, "full", [f"n{i % 3}" for i in range(40)], [False] * 40)
            self.nullable(obs, "number", [i % 5 for i in range(40)], some, "integer")
            self.nullable(obs, "flag", [i % 2 == 0 for i in range(40)], some, "boolean")
            obs.attrs["column-order"] = np.array(["type", "name", "full", "number", "flag"], dtype=object)
        loaded = self.load_everywhere(path, "data.batch_keys=full", "data.label_key=type")
        self.same(loaded, counts)
        self.assertEqual((loaded["gene"][11], loaded["full"], loaded["label"]), ("symbol11", ["n0", "n1", "n2"], ["B", "A"]))
        for label, levels in (("name", ["n0", "n1", "n2"]), ("number", list("01234")), ("flag", ["False", "True"])):
            values = [levels.index(v) for v in {"name": [f"n{i % 3}" for i in range(40)], "number": [str(i % 5) for i in range(40)],
                                                "flag": [str(i % 2 == 0) for i in range(40)]}[label]]
            codes = np.where(some, -1, values)
            self.assertEqual(self.load(path, f"data.label_key={label}")["label_checksum"], int(np.arange(1, 41) @ (codes + 1)), label)
        self.fails(["obs/name has no value for 10 of 40"], path, "data.batch_keys=name")
        self.load(path, "--embed=out.h5ad", ranks=2)
        data = anndata.read_h5ad(self.path("out.h5ad"))
        self.assertEqual(list(data.obs_names), [f"c{i}" for i in range(40)])
        self.assertEqual(list(data.obs["number"].isna()), some)
        self.assertEqual(list(data.obs["name"].isna()), some)
        self.assertEqual(list(data.obs["full"]), [f"n{i % 3}" for i in range(40)])
        seen = self.inspect(path)["obs"]
        self.assertEqual((seen["type"]["levels"], seen["flag"]["missing"]), (2, 10))


if __name__ == "__main__":
    main()
