#!/usr/bin/env python3
"""What a busy process beside it costs a training step: quiet and beside neighbours, in turns, and the ratio.

    bench/neighbour.py [--ranks 1,2] [--threads N] [--neighbours 1] [--repeats 7] [--variant NAME=VALUE,...]... [--json FILE]

A neighbour is an endless loop of the same weight (nice value and autogroup). Every repeat runs the variants, quiet and
busy, one after the other; medians over the repeats are printed. A variant is a list of environment variables, such as
GOMP_SPINCOUNT=300000 (libgomp's own number of turns); without one the program decides. On a machine with other work,
root can give all measured processes, neighbours included, the highest weight: --favour.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def bench_step():
    return os.path.join(HERE, os.pardir, "build", "release", "bench", "bench_step")


def commit():
    done = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip()


def favour_this_session():
    """An autogroup of its own, of the highest weight, for this process and all that it starts."""
    with contextlib.suppress(PermissionError):
        os.setsid()
    with open("/proc/self/autogroup", "w", encoding="ascii") as file:
        file.write("-20")


@contextlib.contextmanager
def neighbours(count):
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def step_ms(args, ranks, variables):
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("OMP_", "GOMP_")) or name == "OMP_NUM_THREADS"}
    environment.update(dict(pair.split("=", 1) for pair in variables))
    if args.threads:
        environment["OMP_NUM_THREADS"] = str(args.threads)
    command = [args.program, f"genes={args.genes}", f"nonzeros={args.genes * 9 // 100}", "cells=2048", "warmup=3",
               f"steps={args.steps}", f"train.batch_size={args.batch}", *args.set]
    if ranks > 1:
        command = [args.mpirun, "--oversubscribe", "-np", str(ranks), *command]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
    return 1e3 * args.batch / json.loads(done.stdout.splitlines()[-1])["cells_per_s"]


def measure(args, ranks):
    """{(variant, neighbours): [ms of a step in each repeat]}"""
    times = {}
    for _ in range(args.repeats):
        for variant in args.variant or [""]:
            for count in (0, args.neighbours):
                with neighbours(count):
                    took = step_ms(args, ranks, [pair for pair in variant.split(",") if pair])
                times.setdefault((variant, count), []).append(took)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=bench_step())
    parser.add_argument("--mpirun", default="mpirun")
    parser.add_argument("--ranks", default="1")
    parser.add_argument("--threads", type=int, default=0, help="of each rank; default: the program's choice")
    parser.add_argument("--neighbours", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--genes", type=int, default=13431)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--variant", action="append", metavar="NAME=VALUE,...")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--favour", action="store_true")
    parser.add_argument("--json", help="append one line for each variant to this file")
    args = parser.parse_args()
    if args.favour:
        favour_this_session()
    print(f"{'ranks':>5} {'variant':32} {'quiet ms':>9} {'(range)':>15} {'beside ms':>10} {'(range)':>15} {'ratio':>6}")
    for ranks in map(int, args.ranks.split(",")):
        times = measure(args, ranks)
        for variant in args.variant or [""]:
            quiet, busy = (times[variant, count] for count in (0, args.neighbours))
            a, b = statistics.median(quiet), statistics.median(busy)
            ranges = [f"{min(t):.1f}-{max(t):.1f}" for t in (quiet, busy)]
            print(f"{ranks:5} {variant or '-':32} {a:9.1f} {ranges[0]:>15} {b:10.1f} {ranges[1]:>15} {b / a:6.2f}",
                  flush=True)
            if args.json:
                line = {"bench": "neighbour", "version": commit(), "cores": os.cpu_count(), "ranks": ranks,
                        "threads": args.threads, "variant": variant, "neighbours": args.neighbours,
                        "favoured": args.favour, "genes": args.genes, "batch": args.batch, "steps": args.steps,
                        "quiet_ms": [round(t, 2) for t in quiet], "beside_ms": [round(t, 2) for t in busy],
                        "ratio": round(b / a, 3)}
                with open(args.json, "a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
