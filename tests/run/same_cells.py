"""A checkpoint goes on, and answers, for the cells it was trained on; results of other cells have files of their own.

usage: same_cells.py PATH/gmvae_dist
"""
import json
import os
import subprocess

from cells import replace, rewrite
from support import PATIENCE, RunTest, h5py, main, np

ROWS = 240
SMALL = {"data.validation": 0.2, "data.label_key": "cell_type", "data.batch_keys": ["donor"], "train.epochs": 1,
         "train.batch_size": 64, "model.encoder": [4], "model.decoder": [4], "model.beta": [], "output.embedding": True}


class SameCells(RunTest):
    def file(self, name, donor=0, **how):
        return rewrite(os.path.join(self.folder, name), columns={"donor": np.arange(how["rows"]) % 2 + donor}, **how)

    def snapshot(self, run):
        found = {}
        for name in run.files():
            with open(run.path(name), "rb") as f:
                found[name] = f.read()
        return found

    def change(self, how):
        """Replaces the training file by another of the same name."""
        self.file("mine.h5ad", rows=ROWS - 1 if how == "cells" else ROWS)
        with h5py.File(self.mine, "a") as f:
            codes, data = f["obs/donor/codes"][()], f["X/data"][()]
            if how == "levels":
                codes[:2] = 1, 0
                replace(f["obs/donor"], "codes", codes)
            elif how == "counts":
                data[:3000] += 1
                replace(f["X"], "data", data)
            elif how == "order":  # the last cell first
                starts, columns = f["X/indptr"][()], f["X/indices"][()]
                for name, values in (("data", data), ("indices", columns)):
                    replace(f["X"], name, np.concatenate([values[a:b] for a, b in zip(starts[-2::-1], starts[:0:-1])]))
                replace(f["X"], "indptr", np.concatenate([[0], np.cumsum(np.diff(starts)[::-1])]))
                for key in ("donor", "cell_type"):
                    replace(f[f"obs/{key}"], "codes", f[f"obs/{key}/codes"][()][::-1])
            elif how == "genes":
                names = f["var/_index"][()]
                names[-1] = "unheard-of"
                replace(f["var"], "_index", names)

    def refused(self, words, ranks=1, word="train", **more):
        before = self.snapshot(self.run_)
        self.fails(["was trained on other data", *words], 3, "run", {**self.changes, **more}, ranks, word)
        self.assertEqual(self.snapshot(self.run_), before)

    def setUp(self):
        super().setUp()
        self.mine = self.file("mine.h5ad", rows=ROWS)
        self.changes = {**SMALL, "data.train": [self.mine]}

    def test_other_cells_are_refused(self):
        self.run_ = self.train("run", self.changes)
        remedy = ["set another output.dir", "checkpoint.resume=never"]
        for how, words, ranks in (("counts", ["mine.h5ad has other counts in about", "% of the cells", *remedy], 2),
                                  ("order", ["the cells are in another order"], 1),
                                  ("levels", ["cells have other levels of donor"], 1),
                                  ("genes", ["files lack other genes"], 1),
                                  ("cells", ["there are 239 cells instead of 240"], 1)):
            self.change(how)
            self.refused(words, ranks)
        done = subprocess.run([*self.command("run", {**self.changes, "train.epochs": 2}), "--dry-run"], cwd=self.folder,
                              env=self.environment(), capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 3)
        self.assertIn("239 cells instead of 240", done.stderr)
        self.change("counts")
        self.refused(["name these cells in data.predict"], word="embed")
        self.change("order")
        self.refused(["other cells are held out", "may count as held out"], word="eval")
        done = self.try_run("run", self.changes, word="embed")
        self.assertEqual((done.code, done.err), (0, ""))
        self.assertIn("the same cells in another order", done.out)
        self.assertIn("resuming", self.same_in_another_form().out)
        self.assertNotIn("resuming", self.train("run", {**self.changes, "checkpoint.resume": "never"}).out)

    def same_in_another_form(self):
        """Stored anew, by genes, under a new time; a run goes on and finds its cells in the order they had."""
        self.change(None)
        with h5py.File(self.mine, "a") as f:
            indptr, indices, data = (f[f"X/{name}"][()] for name in ("indptr", "indices", "data"))
            rows, genes = f["X"].attrs["shape"]
            order = np.argsort(indices, kind="stable")
            del f["X/data"], f["X/indices"], f["X/indptr"]
            f["X"].attrs["encoding-type"] = "csc_matrix"
            f["X"].create_dataset("data", data=data[order].astype(np.int32), compression="gzip")
            f["X"]["indices"] = np.repeat(np.arange(rows), np.diff(indptr))[order]
            f["X"]["indptr"] = np.concatenate([[0], np.cumsum(np.bincount(indices, minlength=genes))])
        return self.train("run", {**self.changes, "train.epochs": 2})

    def test_results_of_other_cells_go_beside(self):
        self.run_ = self.train("run", self.changes)
        before = self.snapshot(self.run_)
        for folder in ("one", "two"):
            os.mkdir(os.path.join(self.folder, folder))
        one = self.file("one/query.h5ad", rows=60, first=600)
        two = self.file("two/query.h5ad", rows=50, first=700)
        bare = self.file("bare.h5ad", rows=40, first=800)
        with h5py.File(bare, "a") as f:
            del f["obs/cell_type"]
            f["obs"].attrs["column-order"] = [name for name in f["obs"].attrs["column-order"] if name != "cell_type"]
        done = self.try_run("run", {**self.changes, "data.predict": [one]}, 2, word="embed")
        self.assertEqual((done.code, done.err), (0, ""))
        self.assertIn(f"wrote {done.path('embedding-query.h5ad')}: 60 cells", done.out)
        self.fails(["embedding-query.h5ad is the result of other files", "output.name"], 2, "run",
                   {**self.changes, "data.predict": [two]}, word="embed")
        done = self.try_run("run", {**self.changes, "data.predict": [bare, two], "model.objective": "mc"}, word="eval")
        self.assertEqual((done.code, done.err), (0, ""))
        self.assertIn("have no effect here, as the checkpoint was made with others: model.objective: marginal, here mc", done.out)
        with open(done.path("evaluation-bare+1.json")) as f:
            self.assertEqual(json.load(f)["files"], [os.path.realpath(bare), os.path.realpath(two)])
        done = self.try_run("run", {**self.changes, "data.predict": [self.mine], "output.name": "query"}, word="embed")
        self.assertEqual((done.code, done.err), (0, ""))
        with h5py.File(done.path("embedding-query.h5ad")) as f:
            self.assertEqual([name.decode() for name in f["uns/gmvae_dist/files"]], [os.path.realpath(self.mine)])
            self.assertEqual(len(f["obsm/X_gmvae"]), ROWS)
        pipe = os.path.join(self.folder, "run", "evaluation-pipe.json")
        os.mkfifo(pipe) # where an earlier result is looked for
        self.fails([pipe, "a pipe, not a file", "output.name"], 5, "run",
                   {**self.changes, "data.predict": [self.file("pipe.h5ad", rows=20)]}, word="eval")
        os.remove(pipe)
        done = self.try_run("run", {**self.changes, "data.predict": [self.mine]}, word="eval")
        self.assertIn("the model was trained on 85.8 %", done.out)
        self.assertEqual(self.snapshot(self.run_), {**self.snapshot(self.run_), **before})

    def write_list(self, names):
        path = os.path.join(self.folder, "genes.txt")
        with open(path, "w") as out:
            out.write("\n".join(names))
        return path

    def test_the_same_cells_twice(self):
        """They are named; and what else a run is made of is compared: held-out files, the list of genes."""
        half = self.file("half.h5ad", rows=100, first=ROWS - 30)
        held = self.file("held.h5ad", rows=20, first=10)
        with h5py.File(self.mine) as f:
            names = [name.decode() for name in f["var/_index"][()]]
        twice = {**self.changes, "data.train": [self.mine, half], "data.validation": [held], "output.embedding": False,
                 "data.genes": {"file": self.write_list(names)}}
        done = self.try_run("twice", twice, 2)
        self.assertEqual(done.code, 0, done.err)
        train, validation = done.err.splitlines()[:2]
        self.assertIn(f"data.train: 30 of the 100 cells of {half} are also in {self.mine}, with the same counts", train)
        self.assertIn(f"data.validation: 20 of the 20 cells of {held} are also in {self.mine}", validation)
        self.fails(["best.h5 was not judged by these cells of data.validation", "data.predict"], 3, "twice",
                   {**twice, "data.validation": [self.file("other.h5ad", rows=20, first=900)]}, word="eval")
        self.write_list(names[1:])
        self.fails(["there are other genes, in data.train or data.genes.file"], 3, "twice", twice)
        os.link(self.mine, os.path.join(self.folder, "link.h5ad"))
        self.fails(["link.h5ad", "mine.h5ad by another name"], 3, "linked",
                   {**self.changes, "data.train": [self.mine, os.path.join(self.folder, "link.h5ad")]})


if __name__ == "__main__":
    main()
