#!/usr/bin/env python3
"""Trains on real cells on the CPU and, in every precision, on the GPU, and compares the held-out bounds.

usage: gpu_training.py PROGRAM DATA.h5ad RESULTS.jsonl

The bounds of fp32, tf32 and bf16 must be within 0.1 % of the CPU's. (On the CPU a learning rate that is 0.1 % higher
changes them by 0.002 %: runs of one seed stay together.) Only the standard library is needed. TRAIN_EPOCHS: 30 unless
set.
"""

import json
import os
import subprocess
import sys
import tempfile

SETTINGS = ["model.latent_dim=10", "model.w_dim=10", "model.clusters=15", "model.encoder=[128,128]",
            "model.decoder=[128,128]", "model.beta=[128]", "train.batch_size=256", "eval.samples=20",
            "output.embedding=false", "output.markers=false", "train.epochs=" + os.environ.get("TRAIN_EPOCHS", "30")]
TOLERANCE = 1e-3


def bound(program, data, folder, *changes):
    """Held-out -ELBO of a run, and its training speed in the last epoch; raises RuntimeError when it fails."""
    config = os.path.join(folder, "config.yaml")
    out = os.path.join(folder, "-".join(changes).replace("=", "-"))
    with open(config, "w", encoding="utf-8") as file:
        json.dump({"data": {"train": os.path.abspath(data)}, "output": {"dir": out}}, file)
    done = subprocess.run([program, "train", config, *SETTINGS, *changes], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.strip()}")
    with open(os.path.join(out, "evaluation.json"), encoding="utf-8") as file:
        result = json.load(file)
    with open(os.path.join(out, "metrics.jsonl"), encoding="utf-8") as file:
        speed = [row["cells_per_s"] for row in map(json.loads, file) if row["split"] == "train"][-1]
    return result["neg_elbo"], speed


def main():
    program, data, results = sys.argv[1:4]
    bad = []
    with tempfile.TemporaryDirectory() as folder, open(results, "a", encoding="utf-8") as file:
        reference, speed = bound(program, data, folder, "backend=cpu")
        print(f"cpu   {reference:.3f}  {speed:.0f} cells/s", flush=True)
        for precision in ("fp32", "tf32", "bf16"):
            try:
                value, speed = bound(program, data, folder, "backend=cuda", f"train.precision={precision}")
            except RuntimeError as error:
                print(f"{precision}  {error}", flush=True)
                bad.append(precision)
                continue
            off = value / reference - 1.0
            if not abs(off) <= TOLERANCE:
                bad.append(precision)
            print(f"{precision}  {value:.3f}  {100 * off:+.3f} %  {speed:.0f} cells/s", flush=True)
            json.dump({"bench": "training", "data": os.path.basename(data), "precision": precision, "neg_elbo": value,
                       "cpu_neg_elbo": reference, "cells_per_s": speed}, file)
            file.write("\n")
            file.flush()
    if bad:
        sys.exit(f"not within {100 * TOLERANCE:g} % of the CPU: {', '.join(bad)}")


if __name__ == "__main__":
    main()
