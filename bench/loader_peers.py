#!/usr/bin/env python3
"""Cells a second that Python loaders of single-cell data turn into batches, for bench/loader.sh.

    loader_peers.py FILE.h5ad [SECONDS] [WORKERS]       SECONDS: bound for each loader (default 20)
                                                        WORKERS: processes of a loader (default 0: its own)

Needs anndata, torch, scdataset, annbatch and zarr; a loader that is missing is left out and named. Every loader gives
CSR batches of 1,024 cells from a file on disk, shuffled as its authors recommend it and in the order of the file.
annbatch cannot read the h5ad: it has the format that it converts to, and the conversion is not counted. Its threads are
those of its codecs, as many as there are cores.
"""

import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
import time
import warnings

import anndata
import h5py
import numpy as np

BATCH = 1024


def rows_of(batch):
    """Number of cells of whatever a loader gives as a batch."""
    if isinstance(batch, dict):
        batch = batch.get("X", next(iter(batch.values())))
    x = getattr(batch, "X", batch)
    return x.shape[0]


def measure(name, version, mode, batches, file, seconds, workers=0):
    cells, start, work = 0, time.perf_counter(), time.process_time()
    for batch in batches:
        cells += rows_of(batch)
        if time.perf_counter() - start > seconds:
            break
    rate, core = cells / (time.perf_counter() - start), cells / (time.process_time() - work) if workers == 0 else None
    print(json.dumps({"bench": "loader", "program": name, "version": version, "file": os.path.basename(file),
                      "mode": mode, "cores": len(os.sched_getaffinity(0)), "workers": workers, "cells": cells,
                      "batch": BATCH, "cells_per_s": round(rate, 1),
                      "cells_per_s_core": core and round(core, 1)}), flush=True)


class Rows:
    """The matrix of an h5ad, as scDataset asks for it: rows by a list of numbers."""

    def __init__(self, file):
        self.file, self.x, self.process = file, None, None
        with h5py.File(file, "r") as opened:
            self.rows = opened["X"].attrs["shape"][0]

    def __len__(self):
        return self.rows

    def __getitem__(self, rows):
        if self.process != os.getpid():  # HDF5 is opened by the process that reads
            self.x, self.process = anndata.io.sparse_dataset(h5py.File(self.file, "r")["X"]), os.getpid()
        return self.x[rows]


def annloader(file, seconds, workers):
    from anndata.experimental import AnnCollection, AnnLoader

    version = importlib.metadata.version("anndata")
    for shuffle in (True, False):
        loader = AnnLoader(AnnCollection([anndata.read_h5ad(file, backed="r")]), batch_size=BATCH, shuffle=shuffle,
                           num_workers=workers)
        measure("AnnLoader", version, "shuffled" if shuffle else "in order", loader, file, seconds, workers)


def scdataset(file, seconds, workers):
    import scdataset as sc
    from torch.utils.data import DataLoader

    version = importlib.metadata.version("scdataset")
    for mode, strategy, factor in (("shuffled", sc.BlockShuffling(block_size=64), 16),
                                   ("in order", sc.Streaming(), 16)):
        dataset = sc.scDataset(Rows(file), strategy, batch_size=BATCH, fetch_factor=factor)
        measure("scDataset", version, mode, DataLoader(dataset, batch_size=None, num_workers=workers), file, seconds,
                workers)


def annbatch(file, seconds, _workers):
    import annbatch as ab
    import zarr

    try:
        import zarrs  # noqa: F401 - the faster codecs that annbatch recommends

        zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    except ImportError:
        pass
    version = importlib.metadata.version("annbatch")
    folder = tempfile.mkdtemp()
    try:
        collection = ab.DatasetCollection(os.path.join(folder, "cells.zarr"))
        collection.add_adatas([file])
        for shuffle in (True, False):
            loader = ab.Loader(batch_size=BATCH, chunk_size=256, preload_nchunks=64, shuffle=shuffle)
            measure("annbatch, converted", version, "shuffled" if shuffle else "in order",
                    loader.use_collection(collection), file, seconds)
    finally:
        shutil.rmtree(folder)


def main():
    warnings.simplefilter("ignore")
    np.random.seed(0)
    file, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    workers = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    for loader in (annloader, scdataset, annbatch):
        try:
            loader(file, seconds, workers)
        except Exception as error:  # one that does not work here does not end the comparison
            print(f"{loader.__name__}: {type(error).__name__}: {str(error).strip().splitlines()[-1:]}", file=sys.stderr)


if __name__ == "__main__":
    main()
