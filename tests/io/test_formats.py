"""Files of other programs and of older ones: published files, and files in exactly their layouts made with h5py."""
import os

from support import DATA, IoTest, anndata, h5py, main, np, small_counts, sums


def published(name):
    return os.path.join(DATA, "as_found", name)


def texts(values, width=None):
    """Names as files hold them: of variable length, or of a fixed one."""
    return np.array([v.encode() for v in values], dtype=f"S{width}" if width else h5py.string_dtype())


class FormatTest(IoTest):
    def same(self, loaded, counts):
        expected = sums(counts)
        self.assertEqual({key: loaded[key] for key in expected}, expected)

    def create(self, name, fill):
        with h5py.File(self.path(name), "w") as f:
            fill(f)
        return self.path(name)


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
        default, *each = self.load_everywhere_each((path,), *[(path, f"matrix={kind}") for kind in chosen])
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
                   path, "matrix=Antibody capture", code=2)

    def test_no_gene_expression(self):
        counts = small_counts()
        path = self.write_v3("a.h5", counts, ["Antibody Capture", "Custom"] * 6)
        self.fails(["a.h5", "data.matrix must say", "Antibody Capture, Custom"], path, code=2)
        self.same(self.load(self.write_v3("b.h5", counts, ["Antibody Capture"] * 12)), counts)

    def test_repeated_names_are_made_unique_among_the_chosen(self):
        names = ["A", "A", "A", "B"] + [f"gene{j}" for j in range(4, 12)]
        path = self.write_v3("a.h5", small_counts(), self.TYPES, parts={"features/name": names})
        self.assertEqual(self.load(path)["gene"][:3], ["A", "A-1", "gene4"])
        self.assertEqual(self.load(path, "matrix=Antibody Capture")["gene"][:1], ["A"])

    def test_genomes(self):
        both = [small_counts(seed=seed) for seed in (1, 2)]

        def fill(f):
            for genome, counts in zip(("GRCh38", "mm10"), both):
                genes = [f"{genome}_{j}" for j in range(12)]
                write_10x(f.create_group(genome), counts, {"genes": genes, "gene_names": genes})

        path = self.create("two.h5", fill)
        self.fails(["two.h5", "data.matrix must say", "GRCh38, mm10"], path, code=2)
        self.fails(["no matrix 'mm1'", "did you mean 'mm10'?"], path, "matrix=mm1", code=2)
        for genome, counts, loaded in zip(("GRCh38", "mm10"), both, self.load_each((path, "matrix=GRCh38"), (path, "matrix=mm10"))):
            self.same(loaded, counts)
            self.assertEqual(loaded["gene"][11], f"{genome}_11")

    def test_embedding_has_the_barcodes(self):
        path = self.write_v3("a.h5", small_counts(), self.TYPES)
        self.load(path, "embed=out.h5ad", ranks=2)
        data = anndata.read_h5ad(self.path("out.h5ad"))
        self.assertEqual(list(data.obs_names), [f"cell{i}-1" for i in range(40)])
        self.assertEqual(list(data.obs.columns), ["gmvae_cluster", "gmvae_neg_elbo"])

    def test_with_h5ad_of_the_same_genes(self):
        counts = small_counts()
        path = self.write_v3("a.h5", counts)
        loaded = self.load_everywhere(path, self.make("b.h5ad", counts=counts))
        self.same(loaded, np.vstack([counts, counts]))

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
             "matrix=a"),
            (["matrix/features/name is missing"], spoil("e.h5", "matrix/features")),
            (["no valid attribute 'shape'"], spoil("f.h5", "matrix/shape", np.array([12]))),
            (["matrix/indptr is missing"], spoil("g.h5", "matrix/indptr"))], ranks=(1, 4))
        self.fails(["obs has no column 'b'", "there are none"], self.write_v3("h.h5", small_counts()), "batch=b", code=2)


class Refused(FormatTest):
    def test_loom(self):
        def fill(f):
            f["matrix"] = small_counts().T
            f["row_attrs/Gene"] = texts([f"gene{j}" for j in range(12)])
            f["col_attrs/CellID"] = texts([f"cell{i}" for i in range(40)])

        self.fails(["cells.loom", "Loom", "read_loom('", "write_h5ad"], self.create("cells.loom", fill))


if __name__ == "__main__":
    main()
