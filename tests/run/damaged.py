"""Checkpoints that were damaged, or could not be written: found, named, passed over; nothing else is lost.

usage: damaged.py PATH/gmvae_dist
"""
import os
import random
import resource
import shutil
import signal
import subprocess
import time

from support import CONFIG, FEW, PATIENCE, Run, RunTest, contents, datasets, edit, h5py, lines_of, main, tensors

del CONFIG["data.check_seconds"]  # files are looked at first, as they are for everybody

CHANGES = {"train.epochs": 3, "train.reduction": "exact", "checkpoint.every": 1, "model.encoder": [8], "model.decoder": [8], "model.beta": [8]}
FLIPS = 3 if FEW else 16


def regions(path):
    """Where the values of each numeric dataset are: name to (offset, bytes)."""
    with h5py.File(path) as f:
        found = {name: (f[name].id.get_offset(), f[name].id.get_storage_size()) for name in datasets(path)}
    return {name: place for name, place in found.items() if place[0] is not None}


def flip(path, at, bit=0):
    with open(path, "rb") as f:
        f.seek(at)
        old = f.read(1)[0]
    edit(path, at, bytes([old ^ 1 << bit]))


class Damaged(RunTest):
    def setUp(self):
        super().setUp()
        self.whole = self.train("whole", CHANGES)

    def copy(self, name):
        shutil.copytree(self.whole.folder, os.path.join(self.folder, name))
        return Run(self.folder, name)

    def damaged_copies(self, run, n):
        """Paths of n copies of the last checkpoint, which are all that run has besides that of epoch 2."""
        for name in ("best.h5", "last.h5", "epoch-000001.h5", "epoch-000003.h5"):
            os.remove(run.checkpoint(name))
        paths = [run.checkpoint(f"epoch-{100 + i:06}.h5") for i in range(n)]
        for path in paths:
            shutil.copyfile(self.whole.checkpoint(), path)
        return paths

    def check_fallback(self, name, paths, ranks=1):
        """Every file is named in a warning, epoch 2 is taken up, and the end is that of the whole run."""
        again = self.try_run(name, CHANGES, ranks)
        self.assertEqual(again.code, 0, again.err)
        warnings = again.err.splitlines()
        self.assertEqual([line for line in warnings if not line.startswith("gmvae_dist: warning: ")], [])
        for path in paths:
            self.assertEqual(sum(path in line for line in warnings), 1, path)
        self.assertEqual(len(warnings), len(paths), again.err)
        self.assertIn("epoch-000002.h5", [line for line in again.out.splitlines() if "resuming" in line][0])
        self.same_run(self.whole, again)

    def test_a_bit_in_every_dataset(self):
        places = regions(self.whole.checkpoint())
        self.assertGreater(len(places), 60)
        run = self.copy("run")
        paths = self.damaged_copies(run, len(places))
        for i, (path, (offset, size)) in enumerate(zip(paths, places.values())):
            flip(path, offset + (0, size // 2, size - 1)[i % 3], i % 8)
        self.check_fallback("run", paths)

    def test_texts(self):
        """Names and the config are in a heap of their own."""
        run = self.copy("run")
        with open(self.whole.checkpoint(), "rb") as f:
            data = f.read()
        with h5py.File(self.whole.checkpoint()) as f:
            words = [b"latent_dim: 5", b"fraction: 0.33", b"ctrl107", b"batch\0", f["genes"][700]]
        paths = self.damaged_copies(run, len(words))
        for path, word in zip(paths, words):
            flip(path, data.index(word) + len(word) - 2)
        self.check_fallback("run", paths)

    def test_cut_short(self):
        run = self.copy("run")
        size = os.path.getsize(self.whole.checkpoint())
        cuts = [0, 1, 8, 100, 512, 4096, size - 4096, size - 512, size - 1, *range(size // 10, size, size // 10)]
        paths = self.damaged_copies(run, len(cuts))
        for path, cut in zip(paths, cuts):
            os.truncate(path, cut)
        self.check_fallback("run", paths, ranks=2)

    def test_all_names_of_the_last_one(self):
        """last.h5 is another name of the newest epoch's file: a bad sector damages both."""
        run = self.copy("run")
        for name in ("last.h5", "best.h5"):
            os.remove(run.checkpoint(name))
            os.link(run.checkpoint("epoch-000003.h5"), run.checkpoint(name))
        flip(run.checkpoint(), next(iter(regions(run.checkpoint()).values()))[0])
        self.check_fallback("run", [run.checkpoint(name) for name in ("last.h5", "best.h5", "epoch-000003.h5")])

    def test_nothing_good_is_left(self):
        run = self.copy("run")
        for name in run.checkpoints():
            flip(run.checkpoint(name), regions(run.checkpoint(name))["params/encoder.x.bias"][0])
        before = {name: open(run.checkpoint(name), "rb").read() for name in run.checkpoints()}
        for ranks in (1, 2):
            self.fails(["best.h5", "checksum"], 3, "run", CHANGES, ranks, "eval")
            self.fails(["epoch-000003.h5", "checksum"], 3, "run",
                       {**CHANGES, "checkpoint.path": run.checkpoint("epoch-000003.h5")}, ranks, "embed")
            failed = self.fails(["checkpoints", "checkpoint.resume=never"], 3, "run", CHANGES, ranks)
            self.assertEqual(failed.err.count("warning"), len(before))
        self.assertEqual({name: open(run.checkpoint(name), "rb").read() for name in run.checkpoints()}, before)
        anew = self.train("run", {**CHANGES, "checkpoint.resume": "never"})
        self.same_run(self.whole, anew)

    def test_not_a_checkpoint(self):
        other = os.path.join(self.folder, "other.h5")
        with h5py.File(other, "w") as f:
            f["x"] = 1
        for path, word in ((other, "other.h5"), (os.path.join(self.folder, "none.h5"), "there is no checkpoint"),
                           (self.folder, "")):
            self.fails([word], 3, "whole", {**CHANGES, "checkpoint.path": path}, word="eval")

    def test_flips_anywhere(self):
        """Refused by name: HDF5, which crashes on some, does not get to see them."""
        size = os.path.getsize(self.whole.checkpoint())
        path = os.path.join(self.folder, "flipped.h5")
        numbers = random.Random(7)
        for i in range(FLIPS):
            shutil.copyfile(self.whole.checkpoint(), path)
            at = numbers.randrange(size if i % 2 else 8192)
            flip(path, at, numbers.randrange(8))
            self.fails([path, "checksum"], 3, "whole", {**CHANGES, "checkpoint.path": path}, word="eval")

    def limit_files(self, process, limit):
        """Files may not grow beyond `limit` bytes: writing fails as on a full disk. Only the soft limit, which can be undone."""
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def start(self, changes, name="run"):
        process = subprocess.Popen(self.command(name, changes), cwd=self.folder, env=self.environment(), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return process, Run(self.folder, name)

    def test_room_comes_back(self):
        """A checkpoint in the course of training that cannot be written costs nothing but itself."""
        size = os.path.getsize(self.whole.checkpoint())
        changes = {**CHANGES, "train.epochs": 12, "train.batch_size": 64}
        steady = self.train("steady", changes)
        process, run = self.start(changes)
        while process.poll() is None and not os.path.exists(run.checkpoint()):
            time.sleep(0.001)
        self.limit_files(process, size // 2)
        warned = process.stderr.readline()
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.assertRegex(warned, r"^gmvae_dist: warning: \S*/run/checkpoints/\S* cannot be written: File too large; the "
                                 r"checkpoint was not written, older ones are untouched; training goes on\n$")
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 0, err)
        self.assertEqual(run.results(), steady.results())
        for name in ("last.h5", "best.h5"):
            self.assertEqual({key: value.tobytes() for key, value in tensors(run.checkpoint(name)).items()},
                             {key: value.tobytes() for key, value in tensors(steady.checkpoint(name)).items()}, name)

    def test_no_room_from_the_start(self):
        """Nothing is said to be there that is not, at the end and after a signal."""
        limit = os.path.getsize(self.whole.checkpoint()) // 2
        for epochs, stop, words in ((20, False, []), (100000, True, ["stopped by a signal in epoch ", ", but "])):
            process, run = self.start({**CHANGES, "train.epochs": epochs, "checkpoint.every": 0, "data.validation": 0},
                                      f"stop-{stop}")
            while process.poll() is None and lines_of(run) == 0:
                time.sleep(0.001)
            self.limit_files(process, limit)
            if stop:
                process.send_signal(signal.SIGUSR1)
            run.out, run.err = process.communicate(timeout=PATIENCE)
            run.code = process.returncode
            self.check_failure(run, 5, [*words, "cannot be written: File too large", "and there is no other yet"])
            self.assertNotIn("older ones", run.err)
            self.assertEqual(os.listdir(run.path("checkpoints")), [])

    def test_no_room_for_a_checkpoint(self):
        """Once training has begun, to its end."""
        size = os.path.getsize(self.whole.checkpoint())
        changes = {**CHANGES, "train.epochs": 4, "train.batch_size": 64, "checkpoint.keep": 40}
        first = self.train("run", {**changes, "train.epochs": 1})
        before = {name: contents(first.checkpoint(name)) for name in first.checkpoints()}
        for limit in (size // 10, size // 2, size - 20, size - 1):
            lines = lines_of(first)
            process, run = self.start(changes)
            while process.poll() is None and lines_of(run) == lines:
                time.sleep(0.001)
            self.limit_files(process, limit)
            run.out, run.err = process.communicate(timeout=PATIENCE)
            run.code = process.returncode
            self.check_failure(run, 5, ["cannot be written: File too large", "older ones are untouched"])
            self.assertEqual([name for name in run.checkpoints() if name.startswith(".")], [])
            self.assertIn("training goes on", run.err)
            self.assertTrue(set(before) <= set(run.checkpoints()))
            for name in run.checkpoints():
                contents(run.checkpoint(name))
        self.train("run", {**changes, "train.epochs": 2})

    def test_no_room_for_metrics(self):
        """Training goes on without its log, after one warning; the last checkpoint, which does not fit, ends all ranks."""
        changes = {**CHANGES, "train.epochs": 6, "train.batch_size": 64, "checkpoint.every": 1000}
        process = subprocess.Popen(self.command("run", changes, ranks=2), cwd=self.folder, env=self.environment(),
                                   text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        run = Run(self.folder, "run")
        while process.poll() is None and lines_of(run) < 30:
            time.sleep(0.001)
        size = os.path.getsize(run.path("metrics.jsonl"))
        resource.prlimit(self.rank_of(process.pid, 0), resource.RLIMIT_FSIZE, (size, size))
        run.out, run.err = process.communicate(timeout=PATIENCE)
        run.code = process.returncode
        self.assertEqual(run.err.count("metrics.jsonl: cannot be written: File too large; training goes on"), 1, run.err)
        self.check_failure(run, 5, ["checkpoints/", "cannot be written: File too large"])

    def test_full_disk(self):
        """A small file system of its own; needs the right to mount."""
        place = os.path.join(self.folder, "disk")
        os.mkdir(place)
        size = os.path.getsize(self.whole.checkpoint())
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={int(size * 1.7)}", "tmpfs", place],
                          capture_output=True).returncode != 0:
            self.skipTest("no right to mount")
        self.addCleanup(subprocess.run, ["umount", place], check=True)
        for ranks in (1, 2):
            name = os.path.join("disk", f"np{ranks}")
            changes = {**CHANGES, "checkpoint.keep": 1, "output.dir": os.path.join(self.folder, name)}
            os.makedirs(os.path.join(self.folder, name))
            failed = self.try_run(f"np{ranks}", changes, ranks)
            self.check_failure(failed, 5, ["cannot be written: No space left", "older ones are untouched"])
            run = Run(self.folder, name)
            self.assertEqual([file for file in run.checkpoints() if file.startswith(".")], [])
            self.assertIn("epoch-000001.h5", run.checkpoints())
            contents(run.checkpoint())
            # no room for metrics either: rank 0 must not leave the others waiting
            filler = os.path.join(place, "filler")
            subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4096"], capture_output=True)
            failed = self.try_run(f"np{ranks}", changes, ranks)
            self.check_failure(failed, 5, ["cannot be written"])
            contents(run.checkpoint())
            shutil.rmtree(run.folder)
            if os.path.exists(filler):
                os.remove(filler)


if __name__ == "__main__":
    main()
