"""What tells some cells from others is the same for every form of the same cells, and for no others."""
from support import IoTest, anndata, h5py, main, np, small_counts

CELLS, GENES = 90, 30


class Fingerprint(IoTest):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(2)
        self.counts = small_counts(CELLS, GENES, 2)
        self.counts[::7] = 0
        self.counts[4:70:9] += random.poisson(3.0, (8, GENES))  # enough values for the sample
        self.counts[1, 2], self.counts[2, 3] = 70000, 254
        self.obs = {"donor": [f"d{i % 4}" for i in range(CELLS)], "site": [f"s{i % 3}" for i in range(CELLS)]}

    def write(self, name, counts=None, obs=None, genes=None, matrix=None, rows=slice(None), **keywords):
        counts = (self.counts if counts is None else counts)[rows]
        obs = {key: list(np.array(values)[rows]) for key, values in {**self.obs, **(obs or {})}.items()}
        path = self.make(name, counts, obs, genes, **keywords)
        if matrix is not None:
            with h5py.File(path, "a") as f:
                del f["X"]
                anndata.io.write_elem(f, "X", matrix)
        return path

    def forms(self):
        """The same cells as many a program writes them: arguments of a request."""
        import scipy.sparse
        csr = scipy.sparse.csr_matrix(self.counts)
        loose = csr.copy()  # in no order, with stored zeros
        loose.indices, loose.data = np.empty(0, np.int32), np.empty(0, np.float64)
        for i in range(CELLS):
            columns = np.random.default_rng(i).permutation(np.union1d(csr[i].indices, [5, 6, 7]))
            loose.indices = np.append(loose.indices, columns).astype(np.int32)
            loose.data = np.append(loose.data, self.counts[i, columns])
            loose.indptr[i + 1] = len(loose.indices)
        plain = self.write("plain.h5ad")
        yield plain,
        yield self.write("packed.h5ad", matrix=csr.astype(np.int64), compression="gzip"),
        yield self.write("csc.h5ad", matrix=csr.tocsc()),
        yield self.write("dense.h5ad", dense=True),
        yield self.write("loose.h5ad", matrix=loose),
        order = np.random.default_rng(1).permutation(GENES)
        yield f"--known_from={plain}", self.write("genes.h5ad", self.counts[:, order], genes=[f"gene{j}" for j in order])
        yield self.write("a.h5ad", rows=slice(0, 31)), self.write("b.h5ad", rows=slice(31, None), dense=True)
        yield "data.shards=64", plain

    def test_forms_of_the_same_cells(self):
        """Files, storage, residence, shards and ranks do not matter."""
        requests = [("data.validation=0.3", "data.batch_keys=[donor, site]", *form) for form in self.forms()]
        requests += [(*request, "data.residence=stream", "data.window=256") for request in requests]
        some = {1: requests, 2: requests[1::2], 4: requests[::8]}
        prints = [loaded["fingerprint"] for ranks in some for loaded in self.load_each(*some[ranks], ranks=ranks)]
        self.assertEqual(len(prints), 16 + 8 + 2)
        self.assertEqual([print for print in prints if print != prints[0]], [])
        filled = int((np.count_nonzero(self.counts, axis=1) >= 20).sum())
        self.assertGreater(filled, 3)
        self.assertEqual((prints[0]["cells"], prints[0]["samples"], prints[0]["measured"]), (CELLS, filled, "0" * 16))
        self.assertEqual(len(set(prints[0].values())), len(prints[0]))

    def test_other_cells(self):
        """What changes is told from what does not."""
        plain = self.write("plain.h5ad")
        every, cells = {"counts", "order", "held_out", "donor", "site"}, []

        def other(name, changed, request=None, **change):
            cells.append((changed, request or ("data.validation=0.3", self.write(name, **change))))

        for i, (row, column, count) in enumerate(((8, 0, 1), (1, 2, 70001), (2, 3, 255))):
            counts = self.counts.copy()
            counts[row, column] += count if count == 1 else count - counts[row, column]
            other(f"count{i}.h5ad", every, counts=counts)
        counts = self.counts.copy()
        counts[8] = np.roll(counts[8], 1)
        other("gene.h5ad", every, counts=counts)
        other("level.h5ad", {"donor"}, obs={"donor": ["d3", *self.obs["donor"][1:]]})
        swapped = np.arange(CELLS)
        swapped[[1, 2]] = 2, 1
        other("order.h5ad", {"order", "held_out"}, rows=swapped)
        other("fewer.h5ad", every | {"cells", "genes"}, rows=slice(0, CELLS - 1))
        other("fraction", {"held_out"}, request=("data.validation=0.4", plain))
        other("name.h5ad", {"genes"}, genes=[*(f"gene{j}" for j in range(GENES - 1)), "another"])
        done = self.load_each(*(("data.batch_keys=[donor, site]", *request) for _, request in [(None, ("data.validation=0.3", plain)), *cells]))
        first = done[0]["fingerprint"]
        for (changed, request), loaded in zip(cells, done[1:]):
            found = {key for key in first if loaded["fingerprint"][key] != first[key]} - {"samples"}
            self.assertTrue(found == changed or found == changed - {"held_out"}, (request, found))

    def test_genes_in_use(self):
        """Of cells in memory all genes are read before they are chosen, of others those that were; and a gene without
        counts is not a gene that is not there."""
        self.counts[:, 4] = 0
        kept = [j for j in range(GENES) if j != 4]
        plain = self.write("plain.h5ad")
        lacks = self.write("lacks.h5ad", self.counts[:, kept], genes=[f"gene{j}" for j in kept])
        prints = [loaded["fingerprint"] for loaded in self.load_each(
            *((f"data.residence={residence}", *request) for residence in ("host", "stream")
              for request in (("data.genes.n_top=9", plain), (plain,), (f"--known_from={plain}", lacks))))]
        self.assertEqual(prints[:3], prints[3:])
        top, every, without, *_ = prints
        self.assertNotEqual(top["counts"], every["counts"])
        self.assertEqual(top["genes"], every["genes"])
        self.assertEqual(without["counts"], every["counts"])
        self.assertNotEqual(without["measured"], every["measured"])


if __name__ == "__main__":
    main()
