"""Packed copies on disk of cells that are streamed: whatever a matrix is stored as, the same rows come from them, in the
same batches, and the copy takes little memory and leaves nothing."""
import os
import unittest
import zlib

from support import FEW, FormatTest, h5py, main, np, small_counts

RANKS = (2,) if FEW else (2, 4)


def store(path, kind, **how):
    """Writes the matrix of an h5ad that is stored by cells anew: dense, csc, or csr with other filters or types."""
    import scipy.sparse
    with h5py.File(path, "r+") as f:
        attributes = dict(f["X"].attrs)
        rows, columns = attributes["shape"]
        matrix = scipy.sparse.csr_matrix(tuple(f["X"][part][()] for part in ("data", "indices", "indptr")),
                                         (rows, columns))
        del f["X"]
        if kind == "dense":
            chunks = how.get("chunks") and tuple(map(min, how["chunks"], (rows, columns)))
            f.create_dataset("X", data=matrix.toarray(), **{**how, "chunks": chunks})
            f["X"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
            return path
        matrix = matrix.tocsc() if kind == "csc" else matrix
        group = f.create_group("X")
        group.attrs.update({**attributes, "encoding-type": f"{kind}_matrix"})
        types = how.pop("types", ("<f4", "<i4", "<i4"))
        for part, of in zip(("data", "indices", "indptr"), types):
            values = getattr(matrix, part).astype(of)
            chunks = min(how.get("chunks", 50), values.size) or None
            group.create_dataset(part, data=values, dtype=of, **{**how, "chunks": chunks})
    return path


KINDS = (("csr", {"compression": "gzip"}), ("dense", {"chunks": (7, 11), "compression": "gzip"}),
         ("csc", {"compression": "gzip"}), ("csr", {"fletcher32": True}), ("dense", {}),
         ("csr", {"types": (">i4", "<i4", "<i4")}), ("csc", {"types": ("<f8", "<i8", "<i8")}))
SIZES = (130, 1, 300, 0, 37, 160, 5, 400, 90)  # most blocks of 16 rows begin or end within a file


class Cache(FormatTest):
    def make_files(self, folder, mixed, genes=30):
        """The same cells in files that are all stored by cells, or of all kinds in turn; one cell in nine has no counts."""
        random = np.random.default_rng(3)
        os.mkdir(self.path(folder))
        for i, rows in enumerate(SIZES):
            counts = small_counts(rows, genes, i) if rows > 0 else np.zeros((0, genes), np.float32)
            counts[:, :1] += 300  # wherever a row lies, its first count is in the list of large ones
            counts[random.random(rows) < 1 / 9] = 0
            path = self.make(f"{folder}/part{i}.h5ad", counts, {"donor": [f"d{j % 4}" for j in range(rows)]})
            kind, how = KINDS[i % len(KINDS)]
            if mixed and rows > 0:
                store(path, kind, **how)
        return self.path(f"{folder}/*.h5ad")

    def same(self, one, other, of=None):
        for key in set(one) - {"log", "stderr", "file"}:
            self.assertEqual(one[key], other[key], (key, of))

    def cached(self, loaded):
        """Bytes that its log says were copied."""
        lines = [line for line in loaded["log"] if line.startswith("cache:")]
        self.assertLessEqual(len(lines), 1)
        return float(lines[0].split()[1]) if lines else 0

    def test_rows_are_those_in_memory(self):
        plain, mixed = self.make_files("plain", False), self.make_files("mixed", True)
        names = self.path("genes.txt")
        with open(names, "w") as out:
            out.write("\n".join(f"gene{j}" for j in (3, 1, 17, 8)))
        for ask in ((), ("data.genes.n_top=7", "data.validation=0.3"), (f"data.genes.file={names}",)):
            ask = ("data.batch_keys=donor", "data.window=256", *ask)
            host, straight, copied = self.load_each(
                ("data.residence=host", *ask, plain), ("data.residence=stream", *ask, plain),
                ("data.residence=stream", "data.cache=all", *ask, plain))
            self.same(host, straight, ask)
            self.same(host, copied, ask)
            self.assertFalse(any("cache:" in line for line in straight["log"]))
            self.assertTrue(any("cache:" in line for line in copied["log"]))
            for ranks in (1, *RANKS):
                auto, copied = self.load_each(("data.residence=stream", *ask, mixed),
                                              ("data.residence=stream", "data.cache=all", *ask, mixed), ranks=ranks)
                self.same(host, auto, (ask, ranks))
                self.same(host, copied, (ask, ranks))

    def test_many_genes(self):
        """32-bit genes, and chunks of more rows than are read at a time."""
        counts = small_counts(70, 66000, 1)
        counts[:, 100:65900] = 0
        plain = self.make("plain.h5ad", counts, compression="gzip")
        ask = ("data.residence=stream", "data.window=256")
        first = self.load(*ask, plain)
        for kind, how in (("dense", {"chunks": (64, 1000), "compression": "gzip"}), ("csc", {"compression": "gzip"})):
            path = store(self.make("other.h5ad", counts), kind, **how)
            self.same(first, self.load(*ask, path), kind)

    def test_batches_are_the_same(self):
        plain, mixed = self.make_files("plain", False), self.make_files("mixed", True)
        common = ("data.residence=stream", "data.batch_keys=donor", "train.batch_size=64", "data.window=256")
        requests = [(*common, f"--epoch={epoch}", f"--first_batch={first}", *where)
                    for epoch, first in ((0, 0), (3, 0), (3, 5)) for where in ((plain,), (mixed,), ("data.cache=all", plain))]
        for ranks in (1, *RANKS):
            traced = self.load_each(*requests, ranks=ranks)
            self.assertGreater(traced[0]["windows"], 3)
            for i in range(0, len(traced), 3):
                self.assertEqual(traced[i]["batches"], traced[i + 1]["batches"], (requests[i], ranks))
                self.assertEqual(traced[i]["batches"], traced[i + 2]["batches"], (requests[i], ranks))

    def test_bad_values_are_named(self):
        """As in memory, whatever the matrix is stored as: the file, the cell and the gene."""
        counts = small_counts(500, 30, 1)
        counts[340, 7], counts[320, 3] = 0.5, -1  # by cells the second comes first, by genes too
        counts[330, 2] = np.nan
        cases = []
        for name, kind, how in (("dense.h5ad", "dense", {"chunks": (7, 11)}), ("csc.h5ad", "csc", {}),
                                ("other.h5ad", "csr", {"fletcher32": True})):
            path = store(self.make(name, counts), kind, **how)
            cases.append(((name, "row 320", "cell320", "gene3", "negative count -1"),
                          "data.residence=stream", "data.window=256", path))
        for name, where, index, words in (
                ("outside.h5ad", 5, 10**6, ("cell index 1000000 is outside 0 .. 499", "damaged")),
                ("negative.h5ad", 5, -1, ("cell index -1 is outside 0 .. 499", "damaged")),
                ("repeated.h5ad", 1, None, ("gene 'gene0' is repeated", "sum_duplicates"))):
            path = store(self.make(name, small_counts(500, 30, 1)), "csc")
            with h5py.File(path, "r+") as f:
                f["X/indices"][where] = f["X/indices"][0] if index is None else index
            cases.append(((name, *words), "data.residence=stream", "data.window=256", path))
        self.fails_each(cases)

    def test_where_the_copy_cannot_be(self):
        path = self.make("cells.h5ad", small_counts(50), dense=True)
        ask = ("data.residence=stream", "data.window=256", path)
        self.fails_each([(("/nowhere/at/all", "No such file", "data.cache_dir"), "data.cache_dir=/nowhere/at/all", *ask),
                         ((path, "Not a directory", "data.cache_dir"), f"data.cache_dir={path}", *ask)], code=5)


    def tables(self, f, rows, genes):
        """Names of cells that are not written, and of genes."""
        f.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for name, n in (("obs", rows), ("var", genes)):
            table = f.create_group(name)
            table.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
            table.attrs["column-order"] = np.zeros(0, "f8")
        f["var/_index"] = np.array([f"g{j}" for j in range(genes)], "S8")
        f["obs"].create_dataset("_index", (rows,), "S1")[rows - 1] = b"x"

    def many_cells(self, kind, rows):
        """A file of 100 genes in which a cell has 50 counts, or 100 in a dense matrix. Returns its path and how many."""
        path = self.path(f"{kind}{rows}.h5ad")
        with h5py.File(path, "w") as f:
            self.tables(f, rows, 100)
            if kind != "csc":
                chunk = (500, 50) if kind == "dense" else (50000, 10)
                ones = zlib.compress(np.ones(chunk, np.uint8).tobytes(), 1)
                x = f.create_dataset("X", (rows, 100), "u1", chunks=chunk, compression="gzip")
                x.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
                for row in range(0, rows, chunk[0]):
                    for column in range(0, 100, chunk[1]):
                        x.id.write_direct_chunk((row, column), ones)
                return path, 100 * rows
            x = f.create_group("X")
            x.attrs.update({"encoding-type": "csc_matrix", "encoding-version": "0.1.0", "shape": (rows, 100)})
            x["indptr"] = np.arange(101, dtype=np.int64) * (rows // 2)
            x["indices"] = np.concatenate([np.arange(j % 2, rows, 2, dtype=np.int32) for j in range(100)])
            x["data"] = np.full(50 * rows, 3, np.uint8)
        return path, 50 * rows

    @unittest.skipIf(FEW, "a sanitizer keeps what is freed")
    def test_memory_and_passes_do_not_grow(self):
        """10^5 and four times as many cells, the same memory; and the matrix is read once, the copy too, what lies
        between twice; before it all of a file for its stamp, at most 64 MiB."""
        # what depends on luck: the number of arenas
        os.environ.update(MALLOC_ARENA_MAX="1")
        self.addCleanup(os.environ.pop, "MALLOC_ARENA_MAX")
        for kind in ("csc", "dense", "dense in long chunks"):
            peaks = []
            for rows in (100000, 400000):
                path, values = self.many_cells(kind, rows)
                used = self.load("data.residence=stream", "data.window=1024", "data.check_seconds=0", "--usage", path)
                self.assertEqual(used["nnz"], values)
                peaks.append(used["peak_kb"] / 1000)
                between = 6 * values if kind != "dense" else 0
                size = os.path.getsize(path)
                stamp = min(size, 64 << 20)
                self.assertLess(used["read"], 1.1 * (size + between + 3 * values + 16 * rows) + stamp + 2e6, (kind, rows))
                os.remove(path)
            # in memory the larger ones take 60 and 120 MB more
            self.assertLess(peaks[1], 1.05 * peaks[0] + 8, (kind, peaks))
            self.assertLess(peaks[1], 110, kind)

    def test_auto_counts_what_a_matrix_holds(self):
        """Before it is read: whether it fits into memory."""
        counts = small_counts(23000, 100, 2)
        counts[:, 50:] = 0
        plain = self.make("plain.h5ad", counts)
        need = 3 * int((counts > 0).sum()) + 24 * len(counts)
        self.assertTrue(0.75 < 2e6 / need < 0.85 and 1.15 < 3e6 / need < 1.25, need)
        for kind, how in (("csr", {}), ("csc", {}), ("dense", {}), ("dense", {"chunks": (1000, 10)})):
            path = store(self.make("other.h5ad", counts), kind, **how)
            small, large = self.load_each(("data.memory_mb=2", "data.window=256", path),
                                          ("data.memory_mb=3", "data.window=256", path))
            self.assertTrue(any("residence: stream" in line for line in small["log"]), kind)
            self.assertFalse(any("residence: stream" in line for line in large["log"]), kind)
            self.same(small, large, kind)
            self.same(small, self.load(plain), kind)


if __name__ == "__main__":
    main()
