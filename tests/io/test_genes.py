"""Choice of variable genes against scanpy's highly_variable_genes(flavor="seurat_v3"), and inspect's statistics against
numpy.

usage: test_genes.py FOLDER-OF-gmvae_dist FOLDER-OF-load_cells
"""
import json
import subprocess
import sys

from support import DATA, IoTest, anndata, main, np, os

try:
    import scanpy
    import scipy.sparse
    import skmisc.loess  # which scanpy needs for it
except ImportError as missing:
    print(f"skipped: {missing}; set GMVAE_TEST_PYTHON to a Python with scanpy and scikit-misc")
    sys.exit(77)


def synthetic(cells=400, genes=900, seed=4):
    """Counts with means over five decades, genes that do not vary, cells without counts, and counts of 255 and more."""
    draw = np.random.default_rng(seed)
    mean = 10.0 ** draw.uniform(-2.5, 2.5, genes)
    rate = mean * draw.gamma(2.0, 0.5, (cells, genes)) * np.where(draw.random(genes) < 0.2, 1 + 8 * (np.arange(cells)[:, None] % 5 == 0), 1)
    counts = draw.poisson(rate)
    counts[:, :7] = 0
    counts[10:14] = 0
    counts[20, 100], counts[21, 101] = 70000, 16777215
    return counts


