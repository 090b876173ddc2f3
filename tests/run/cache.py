"""Runs whose streamed cells come from packed copies on disk: the same bits whatever files hold the cells and whatever is
copied, also when a run is stopped and goes on another way; full disks; nothing that is left behind.

usage: cache.py PATH/gmvae_dist
"""
import json
import os
import signal
import subprocess
import unittest

from support import CELLS, FEW, MPIEXEC, RunTest, edit, h5py, lines_of, main, np

CACHED = {"data.residence": "stream", "data.window": 256, "train.batch_size": 48, "train.epochs": 3,
          "data.batch_keys": ["batch"], "model.dropout": 0.1, "checkpoint.every": 1, "train.reduction": "exact",
          "output.embedding": True, "data.shards": 16}
CUTS = (0, 311, 790, 1203)  # where files begin; the last ends with the cells


def rows_of(path):
    """The numbers of an embedding."""
    with h5py.File(path) as f:
        return [f[name][()].tobytes() for name in ("obsm/X_gmvae", "obsm/gmvae_component_prob", "obsm/gmvae_cluster_prob",
                                                   "obs/gmvae_neg_elbo", "obs/gmvae_cluster/codes", "uns/gmvae_dist/cluster_tree")]


def cut(path, first, end, kind):
    """Writes cells [first, end) of CELLS as a file: csr, dense, csc, or csr that is read by HDF5 alone."""
    with h5py.File(CELLS) as source, h5py.File(path, "w") as out:
        source.copy("var", out)
        genes = source["X"].attrs["shape"][1]
        start = source["X/indptr"][first:end + 1].astype(np.int64)
        columns, counts = (source["X"][part][start[0]:start[-1]] for part in ("indices", "data"))
        rows = np.repeat(np.arange(end - first), np.diff(start))
        if kind == "dense":
            dense = np.zeros((end - first, genes), np.float32)
            dense[rows, columns] = counts
            out.create_dataset("X", data=dense, chunks=(100, 77), compression="gzip")
            out["X"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        else:
            x = out.create_group("X")
            x.attrs.update({"encoding-type": f"{kind[:3]}_matrix", "encoding-version": "0.1.0",
                            "shape": (end - first, genes)})
            pointers, minor = start - start[0], columns
            if kind == "csc":
                order = np.lexsort((rows, columns))
                pointers = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=genes))])
                minor, counts = rows[order], counts[order]
            how = {"fletcher32": True} if kind == "csr by HDF5" else {"compression": "gzip"}
            for name, values in (("indptr", pointers), ("indices", minor.astype(np.int32)), ("data", counts)):
                x.create_dataset(name, data=values, chunks=(min(1000, values.size),), **how)
        obs = out.create_group("obs")
        obs.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index",
                          "column-order": np.array(["batch"], dtype=object)})
        obs["_index"] = np.array([str(i) for i in range(first, end)], "S8")
        source.copy("obs/batch", obs)
        codes = source["obs/batch/codes"][first:end]
        del obs["batch/codes"]
        obs["batch/codes"] = codes
    return path


