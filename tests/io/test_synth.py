"""synth: atlases whose counts are what uns says they were drawn from, the same on any number of ranks."""
import glob
import os
import shutil
import signal
import subprocess
import sys
import time

import support
from support import MPIEXEC, IoTest, anndata, h5py, main, np

FEW = os.environ.get("GMVAE_TEST_FEW", "0") not in ("", "0")
SMALL = ("synth.cells=300", "synth.genes=200", "synth.types=3", "synth.batches=2", "synth.density=0.2")


def contents(path):
    """Every dataset and attribute of a file."""
    found = {}
    with h5py.File(path) as f:
        def take(name, thing):
            attributes = {key: np.asarray(value).tolist() for key, value in thing.attrs.items()}
            values = thing[()] if isinstance(thing, h5py.Dataset) else None
            if values is not None:
                values = np.asarray(values)
                values = (values.dtype, values.tolist() if values.dtype == object else values.tobytes())
            found[name] = (attributes, values)
        take("/", f)
        f.visititems(take)
    return found


def negative_binomial(mean, phi):
    """Chance of zero, variance, and variance of (count - mean)^2."""
    variance = mean + phi * mean**2
    fourth = variance * (1 + 6 * phi * mean * (1 + phi * mean)) + 3 * variance**2
    zero = np.exp(-mean) if phi == 0 else (1 + phi * mean) ** (-1 / phi)
    return zero, variance, fourth - variance**2