class Genes(IoTest):
    def expected(self, counts, n_top):
        """scanpy's choice and scores, of the cells with counts."""
        data = anndata.AnnData(counts[counts.sum(1) > 0].astype(np.float64))
        table = scanpy.pp.highly_variable_genes(data, flavor="seurat_v3", n_top_genes=n_top, inplace=False)
        return np.flatnonzero(table["highly_variable"]), table["variances_norm"].to_numpy()

    def check(self, loaded, counts, names):
        """The genes that were loaded are scanpy's, but for those that are as good as the last one."""
        n_top = len(loaded["gene"])
        chosen, score = self.expected(counts, n_top)
        place = {name: i for i, name in enumerate(names)}
        mine = np.array([place[name] for name in loaded["gene"]])
        self.assertTrue((np.diff(mine) > 0).all())
        least = np.sort(score)[-n_top]
        for gene in np.setxor1d(mine, chosen):
            self.assertAlmostEqual(score[gene] / least, 1, places=9)

    def test_real_cells(self):
        cases = (("kang_pbmc_4sample", 500), ("pbmc_4k_10x", 200), ("human_kidney", 1000))
        paths = [os.path.join(DATA, f"{name}.h5ad") for name, _ in cases]
        each = self.load_everywhere_each(*[(path, f"data.genes.n_top={n_top}", "data.genes.flavor=seurat_v3") for path, (_, n_top) in zip(paths, cases)])
        for path, (_, n_top), loaded in zip(paths, cases, each):
            source = anndata.read_h5ad(path)
            counts = source.layers["counts"] if "counts" in source.layers else source.raw.X if source.raw else source.X
            names = source.raw.var_names if source.raw and "counts" not in source.layers else source.var_names
            self.assertEqual(len(loaded["gene"]), n_top)
            self.check(loaded, np.asarray(counts.todense()), list(names))
            self.assertIn(f"{n_top} of {len(names)} with the largest standardised variance (seurat_v3)", " ".join(loaded["log"]))

    def test_all_kinds_of_counts(self):
        """Also: held-out cells do not choose."""
        counts = synthetic()
        path = self.make(counts=counts)
        numbers = (50, 300)
        *whole, part = self.load_everywhere_each(*[(path, f"data.genes.n_top={n}", "data.genes.flavor=seurat_v3") for n in numbers],
                                                 (path, "data.genes.n_top=300", "data.genes.flavor=seurat_v3", "data.validation=0.5"))
        for n, loaded in zip(numbers, whole):
            self.assertEqual(loaded["genes"], n)
            self.check(loaded, counts, [f"gene{j}" for j in range(counts.shape[1])])
        self.assertNotEqual(part["gene"], whole[1]["gene"])

    def test_few_genes_and_cells(self):
        """Where scanpy's loess gives up: the choice is still one, and the same for every number of ranks."""
        shapes = ((2, 3), (30, 1), (1, 5), (40, 8))
        paths = [self.make(f"{cells}-{genes}.h5ad", np.random.default_rng(genes).poisson(2.0, (cells, genes)))
                 for cells, genes in shapes]
        each = self.load_everywhere_each(*[(path, "data.genes.n_top=2", "data.genes.flavor=seurat_v3") for path in paths])
        self.assertEqual([loaded["genes"] for loaded in each], [min(2, genes) for _, genes in shapes])

    # inspect

    def check_summary(self, summary, values, exact=True):
        quartiles = np.quantile(values, (0, 0.25, 0.5, 0.75, 1), method="inverted_cdf")
        for name, value in zip(("min", "q1", "median", "q3", "max", "mean"), (*quartiles, np.mean(values))):
            self.assertLess(abs(summary[name] - value), (1e-9 if exact else 2e-4) * max(abs(value), 1e-9), name)

    def check_inspect(self, path, counts, names):
        seen = self.inspect(path)["statistics"]
        counts = counts.astype(np.float64)
        present = (counts > 0).sum(0)
        self.check_summary(seen["cell"]["total"], counts.sum(1), counts.sum(1).max() < 16384)
        self.check_summary(seen["cell"]["genes"], (counts > 0).sum(1))
        self.assertEqual(seen["gene"]["with_counts"], (present > 0).sum())
        self.check_summary(seen["gene"]["mean"], counts.mean(0))
        self.check_summary(seen["gene"]["variance"], counts.var(0, ddof=1))
        self.check_summary(seen["gene"]["zeros"], 1 - present / len(counts))
        table = scanpy.pp.highly_variable_genes(anndata.AnnData(counts), flavor="seurat_v3", n_top_genes=50, inplace=False)
        score = table["variances_norm"].to_numpy()
        listed = seen["variable_genes"]["genes"]
        self.assertEqual(len(listed), min(50, (counts.var(0) > 0).sum()))
        np.testing.assert_allclose([gene["score"] for gene in listed], np.sort(score)[::-1][:len(listed)], rtol=1e-9)
        place = {name: i for i, name in enumerate(names)}
        for gene in listed:
            g = place[gene["name"]]
            np.testing.assert_allclose([gene[key] for key in ("mean", "variance", "zeros", "score")],
                                       [counts[:, g].mean(), counts[:, g].var(ddof=1), 1 - present[g] / len(counts), score[g]],
                                       rtol=1e-9)

    def test_inspect(self):
        """Also cells without counts; by rows, by genes and dense; and over several blocks of rows."""
        counts = synthetic()
        names = [f"gene{j}" for j in range(counts.shape[1])]
        sparse = scipy.sparse.csr_matrix(counts)
        for name, matrix in (("csr", sparse), ("csc", sparse.tocsc()), ("dense", counts.astype(np.float32))):
            data = anndata.AnnData(matrix)
            data.var_names = names
            data.write_h5ad(self.path(f"{name}.h5ad"))
            self.check_inspect(self.path(f"{name}.h5ad"), counts, names)

    def test_inspect_real_cells(self):
        for name in ("kang_pbmc_4sample", "human_kidney"):
            path = os.path.join(DATA, f"{name}.h5ad")
            source = anndata.read_h5ad(path)
            counts = source.layers["counts"] if self.inspect(path)["matrix"] == "layers/counts" else source.X
            self.check_inspect(path, np.asarray(counts.todense()), list(source.var_names))

    def bytes_read(self, path):
        """Of inspect, with what the start of any program reads."""
        child = subprocess.Popen([self.program(), "inspect", path, "data.check_seconds=0"], env=self.environment(),
                                 stdout=subprocess.DEVNULL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with open(f"/proc/{child.pid}/io") as io:
            read = int(io.readline().split()[1])
        self.assertEqual(child.wait(), 0)
        return read

    def test_inspect_reads_a_matrix_once(self):
        counts = np.random.default_rng(5).poisson(3, (3000, 200)).astype(np.float32)
        for name, options in (("sparse", {}), ("dense", {"dense": True})):
            small = self.make(f"{name}_of_few.h5ad", counts=counts[:10], **options)
            path = self.make(f"{name}.h5ad", counts=counts, **options)
            more = self.bytes_read(path) - self.bytes_read(small)
            size = os.path.getsize(path) - os.path.getsize(small)
            self.assertTrue(0.9 * size < more < 1.1 * size + 1e5, (name, more, size))

    def test_inspect_without_counts(self):
        """The report is there, and the exit code is that of training."""
        done = self.run_program("inspect", self.make(counts=np.full((4, 3), 0.5, np.float32)), "--json")
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIsNone(json.loads(done.stdout)["statistics"])


if __name__ == "__main__":
    main()
