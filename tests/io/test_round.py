"""Counts that are not quite whole: refused, or with data.round taken as the whole number, whatever the way they are read."""
import json
import re

from support import FormatTest, h5py, main, np, small_counts


class Round(FormatTest):
    def write(self, name, counts, off, kind="csr", dtype="f4"):
        """counts + off, stored so; off is zero where the count is."""
        import scipy.sparse
        values = np.where(counts > 0, counts.astype(np.float64) + off, 0)
        path = self.make(name, counts=counts)
        sparse = {"csr": scipy.sparse.csr_matrix, "csc": scipy.sparse.csc_matrix}
        with h5py.File(path, "r+") as f:
            del f["X"]
            if kind == "dense":
                f["X"] = values.astype(dtype)
                return path
            matrix = sparse[kind](values)
            group = f.create_group("X")
            group.attrs.update({"encoding-type": f"{kind}_matrix", "encoding-version": "0.1.0", "shape": np.array(counts.shape)})
            for part, data in (("data", matrix.data.astype(dtype)), ("indices", matrix.indices), ("indptr", matrix.indptr)):
                group.create_dataset(part, data=data, chunks=(min(50, len(data)),), compression="gzip")
        return path

    def rounded(self, loaded):
        return [int(line.split()[1]) for line in loaded["log"] if line.startswith("round ")]

    def test_the_same_counts_by_every_way(self):
        """CSR past HDF5 and through it, CSC, dense; in memory, streamed, from copies; 1 and 2 ranks; with a choice of genes."""
        counts = np.minimum(small_counts(), 300)
        off = np.random.default_rng(1).choice([-4e-4, 3e-4, 0, 0], counts.shape)
        n = int(((off != 0) & (counts > 0)).sum())
        whole = self.write("whole.h5ad", counts, np.zeros(counts.shape))
        files = [self.write(f"{kind}{dtype}.h5ad", counts, off, kind, dtype) for kind, dtype in
                 (("csr", "f4"), ("csr", "f8"), ("csr", ">f4"), ("csc", "f4"), ("csc", "f8"), ("dense", "f4"))]
        ways = ((), ("data.residence=stream",), ("data.residence=stream", "data.cache=all", "data.genes.n_top=7"))
        plain = self.load_each(*[(whole, *way) for way in ways])
        requests = [(path, "data.round=0.001", *way) for path in files for way in ways]
        for ranks in (1, 2):
            for i, (request, loaded) in enumerate(zip(requests, self.load_each(*requests, ranks=ranks))):
                with self.subTest(request=request, ranks=ranks):
                    self.assertEqual((loaded["hash"], loaded["gene"]), (plain[i % 3]["hash"], plain[i % 3]["gene"]))
                    self.assertEqual(self.rounded(loaded), [n])
        self.assertEqual(self.rounded(plain[0]), [])

    def test_rows_that_are_out_of_order_and_columns_of_other_types(self):
        """Genes that descend take another way; features of other types are not counted."""
        counts = np.ones((40, 12), np.float32)
        path = self.write("a.h5ad", counts, np.full(counts.shape, 1e-5), dtype="f8")
        with h5py.File(path, "r+") as f:
            f["X/indices"][:] = np.tile(np.arange(11, -1, -1), 40)
            group = self.create("b.h5", lambda t: [f.copy(f"X/{part}", t.create_group("matrix") if part == "data" else t["matrix"])
                                                   for part in ("data", "indices", "indptr")])
        with h5py.File(group, "r+") as f:
            f["matrix/indices"][:] = np.tile(np.arange(12), 40)
            f["matrix/barcodes"] = np.array([f"c{i}" for i in range(40)], "S8")
            f["matrix/features/name"] = np.array([f"gene{j}" for j in range(12)], "S8")
            f["matrix/features/feature_type"] = np.array(["Gene Expression", "Other"] * 6, "S20")
        descending, typed = self.load_each(("data.round=2e-5", path), ("data.round=2e-5", group))
        self.same(descending, counts)
        self.same(typed, counts[:, ::2])
        self.assertEqual((self.rounded(descending), self.rounded(typed)), ([480], [240]))

    def test_refused(self):
        """Without the key the message names it; what is farther off, negative or too large stays an error."""
        counts = small_counts()
        near = self.write("near.h5ad", counts, np.full(counts.shape, -2e-4))
        self.fails_each([(["is not a whole number, but nearly", "set data.round: 0.001 to take"], near),
                         (["is not a whole number, but nearly", "data.round: 0.001"], near, "data.round=0.0001", "data.residence=stream"),
                         (["2.25 is not a whole number"], self.write("far.h5ad", counts, np.full(counts.shape, 0.25)), "data.round=0.1"),
                         (["16777216 is 2^24 or more"], self.write("large.h5ad", np.full((4, 3), 2**24 - 1.0), 0.95, dtype="f8"),
                          "data.round=0.1")], ranks=(1, 2))

    def test_through_the_program(self):
        """Train, go on, and another tolerance refused; inspect sees counts with the key only."""
        counts = np.minimum(small_counts(), 300)
        near = self.write("near.h5ad", counts, np.full(counts.shape, -2e-4))
        seen = [json.loads(self.run_program("inspect", near, "--json", *words).stdout)["auto"] for words in ((), ("data.round=0.001",))]
        self.assertEqual(seen, [None, "X"])
        words = ("train", f"data.train={near}", "output={dir: run, embedding: false}")
        first, = self.run_trainings((*words, "data.round=0.001"))
        self.assertEqual((first.returncode, first.stderr), (0, ""))
        self.assertRegex(first.stdout, rf"round   {int((counts > 0).sum())} values taken as the whole number within 0.001")
        other, = self.run_trainings((*words, "data.round=0.002"))
        self.assertEqual(other.returncode, 2, other.stderr)
        self.assertRegex(other.stderr, r"belongs to another model or order of cells \(data\.round: 0\.001, here 0\.002\)")


if __name__ == "__main__":
    main()
