"""Mutants of small real and made files through `gmvae_dist inspect` and the loading of cells, and of a checkpoint, with the
right checksum behind them, through `embed`, `eval` and a resume.

usage: files.py FOLDER_OF_gmvae_dist FOLDER_OF_load_cells [--seconds N] [--seed N] [--mutants N] [--keep FOLDER]
                [--only inputs|checkpoints]

A mutant may be read or refused, with exit code 0, 2 or 3 and one line on stderr. Anything else, and a run that takes
longer than its time, is a finding: the mutant is kept and the exit status of this program is 1. The same seed gives the
same mutants.
"""
import argparse
import collections
import ctypes
import ctypes.util
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

_wanted = os.environ.get("GMVAE_TEST_PYTHON")
if _wanted and os.environ.get("GMVAE_TEST_PYTHON_RUNS") != _wanted:
    os.environ["GMVAE_TEST_PYTHON_RUNS"] = _wanted
    os.execvp(_wanted, [_wanted, *sys.argv])

try:
    import anndata
    import h5py
    import numpy as np
    import pandas
    import scipy.sparse
except ImportError as missing:
    print(f"skipped: {missing}; set GMVAE_TEST_PYTHON to a Python with anndata, h5py and numpy")
    sys.exit(77)

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "data", "as_found")
CHECK_SECONDS, MOST_SECONDS = 3, 60
FOUND = ("mini_mat.anndata-v0.6.22.h5ad", "mini_mat.anndata-v0.7.h5ad", "mini_mat.anndata-v0.10.9.h5ad",
         "mini_mat_int_64.anndata-v0.12.6.h5ad", "10x_v2_filtered_gene_bc_matrices_h5.h5",
         "10x_v3_filtered_feature_bc_matrix.h5", "anndata_v0.7.8.h5ad", "liger_ctrl.h5")


