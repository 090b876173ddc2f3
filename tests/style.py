#!/usr/bin/env python3
"""What a compiler does not see: form, layers, contracts of headers, sizes, words.

    tests/style.py          all of it; exit status 1 when something is wrong
    tests/style.py --fix    also writes the form that .clang-format wants

Needs clang-format 14 (tests/requirements.txt): another version has another opinion.
"""
import os
import re
import subprocess
import sys

TREE = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))

# The table of docs/design.md, "Folders and layers": a file includes headers of its own layer and of those below.
LAYERS = {"include": 0, "src/core": 1, "src/comm": 2, "src/config": 2, "kernels/cpu": 3, "kernels/cuda": 3, "src/backend": 3,
          "src/data": 4, "src/inspect": 5, "src/model": 5, "src/train": 6, "src/analysis": 6, "src/pictures": 6, "src/report": 6, "src/io": 6, "src/synth": 6, "src/app": 7, "src/main.c": 7,
          "src/start.c": 7}
HEADERS = {"choices": 0, "cpu": 1, "files": 1, "folder_lock": 1, "log": 1, "mem": 1, "names": 1, "signals": 1, "status": 1, "text": 1, "threads": 1,
           "comm": 2, "config": 2, "backend": 3, "likelihoods": 0, "ops": 3, "packed": 3, "data": 4, "stream": 4, "model": 5,
           "params": 5, "checkpoint": 6, "synth": 6, "train": 6, "sampler": 6, "feed": 6, "evaluate": 6, "clusters": 6, "pictures": 6, "report": 6, "history": 6, "umap": 6, "leiden": 6, "embedded": 6, "neighbours": 6, "metrics": 6, "metrics.def": 0, "embedding": 6, "level_mix": 4, "expression": 5, "markers": 6, "generate": 6, "predictive": 6, "heat_map": 6, "count_components": 6, "inspect": 4, "checker": 4, "app": 7, "hd": 0, "rng": 0, "draw": 0, "types": 0}
PRIVATE = {("src/inspect", "src/data"), ("src/io", "src/data"), ("src/synth", "src/io"), ("src/synth", "src/data"), ("src/app", "src/data"), ("src/report", "src/data")}
MOST_LINES, MOST_OF_A_FILE, LEAST_CONTRACTS = 60, 600, 0.98
WORDS = re.compile(r"\bDESIGN\b|models-and-peers|\b[Ss]eed 0\d\d")


def files(*endings):
    listed = [os.path.relpath(os.path.join(at, name), TREE) for at, folders, names in os.walk(TREE) for name in names
              if not os.path.relpath(at, TREE).startswith(("build", ".git", "shared"))]
    return sorted(name for name in listed if name.endswith(endings))


def read(name):
    with open(os.path.join(TREE, name), encoding="utf-8") as file:
        return file.read()


def form(fix):
    """What clang-format would change."""
    tool = os.path.join(os.path.dirname(sys.executable), "clang-format")
    command = [tool if os.path.exists(tool) else "clang-format"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    if " 14." not in version:
        raise SystemExit(f"style.py: {version.strip()}: version 14 is wanted")
    names = files(".c", ".h", ".cu", ".cuh")
    if fix:
        subprocess.run([*command, "-i", *names], cwd=TREE, check=True)
    done = subprocess.run([*command, "--dry-run", *names], cwd=TREE, capture_output=True, text=True, check=True)
    return sorted({line.split(":")[0] + ": not as .clang-format has it" for line in done.stderr.split("\n") if "warning" in line})


def layer_of(name):
    folder = next(folder for folder in sorted(LAYERS, key=len, reverse=True) if name.startswith(folder))
    return folder, LAYERS[folder]


def layers():
    """Headers of a layer above, and private ones of another folder."""
    for name in files(".c", ".h", ".cu", ".cuh"):
        if not name.startswith(("src/", "kernels/")):
            continue
        folder, layer = layer_of(name)
        for header in re.findall(r'#include "([^"]+)"', read(name)):
            if header.startswith("gmvae/"):
                file = header[len("gmvae/"):]
                of = HEADERS.get(file, HEADERS.get(re.sub(r"\.\w+$", "", file), 0))
                if of > layer:
                    yield f"{name}: includes {header} of layer {of}, its own is {layer}"
            elif header.startswith("../"):
                other, _ = layer_of(os.path.normpath(os.path.join(os.path.dirname(name), header)))
                if other != folder and (folder, other) not in PRIVATE:
                    yield f"{name}: includes {header}, private to {other}"


def sizes():
    """Functions and files that are too long to be seen at once."""
    for name in files(".c", ".h", ".cu", ".cuh"):
        if not name.startswith(("src/", "kernels/", "include/")):
            continue
        lines, start = read(name).split("\n"), None
        if len(lines) > MOST_OF_A_FILE:
            yield f"{name}: {len(lines)} lines, at most {MOST_OF_A_FILE}"
        for at, line in enumerate(lines):
            if line == "{":
                start = at
            elif line == "}" and start is not None:
                if at - start > MOST_LINES:
                    yield f"{name}:{start + 1}: a function of {at - start} lines, at most {MOST_LINES}"
                start = None


def contracts():
    """Public functions are declared under a comment, by themselves or in a group."""
    without, all_of_them = [], 0
    for name in files(".h"):
        if not name.startswith("include/gmvae/") or "/math/" in name:
            continue
        under = False
        for line in read(name).split("\n"):
            if line.endswith("*/"):
                under = True
            elif line == "":
                under = False
            elif re.match(r"[a-z].*\bgmv_\w+\(", line) and not line.startswith(("typedef", "static", "#")):
                all_of_them += 1
                without += [] if under else [f"{name}: {line.strip()}"]
    share = 1 - len(without) / all_of_them
    if share < LEAST_CONTRACTS:
        yield f"{share:.0%} of {all_of_them} public functions stand under a comment, at least {LEAST_CONTRACTS:.0%}: "
        yield from without


def words():
    """Nothing cites what is not here."""
    for name in files(".c", ".h", ".cu", ".cuh", ".def", ".md", ".py", ".sh", ".txt", ".yaml"):
        if name == "tests/style.py":
            continue
        for at, line in enumerate(read(name).split("\n")):
            if WORDS.search(line):
                yield f"{name}:{at + 1}: cites a document that is not in the repository: {line.strip()}"


def main():
    found = [*form("--fix" in sys.argv[1:]), *layers(), *sizes(), *contracts(), *words()]
    print("\n".join(found) if found else "style: nothing to say")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
