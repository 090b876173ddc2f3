"""Cells that stay on disk: what is read is what is there, and every cell comes once an epoch, in the same batches for
every number of ranks."""
import glob
import os
import unittest
import zlib

from support import IoTest, anndata, h5py, main, np, published, small_counts

FEW = os.environ.get("GMVAE_TEST_FEW", "0") not in ("", "0")
DEEP = os.environ.get("GMVAE_TEST_DEEP", "0") not in ("", "0")
LARGE = os.environ.get("GMVAE_TEST_LARGE", "0") not in ("", "0")
RANKS = (1, 3) if FEW else range(1, 9) if DEEP else (1, 2, 3, 8)
SIZES = (1, 700, 37, 0, 300, 5, 163)  # no rank's share is a file, and most shards lie in two


class Stream(IoTest):
    def make_files(self):
        """Files of very different sizes, one without cells; about one cell in nine has no counts."""
        random = np.random.default_rng(3)
        for i, rows in enumerate(SIZES):
            counts = small_counts(rows, 30, i) if rows > 0 else np.zeros((0, 30), np.float32)
            counts[:, 0] += 300  # wherever a row lies, its first count is in the list of large ones
            counts[random.random(rows) < 1 / 9] = 0
            obs = {"donor": [f"d{j % 4}" for j in range(rows)], "site": [f"s{j % 3}" for j in range(rows)]}
            self.make(f"part{i}.h5ad", counts, obs, compression="gzip")
        return self.path("part*.h5ad"), sum(SIZES)

    def both(self, *arguments):
        """The same sums from disk as from memory."""
        host, stream = self.load_each((*arguments, "data.residence=host"), ("data.residence=stream", "data.window=256", *arguments))
        for key in set(host) - {"log", "stderr"}:
            self.assertEqual(stream[key], host[key], (arguments, key))
        return stream

    def test_rows_are_those_in_memory(self):
        pattern, _ = self.make_files()
        loaded = self.both("data.batch_keys=[donor, site]", pattern)
        self.assertEqual(loaded["cells"], sum(SIZES))
        self.assertIn("part3.h5ad: X has no cells", loaded["stderr"])
        names = self.path("genes.txt")
        with open(names, "w") as out:
            out.write("\n".join(f"gene{j}" for j in (3, 1, 17, 8)))
        self.both(f"data.genes.file={names}", pattern)
        self.make("part7.h5ad", small_counts(90, 12, 9), {"donor": ["d9"] * 90, "site": ["s1"] * 90})
        masked = self.both(f"data.genes.file={names}", "data.batch_keys=@file", pattern)
        self.assertLess(masked["present"], 4 * masked["cells"])
        os.remove(self.path("part7.h5ad"))
        self.both("data.validation=0.3", "data.label_key=donor", pattern)
        self.both("data.genes.n_top=7", "data.validation=0.3", pattern)
        self.both("data.genes.n_top=7", "data.genes.flavor=seurat_v3", pattern)

    def test_several_threads(self):
        """Blocks end in the order in which they began, whoever reads them."""
        self.threads = "5"
        pattern, _ = self.make_files()
        self.both("data.batch_keys=donor", pattern)
        self.both("data.genes.n_top=7", "data.validation=0.3", pattern)

    def test_stored_zeros(self):
        """They are no values of a slot, but take its room while they are read."""
        import pandas
        import scipy.sparse
        counts = scipy.sparse.csr_matrix(np.ones((400, 30), np.float32))
        counts.data[np.random.default_rng(5).random(counts.nnz) < 0.9] = 0
        path = self.make("zeros.h5ad")
        with h5py.File(path, "a") as f:
            del f["X"]
            anndata.io.write_elem(f, "X", counts)
            anndata.io.write_elem(f, "obs", pandas.DataFrame(index=[f"c{i}" for i in range(400)]))
            anndata.io.write_elem(f, "var", pandas.DataFrame(index=[f"g{j}" for j in range(30)]))
        for window in (256, 10000):
            loaded = self.both(f"data.window={window}", "data.shards=4", path)
            self.assertEqual(loaded["nnz"], np.count_nonzero(counts.data))

    def test_storage(self):
        """Types, chunks and filters that are read past HDF5."""
        counts = small_counts(300, 20, 1)
        path = self.make("plain.h5ad", counts)
        self.both(path)
        for name, filters, types, chunk in (
                ("lzf", {"compression": "lzf", "shuffle": True}, ("i4", "f4", "i4"), 700),
                ("wide", {"compression": "gzip"}, ("i8", "f8", "i8"), 64),
                ("narrow", {}, ("u1", "u2", "u2"), None)):
            with h5py.File(path) as source, h5py.File(self.path(name), "w") as f:
                for key in source:
                    source.copy(key, f)
                for part, kind in zip(("indices", "data", "indptr"), types):
                    values = source["X"][part][()]
                    del f["X"][part]
                    values = np.minimum(values, 60000) if kind == "u2" and part == "data" else values
                    f["X"].create_dataset(part, data=values.astype(kind), 
                                          chunks=chunk and (min(chunk, values.size),), **filters)
            self.both(self.path(name))

    def test_published_files(self):
        """10x of two versions, and every old h5ad that is stored by cells."""
        read = 0
        for path in sorted(glob.glob(published("*.h5*"))):
            done = self.run_load(("data.residence=stream", "data.window=256", "data.cache=none", path))
            if done.returncode == 0:
                self.both(path)
                read += 1
            elif "is a CSC matrix" not in done.stderr and "is a dense matrix" not in done.stderr:
                self.assertNotEqual(self.run_load(("data.residence=host", path)).returncode, 0, (path, done.stderr))
        self.assertGreaterEqual(read, 3)

    def epoch(self, *arguments, ranks=1):
        """Per request: which batches there are."""
        return self.load_each(*arguments, ranks=ranks)

    def test_every_cell_once(self):
        pattern, cells = self.make_files()
        filled = 0
        for path in glob.glob(pattern):
            filled += int((np.asarray(anndata.read_h5ad(path).X.sum(1)).ravel() > 0).sum())
        common = ("data.batch_keys=[donor, site]", "train.batch_size=64", pattern)
        requests = [(f"data.residence={where}", f"data.window={window}", f"--epoch={epoch}", *common)
                    for where, window in (("host", 256), ("stream", 256), ("stream", 512)) for epoch in (0, 5)]
        first = None
        for ranks in RANKS:
            traced = self.epoch(*requests, ranks=ranks)
            for request, trace in zip(requests, traced):
                self.assertEqual((trace["once"], trace["more"]), (filled, 0), (request, ranks))
                self.assertEqual(len(trace["batches"]), -(-filled // 64))
            first = first or traced
            self.assertEqual([t["batches"] for t in traced], [t["batches"] for t in first], ranks)
        self.assertGreater(first[2]["windows"], first[4]["windows"])
        self.assertGreater(first[4]["windows"], 1)
        self.assertEqual(len({tuple(t["batches"]) for t in first}), len(requests))  # every order is another

    def test_the_middle_of_an_epoch(self):
        """As a run that is continued: at any batch, those from there on are the same."""
        pattern, _ = self.make_files()
        common = ("data.residence=stream", "data.window=256", "train.batch_size=50", "--epoch=2", pattern)
        n = len(self.load_each(common)[0]["batches"])
        traced = self.load_each(*((f"--first_batch={t}", *common) for t in range(n)))
        for t, trace in enumerate(traced):
            self.assertEqual(trace["batches"][t:], traced[0]["batches"][t:], t)
            self.assertEqual(set(trace["batches"][:t]), {"0" * 16} if t > 0 else set())

    def test_held_out_cells_do_not_come(self):
        pattern, _ = self.make_files()
        common = ("train.batch_size=64", "--epoch=0", "data.validation=0.4", pattern)
        host, stream = self.load_each(("data.residence=host", *common), ("data.residence=stream", "data.window=256", *common))
        self.assertEqual((stream["once"], stream["more"]), (host["once"], 0))
        self.assertLess(stream["once"], 0.75 * sum(SIZES))

    def test_windows_mix_all_shards(self):
        """On cells sorted by type: types are spread over batches about as by a full shuffle, which is 1 (more where a
        type ends within a shard, as blocks come whole), and neighbours of the file meet once for every window that
        there is. One shard alone does not do it."""
        types = [f"type{j // 400}" for j in range(4000)]
        path = self.make("sorted.h5ad", small_counts(4000, 8), {"type": types})
        common = ("data.label_key=type", "train.batch_size=100", path)
        for epoch in (0, 1):
            memory, mixed, alone = self.load_each(
                *((f"data.residence={where}", "data.window=400", f"data.shards={shards}", f"--epoch={epoch}", *common)
                  for where, shards in (("host", 16), ("stream", 16), ("stream", 1))))
            self.assertEqual([(t["once"], t["more"]) for t in (memory, mixed, alone)], [(4000, 0)] * 3)
            self.assertGreaterEqual(mixed["windows"], 8)
            self.assertLess(memory["labels"], 1)
            self.assertLess(mixed["labels"], 2)
            self.assertLess(mixed["neighbours"], 1.2 * mixed["windows"])
            self.assertGreater(alone["labels"], 5)

    @unittest.skipUnless(LARGE, "takes minutes; set GMVAE_TEST_LARGE=1")
    def test_more_than_2_31_values(self):
        """Stored zeros, whose chunks are all alike, and counts behind them."""
        genes, rows = 1 << 16, (1 << 15) + 20
        with h5py.File(self.path("values.h5ad"), "w") as f:
            parts = self.tables(f, rows, genes)
            chunk = zlib.compress(np.arange(genes, dtype=np.int32).tobytes(), 1)
            empty = zlib.compress(np.zeros(genes, np.uint8).tobytes(), 1)
            parts["indptr"][...] = np.arange(rows + 1, dtype=np.int64) * genes
            for name, kind, bytes in (("indices", "i4", chunk), ("data", "u1", empty)):
                part = f["X"].create_dataset(name, (rows * genes,), kind, chunks=(genes,), compression="gzip")
                for row in range(rows):
                    part.id.write_direct_chunk((row * genes,), bytes)
            for row in (0, 3, rows - 1):
                f["X/data"][row * genes + 5:row * genes + 8] = (1, 2, row % 200 + 1)
        self.assertGreater(rows * genes, 1 << 31)
        loaded = self.load("data.residence=stream", "data.window=4096", "data.shards=64", self.path("values.h5ad"))
        expected = {"cells": rows, "nnz": 9, "sum": 9 + 1 + 4 + (rows - 1) % 200 + 1}
        self.assertEqual({key: loaded[key] for key in expected}, expected)

    @unittest.skipUnless(LARGE, "takes minutes; set GMVAE_TEST_LARGE=1")
    def test_more_than_2_31_rows(self):
        """Cells without a count, which take no place on disk, and a few that have some at the end."""
        rows, filled = (1 << 31) + 5000, 1000
        with h5py.File(self.path("rows.h5ad"), "w") as f:
            parts = self.tables(f, rows, 30)
            counts = small_counts(filled, 30, 3)
            lengths = (counts > 0).sum(1)
            parts["indptr"][rows - filled:] = np.concatenate([[0], np.cumsum(lengths)])
            f["X/indices"] = np.nonzero(counts)[1].astype(np.int32)
            f["X/data"] = counts[counts > 0]
        ask = ("data.residence=stream", "data.window=4096", "data.check_seconds=0", self.path("rows.h5ad"))
        traced = self.load(*ask, "train.batch_size=300", "--epoch=0")
        self.assertEqual((traced["once"], traced["more"], len(traced["batches"])), (filled, 0, 4))

    def tables(self, f, rows, genes):
        """Everything but the values of a matrix, with names that are not written."""
        f.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        x = f.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (rows, genes)})
        for name, n in (("obs", rows), ("var", genes)):
            table = f.create_group(name)
            table.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
            table.attrs["column-order"] = np.zeros(0, "f8")
        f["var/_index"] = np.array([f"g{j}" for j in range(genes)], "S8")
        f["obs"].create_dataset("_index", (rows,), "S1")[rows - 1] = b"x"
        return {"indptr": x.create_dataset("indptr", (rows + 1,), "i8")}

    def test_auto_takes_what_fits(self):
        path = self.make("cells.h5ad", small_counts(20000, 30))
        small, large = self.load_each(("data.memory_mb=1", path, "data.window=256"), ("data.memory_mb=10", path))
        self.assertTrue(any("residence: stream" in line for line in small["log"]))
        self.assertFalse(any("residence" in line for line in large["log"]))
        self.assertEqual({k: v for k, v in small.items() if k not in ("log", "stderr")},
                         {k: v for k, v in large.items() if k not in ("log", "stderr")})

    def test_what_cannot_be_streamed(self):
        import scipy.sparse
        counts = small_counts(20000, 30)
        dense = self.make("dense.h5ad", counts, dense=True)
        csc = self.make("csc.h5ad", counts, layers={"counts": scipy.sparse.csc_matrix(counts)})
        ask = ("data.residence=stream", "data.window=256", "data.cache=none")
        self.fails_each(((("dense.h5ad", "X is a dense matrix", "data.cache: auto"), *ask, dense),
                         (("csc.h5ad", "layers/counts is a CSC matrix", "data.cache: auto"), *ask, csc)), code=2)
        kept = self.load("data.memory_mb=1", "data.window=256", "data.cache=none", dense)
        self.assertIn("dense.h5ad cannot be read as a stream", kept["stderr"])


if __name__ == "__main__":
    main()
