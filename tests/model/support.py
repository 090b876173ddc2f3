"""What the tests that train the program share: simulated cells, and running gmvae_dist on them.

Imported before anything else: it exits with 77 (skipped) where h5py or numpy is missing, and with 1 when
GMVAE_TEST_PYTHON is set, because whoever chose the interpreter for these tests wants them run.
"""

import json
import os
import subprocess
import sys

try:
    import h5py
    import numpy as np
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(1 if "GMVAE_TEST_PYTHON" in os.environ else 77)


def simulate(seed, cells, genes, clusters, batches):
    """Counts [cells, genes], true clusters and batches: well separated components of a latent space, a log-linear
    decoder, a batch effect, library sizes, negative binomial counts."""
    rng = np.random.default_rng(seed)
    dims, theta = 4, 2.0
    cluster, batch = rng.permutation(cells) % clusters, rng.integers(0, batches, cells)
    centre = rng.normal(size=(clusters, dims))
    x = centre[cluster] + 0.15 * rng.normal(size=(cells, dims))
    loading = rng.normal(size=(dims, genes)) * (rng.random(genes) < 0.5)
    effect = 0.5 * rng.normal(size=(batches, genes))
    rate = np.exp(x @ loading + effect[batch] + rng.normal(size=genes))
    library = np.exp(rng.normal(np.log(4.0 * genes), 0.4, cells))
    mean = library[:, None] * rate / rate.sum(1, keepdims=True)
    return rng.poisson(rng.gamma(theta, mean / theta)), cluster, batch


# ---- h5ad ----


def strings(group, name, values):
    group[name] = np.array(values, dtype=h5py.string_dtype())
    group[name].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})


def frame(file, name, index, columns):
    """A data frame of categorical columns {name: codes}."""
    group = file.create_group(name)
    group.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
    group.attrs["column-order"] = np.array(list(columns), dtype=h5py.string_dtype())
    strings(group, "_index", index)
    for column, codes in columns.items():
        item = group.create_group(column)
        item.attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
        item["codes"] = codes.astype(np.int8)
        strings(item, "categories", [f"{column} {i}" for i in range(codes.max() + 1)])


def write_h5ad(path, counts, cluster, batch):
    row, gene = np.nonzero(counts)
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        x = file.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": counts.shape})
        x["data"] = counts[row, gene].astype(np.float32)
        x["indices"] = gene.astype(np.int32)
        x["indptr"] = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(counts)))]).astype(np.int64)
        frame(file, "obs", [f"cell{i}" for i in range(len(counts))], {"cell_type": cluster, "batch": batch})
        frame(file, "var", [f"gene{i}" for i in range(counts.shape[1])], {})


# ---- the program ----


def run(program, folder, config, command="train"):
    """Runs a command on a config (a mapping); ends the test when it fails."""
    path = os.path.join(folder, "config.yaml")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)  # JSON is YAML
    done = subprocess.run([os.path.abspath(program), command, path], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"gmvae_dist {command} ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")


def evaluation(config):
    with open(os.path.join(config["output"]["dir"], "evaluation.json"), encoding="utf-8") as file:
        return json.load(file)
