"""The three objectives on the same parameters and on trained ones, by many draws on held-out cells.

    objectives.py GMVAE_DIST

With a learning rate of 0 runs of every objective keep the same parameters. Then the exact bound and all its parts
are the same numbers under every objective. There and after training, marginal and mc have the exact bound as
their own; the published one, a looser bound, is never below it. With one component (K = 1) there is nothing to
choose: kl_z is zero, and published, which integrates what the others sample, has the same expectation.
Exit status 77 means skipped: a Python package is missing.
"""

import os
import sys
import tempfile

import support

OBJECTIVES = ("marginal", "published", "mc")
PARTS = ("neg_elbo", "reconstruction", "kl_w", "kl_z", "kl_x")
CELLS, GENES, TYPES, BATCHES = 600, 60, 4, 2
DRAWS = 400
NATS = 0.03  # Monte-Carlo error allowed of means over some 72,000 draws; deviations found: 0.005 trained, 0.011 initial


def config_of(folder, data, name, clusters, objective):
    return {
        "seed": 3,
        "data": {"train": [data], "validation": 0.3, "batch_keys": ["batch"]},
        "model": {"objective": objective, "latent_dim": 3, "w_dim": 2, "clusters": clusters,
                  "encoder": [24], "decoder": [24], "beta": [12]},
        "train": {"epochs": 15, "batch_size": 32},
        "checkpoint": {"every": 0},
        "eval": {"every": 15, "samples": 1},
        "runtime": {"threads": 1},
        "output": {"dir": os.path.join(folder, name), "embedding": False},
    }


def trained_as(program, folder, data, clusters, objective, lr):
    """evaluation.json of a run of many draws; with a learning rate of 0, of the initial parameters."""
    config = config_of(folder, data, f"{objective}{clusters}lr{lr}", clusters, objective)
    config["train"]["lr"] = lr
    config["eval"]["samples"] = DRAWS
    support.run(program, folder, config)
    return support.evaluation(config)


def check(name, clusters, by_objective, problems):
    first = next(iter(by_objective.values()))
    for objective, found in by_objective.items():
        for part in PARTS:
            if abs(found[part] - first[part]) > 1e-6 * abs(first["neg_elbo"]):
                problems.append(f"{name}: {part} is {found[part]} as {objective}, {first[part]} as {next(iter(by_objective))}")
        total = sum(found[part] for part in PARTS[1:])
        if abs(total - found["neg_elbo"]) > 1e-6 * abs(total):
            problems.append(f"{name}: the parts add up to {total}, neg_elbo is {found['neg_elbo']}")
        gap = found["neg_elbo_objective"] - found["neg_elbo"]
        print(f"{name} as {objective}: exact {found['neg_elbo']:.4f}, own {found['neg_elbo_objective']:.4f}, "
              f"kl_z {found['kl_z']:.3g}, kl_x {found['kl_x']:.4f}", flush=True)
        if objective != "published" and abs(gap) > 1e-5 * abs(found["neg_elbo"]):
            problems.append(f"{name}: {objective} differs from the exact bound by {gap}")
        if objective == "published" and gap < -NATS:
            problems.append(f"{name}: published is below the exact bound by {-gap}")
        if clusters == 1 and abs(found["kl_z"]) >= 1e-6:
            problems.append(f"{name}: kl_z is {found['kl_z']} with one component")
        if clusters == 1 and abs(gap) > NATS:
            problems.append(f"{name}: {objective} differs from the exact bound by {gap} with one component")


def main():
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "cells.h5ad")
        support.write_h5ad(data, *support.simulate(5, CELLS, GENES, TYPES, BATCHES))
        for clusters in (1, 6):
            check(f"K {clusters} initial", clusters,
                  {objective: trained_as(sys.argv[1], folder, data, clusters, objective, 0.0) for objective in OBJECTIVES},
                  problems)
            for objective in OBJECTIVES:
                check(f"K {clusters} trained", clusters,
                      {objective: trained_as(sys.argv[1], folder, data, clusters, objective, 1e-3)}, problems)
    for problem in problems:
        print(f"failed: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
