"""What the io tests share: running the programs, and making small h5ad files with h5py.

Needs h5py, numpy and anndata: the Python named in GMVAE_TEST_PYTHON, else the one that runs this. Exits with
77 (skipped) where they are missing.
"""
import concurrent.futures
import glob
import json
import os
import subprocess
import sys
import tempfile
import unittest
import warnings

_wanted = os.environ.get("GMVAE_TEST_PYTHON")
if _wanted and os.environ.get("GMVAE_TEST_PYTHON_RUNS") != _wanted:
    os.environ["GMVAE_TEST_PYTHON_RUNS"] = _wanted
    os.execvp(_wanted, [_wanted, *sys.argv])

try:
    warnings.simplefilter("ignore")
    import anndata
    import h5py
    import numpy as np
except ImportError as missing:
    print(f"skipped: {missing}; set GMVAE_TEST_PYTHON to a Python with anndata, h5py and numpy")
    sys.exit(77)

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "data")
MPIEXEC = os.environ.get("MPIEXEC", "mpirun")
FEW = os.environ.get("GMVAE_TEST_FEW") == "1"
DEEP = not FEW and os.environ.get("GMVAE_TEST_DEEP", "0") not in ("", "0")
LAUNCHER_VARIABLES = ("OMPI_", "PMIX_", "PMI_", "SLURM_")
_tools = []


def main():
    """Runs the tests; the arguments are the folders of gmvae_dist and of the test tools."""
    _tools.extend(os.path.abspath(folder) for folder in sys.argv[1:3])
    del sys.argv[1:3]
    unittest.main(warnings="ignore")


def words_of(request):
    """What load_cells is told: all of a request that is neither KEY=VALUE nor --OPTION is a file. No cells are held out,
    and there are fewer shards than by default, as files are small."""
    files = [word for word in request if "=" not in word and not word.startswith("--")]
    return ["data.validation=0", "data.shards=16", f"data.train={json.dumps(files)}",
            *(word for word in request if word not in files)]


def checks():
    """Rows of checks.tsv, as dictionaries."""
    with open(os.path.join(DATA, "checks.tsv")) as table:
        names, *rows = [line.rstrip("\n").split("\t") for line in table]
    return [dict(zip(names, row)) for row in rows]


