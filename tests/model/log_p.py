"""-log p of held-out cells by importance sampling, against integrals over the latents.

    log_p.py GMVAE_DIST

A model with one dimension of x (and of w) is trained on cells drawn here. p(y) of each held-out cell is then an integral
over a line, or a plane, of what the checkpoint's decoder and prior say, taken on a fine grid. The program's neg_log_p must
be that, but for the chance of its draws: from q, which is none of the grid's business. It must lie below the bound of the same
draws, which takes the mean of the logarithms.

Exit status 77 means skipped: a Python package is missing.
"""
import json
import os
import sys
import tempfile

import support
import h5py
import numpy as np
from scipy.special import erf, gammaln, logsumexp

CELLS, GENES, SAMPLES = 300, 12, 2000
X, W = np.linspace(-9, 9, 1201), np.linspace(-6, 6, 241)
TOLERANCE = 0.015  # nats; found: at most 0.005, and bounds 0.19 to 0.24 above


def trunk(p, name, h):
    layer = 0
    while f"{name}.layers.{layer}.linear.weight" in p:
        at = f"{name}.layers.{layer}"
        h = h @ p[f"{at}.linear.weight"].T + p[f"{at}.linear.bias"]
        h = 0.5 * h * (1 + erf(h / np.sqrt(2)))
        h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)
        h = h * p[f"{at}.norm.weight"] + p[f"{at}.norm.bias"]
        layer += 1
    return h


def log_normal(x, mean, variance):
    return -0.5 * (np.log(2 * np.pi * variance) + (x - mean) ** 2 / variance)


def log_prior(p, family, clusters):
    """log p(x) on the grid: N(0, 1), a mixture, or the integral over w of a mixture whose components w moves."""
    if family == "vae":
        return log_normal(X, 0.0, 1.0)
    if family == "vae_mog":
        mean, raw = p["prior.components"].reshape(2, clusters)
        weight = p["prior.log_weight"] - logsumexp(p["prior.log_weight"])
        return logsumexp(weight[:, None] + log_normal(X, mean[:, None], np.exp(raw)[:, None] + 1e-4), axis=0)
    mean, raw = np.moveaxis((trunk(p, "beta", W[:, None]) @ p["beta.out.weight"].T + p["beta.out.bias"]).reshape(-1, 2, clusters), 1, 0)
    given_w = logsumexp(log_normal(X, mean[..., None], np.exp(raw)[..., None] + 1e-4), axis=1) - np.log(clusters)
    return logsumexp(log_normal(W, 0.0, 1.0)[:, None] + given_w, axis=0) + np.log(W[1] - W[0])


def log_likelihood(p, y):
    """log p(y | x) [cells, grid], negative binomial with means library x softmax."""
    head = trunk(p, "decoder", X[:, None]) @ p["decoder.mean.weight"].T + p["decoder.mean.bias"]
    share, theta = head - logsumexp(head, axis=1, keepdims=True), np.exp(p["decoder.theta"])
    total = np.zeros((len(y), len(X)))
    for g in range(y.shape[1]):
        k, mu = y[:, g][:, None], y.sum(1)[:, None] * np.exp(share[:, g])[None]
        total += gammaln(k + theta[g]) - gammaln(theta[g]) - gammaln(k + 1)
        total += theta[g] * np.log(theta[g] / (theta[g] + mu)) + k * np.log(mu / (theta[g] + mu))
    return total


def make_cells(path):
    """Three types on a line."""
    rng = np.random.default_rng(4)
    at = np.array([-1.5, 0.0, 1.5])[rng.integers(0, 3, CELLS)] + 0.3 * rng.normal(size=CELLS)
    logit = at[:, None] * rng.normal(size=GENES) + rng.normal(size=GENES)
    mean = rng.integers(40, 120, CELLS)[:, None] * np.exp(logit) / np.exp(logit).sum(1, keepdims=True)
    y = rng.poisson(rng.gamma(4.0, mean / 4.0))
    y[:, 0] += 1
    support.write_h5ad(path, y, np.zeros(CELLS, int), (np.arange(CELLS) % 3 == 0).astype(int))
    return y


def check(program, folder, y, family, settings):
    out, clusters = os.path.join(folder, family), 3
    support.run(program, folder, {
        "seed": 3,
        "data": {"train": [os.path.join(folder, "cells.h5ad")], "validation": {"key": "batch", "levels": ["batch 1"]}},
        "model": {"family": family, "latent_dim": 1, "encoder": [16], "decoder": [16], "dropout": 0.0, **settings},
        "train": {"epochs": 80, "batch_size": 32, "lr": 3e-3, "log_steps": 0},
        "eval": {"every": 80, "samples": SAMPLES},
        "runtime": {"threads": 1},
        "output": {"dir": out, "embedding": False, "report": False},
    })
    with open(os.path.join(out, "evaluation.json")) as file:
        found = json.load(file)
    with h5py.File(os.path.join(out, "checkpoints", "best.h5")) as file:
        p = {name: item[()].astype(float) for name, item in file["params"].items()}
    held = y[np.arange(CELLS) % 3 == 0]
    wanted = -(logsumexp(log_likelihood(p, held) + log_prior(p, family, clusters), axis=1) + np.log(X[1] - X[0])).mean()
    print(f"{family}: -log p {found['neg_log_p']:.4f}, integrated {wanted:.4f}, -ELBO {found['neg_elbo']:.4f}")
    assert found["cells"] == len(held)
    assert abs(found["neg_log_p"] - wanted) < TOLERANCE, "-log p is not what the integral is"
    assert found["neg_elbo"] - wanted > 6 * TOLERANCE, "the bound is as near, so that this says nothing"


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        y = make_cells(os.path.join(folder, "cells.h5ad"))
        check(program, folder, y, "vae", {})
        check(program, folder, y, "vae_mog", {"clusters": 3})
        check(program, folder, y, "gmvae", {"clusters": 3, "w_dim": 1, "beta": [8]})


if __name__ == "__main__":
    main()
