"""Input files that are touched, replaced or changed while they are trained on.

usage: changes.py PATH/gmvae_dist
"""
import os
import shutil
import signal

from support import CELLS, RunTest, edit, h5py, lines_of, main

CHANGES = {"data.window": 512, "train.batch_size": 128, "checkpoint.every": 0, "model.encoder": [8], "model.decoder": [8],
           "model.beta": [8], "data.validation": 0, "train.reduction": "exact"}


class Changes(RunTest):
    def setUp(self):
        super().setUp()
        self.file = os.path.join(self.folder, "cells.h5ad")
        self.make(self.file)

    def make(self, path):
        """The cells of CELLS with counts that lie in one piece."""
        with h5py.File(CELLS) as source, h5py.File(path, "w") as out:
            for name in ("obs", "var"):
                source.copy(name, out)
            x = out.create_group("X")
            x.attrs.update(source["X"].attrs)
            for part in ("data", "indices", "indptr"):
                x[part] = source["X"][part][()]

    def changes(self, where, epochs):
        return {**CHANGES, "data.train": [self.file], "data.residence": where, "train.epochs": epochs}

    def act(self, name, where, ranks, epochs, *acts):
        """A run meanwhile something is done, each in an epoch of its own."""
        left = list(acts)

        def ready(run):
            if left and lines_of(run) >= 3 + 15 * (len(acts) - len(left)):
                left.pop(0)()
            return False

        run = self.interrupt(name, self.changes(where, epochs), ready, signal.SIGUSR1, ranks)
        self.assertEqual(left, [])
        return run

    def replace(self):
        shutil.copyfile(self.file, self.file + ".copy")
        os.replace(self.file + ".copy", self.file)

    def change(self):
        """A count in the middle; the size stays."""
        with h5py.File(self.file) as f:
            data = f["X/data"]
            at = data.id.get_offset() + data.size // 2 * data.dtype.itemsize
            value = data.dtype.type(data[data.size // 2] + 1).tobytes()
        edit(self.file, at, value)

    def test_the_same_content(self):
        """A touched file, and a copy in its place, change nothing, and are told of once each."""
        for where, ranks in (("host", 2), ("stream", 1)):
            calm = self.train(f"calm-{where}", self.changes(where, 10))
            run = self.act(where, where, ranks, 10, lambda: os.utime(self.file), self.replace)
            self.assertEqual((run.code, run.err), (0, ""))
            self.assertEqual(run.out.count("cells.h5ad was touched while it was in use; its content is the same"), 2)
            self.same_run(calm, run)

    def test_another_content(self):
        """The run ends with a checkpoint, from which it goes on when the file is as it was, and not before."""
        shutil.copyfile(self.file, self.file + ".before")
        for where, ranks in (("host", 1), ("stream", 2)):
            run = self.act(where, where, ranks, 300, self.change)
            self.check_failure(run, 3, ["cells.h5ad", "the file has changed", "a checkpoint of epoch ", " was written"])
            self.assertIn("last.h5", run.checkpoints())
            with h5py.File(run.checkpoint()) as f:
                more = self.changes(where, int(f.attrs["epoch"]) + 1)
            self.fails(["was trained on other data", "cells.h5ad has other counts"], 3, where, more, ranks)
            shutil.copyfile(self.file + ".before", self.file)
            self.assertIn("resuming from", self.train(where, more).out)


if __name__ == "__main__":
    main()
