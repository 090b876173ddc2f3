"""What the tests of whole runs share: a small model on real cells, running it, and reading what it leaves.

Needs h5py and numpy: the Python named in GMVAE_TEST_PYTHON, else the one that runs this. Exits with 77
(skipped) where they are missing. GMVAE_TEST_FEW=1 runs fewer cases, for slow builds; GMVAE_TEST_DEEP=1 more.
"""
import ctypes
import ctypes.util
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

_wanted = os.environ.get("GMVAE_TEST_PYTHON")
if _wanted and os.environ.get("GMVAE_TEST_PYTHON_RUNS") != _wanted:
    os.environ["GMVAE_TEST_PYTHON_RUNS"] = _wanted
    os.execvp(_wanted, [_wanted, *sys.argv])

try:
    import h5py
    import numpy as np
except ImportError as missing:
    print(f"skipped: {missing}; set GMVAE_TEST_PYTHON to a Python with h5py and numpy")
    sys.exit(77)

FEW = os.environ.get("GMVAE_TEST_FEW", "0") not in ("", "0")
DEEP = not FEW and os.environ.get("GMVAE_TEST_DEEP", "0") not in ("", "0")
CELLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "data", "kang_pbmc_4sample.h5ad")
MPIEXEC = os.environ.get("MPIEXEC", "mpirun")
LAUNCHER_VARIABLES = ("OMPI_", "PMIX_", "PMI_", "SLURM_")
PATIENCE = 180  # seconds; a run takes one or two, ten under a sanitizer
PROGRAM = []

# A run takes about a second. 1,558 cells less a tenth held out: the last batch is short.
CONFIG = {
    "seed": 1,
    "backend": "cpu",
    "data.train": [os.path.normpath(CELLS)],
    "data.validation": 0.1,
    "data.batch_keys": ["batch"],
    "data.shards": 16,
    "data.check_seconds": 0,  # no process for a look at every file; damaged.py, signals.py and folder.py have it
    "model.latent_dim": 5,
    "model.w_dim": 4,
    "model.clusters": 4,
    "model.encoder": [32],
    "model.decoder": [32],
    "model.beta": [32],
    "train.epochs": 2,
    "train.batch_size": 256,
    "train.log_steps": 1,
    "output.embedding": False,
    "output.markers": False,
    "output.report": False,
    "output.umap": False,
    "eval.samples": 2,
}


def main():
    """Runs the tests; the argument is the program."""
    PROGRAM.append(os.path.abspath(sys.argv.pop(1)))
    unittest.main(warnings="ignore")


class Run:
    """A folder of a run, and how its last process ended."""

    def __init__(self, folder, name, done=None):
        self.folder = os.path.join(folder, name)
        self.code = done.returncode if done else None
        self.out = done.stdout if done else ""
        self.err = done.stderr if done else ""

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def checkpoint(self, name="last.h5"):
        return self.path("checkpoints", name)

    def checkpoints(self):
        return sorted(os.listdir(self.path("checkpoints")))

    def metrics(self, split=None):
        with open(self.path("metrics.jsonl")) as lines:
            rows = [json.loads(line) for line in lines]
        return [row for row in rows if split in (None, row["split"])]

    def losses(self, split):
        return np.array([row["neg_elbo"] for row in self.metrics(split)])

    def results(self):
        """All that two equal runs have in common: metrics without times, and without sums of single precision."""
        return [{k: v for k, v in row.items() if k not in ("cells_per_s", "time", "component_mass")} for row in self.metrics()]

    def masses(self):
        """Shares of components by epoch; an epoch within which the run went on has none."""
        return {row["epoch"]: row["component_mass"] for row in self.metrics("train") if "component_mass" in row}

    def files(self):
        """Every file below the folder."""
        return sorted(os.path.relpath(os.path.join(at, name), self.folder)
                      for at, _, names in os.walk(self.folder) for name in names)


def datasets(path):
    """Names of all datasets of an HDF5 file."""
    names = []
    with h5py.File(path, "r") as f:
        f.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def contents(path):
    """Every dataset and attribute of a checkpoint, but for the config, which names the folder, and its checksum."""
    found = {}

    def take(name, item):
        for key, value in item.attrs.items():
            if not (name == "" and key in ("config", "xxh3")):
                value = np.asarray(value)
                found[f"{name}@{key}"] = tuple(value.ravel()) if value.dtype == object else value.tobytes()
        if isinstance(item, h5py.Dataset):
            value = item[()]
            found[name] = (value.shape, tuple(value) if value.dtype == object else value.tobytes())

    with h5py.File(path, "r") as f:
        take("", f)
        f.visititems(take)
    return found


def tensors(path, group="params"):
    with h5py.File(path, "r") as f:
        return {name: item[()] for name, item in f[group].items()}


