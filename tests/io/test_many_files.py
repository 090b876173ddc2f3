"""Hundreds of files as one matrix: what they cost, counted and not timed."""
import json
import os
import tempfile

from support import FormatTest, anndata, main, np, words_of

GENES = 500


class ManyFiles(FormatTest):
    """60 files of 4 lists of genes: one in another order, one that lacks some, one with Ensembl versions."""

    @classmethod
    def setUpClass(cls):
        import pandas
        import scipy.sparse
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.files = folder.name
        random = np.random.default_rng(3)
        ids = np.array([f"ENSG{j:011}" for j in range(GENES)])
        lists = [ids, random.permutation(ids), ids[20:], np.array([f"{name}.{1 + j % 9}" for j, name in enumerate(ids)])]
        cls.counts, cls.donors = [], []
        for f in range(60):
            genes = lists[max(0, f % 7 - 3)]
            cells = 0 if f == 31 else 1 + f % 5
            counts = random.poisson(0.05, (cells, GENES)).astype(np.float32)
            counts[:, 30] += 1
            columns = np.searchsorted(ids, [name.split(".")[0] for name in genes])
            donors = [f"donor{f}_{i % 2}" for i in range(cells)]
            obs = pandas.DataFrame({"donor": pandas.Categorical(donors)}, index=[f"c{f}_{i}" for i in range(cells)])
            data = anndata.AnnData(X=scipy.sparse.csr_matrix(counts[:, columns]), var=pandas.DataFrame(index=genes), obs=obs)
            data.write_h5ad(os.path.join(cls.files, f"f{f:02}.h5ad"))
            cls.counts.append(counts[:, 20:])
            cls.donors += donors

    def setUp(self):
        super().setUp()
        for name in os.listdir(self.files):
            os.link(os.path.join(self.files, name), self.path(name))

    def spent(self, files, *options, ranks=1):
        paths = [f"f{f:02}.h5ad" for f in range(files)]
        return self.load("--spent", "data.check_seconds=0", "data.batch_keys=[donor, '@file']", *options, *paths, ranks=ranks)

    def limited(self, descriptors, *arguments):
        """One request, with so few descriptors."""
        return self.run_command(["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", self.loader(),
                                 *words_of(("data.batch_keys=donor", "data.check_seconds=0", "f*.h5ad", *arguments))])

    def test_the_same_on_any_number_of_ranks(self):
        request = ("f*.h5ad", "data.batch_keys=[donor, '@file']")
        for loaded in self.load_everywhere_each(request, (*request, "data.residence=stream")):
            self.same(loaded, np.vstack(self.counts))
            self.assertEqual(loaded["donor"], list(dict.fromkeys(self.donors)))
            self.assertEqual(len(loaded["@file"]), 60)
            self.assertIn("4000 names match without their Ensembl versions", "\n".join(loaded["log"]))

    def test_twice_the_files_take_twice_the_work(self):
        for options in ((), ("data.residence=stream",), ("data.genes.n_top=50",)):
            few, some, many = (self.spent(n, *options) for n in (14, 28, 56))
            for what in ("allocations", "read"):
                first, second = some[what] - few[what], many[what] - some[what]
                self.assertLess(second, 2.3 * first, (options, what, few, some, many))

    def test_names_of_genes_are_kept_once(self):
        few, many = self.spent(14), self.spent(56)
        self.assertLess(many["blocks"] - few["blocks"], 42 * 40, (few, many))

    def test_ranks_divide_the_files(self):
        alone, divided = self.spent(56), self.spent(56, ranks=4)
        self.assertLess(divided["allocations"], 0.45 * alone["allocations"], (alone, divided))

    def test_few_descriptors(self):
        done = self.limited(40, "--embed=out.h5ad")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.same(json.loads(done.stdout.splitlines()[-1]), np.vstack(self.counts))
        obs = anndata.read_h5ad(self.path("out.h5ad")).obs
        self.assertEqual(list(obs["donor"]), self.donors)
        done = self.limited(100, "data.residence=stream")
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertIn("keeps 59 files open on one rank, which takes 305 descriptors, and the limit is 100", done.stderr)


if __name__ == "__main__":
    main()