class IoTest(unittest.TestCase):
    maxDiff = None
    threads = "1"

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        mpi_folder = tempfile.TemporaryDirectory()
        self.addCleanup(mpi_folder.cleanup)
        self.mpi_folder = mpi_folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def run_command(self, command):
        return subprocess.run(command, cwd=self.folder, env=self.environment(), capture_output=True, text=True,
                              timeout=600)

    def environment(self):
        """Programs that start at the same time must not share a folder that one of them removes. See tests/run/support.py."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER_VARIABLES)}
        clean.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS=self.threads,
                     OMPI_MCA_mpi_yield_when_idle="1", OMPI_MCA_btl_vader_single_copy_mechanism="none",
                     OMPI_MCA_pml="ob1", OMPI_MCA_orte_abort_on_non_zero_status="0",
                     OMPI_MCA_orte_tmpdir_base=self.mpi_folder, GOMP_SPINCOUNT="1000", OPENBLAS_NUM_THREADS="1")
        return clean

    def run_load(self, *requests, ranks=1):
        """All requests are served by the same processes: each start costs half a second under a sanitizer.

        mpirun is kept from killing the other ranks a second after one has failed: all must end by themselves, with the
        same code, and with nothing for a sanitizer to report.
        """
        if FEW: # a sanitized program starts slowly, also as the process that looks at files
            requests = [request if any("check_seconds=" in word for word in request) else ("data.check_seconds=0", *request)
                        for request in requests]
        command = [self.loader(), *words_of(requests[0])]
        for request in requests[1:]:
            command += ["--", *words_of(request)]
        if ranks == 1:
            return self.run_command(command)
        done = self.run_command([MPIEXEC, "--oversubscribe", "-np", str(ranks), "sh", "-c", '"$@"; echo $? >code.$$', "sh",
                                 *command])
        codes = []
        for file in glob.glob(self.path("code.*")):
            with open(file) as code:
                codes.append(int(code.read()))
            os.remove(file)
        self.assertEqual(codes, codes[:1] * ranks, (requests, done.returncode, done.stderr))
        done.returncode = codes[0]
        return done

    def load_each(self, *requests, ranks=1):
        """What load_cells prints for each request, as a dictionary; `log`: other lines, `stderr`: all warnings."""
        done = self.run_load(*requests, ranks=ranks)
        self.assertEqual(done.returncode, 0, (requests, ranks, done.stderr))
        loaded, log = [], []
        for line in done.stdout.splitlines():
            if line.startswith("{"):
                loaded.append({**json.loads(line), "log": log, "stderr": done.stderr})
                log = []
            else:
                log.append(line)
        self.assertEqual(len(loaded), len(requests), (requests, ranks, done.stdout))
        return loaded

    def load(self, *arguments, ranks=1):
        return self.load_each(arguments, ranks=ranks)[0]

    def load_everywhere_each(self, *requests):
        """The same on 1 and 3 ranks (DEEP: 1, 2 and 4) and with both drivers, which must all agree."""
        mpio, posix = ([(*request, f"data.driver={driver}") for request in requests] for driver in ("mpio", "posix"))
        n, loaded = len(requests), self.load_each(*requests, *mpio)
        several = 2 if FEW else 4 if DEEP else 3
        loaded += self.load_each(*posix, *mpio, ranks=several)
        names = ["mpio, 1 rank", f"posix, {several} ranks", f"mpio, {several} ranks"]
        if DEEP:
            loaded += self.load_each(*mpio, ranks=2)
            names.append("mpio, 2 ranks")
        for i, other in enumerate(loaded[n:]):
            where = names[i // n]
            first = loaded[i % n]
            for key in set(first) - {"log", "stderr"}:
                self.assertEqual(other[key], first[key], (requests[i % n], key, where))
        return loaded[:n]

    def load_everywhere(self, *arguments):
        return self.load_everywhere_each(arguments)[0]

    def fails_each(self, cases, code=3, ranks=(1, 2)):
        """For each of (words, arguments...): one line on stderr that has all the words; and the exit code, on any
        number of ranks."""
        for n in ranks:
            done = self.run_load(*(arguments for _, *arguments in cases), ranks=n)
            self.assertEqual(done.returncode, code, (cases, n, done.stdout, done.stderr))
            lines = [line for line in done.stderr.splitlines() if line.startswith("gmvae_dist: error:")]
            self.assertEqual(len(lines), len(cases), done.stderr)
            for line, (words, *_) in zip(lines, cases):
                for word in words:
                    self.assertIn(word, line)
            self.assertNotIn("HDF5-DIAG", done.stderr)

    def fails(self, words, *arguments, **how):
        self.fails_each([(words, *arguments)], **how)

    def program(self):
        return os.path.join(_tools[0], "gmvae_dist")

    def loader(self):
        return os.path.join(_tools[1], "load_cells")

    def run_program(self, *arguments):
        return self.run_command([self.program(), *arguments])

    SMALL = ("model={latent_dim: 3, w_dim: 3, clusters: 2, encoder: [8], decoder: [8], beta: []}", "train.batch_size=16",
             "train.epochs=1", "backend=cpu", "data.check_seconds=0", "output.markers=false", "output.report=false",
             "output.umap=false")

    def run_trainings(self, *requests):
        """Runs of gmvae_dist with a small model, two at a time, each a list of words behind `gmvae_dist`."""
        with open(self.path("small.yaml"), "w") as config:
            config.write("seed: 1\n")
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda words: self.run_program(*words[:1], "small.yaml", *self.SMALL, *words[1:]), requests))

    def inspect(self, path):
        done = self.run_program("inspect", path, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def make(self, name="cells.h5ad", counts=None, obs=None, genes=None, **keywords):
        """Writes an h5ad with anndata and returns its path."""
        counts = small_counts() if counts is None else counts
        import pandas
        import scipy.sparse
        cells = [f"cell{i}" for i in range(counts.shape[0])]
        genes = [f"gene{j}" for j in range(counts.shape[1])] if genes is None else genes
        matrix = counts if keywords.pop("dense", False) else scipy.sparse.csr_matrix(counts)
        data = anndata.AnnData(X=matrix, obs=pandas.DataFrame(obs or {}, index=cells),
                               var=pandas.DataFrame(index=genes))
        for key, value in keywords.pop("layers", {}).items():
            data.layers[key] = value
        data.write_h5ad(self.path(name), **keywords)
        return self.path(name)


def small_counts(cells=40, genes=12, seed=0):
    """Counts with a few large values and about half zeros; no row is empty."""
    random = np.random.default_rng(seed)
    counts = random.poisson(0.8, (cells, genes)).astype(np.float32)
    counts[random.integers(cells, size=5), random.integers(genes, size=5)] = (255, 254, 256, 70000, 2**24 - 1)
    counts[:, 0] += 1
    counts[:, 3] *= counts[:, 3] < 2**23
    return counts


def sums(counts):
    """What load_cells prints about a dense array of counts."""
    counts = counts.astype(np.int64)
    rows, columns = np.arange(1, counts.shape[0] + 1), np.arange(1, counts.shape[1] + 1)
    return {"cells": counts.shape[0], "genes": counts.shape[1], "nnz": int((counts != 0).sum()),
            "sum": int(counts.sum()), "max": int(counts.max()), "row_checksum": int(counts.sum(1) @ rows),
            "column_checksum": int(counts.sum(0) @ columns)}


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