def small_data(cells=30, genes=12):
    counts = np.random.default_rng(0).poisson(0.8, (cells, genes)).astype(np.float32)
    obs = pandas.DataFrame({"batch": pandas.Categorical(["x", "y", "z"] * (cells // 3)), "n": np.arange(cells),
                            "s": [f"text {i}" for i in range(cells)], "b": [True, False] * (cells // 2)},
                           index=[f"cell{i}" for i in range(cells)])
    return counts, obs, pandas.DataFrame(index=[f"gene{j}" for j in range(genes)])


def make_anndata(path, store, **keywords):
    counts, obs, var = small_data()
    anndata.AnnData(X=store(counts), obs=obs, var=var, layers={"counts": store(counts)}).write_h5ad(path, **keywords)


def make_mudata(path):
    """An h5mu by h5py: one modality, and the table of all cells."""
    make_anndata(path + ".rna", scipy.sparse.csr_matrix)
    with h5py.File(path + ".rna") as rna, h5py.File(path, "w") as out:
        out.attrs["encoding-type"] = "MuData"
        rna.copy(rna, out.create_group("mod"), "rna")
        rna.copy("obs", out)
        out["obsmap/rna"] = np.arange(1, 31)
    os.remove(path + ".rna")


def make_filtered(path, filters):
    """CSR whose numbers have small chunks under these filters."""
    counts, obs, var = small_data()
    make_anndata(path, scipy.sparse.csr_matrix)
    with h5py.File(path, "r+") as f:
        for part in ("data", "indices", "indptr"):
            values = f["X"][part][:]
            del f["X"][part]
            f["X"].create_dataset(part, data=values, chunks=(16,), **filters)


def write_seeds(folder):
    """Small files of every format, in the same order each time."""
    csr, csc = scipy.sparse.csr_matrix, scipy.sparse.csc_matrix
    makers = {"csr.h5ad": lambda p: make_anndata(p, csr), "csc.h5ad": lambda p: make_anndata(p, csc),
              "dense.h5ad": lambda p: make_anndata(p, lambda x: x),
              "gzip.h5ad": lambda p: make_anndata(p, csr, compression="gzip"),
              "chunks.h5ad": lambda p: make_filtered(p, {"compression": "gzip", "shuffle": True}),
              "lzf.h5ad": lambda p: make_filtered(p, {"compression": "lzf", "shuffle": True}),
              "checked.h5ad": lambda p: make_filtered(p, {"fletcher32": True}),
              "scaled.h5ad": lambda p: make_filtered(p, {"scaleoffset": 4}), "mudata.h5mu": make_mudata}
    for name, make in makers.items():
        make(os.path.join(folder, name))
    for name in FOUND:
        shutil.copy(os.path.join(DATA, name), folder)
    return [os.path.join(folder, name) for name in (*makers, *FOUND)]


# ---- mutants ----

WORDS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)


def place(rng, size):
    """Half of all places are in the first 16 kB, where most of the metadata lies."""
    return rng.randrange(min(size, 16384) if rng.random() < 0.5 else size)


def mutate(data, rng):
    data = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        at, kind = place(rng, len(data)), rng.randrange(6)
        if kind <= 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 3:
            width = rng.choice((2, 4, 8))
            word = struct.pack("<Q", rng.choice(WORDS))[:width]
            data[at:at + width] = word[:len(data) - at]
        elif kind == 4:
            span = data[place(rng, len(data)):][:rng.randint(1, 64)]
            data[at:at + len(span)] = span[:len(data) - at]
        elif rng.random() < 0.1:
            del data[max(at, 1024):]
    return bytes(data)


# ---- checkpoints ----

SMALL_RUN = ("backend=cpu", "data.batch_keys=batch", "data.validation=0", "data.shards=4", "model.latent_dim=2", "model.w_dim=2",
             "model.clusters=2", "model.encoder=[4]", "model.decoder=[4]", "model.beta=[4]", "train.batch_size=10",
             "eval.samples=1", "output.embedding=false", "output.markers=false")


def sealed(data):
    """Bytes with their checksum behind them, as in a checkpoint."""
    library = ctypes.CDLL(ctypes.util.find_library("xxhash"))
    library.XXH3_64bits.restype = ctypes.c_uint64
    library.XXH3_64bits.argtypes = ctypes.c_char_p, ctypes.c_size_t
    return data + b"gmvxxh3\0" + struct.pack("<Q", library.XXH3_64bits(data, len(data)))


def write_checkpoint(program, folder, env):
    """The bytes of a small run's last checkpoint, which holds clusters, without their checksum; the command line of that run."""
    config = os.path.join(folder, "checkpoints.yaml")
    with open(config, "w") as out:
        out.write("{}\n")
    arguments = [config, f"data.train={os.path.join(folder, 'csr.h5ad')}", *SMALL_RUN, f"data.check_seconds={CHECK_SECONDS}"]
    place = os.path.join(folder, "checkpoints-of")
    code, errors = run([program, "train", *arguments, "train.epochs=1", f"output.dir={place}"], env)
    if code != 0:
        sys.exit(f"no checkpoint to begin with: {errors}")
    with open(os.path.join(place, "checkpoints", "last.h5"), "rb") as data:
        return data.read()[:-16], arguments


def checkpoint_commands(program, arguments, folder, path):
    """embed and eval of a mutant, and a resume from a folder where it is the only checkpoint."""
    resumed = os.path.join(folder, "resumed")
    shutil.rmtree(resumed, ignore_errors=True)
    os.makedirs(os.path.join(resumed, "checkpoints"))
    shutil.copy(path, os.path.join(resumed, "checkpoints", "last.h5"))
    others = [f"output.dir={os.path.join(folder, 'others')}", f"checkpoint.path={path}", "data.predict=" + arguments[1].split("=")[1]]
    return ([program, "embed", *arguments, *others],
            [program, "train", *arguments, "train.epochs=2", f"output.dir={resumed}"],
            [program, "eval", *arguments, *others])


# ---- runs ----

def environment():
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMIX_", "PMI_", "SLURM_"))}
    clean.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1",
                 OMPI_MCA_pml="ob1")
    # HDF5 leaks what it had read of an object when it refuses the rest
    clean["ASAN_OPTIONS"] = clean.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    return clean


def run(command, env):
    """Exit code, negative for a signal, None when the time was over; stderr."""
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        _, errors = process.communicate(timeout=MOST_SECONDS)
        return process.returncode, errors.decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return None, process.communicate()[1].decode(errors="replace")


def judge(code, errors):
    """What is wrong with how a run ended; "" for nothing."""
    lines = [line for line in errors.splitlines() if not line.startswith("gmvae_dist: warning: ")]
    if code is None:
        return f"not done after {MOST_SECONDS} s"
    if code not in (0, 2, 3):
        return f"exit code {code}"
    if code != 0 and (len(lines) != 1 or not lines[0].startswith("gmvae_dist: error: ")):
        return "not one line of error"
    return "" if code != 0 or not lines else "a word on stderr of a good run"


def kind_of_end(code, errors):
    """A row of the summary."""
    if code == 0:
        return "read"
    by_hdf5 = re.search(r"HDF5 crashes on .*\((.*?)\);|(HDF5 is not done)", errors)
    return f"HDF5 in the other process: {by_hdf5[1] or 'no end'}" if by_hdf5 else "refused"


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", nargs=2)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--mutants", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", default="fuzz-findings")
    parser.add_argument("--only", choices=("inputs", "checkpoints"))
    return parser.parse_args()


def seeds_of(options, program, folder, env):
    """Names and bytes to make mutants of, and the command line of checkpoints."""
    seeds = [(os.path.basename(path), open(path, "rb").read()) for path in write_seeds(folder)]
    checkpoint, arguments = write_checkpoint(program, folder, env)
    kinds = {"inputs": seeds, "checkpoints": [("checkpoint", checkpoint)]}
    return kinds.get(options.only, [*seeds, ("checkpoint", checkpoint)]), arguments


def main():
    options = arguments()
    program, load = (os.path.join(os.path.abspath(folder), name) for folder, name in
                     zip(options.programs, ("gmvae_dist", "load_cells")))
    rng, env, ends, findings = random.Random(options.seed), environment(), collections.Counter(), 0
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        env["OMPI_MCA_orte_tmpdir_base"] = folder
        seeds, checkpoint_arguments = seeds_of(options, program, folder, env)
        n = 0
        while n < options.mutants and time.monotonic() - begin < options.seconds:
            name, data = seeds[n % len(seeds)]
            path = os.path.join(folder, f"mutant-{options.seed}-{n}-{name}")
            with open(path, "wb") as out:
                out.write(sealed(mutate(data, rng)) if name == "checkpoint" else mutate(data, rng))
            if name == "checkpoint":
                commands = checkpoint_commands(program, checkpoint_arguments, folder, path)
                commands = (commands[0], commands[1 + n // len(seeds) % 2])
            else:
                commands = ([program, "inspect", path, f"data.check_seconds={CHECK_SECONDS}"],
                            [load, f"data.train={path}", "data.validation=0", f"data.check_seconds={CHECK_SECONDS}"])[:1 + n % 2]
            for command in commands:
                code, errors = run(command, env)
                wrong = judge(code, errors)
                ends[kind_of_end(code, errors) if not wrong else "FINDING"] += 1
                if wrong:
                    findings += 1
                    os.makedirs(options.keep, exist_ok=True)
                    kept = shutil.copy(path, options.keep)
                    print(f"{kept}: {' '.join(command[:2])}: {wrong}\n{errors[:3000]}", flush=True)
            os.remove(path)
            n += 1
    print(f"files: seed {options.seed}, {n} mutants of {len(seeds)} files, {time.monotonic() - begin:.0f} s, "
          f"{findings} findings")
    for what, count in ends.most_common():
        print(f"  {count:6} {what}")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