class Synth(IoTest):
    def command(self, *arguments, ranks=1):
        command = [os.path.join(support._tools[0], "gmvae_dist"), "synth", *arguments]
        return command if ranks == 1 else [MPIEXEC, "--oversubscribe", "-np", str(ranks), *command]

    def environment(self):
        """mpirun passes the exit code on."""
        return {**super().environment(), "OMPI_MCA_orte_abort_on_non_zero_status": "1"}

    def synth(self, *arguments, ranks=1, path="out.h5ad"):
        """A file that must be written in silence on stderr; its path."""
        done = self.run_command(self.command(*arguments, f"synth.path={path}", ranks=ranks))
        self.assertEqual((done.returncode, done.stderr), (0, ""), (arguments, ranks))
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith(".part")], [])
        self.out = done.stdout
        return self.path(path)

    def refuses(self, words, code, *arguments, ranks=1, command=None):
        """One line on stderr that has all the words, and nothing left behind."""
        before = sorted(os.listdir(self.folder))
        done = self.run_command(command or self.command(*arguments, ranks=ranks))
        self.assertEqual(done.returncode, code, (arguments, done.stdout, done.stderr))
        lines = [line for line in done.stderr.splitlines() if line.startswith("gmvae_dist:")]
        self.assertEqual(len(lines), 1, done.stderr)
        for word in words:
            self.assertIn(word, lines[0])
        self.assertNotIn("HDF5-DIAG", done.stderr)
        self.assertEqual(sorted(os.listdir(self.folder)), before)

    # what the file is

    def test_anndata(self):
        path = self.synth(*SMALL, ranks=2)
        data = anndata.read_h5ad(path)
        self.assertEqual(data.shape, (300, 200))
        self.assertEqual((data.X.format, data.X.dtype, data.X.indices.dtype), ("csr", np.float32, np.int32))
        self.assertTrue(data.X.has_canonical_format)
        self.assertTrue((data.X.data > 0).all() and (data.X.data == data.X.data.round()).all())
        self.assertEqual(list(data.obs.columns), ["cell_type", "batch", "library"])
        self.assertEqual(list(data.obs["cell_type"].cat.categories), ["type_0", "type_1", "type_2"])
        self.assertEqual(list(data.obs["batch"].cat.categories), ["batch_0", "batch_1"])
        self.assertEqual((data.obs_names[7], data.var_names[99]), ("cell_007", "gene_099"))
        self.assertTrue(data.obs_names.is_unique and data.var_names.is_unique)
        truth = data.uns["synth"]
        self.assertEqual((truth["seed"], truth["cells"], truth["genes"], truth["sort"]), (1, 300, 200, "none"))
        self.assertTrue(truth["version"].startswith("gmvae_dist "))
        self.assertEqual((truth["rates"].shape, truth["batch_factors"].shape), ((3, 200), (2, 200)))
        backed = anndata.read_h5ad(path, backed="r")
        self.assertEqual((backed[10:20].X != data.X[10:20]).nnz, 0)
        backed.file.close()
        data.write_h5ad(self.path("copy.h5ad"))
        script = ("import scanpy, sys; d = scanpy.read_h5ad(sys.argv[1]); scanpy.pp.normalize_total(d); "
                  "scanpy.pp.log1p(d); scanpy.pp.pca(d, n_comps=5)")
        done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
        if "No module named 'scanpy'" not in done.stderr:
            self.assertEqual(done.returncode, 0, done.stderr)
        with h5py.File(path) as f:
            self.assertEqual(f["X/indptr"].dtype, np.int32)
            self.assertEqual((f["X/data"].compression, f["X/data"].shuffle), ("gzip", True))
        seen = self.inspect(path)
        self.assertEqual((seen["cells"], seen["genes"], seen["nnz"]), (300, 200, data.X.nnz))

    def test_ranks_and_blocks_agree(self):
        """Many chunks, of which blocks make none, one, or several."""
        many = ("synth.cells=1500", "synth.genes=900", "synth.density=0.3", "seed=7")
        first = contents(self.synth(*many))
        self.assertGreater(len(first["X/data"][1][1]) / 4, 5 * 65536)
        ways = [(2, 0, 1), (4, 0, 1), (1, 37, 3), (4, 100, 2)]
        for ranks, block, threads in ways[1::2] if FEW else ways:
            with self.subTest(ranks=ranks, block=block, threads=threads):
                other = contents(self.synth(*many, f"synth.block={block}", f"runtime.threads={threads}", ranks=ranks))
                self.assertEqual(sorted(first), sorted(other))
                self.assertEqual([key for key in first if first[key] != other[key]], [])
        other = contents(self.synth(*many, "seed=8"))
        self.assertNotEqual(first["X/data"], other["X/data"])
        self.assertNotEqual(first["uns/synth/rates"], other["uns/synth/rates"])

    def test_cells_do_not_depend_on_their_number(self):
        few, many = (anndata.read_h5ad(self.synth(*SMALL, f"synth.cells={n}")) for n in (120, 300))
        self.assertEqual((many.X[:120] != few.X).nnz, 0)
        self.assertEqual(list(many.obs["cell_type"][:120]), list(few.obs["cell_type"]))

    def test_compression_changes_the_storage_only(self):
        first, sizes = contents(self.synth(*SMALL)), []
        for level in (0, 4):
            path = self.synth(*SMALL, f"synth.compression={level}")
            other = contents(path)
            self.assertEqual([key for key in first if first[key] != other[key]], ["uns/synth/compression"])
            sizes.append(os.path.getsize(path))
        self.assertGreater(sizes[0], sizes[1])

    def test_sorted_by_type(self):
        data = anndata.read_h5ad(self.synth(*SMALL, "synth.cells=301", "synth.sort=type"))
        codes = data.obs["cell_type"].cat.codes.to_numpy()
        self.assertTrue((np.diff(codes) >= 0).all())
        self.assertEqual(list(np.bincount(codes)), [101, 100, 100])
        self.assertEqual(data.uns["synth"]["sort"], "type")

    def test_extremes(self):
        for changes in (("synth.cells=1",), ("synth.cells=2", "synth.types=5"), ("synth.types=1", "synth.batches=1"),
                        ("synth.cells=4", "synth.density=1e-6"), ("synth.density=0.9", "synth.gene_spread=0.5"),
                        ("synth.genes=2", "synth.types=2"), ("synth.cells=3", "synth.types=5", "synth.sort=type"),
                        ("synth.types=200", "synth.batches=200", "synth.cells=50")):
            with self.subTest(changes):
                data = anndata.read_h5ad(self.synth(*SMALL, *changes, ranks=1 if FEW else 2))
                self.assertTrue(data.X.has_canonical_format)
                self.assertEqual((len(data.X.data), len(data.X.indices)), (data.X.indptr[-1],) * 2)

    # what the counts are

    def expected(self, data):
        """Mean of every count, from the truth in the file alone."""
        truth = data.uns["synth"]
        share = truth["rates"].astype(float)[:, None] * truth["batch_factors"].astype(float)[None]
        share /= share.sum(2, keepdims=True)
        rows = share[data.obs["cell_type"].cat.codes, data.obs["batch"].cat.codes]
        return rows * data.obs["library"].to_numpy(float)[:, None]

    def check_scores(self, scores, what):
        """Sums of many terms less their mean, in standard errors: standard normals, but for the few terms."""
        scores = scores[np.isfinite(scores)]
        n = scores.size
        self.assertLess(abs(scores.mean()) * n**0.5, 4.5, what)
        self.assertLess(abs((scores**2).mean() - 1) * (n / 2) ** 0.5, 8, what)
        self.assertLess(abs(scores).max(), 7, what)

    def check_counts(self, data, phi):
        counts, mean = data.X.toarray().astype(float), self.expected(data)
        zero, variance, spread = negative_binomial(mean, phi)
        types = data.obs["cell_type"].cat.codes.to_numpy()
        for values, middle, wide, name in ((counts, mean, variance, "mean"),
                                           (counts == 0, zero, zero * (1 - zero), "zeros"),
                                           ((counts - mean) ** 2, variance, spread, "variance")):
            off, sums, squares = values - middle, [], []
            for k in range(types.max() + 1):
                sums.append(off[types == k].sum(0))
                squares.append(wide[types == k].sum(0))
            sums, squares = np.array(sums), np.array(squares)
            if name != "variance":
                self.check_scores((sums / squares**0.5)[squares > 20], name)
            self.assertLess(abs(sums.sum()) / squares.sum() ** 0.5, 4.5, name)
            for part in (mean < 0.1, (mean >= 0.1) & (mean < 1), (mean >= 1) & (mean < 10), mean >= 10):
                if part.sum() > 1000:
                    self.assertLess(abs(off[part].sum()) / wide[part].sum() ** 0.5, 4.5, (name, mean[part].mean()))
        # genes of a cell are independent
        scores = (counts - mean) / variance**0.5
        total = (counts.sum(1) - mean.sum(1)) / variance.sum(1) ** 0.5
        self.assertLess(abs((total**2).mean() - 1), 4.5 * np.std(total**2) / len(total) ** 0.5)
        self.assertLess(abs((scores[:, ::2].sum(1) * scores[:, 1::2].sum(1)).mean()) / scores.shape[1] * 2,
                        4.5 / len(total) ** 0.5)

    def test_counts_are_what_the_truth_says(self):
        # a mean library of hundreds, and of 5: two Poisson samplers
        cases = ((0.5, ()), (0.5, ("synth.density=0.008",)),
                 (0.0, ("seed=2",)), (2.0, ("synth.batch_effect=0.7", "synth.library_spread=0.8")))
        for phi, changes in cases[:2] if FEW else cases:
            with self.subTest(phi=phi, changes=changes):
                data = anndata.read_h5ad(self.synth("synth.cells=4000", "synth.genes=600", "synth.types=3",
                                                    "synth.density=0.25", f"synth.dispersion={phi}", *changes))
                self.check_counts(data, phi)

    def test_truth_is_what_was_asked_for(self):
        data = anndata.read_h5ad(self.synth("synth.cells=6000", "synth.genes=3000", "synth.types=4", "synth.batches=3",
                                            "synth.density=0.06", "synth.library_spread=0.6", "synth.separation=0.8",
                                            "synth.batch_effect=0.3", "synth.gene_spread=1.5"))
        truth, n = data.uns["synth"], data.n_obs
        self.assertLess(abs(data.X.nnz / n / data.n_vars / 0.06 - 1), 0.03)
        self.assertAlmostEqual(truth["expected_density"] / 0.06, 1, places=6)
        logs = np.log(data.obs["library"].to_numpy(float))
        self.assertLess(abs(logs.mean() - np.log(truth["mean_library"]) + 0.18), 4.5 * 0.6 / n**0.5)
        self.assertLess(abs(logs.std() / 0.6 - 1), 4.5 / (2 * n) ** 0.5)
        for column, levels in (("cell_type", 4), ("batch", 3)):
            found = np.bincount(data.obs[column].cat.codes, minlength=levels)
            self.assertLess(abs(found - n / levels).max(), 4.5 * (n / levels) ** 0.5)
        log_rate, log_factor = np.log(truth["rates"].astype(float)), np.log(truth["batch_factors"].astype(float))
        within = log_rate - log_rate.mean(0)
        self.assertLess(abs(within.std(0, ddof=1).mean() / 0.8 / 0.9213 - 1), 0.03) # c4 of 4 values
        self.assertLess(abs(log_rate.mean(0).std() / (1.5**2 + 0.8**2 / 4) ** 0.5 - 1), 0.06)
        self.assertLess(abs(log_factor.std() / 0.3 - 1), 0.05)
        np.testing.assert_allclose(truth["rates"].sum(1), 1, rtol=1e-5)

    # how it is asked for, and how it fails

    def test_dry_run(self):
        words = ("synth.cells=3000", "synth.genes=2000", "synth.density=0.1")
        done = self.run_command(self.command(*words, "synth.path=out.h5ad", "--dry-run"))
        self.assertEqual((done.returncode, done.stderr, os.listdir(self.folder)), (0, "", []))
        for word in ("3000 cells", "2000 genes", "density 0.1000", "out.h5ad", "nothing was written"):
            self.assertIn(word, done.stdout)
        told = float(done.stdout.split("about ")[1].split(" MB")[0]) * 1e6
        self.assertLess(abs(os.path.getsize(self.synth(*words)) / told - 1), 0.1)
        self.assertIn("cells/s", self.out)

    def test_room(self):
        """A dry run foresees what the run itself would come to, which leaves nothing."""
        words = ("synth.cells=300000", "synth.genes=2000", "synth.density=0.1", "synth.path=out.h5ad")
        for more in (("--dry-run",), ()):
            done = self.run_command(["prlimit", "--fsize=16000000", *self.command(*words, *more)])
            self.assertEqual((done.returncode, os.listdir(self.folder)), (5, []), done.stderr)
            self.assertRegex(done.stderr, r"^gmvae_dist: error: out\.h5ad takes about [\d.]+ MB, but files may have 16\.0 MB here "
                                          r"\(ulimit -f\); raise that limit\n$")
        disk = self.path("disk")
        os.mkdir(disk)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", disk], capture_output=True).returncode != 0:
            self.skipTest("no file system can be mounted")
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        done = self.run_command(self.command(*words[:3], f"synth.path={disk}/out.h5ad", "--dry-run"))
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertIn("MB, but 0.1 MB are free there; set synth.path to a disk with room", done.stderr)

    def test_config_file(self):
        with open(self.path("c.yaml"), "w") as out:
            out.write("")
        done = self.run_command(self.command("c.yaml", "--dry-run"))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with open(self.path("c.yaml"), "w") as out:
            out.write("synth: {cells: 20, genes: 30, density: 0.5, path: here.h5ad}\n")
        self.assertEqual(self.run_command(self.command("c.yaml", "synth.types=2")).returncode, 0)
        self.assertEqual(anndata.read_h5ad(self.path("here.h5ad")).shape, (20, 30))

    def test_bad_keys(self):
        self.refuses(['unknown key "synth.cell"', 'did you mean "synth.cells"'], 2, "synth.cell=3")
        self.refuses(["synth.density"], 2, "synth.density=1")
        self.refuses(["synth.path is empty"], 2, *SMALL, "synth.path=")
        self.refuses(["synth.density: 0.99 cannot be reached", "synth.gene_spread"], 2, *SMALL, "synth.density=0.99",
                     "synth.gene_spread=5", "synth.dispersion=9", ranks=2)
        self.refuses(["synth.types x synth.batches x synth.genes", "GB"], 2, "synth.types=4096", "synth.batches=4096")

    def test_unwritable(self):
        os.mkdir(self.path("folder.h5ad"))
        with open(self.path("file"), "w") as out:
            out.write("kept")
        for ranks in (1, 2):
            self.refuses(["no/out.h5ad", "No such file or directory"], 5, *SMALL, "synth.path=no/out.h5ad", ranks=ranks)
            self.refuses(["folder.h5ad: not a file, but a folder"], 5, *SMALL, "synth.path=folder.h5ad", ranks=ranks)
            self.refuses(["file/out.h5ad", "Not a directory"], 5, *SMALL, "synth.path=file/out.h5ad", ranks=ranks)

    def test_full_disk(self):
        """`ulimit -f` stands for a disk that is full after so many kilobytes."""
        self.synth(*SMALL, path="old.h5ad")
        old = contents(self.path("old.h5ad"))
        foreseen, late = "takes about", "cannot be written: File too large" # it is foreseen to a tenth
        for changes, limit, words in (((), 1, foreseen), ((), 200, late),
                                      (("synth.cells=40000", "synth.block=300"), 5000, late),
                                      (("synth.cells=40000", "synth.compression=0"), 12000, foreseen),
                                      (("synth.cells=40000", "synth.compression=0"), 14300, late)):
            with self.subTest(changes=changes, limit=limit):
                run = self.command(*SMALL, *changes, "synth.path=old.h5ad")
                self.refuses(["error: old.h5ad", words], 5,
                             command=["bash", "-c", f'ulimit -f {limit}; exec "$@"', "sh", *run])
        self.assertEqual(contents(self.path("old.h5ad")), old)

    def part_bytes(self):
        """Of the file that is being written."""
        return sum(os.path.getsize(path) for path in glob.glob(self.path(".old.h5ad.*.part")))

    def test_signals_leave_nothing(self):
        shutil.copy(self.synth(*SMALL), self.path("old.h5ad"))
        before = sorted(os.listdir(self.folder))
        long = ("synth.cells=10000000", "synth.genes=2000", "synth.block=200", "synth.path=old.h5ad")
        for ranks, number in ((1, signal.SIGINT), (1, signal.SIGTERM), (2, signal.SIGINT)):
            with self.subTest(ranks=ranks, number=number):
                process = subprocess.Popen(self.command(*long, ranks=ranks), cwd=self.folder, env=self.environment(),
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                end = time.monotonic() + 60
                while process.poll() is None and self.part_bytes() < 2_000_000:
                    self.assertLess(time.monotonic(), end)
                    time.sleep(0.01)
                process.send_signal(number)
                _, err = process.communicate(timeout=60)
                if ranks == 1:
                    self.assertEqual(process.returncode, 75, err)
                    self.assertEqual(err.count("gmvae_dist: stopped by a signal; nothing was written"), 1, err)
                end = time.monotonic() + 10 # mpirun may end before its ranks
                while sorted(os.listdir(self.folder)) != before and time.monotonic() < end:
                    time.sleep(0.05)
                self.assertEqual(sorted(os.listdir(self.folder)), before)


if __name__ == "__main__":
    main()
