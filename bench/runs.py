"""What the benchmarks share: running gmvae_dist, reading what it leaves, held-out cells, scores."""

import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np
import scipy.sparse

UNLABELLED = {"", "nan", "na", "none", "unknown", "unassigned"}


def default_program():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return os.environ.get("GMVAE_DIST", os.path.join(root, "build", "release", "gmvae_dist"))


def nested(flat):
    """{"a.b": 1} as {"a": {"b": 1}}."""
    tree = {}
    for path, value in flat.items():
        *groups, last = path.split(".")
        at = tree
        for group in groups:
            at = at.setdefault(group, {})
        at[last] = value
    return tree


class Run:
    """One training run in a folder of its own, removed with the object's context."""

    def __init__(self, program, settings, command="train"):
        self.folder = tempfile.TemporaryDirectory(prefix="gmvae-bench-")
        out = os.path.join(self.folder.name, "out")
        config = os.path.join(self.folder.name, "config.yaml")
        with open(config, "w", encoding="utf-8") as file:
            json.dump(nested({**settings, "output.dir": out}), file)  # JSON is YAML
        done = subprocess.run([program, command, config], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"gmvae_dist ended with status {done.returncode}: {done.stderr.strip()[-800:]}")
        self.out = out

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def evaluation(self):
        with open(os.path.join(self.out, "evaluation.json"), encoding="utf-8") as file:
            return json.load(file)

    def history(self, split):
        with open(os.path.join(self.out, "metrics.jsonl"), encoding="utf-8") as file:
            return [line for line in map(json.loads, file) if line["split"] == split]

    def embedding(self):
        """Latent means [N, D] and the component of every cell."""
        with h5py.File(os.path.join(self.out, "embedding.h5ad")) as file:
            return (file["obsm/X_gmvae"][()].astype(np.float64),
                    file["obsm/gmvae_component_prob"][()].argmax(1))

    def genes(self):
        with h5py.File(os.path.join(self.out, "checkpoints", "last.h5")) as file:
            return [name.decode() if isinstance(name, bytes) else name for name in file["genes"][()]]


# ---- cells ----


def column(frame, name):
    """A column of an h5ad's obs or var as strings."""
    item = frame[name]
    if isinstance(item, h5py.Group):  # categorical
        codes, levels = item["codes"][()], item["categories"].asstr()[()]
        return np.where(codes < 0, "", levels[codes])
    return item.asstr()[()] if item.dtype.kind == "O" else item[()].astype(str)


def read_cells(path, label_key=None, batch_key=None):
    """Counts (CSR) of X, gene names, labels and batches (None without a key)."""
    with h5py.File(path) as file:
        x = file["X"]
        counts = scipy.sparse.csr_matrix((x["data"][()].astype(np.float64), x["indices"][()], x["indptr"][()]),
                                         shape=tuple(x.attrs["shape"]))
        var = file["var"]
        genes = list(column(var, var.attrs.get("_index", "_index")))
        labels = column(file["obs"], label_key) if label_key else None
        batches = column(file["obs"], batch_key) if batch_key else None
    return counts, genes, labels, batches


def philox(counter, key):
    """Philox4x32-10 of counters [N, 4] and a key of two words (Salmon et al. 2011)."""
    c = [counter[:, i].astype(np.uint64) for i in range(4)]
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(b >> np.uint64(32)) ^ c[1] ^ k0, b & low, (a >> np.uint64(32)) ^ c[3] ^ k1, a & low]
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return c


def held_out(cells, seed, fraction):
    """Which of rows 0 .. cells - 1 gmvae_dist holds out: its hash of seed and row, again."""
    row = np.arange(cells, dtype=np.uint64)
    counter = np.zeros((cells, 4), dtype=np.uint64)
    counter[:, 1] = 3  # the stream of held-out cells
    counter[:, 2] = row & np.uint64(0xFFFFFFFF)
    counter[:, 3] = (row >> np.uint64(32)) << np.uint64(24)
    word = philox(counter, (seed & 0xFFFFFFFF, seed >> 32))
    bits = word[0] << np.uint64(21) | word[1] >> np.uint64(11)
    return bits.astype(np.float64) < fraction * 2.0**53


def labelled(labels):
    return np.array([label.lower() not in UNLABELLED for label in labels])


def in_use(clusters, components):
    """Components that more than 0.5 % of the cells belong to."""
    return int((np.bincount(clusters, minlength=components) > 0.005 * len(clusters)).sum())


def git_version():
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run(["git", "-C", here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip()
