#!/usr/bin/env python3
"""The kernels of a training step under Nsight Compute: time, and share of what the GPU can do, of each.

    bench/kernel_profile.py NCU BENCH_STEP [KEY=VALUE ...]        KEY: bench_step's; its steps=1 and warmup=2 unless given

Prints a JSON line for each kernel: launches and microseconds a step, and in percent of the GPU's peak the throughput of
memory, of L2 and of the multiprocessors, weighted by time. A kernel runs alone here and with the clocks as they are, so
the sum is what a step takes without overlap; what a step takes is bench_step's figure. Only the standard library is needed.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile

TIME = "gpu__time_duration.sum"
BYTES = "dram__bytes.sum"
SHARES = {"memory": "dram__throughput.avg.pct_of_peak_sustained_elapsed",
          "l2": "lts__throughput.avg.pct_of_peak_sustained_elapsed",
          "multiprocessors": "sm__throughput.avg.pct_of_peak_sustained_elapsed"}
MICROSECONDS = {"ns": 1e-3, "nsecond": 1e-3, "us": 1.0, "usecond": 1.0, "ms": 1e3, "msecond": 1e3, "s": 1e6, "second": 1e6}
MEGABYTES = {"byte": 1e-6, "Kbyte": 1e-3, "Mbyte": 1.0, "Gbyte": 1e3}


def number(text):
    return float(text.replace(",", ""))


def read(path):
    """Rows of ncu's raw page: a dict for each launch, and the units."""
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if line.startswith('"')]
    if len(lines) < 3:
        with open(path, encoding="utf-8") as file:
            sys.exit(f"ncu measured no kernel: {file.read().strip()[-300:]}")
    rows = list(csv.DictReader(lines))
    return rows[1:], rows[0]


def short(name):
    """Of "void a::b_kernel<true, 4>(float *, int)": b_kernel<true, 4>."""
    depth = 0
    for i, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0 and not name.startswith("(anonymous", i):
            name = name[:i]
            break
    start = name.find("<") if "<" in name else len(name)
    at = max(name.rfind("::", 0, start) + 2 if name.rfind("::", 0, start) >= 0 else 0, name.rfind(" ", 0, start) + 1)
    return name[at:]


def by_kernel(rows, units, steps):
    us, mb = MICROSECONDS[units[TIME]], MEGABYTES[units[BYTES]]
    kernels = {}
    for row in rows:
        one = kernels.setdefault(short(row["Kernel Name"]), {"launches": 0, "us": 0.0, "mb": 0.0, **dict.fromkeys(SHARES, 0.0)})
        time = us * number(row[TIME])
        one["launches"] += 1
        one["us"] += time
        one["mb"] += mb * number(row[BYTES])
        for name, metric in SHARES.items():
            one[name] += time * number(row[metric])
    for one in kernels.values():
        for name in SHARES:
            one[name] = round(one[name] / one["us"], 1) if one["us"] > 0 else 0.0
        one["launches"] = round(one["launches"] / steps, 2)
        one["us"], one["mb"] = round(one["us"] / steps, 3), round(one["mb"] / steps, 3)
    return sorted(kernels.items(), key=lambda item: -item[1]["us"])


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    ncu, program, settings = sys.argv[1], sys.argv[2], dict(word.split("=", 1) for word in sys.argv[3:])
    settings = {"warmup": "2", "steps": "1", **settings}
    steps = int(settings["warmup"]) + 2 * int(settings["steps"])  # timed one by one, then all together
    handle, log = tempfile.mkstemp(suffix=".csv")
    os.close(handle)
    try:
        done = subprocess.run([ncu, "--target-processes", "all", "--clock-control", "none", "--csv", "--page", "raw",
                               "--log-file", log, "--force-overwrite", "--metrics", ",".join([TIME, BYTES, *SHARES.values()]),
                               program, *(f"{key}={value}" for key, value in settings.items())],
                              capture_output=True, text=True)
        if done.returncode != 0:
            with open(log, encoding="utf-8") as file:
                sys.exit(f"ncu: exit {done.returncode}: {(done.stderr + file.read()).strip()[-500:]}")
        rows, units = read(log)
    finally:
        os.unlink(log)
    about = {"bench": "kernel", **{key: settings[key] for key in ("genes", "train.batch_size", "train.mc_samples",
                                                                  "train.precision") if key in settings}}
    kernels = by_kernel(rows, units, steps)
    for name, one in kernels:
        print(json.dumps({**about, "kernel": name, **one}))
    total = sum(one["us"] for _, one in kernels)
    print(json.dumps({**about, "kernel": "all", "launches": round(len(rows) / steps, 1), "us": round(total, 1)}))
    print(f"{total:.0f} us in {len(rows) / steps:.0f} launches a step; {kernels[0][0]} {100 * kernels[0][1]['us'] / total:.0f} %",
          file=sys.stderr)


if __name__ == "__main__":
    main()
