#!/usr/bin/env python3
"""What the objectives do at the default latent sizes (D 80, W 60, K 20): collapse or not, and which bound.

    bench/objectives.py [--json FILE] [--seeds 1] [--set KEY=VALUE]... SPEC...

SPEC as in quality.py. Trains published and marginal, each without a KL warm-up and with it, and prints the
held-out exact bound (exact), the trained bound (own), the components in use (arg max, more than 0.5 % of the
cells) and the agreement of the model's clusters and of k-means on the latent means with the labels.
"""

import argparse
import json
import os

from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

import quality
import runs

SEEDS_SIZES = {"model.latent_dim": 80, "model.w_dim": 60, "model.clusters": 20}


def measure(program, spec, overrides, seed, objective, warmup):
    settings = quality.settings_for(spec, {**SEEDS_SIZES, **overrides, "model.objective": objective,
                                           "train.kl_warmup.fraction": warmup}, seed)
    _, _, labels, _ = runs.read_cells(spec["path"], spec.get("label"))
    with runs.Run(program, settings) as run:
        evaluation = run.evaluation()
        latent, cluster = run.embedding()
    result = {"data": os.path.basename(spec["path"]), "seed": seed, "objective": objective, "warmup": warmup,
              "neg_elbo": evaluation["neg_elbo"], "neg_elbo_objective": evaluation["neg_elbo_objective"],
              "epoch": evaluation["epoch"], "kl_w": evaluation["kl_w"],
              "in_use": runs.in_use(cluster, settings["model.clusters"]), "components": settings["model.clusters"]}
    if labels is not None:
        keep = runs.labelled(labels)
        result["latent"] = quality.agreement(latent[keep], labels[keep])
        result["own"] = {"ari": adjusted_rand_score(labels[keep], cluster[keep]),
                         "nmi": normalized_mutual_info_score(labels[keep], cluster[keep])}
    return result


COLUMNS = (("objective", "objective", "{}"), ("warmup", "warm-up", "{}"), ("neg_elbo", "exact", "{:.1f}"),
           ("neg_elbo_objective", "own", "{:.1f}"), ("in_use", "in use", "{}"), ("own", "own clusters", None),
           ("latent", "latent", None))


def main():
    parser = argparse.ArgumentParser(description="Objectives at the default latent sizes.")
    quality.add_options(parser)
    args = parser.parse_args()
    overrides = quality.overrides_of(args.set)
    quality.print_row(["data", "seed"] + [title for _, title, _ in COLUMNS])
    for spec in map(quality.parse_spec, args.spec):
        for seed in map(int, args.seeds.split(",")):
            for objective in ("published", "marginal"):
                for warmup in (0.0, 0.33):
                    result = measure(args.program, spec, overrides, seed, objective, warmup)
                    quality.report(args, "objectives", overrides, result, COLUMNS)


if __name__ == "__main__":
    main()