class RunTest(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        mpi_folder = tempfile.TemporaryDirectory(prefix="", dir="/tmp")  # its paths of sockets must be short
        self.addCleanup(mpi_folder.cleanup)
        self.mpi_folder = mpi_folder.name

    def environment(self, threads=1):
        """Messages by shared memory and sockets alone: Open MPI's search for other networks is half of a program's start.
        And what the program would start itself once more for; limits.py has that."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER_VARIABLES)}
        clean.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS=str(threads),
                     OMPI_MCA_mpi_yield_when_idle="1", OMPI_MCA_btl_vader_single_copy_mechanism="none",
                     OMPI_MCA_pml="ob1", OMPI_MCA_orte_tmpdir_base=self.mpi_folder, GOMP_SPINCOUNT="1000",
                     OPENBLAS_NUM_THREADS="1")
        return clean

    def command(self, name, changes, ranks=1, word="train"):
        """Writes the config, which is YAML because it is JSON, and returns the command line."""
        config = {**CONFIG, "output.dir": os.path.join(self.folder, name), **changes}
        nested = {}
        for key, value in config.items():
            *sections, last = key.split(".")
            at = nested
            for section in sections:
                at = at.setdefault(section, {})
            at[last] = value
        file = os.path.join(self.folder, f"{name}.yaml")
        with open(file, "w") as out:
            json.dump(nested, out, indent=1)
        command = [PROGRAM[0], word, file]
        return command if ranks == 1 else [MPIEXEC, "--oversubscribe", "-np", str(ranks), *command]

    def try_run(self, name, changes=None, ranks=1, threads=1, word="train"):
        """Runs to the end, whatever that is."""
        done = subprocess.run(self.command(name, changes or {}, ranks, word), cwd=self.folder,
                              env=self.environment(threads), capture_output=True, text=True, timeout=PATIENCE)
        return Run(self.folder, name, done)

    def train(self, name, changes=None, ranks=1, threads=1):
        """A run that must succeed in silence on stderr."""
        run = self.try_run(name, changes, ranks, threads)
        self.assertEqual((run.code, run.err), (0, ""), (name, changes, ranks))
        return run

    def fails(self, words, code, name, changes=None, ranks=1, word="train"):
        """A run that must end with this code and one error line that has all the words."""
        run = self.try_run(name, changes, ranks, word=word)
        self.check_failure(run, code, words)
        return run

    def check_failure(self, run, code, words):
        self.assertEqual(run.code, code, run.out + run.err)
        lines = [line for line in run.err.splitlines() if line.startswith("gmvae_dist:") and ": warning:" not in line]
        self.assertEqual(len(lines), 1, run.err)
        for word in words:
            self.assertIn(word, lines[0])
        self.assertNotIn("HDF5-DIAG", run.err)

    def interrupt(self, name, changes, ready, number, ranks=1, to="launcher"):
        """Starts a run, sends it a signal as soon as ready(run) holds, and waits for its end."""
        process = subprocess.Popen(self.command(name, changes, ranks), cwd=self.folder, env=self.environment(),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        run = Run(self.folder, name)
        end = time.monotonic() + PATIENCE
        while process.poll() is None and not ready(run):
            self.assertLess(time.monotonic(), end, "the run does not come on")
            time.sleep(0.001)
        if process.poll() is None:
            os.kill(process.pid if to == "launcher" else self.rank_of(process.pid), number)
        out, err = process.communicate(timeout=PATIENCE)
        run.code, run.out, run.err = process.returncode, out, err
        return run

    @staticmethod
    def rank_of(launcher, rank=1):
        """Process of a rank that mpirun started."""
        with open(f"/proc/{launcher}/task/{launcher}/children") as children:
            for child in children.read().split():
                with open(f"/proc/{child}/environ") as environment:
                    if f"OMPI_COMM_WORLD_RANK={rank}" in environment.read().split("\0"):
                        return int(child)
        raise AssertionError(f"no rank {rank}")

    def same_run(self, one, other, name="last.h5"):
        """The same bits in checkpoints and metrics."""
        a, b = contents(one.checkpoint(name)), contents(other.checkpoint(name))
        self.assertEqual(sorted(a), sorted(b))
        self.assertEqual([key for key in a if a[key] != b[key]], [])
        self.assertEqual(one.results(), other.results())
        a, b = one.masses(), other.masses()
        for epoch in a.keys() & b.keys():
            np.testing.assert_allclose(a[epoch], b[epoch], rtol=1.1e-3, atol=1e-7)


def lines_of(run):
    """Lines of metrics.jsonl so far."""
    try:
        with open(run.path("metrics.jsonl")) as lines:
            return sum(1 for _ in lines)
    except FileNotFoundError:
        return 0


def edit(path, at, data):
    """Overwrites bytes of a file in place, in all its names."""
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


def xxh3(data):
    library = ctypes.CDLL(ctypes.util.find_library("xxhash"))
    library.XXH3_64bits.restype, library.XXH3_64bits.argtypes = ctypes.c_uint64, (ctypes.c_char_p, ctypes.c_size_t)
    return library.XXH3_64bits(data, len(data))


def reseal(path, change=None):
    """Changes bytes of a checkpoint and puts the right checksum behind them."""
    with open(path, "rb") as old:
        data = old.read()
    data = data[:-16] if data[-16:-8] == b"gmvxxh3\0" else data
    data = bytes(change(bytearray(data)) if change else data)
    with open(path, "wb") as new:
        new.write(data + b"gmvxxh3\0" + struct.pack("<Q", xxh3(data)))
