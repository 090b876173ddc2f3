"""Runs whose cells stay on disk: the same bits on any number of ranks and after a stop, results as with cells in memory,
memory that does not grow, and files that change.

usage: stream.py PATH/gmvae_dist
"""
import ctypes
import json
import os
import shutil
import signal
import unittest

from support import CELLS, DEEP, FEW, RunTest, contents, edit, h5py, lines_of, main, np

# 13 or more windows an epoch of 1,400 cells, so that many batches lie in two
STREAM = {"data.residence": "stream", "data.window": 256, "train.batch_size": 48, "train.epochs": 3,
          "data.batch_keys": ["batch", "condition"], "model.dropout": 0.1, "checkpoint.every": 1}
RANKS = (2, 4, 8) if DEEP else (4,)


def bigger(path, times):
    """The cells of CELLS, so many times."""
    with h5py.File(CELLS) as source, h5py.File(path, "w") as out:
        rows = source["X/indptr"].shape[0] - 1
        source.copy("var", out)
        x = out.create_group("X")
        for key, value in source["X"].attrs.items():
            x.attrs[key] = value
        x.attrs["shape"] = (rows * times, source["X"].attrs["shape"][1])
        for part in ("data", "indices"):
            values = source["X"][part][()]
            to = x.create_dataset(part, (values.size * times,), values.dtype, chunks=(1 << 15,), compression="gzip",
                                  compression_opts=1)
            for i in range(times):
                to[i * values.size:(i + 1) * values.size] = values
        lengths = np.tile(np.diff(source["X/indptr"][()]).astype(np.int64), times)
        x["indptr"] = np.concatenate([[0], np.cumsum(lengths)])
        obs = out.create_group("obs")
        for key, value in source["obs"].attrs.items():
            obs.attrs[key] = value
        obs.attrs["column-order"] = np.array(["batch"], dtype=object)
        index = source["obs"].attrs["_index"]
        obs[index] = np.array([str(i) for i in range(rows * times)], dtype="S8")
        source.copy("obs/batch", obs)
        codes = np.tile(source["obs/batch/codes"][()], times)
        del obs["batch/codes"]
        obs["batch/codes"] = codes


def rows_of(path):
    """The numbers of an embedding."""
    with h5py.File(path) as f:
        return [f[name][()].tobytes() for name in ("obsm/X_gmvae", "obsm/gmvae_component_prob", "obsm/gmvae_cluster_prob",
                                                   "obs/gmvae_neg_elbo", "obs/gmvae_cluster/codes", "uns/gmvae_dist/cluster_tree")]


