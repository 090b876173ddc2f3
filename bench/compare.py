#!/usr/bin/env python3
"""Prints the steps of bench_step beside those of torch_step.py, as ratios.

    bench/compare.py RESULTS.jsonl
"""

import json
import sys
from collections import defaultdict


def main():
    rows = defaultdict(dict)
    with open(sys.argv[1], encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if row.get("bench") == "step":
                rows[row["genes"], row["batch"], row["draws"], row["precision"]][row["program"]] = row
    print(f"{'genes':>7} {'batch':>6} {'M':>3} {'':5} {'ours cells/s':>13} {'torch':>11} {'compiled':>11} {'ratio to best':>14}")
    for (genes, batch, draws, precision), programs in sorted(rows.items()):
        rate = {name: row["cells_per_s"] for name, row in programs.items()}
        ours, peers = rate.get("gmvae_dist"), [v for name, v in rate.items() if name != "gmvae_dist"]
        ratio = f"{ours / max(peers):.2f}" if ours and peers else "-"

        def shown(name):
            return f"{rate[name]:.0f}" if name in rate else "-"

        print(f"{genes:7} {batch:6} {draws:3} {precision:5} {shown('gmvae_dist'):>13} {shown('torch'):>11} "
              f"{shown('torch.compile'):>11} {ratio:>14}")


if __name__ == "__main__":
    main()
