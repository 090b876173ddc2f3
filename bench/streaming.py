#!/usr/bin/env python3
"""What streaming costs in held-out -ELBO: the cells of a file, sorted by type, trained on from memory and from disk.

    bench/streaming.py FILE.h5ad LABEL [--window 1024] [--seeds 1,2,3] [--json FILE] [--set KEY=VALUE]...

Sorted by type is the worst order that a file can have. `host` shuffles all cells of a shard, `stream` takes blocks from
every shard into each window, `stream, 1 shard` reads the sorted file as it comes, a shuffled window at a time. One row a seed;
all three hold out the same cells. Needs anndata.
"""

import argparse
import json
import os
import tempfile
import warnings

import anndata

import quality
import runs

SETTINGS = {"model.latent_dim": 10, "model.w_dim": 4, "model.clusters": 12, "model.encoder": [128],
            "model.decoder": [128], "model.beta": [32], "train.epochs": 40, "train.batch_size": 128,
            "data.validation": 0.1, "output.embedding": False, "output.markers": False, "output.report": False}
MODES = (("host", {"data.residence": "host"}), ("stream", {"data.residence": "stream"}),
         ("stream, 1 shard", {"data.residence": "stream", "data.shards": 1}))


def sort_by(path, label, folder):
    cells = anndata.read_h5ad(path)
    cells = cells[cells.obs[label].astype(str).argsort(kind="stable")].copy()
    sorted_path = os.path.join(folder, os.path.basename(path))
    cells.write_h5ad(sorted_path, compression="gzip")
    return sorted_path, cells.n_obs


def main():
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("label")
    parser.add_argument("--program", default=runs.default_program())
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--seeds", default="1,2,3,4,5")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", help="append one line for each run to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, cells = sort_by(args.file, args.label, folder)
        print("seed", *(name for name, _ in MODES), sep="\t")
        for seed in map(int, args.seeds.split(",")):
            bounds = []
            for name, mode in MODES:
                settings = {**SETTINGS, "seed": seed, "data.train": [path], "data.window": args.window, **mode,
                            **quality.overrides_of(args.set)}
                with runs.Run(args.program, settings) as run:
                    bounds.append(run.evaluation()["neg_elbo"])
                if args.json:
                    line = {"bench": "streaming", "version": runs.git_version(), "data": os.path.basename(args.file),
                            "cells": cells, "window": args.window, "mode": name, "seed": seed, "neg_elbo": bounds[-1]}
                    with open(args.json, "a", encoding="utf-8") as out:
                        print(json.dumps(line), file=out)
            print(seed, *(f"{bound:.2f}" for bound in bounds), sep="\t", flush=True)


if __name__ == "__main__":
    main()