class Stream(RunTest):
    def test_the_same_bits_on_any_number_of_ranks(self):
        changes = {**STREAM, "train.reduction": "exact", "train.micro_batches": 8, "output.embedding": True}
        first = self.train("np1", changes, threads=2)
        self.assertIn("the matrix stays on disk", first.out)
        embedding = rows_of(first.path("embedding.h5ad"))
        for ranks in RANKS:
            other = self.train(f"np{ranks}", changes, ranks)
            self.same_run(first, other)
            self.assertEqual(rows_of(other.path("embedding.h5ad")), embedding)

    def test_fast_sums_agree(self):
        first = self.train("np1", STREAM)
        other = self.train("np3", STREAM, ranks=3)
        np.testing.assert_allclose(other.losses("step")[:10], first.losses("step")[:10], rtol=1e-6)
        np.testing.assert_allclose(other.losses("validation"), first.losses("validation"), rtol=1e-3)

    def test_results_are_those_of_cells_in_memory(self):
        run = self.train("run", STREAM)
        for word in ("eval", "embed"):
            for where in ("host", "stream"):
                changes = {**STREAM, "data.residence": where, "checkpoint.path": run.checkpoint(), "eval.samples": 20}
                done = self.try_run(where, changes, ranks=2 if where == "stream" else 1, word=word)
                self.assertEqual((done.code, done.err), (0, ""))
        results = []
        for where in ("host", "stream"):
            with open(os.path.join(self.folder, where, "evaluation.json")) as found:
                results.append(json.load(found))
            results[-1]["rows"] = rows_of(os.path.join(self.folder, where, "embedding.h5ad"))
        self.assertEqual(results[0], results[1])

    def test_validation_files_are_streamed_too(self):
        both = []
        for where in ("stream", "host"):
            run = self.try_run(where, {**STREAM, "data.validation": [CELLS], "train.epochs": 1, "data.residence": where})
            self.assertEqual(run.code, 0, run.err)
            self.assertIn("1558 of the 1558 cells", run.err) # are those of the training
            both.append(run)
        stream, host = both
        self.assertEqual(stream.metrics("validation")[-1]["cells"], host.metrics("validation")[-1]["cells"])
        np.testing.assert_allclose(stream.losses("validation"), host.losses("validation"), rtol=0.05)

    def test_stopped_and_continued(self):
        changes = {**STREAM, "train.reduction": "exact"}
        whole = self.train("whole", changes)
        per_epoch = len(whole.metrics("step")) // 3
        stopped = 0
        moments = (3, per_epoch + 9, per_epoch - 1, 2 * per_epoch + 5) # in an epoch, with windows behind; at a border, late
        for lines in (per_epoch // 2,) if FEW else moments if DEEP else moments[:2]:
            name = f"stopped{lines}"
            run = self.interrupt(name, changes, lambda run: lines_of(run) >= lines, signal.SIGUSR1, ranks=2)
            self.assertIn(run.code, (0, 75), run.err)
            stopped += run.code == 75
            self.same_run(whole, self.train(name, changes, ranks=1))
        self.assertGreater(stopped, 0)

    def test_the_order_is_kept(self):
        """A run goes on as it began, whatever the memory; what would change its order is refused."""
        changes = {**STREAM, "data.residence": "auto", "data.memory_mb": 1, "train.epochs": 1, "train.kl_warmup.steps": 9}
        self.train("run", {**changes, "data.residence": "stream"})
        whole = self.train("whole", {**changes, "data.residence": "stream", "train.epochs": 2})
        again = self.train("run", {**changes, "data.memory_mb": 1000000, "train.epochs": 2})
        self.assertIn("the matrix stays on disk", again.out)
        self.assertEqual(contents(again.checkpoint()), contents(whole.checkpoint()))
        more = {**changes, "train.epochs": 3}
        self.fails(["in memory", "windows of 256", "data.residence"], 2, "run", {**more, "data.residence": "host"})
        self.fails(["windows of 256", "windows of 512"], 2, "run",
                   {**more, "data.residence": "stream", "data.window": 512})
        self.train("memory", {**changes, "data.memory_mb": 0})
        kept = self.train("memory", {**changes, "train.epochs": 2})
        self.assertNotIn("stays on disk", kept.out)

    def test_a_file_that_changes(self):
        """It is said, no rank hangs, and the run continues once the file is as it was."""
        file = os.path.join(self.folder, "cells.h5ad")
        for ranks in (1, 2):
            shutil.copy2(CELLS, file)
            changed = []

            def change(run):
                if lines_of(run) < 4:
                    return False
                if not changed:
                    edit(file, os.path.getsize(file) // 2, bytes(64))
                    changed.append(True)
                return False

            changes = {**STREAM, "data.train": [file], "train.epochs": 200}
            run = self.interrupt(f"np{ranks}", changes, change, signal.SIGUSR1, ranks=ranks)
            self.check_failure(run, 3, ["cells.h5ad", "can no longer be read", "the file has changed"])

    def peak(self, name, file, changes):
        """Megabytes that a run of one process had at most."""
        pid = os.fork()
        if pid == 0:
            # what depends on luck: the number of arenas, and who gets huge pages
            os.environ.update(self.environment(), MALLOC_ARENA_MAX="1")
            ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE
            os.chdir(self.folder)
            out = os.open(os.devnull, os.O_WRONLY)
            os.dup2(out, 1)
            os.execv(*(lambda command: (command[0], command))(self.command(name, {**changes, "data.train": [file]})))
        _, status, usage = os.wait4(pid, 0)
        self.assertEqual(status, 0)
        return usage.ru_maxrss / 1024

    @unittest.skipIf(FEW, "a sanitizer keeps what is freed")
    def test_memory_does_not_grow(self):
        """Some and four times as many cells, the same memory: training, evaluation and embedding."""
        changes = {**STREAM, "data.batch_keys": ["batch"], "data.window": 2048, "train.batch_size": 512,
                   "train.epochs": 1, "output.embedding": True, "eval.samples": 1, "data.check_seconds": 0,
                   "train.log_steps": 0, "data.shards": 8, "data.genes": {"file": os.path.join(self.folder, "genes.txt")}}
        with h5py.File(CELLS) as f, open(changes["data.genes"]["file"], "wb") as out:
            out.write(b"\n".join(f["var"][f["var"].attrs["_index"]][:60]))
        peaks = []
        for times in (40, 160) if DEEP else (10, 40):
            file = os.path.join(self.folder, f"x{times}.h5ad")
            bigger(file, times)
            peaks.append(self.peak(f"x{times}", file, changes))
        # 8 MB: buffers of threads that may or may not meet; a matrix in memory would be 100 MB more
        self.assertLess(peaks[1], 1.05 * peaks[0] + 8, peaks)


if __name__ == "__main__":
    main()