class Cache(RunTest):
    def files(self, name, *kinds):
        """The cells of CELLS in four files."""
        os.mkdir(os.path.join(self.folder, name))
        with h5py.File(CELLS) as f:
            ends = (*CUTS[1:], f["X"].attrs["shape"][0])
        return [cut(os.path.join(self.folder, name, f"part{i}.h5ad"), CUTS[i], end, kinds[i % len(kinds)])
                for i, end in enumerate(ends)]

    def setUp(self):
        super().setUp()
        self.scratch = os.path.join(self.folder, "scratch")
        os.mkdir(self.scratch)

    def changes(self, files, cache, **others):
        return {**CACHED, "data.train": files, "data.cache": cache, "data.cache_dir": self.scratch, **others}

    def same_results(self, one, other):
        self.same_run(one, other)
        self.assertEqual(rows_of(one.path("embedding.h5ad")), rows_of(other.path("embedding.h5ad")))
        results = []
        for run in (one, other):
            with open(run.path("evaluation.json")) as found:
                results.append({**json.load(found), "checkpoint": None, "files": None})
        self.assertEqual(results[0], results[1])

    def test_the_same_bits_wherever_cells_come_from(self):
        plain, mixed = self.files("plain", "csr"), self.files("mixed", "csr", "dense", "csc", "csr by HDF5")
        straight = self.train("straight", self.changes(plain, "none"), threads=2)
        self.assertIn("the matrix stays on disk", straight.out)
        self.assertNotIn("cache:", straight.out)
        cases = ((mixed, "auto", 2), (plain, "all", 1)) if FEW else \
            ((mixed, "auto", 1), (mixed, "auto", 2), (mixed, "auto", 4), (plain, "all", 1), (plain, "all", 4), (mixed, "all", 2))
        for i, (files, cache, ranks) in enumerate(cases):
            run = self.train(f"run{i}", self.changes(files, cache), ranks)
            self.assertIn(f"GB of packed cells in {self.scratch}", run.out)
            self.same_results(straight, run)
        self.assertEqual(os.listdir(self.scratch), [])

    def test_chosen_genes(self):
        """Two passes over the cells."""
        genes = {"data.genes": {"n_top": 100}, "train.epochs": 1}
        plain, mixed = self.files("plain", "csr"), self.files("mixed", "dense", "csc")
        straight = self.train("straight", self.changes(plain, "none", **genes))
        self.same_results(straight, self.train("mixed2", self.changes(mixed, "auto", **genes), ranks=2))

    def test_spans_that_end_within_a_block(self):
        """Evaluation and embedding go through a shard in spans, which are short when a cell has very many counts."""
        genes, rows, path = 40000, 330, os.path.join(self.folder, "wide.h5ad")
        random = np.random.default_rng(1)
        columns = [np.sort(random.choice(genes, 0 if i % 11 == 3 else 3, False)) for i in range(rows)]
        columns[5] = np.arange(genes)
        with h5py.File(path, "w") as f:
            x = f.create_group("X")
            x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (rows, genes)})
            x["indptr"] = np.cumsum([0, *map(len, columns)])
            x["indices"] = np.concatenate(columns).astype(np.int32)
            x["data"] = random.integers(1, 400, x["indices"].size).astype(np.int32)
            for name, n in (("obs", rows), ("var", genes)):
                table = f.create_group(name)
                table.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index",
                                    "column-order": np.zeros(0, "f8")})
                table["_index"] = np.array([str(i) for i in range(n)], "S8")
        changes = {"train.reduction": "fast", "train.epochs": 1, "data.shards": 1, "data.batch_keys": [],
                   "eval.samples": 1}
        runs = [self.try_run(cache, self.changes([path], cache, **changes)) for cache in ("none", "all")]
        self.assertEqual([run.code for run in runs], [0, 0], [run.err for run in runs])
        self.same_results(*runs)

    def test_stopped_and_continued_another_way(self):
        """The copy is no part of a checkpoint: each third of a run reads its cells in another way."""
        plain, mixed = self.files("plain", "csr"), self.files("mixed", "dense", "csr", "csc")
        ways = [(plain, "none"), (mixed, "auto"), (plain, "all")]
        whole = self.train("whole", self.changes(plain, "none"))
        per_epoch = len([row for row in whole.results() if row["split"] == "step"]) // 3
        stopped = 0
        for turn in range(1 if FEW else 3):
            name = f"stopped{turn}"
            for part, lines in enumerate((per_epoch // 2, per_epoch + 9)):
                files, cache = ways[(turn + part) % 3]
                run = self.interrupt(name, self.changes(files, cache), lambda run: lines_of(run) >= lines,
                                     signal.SIGUSR1, ranks=2 - part)
                self.assertIn(run.code, (0, 75), run.err)
                stopped += run.code == 75
            files, cache = ways[(turn + 2) % 3]
            self.same_results(whole, self.train(name, self.changes(files, cache)))
        self.assertGreater(stopped, 0)

    def test_a_file_that_changes_where_it_is_still_read(self):
        """One that was copied is looked at as all are, once an epoch."""
        files = self.files("mixed", "csr", "dense")
        copied = self.interrupt("copied", self.changes(files, "auto", **{"output.embedding": False}),
                                self.once(lambda run: os.utime(files[1])), signal.SIGUSR1, ranks=2)
        self.assertEqual((copied.code, copied.err), (0, ""))
        early = self.interrupt("early", self.changes(files, "auto", **{"train.epochs": 200}),
                               self.once(lambda run: self.spoil(files[1])), signal.SIGUSR1)
        self.check_failure(early, 3, ["part1.h5ad: the file has changed while it was in use", "a checkpoint of epoch "])
        files = self.files("whole", "csr", "dense")
        run = self.interrupt("run", self.changes(files, "auto", **{"train.epochs": 200}),
                             self.once(lambda run: self.spoil(files[2])), signal.SIGUSR1, ranks=2)
        self.check_failure(run, 3, ["part2.h5ad", "can no longer be read", "the file has changed"])

    @staticmethod
    def spoil(path):
        edit(path, os.path.getsize(path) // 2, bytes(64))

    @staticmethod
    def once(act, lines=4):
        """A condition that never holds, and acts when a run has written so many lines."""
        done = []

        def ready(run):
            if lines_of(run) >= lines and not done:
                done.append(act(run))
            return False

        return ready

    def test_nothing_is_left(self):
        """A run that is killed has its copy in the folder, but no name there."""
        files, seen = self.files("mixed", "dense", "csc"), []

        def look(run):
            if lines_of(run) < 4:
                return False
            pid = int(subprocess.run(["pgrep", "-f", "--", f"train {run.folder}.yaml"], capture_output=True,
                                     text=True).stdout.split()[0])
            for fd in os.listdir(f"/proc/{pid}/fd"):
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
                seen.append(os.stat(f"/proc/{pid}/fd/{fd}").st_size if target.startswith(self.scratch) else 0)
            return True

        run = self.interrupt("run", self.changes(files, "auto", **{"train.epochs": 200}), look, signal.SIGKILL)
        self.assertEqual(run.code, -signal.SIGKILL)
        self.assertGreater(max(seen), 3 * 10**5)
        self.assertEqual(os.listdir(self.scratch), [])

    def full(self, name, files, ranks=1):
        """What a run says whose folder for copies has half a megabyte, and what is left there."""
        run = self.try_run(name, self.changes(files, "auto" if files[0] != CELLS else "all"), ranks)
        self.check_failure(run, 5, [self.scratch, "packed cells", "bytes", "data.cache_dir"])
        self.assertEqual(os.listdir(self.scratch), [])
        return run

    def test_a_full_disk(self):
        """It is foreseen where a file tells its values, else said when it happens; on any number of ranks."""
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", self.scratch],
                          capture_output=True).returncode != 0:
            self.skipTest("no file system can be mounted here")
        self.addCleanup(subprocess.run, ["umount", self.scratch])
        dense, csc = self.files("dense", "dense"), self.files("csc", "csc")
        for ranks in (1, 3):
            self.assertIn(" are free", self.full(f"csr{ranks}", [CELLS], ranks).err)
            self.assertIn("no room is left", self.full(f"dense{ranks}", dense, ranks).err)
            self.full(f"csc{ranks}", csc, ranks)
        # as soon as there is room the same command goes on
        subprocess.run(["mount", "-o", "remount,size=50m", self.scratch], check=True)
        done = self.train("dense1", self.changes(dense, "auto", **{"train.epochs": 1}))
        self.assertIn("no disk but memory (tmpfs)", done.out)

    def test_a_file_that_may_not_grow(self):
        """As `ulimit -f` has it: on rank 1 alone."""
        files = self.files("dense", "dense")
        command = self.command("run", self.changes(files, "auto"))
        limited = 'test "$OMPI_COMM_WORLD_RANK" = 0 || ulimit -f 200; exec "$@"'
        done = subprocess.run([MPIEXEC, "--oversubscribe", "-np", "2", "bash", "-c", limited, "bash", *command],
                              cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=180)
        run = self.try_run("none", {"data.train": "nothing.h5ad"})
        run.code, run.out, run.err = done.returncode, done.stdout, done.stderr
        self.check_failure(run, 5, [self.scratch, "no room is left after", "of this rank, which needs ", "data.cache_dir"])


if __name__ == "__main__":
    main()
