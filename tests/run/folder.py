"""The folder of a run: one run at a time, nothing that is no file, no links written through, and nothing said that is not so.

usage: folder.py PATH/gmvae_dist
"""
import glob
import os
import shutil
import signal
import subprocess
import time

from support import CONFIG, PATIENCE, Run, RunTest, h5py, lines_of, main, np, reseal

del CONFIG["data.check_seconds"]  # files are looked at first, as they are for everybody

SMALL = {"train.epochs": 1, "train.log_steps": 0, "eval.samples": 1, "model.encoder": [8], "model.decoder": [8], "model.beta": [8]}
LEFT = ".last.h5.0123456789abcdef0123456789abcdef.part"


def text_of_any_size(data):
    """HDF5 1.10 crashes on it: the first text of the heap has 2^64 - 1 bytes."""
    at = data.index(b"GCOL") + 24
    data[at:at + 8] = b"\xff" * 8
    return data


def rewrite_config(f, old, new):
    text = f.attrs["config"]
    del f.attrs["config"]
    f.attrs["config"] = text.replace(old, new)


class Folder(RunTest):
    def start(self, name, changes, ranks=1):
        process = subprocess.Popen(self.command(name, changes, ranks), cwd=self.folder, env=self.environment(), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        end, run = time.monotonic() + PATIENCE, Run(self.folder, name)
        while process.poll() is None and lines_of(run) < 2:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        return process, run

    def test_one_run_at_a_time(self):
        """A second one is refused before it writes; others may look on; after SIGKILL the next one takes over at once."""
        changes = {**SMALL, "train.epochs": 100000, "checkpoint.every": 1, "checkpoint.keep": 1, "seed": 1}
        process, run = self.start("run", changes)
        held = [f"process {process.pid}", "host ", "since 20", "another output.dir", "run.lock"]
        for ranks, options in ((1, ["--dry-run"]), (2, [])):
            second = subprocess.run(self.command("run", {**changes, "seed": 2}, ranks) + options, cwd=self.folder,
                                    env=self.environment(), capture_output=True, text=True, timeout=PATIENCE)
            self.check_failure(Run(self.folder, "run", second), 5, held)
        self.assertEqual(self.try_run("run", {**changes, "checkpoint.path": ""}, word="eval").code, 0)
        self.assertIsNone(process.poll())
        process.kill()
        process.wait()
        for name in ("run.lock", "metrics.jsonl"):
            self.assertTrue(os.path.exists(run.path(name)))
        self.assertNotIn("seed: 2", open(run.path("config.resolved.yaml")).read())
        here = glob.glob(run.path(".*.part")) + glob.glob(run.path("checkpoints", ".*.part"))
        for name in (".kept.part", LEFT):
            open(run.path(name), "w").close()
        os.utime(run.path(LEFT), (1e9, 1e9))
        epoch = run.metrics("train")[-1]["epoch"]
        again = self.try_run("run", {**changes, "train.epochs": epoch + 1})
        self.assertEqual((again.code, again.err), (0, ""))
        self.assertEqual(again.out.count("runs no more; taken over"), 1, again.out)
        steps = [row["epoch"] for row in again.metrics("train")]
        self.assertEqual(steps, list(range(1, epoch + 2)))
        self.assertEqual([name for name in again.files() if "part" in name or "lock" in name], [".kept.part"], here)

    def test_pipes(self):
        """Where a file is expected; opening one to write or read would wait for ever."""
        for name, code in (("metrics.jsonl", 5), ("checkpoints/epoch-000001.h5", 3)):
            run = Run(self.folder, "run")
            os.makedirs(os.path.dirname(run.path(name)))
            os.mkfifo(run.path(name))
            failed = self.fails([os.path.dirname(name) or name], code, "run", SMALL)
            self.assertIn(name, failed.err)
            self.assertEqual(run.files(), [name])
            shutil.rmtree(run.folder)
        pipe = os.path.join(self.folder, "pipe")
        os.mkfifo(pipe)
        self.fails(["a pipe, not a file"], 3, "run", {**SMALL, "checkpoint.path": pipe}, word="embed")
        self.assertFalse(os.path.exists(os.path.join(self.folder, "run")))

    def test_links(self):
        """Of a final name they are replaced; what they lead to is nobody's but the user's."""
        run, theirs = Run(self.folder, "run"), os.path.join(self.folder, "theirs")
        names = ["metrics.jsonl", "config.resolved.yaml", "evaluation.json", "embedding.h5ad", "run.json", "evaluation.json.tmp",
                 "embedding.h5ad.part", "metrics.jsonl.tmp"]
        with open(theirs, "w") as out:
            out.write("theirs")
        os.makedirs(run.folder)
        for name in names:
            os.symlink(theirs, run.path(name))
        done = self.train("run", {**SMALL, "output.embedding": True}, ranks=2)
        self.assertEqual(open(theirs).read(), "theirs")
        self.assertEqual([name for name in names if os.path.islink(run.path(name))], names[5:])
        self.assertEqual(len(done.metrics()), 2)
        self.assertEqual(os.stat(run.path("embedding.h5ad")).st_mode & 0o777, 0o644)

    def test_a_dry_run_finds_it(self):
        place = os.path.join(self.folder, "place")
        open(place, "w").close()
        before = sorted(os.listdir(self.folder))
        cases = [(["place", "needed as a folder"], {"output.dir": place}, "unlimited"),
                 (["a checkpoint takes", "ulimit -f"], {"model.encoder": [400], "model.decoder": [400]}, 6000),
                 (["embedding.h5ad takes", "ulimit -f"], {"output.embedding": True, "model.clusters": 2000}, 6000)]
        for words, changes, limit in cases:
            with self.subTest(changes=changes):
                command = self.command("dry", {**SMALL, **changes}) + ["--dry-run"]
                done = subprocess.run(["bash", "-c", f'ulimit -f {limit}; exec "$@"', "sh", *command], cwd=self.folder,
                                      env=self.environment(), capture_output=True, text=True, timeout=PATIENCE)
                self.check_failure(Run(self.folder, "dry", done), 5, words)
        self.assertEqual(sorted(set(os.listdir(self.folder)) - {"dry.yaml"}), before)

    def test_room_on_the_disk(self):
        place = os.path.join(self.folder, "disk")
        os.mkdir(place)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1600k", "tmpfs", place], capture_output=True).returncode != 0:
            self.skipTest("no right to mount")
        self.addCleanup(subprocess.run, ["umount", place], check=True)
        changes = {**SMALL, "output.dir": os.path.join(place, "run"), "train.epochs": 9, "checkpoint.every": 1}
        with open(os.path.join(place, "filler"), "wb") as filler:
            filler.write(bytes(900_000))
        command = self.command("dry", changes) + ["--dry-run"]
        for words, code in ((["5 checkpoints at a time take", "lower checkpoint.keep"], 0), (["a checkpoint takes", "are free"], 5)):
            done = subprocess.run(command, cwd=self.folder, env=self.environment(), capture_output=True, text=True)
            self.assertEqual(done.returncode, code, done.stderr)
            for word in words:
                self.assertIn(word, done.stderr)
            self.assertEqual(os.listdir(place), ["filler"])
            if code == 0:
                with open(os.path.join(place, "filler"), "ab") as filler:
                    filler.write(bytes(500_000))

    def test_folder_removed(self):
        """While the run works in it: an error, and no folder that the run makes anew."""
        process, run = self.start("run", {**SMALL, "train.epochs": 30, "train.batch_size": 32, "checkpoint.every": 0}, ranks=2)
        away = run.folder + "-away"
        os.rename(run.folder, away)  # removed at once, whatever the run is writing into it
        self.addCleanup(shutil.rmtree, away)
        run.out, run.err = process.communicate(timeout=PATIENCE)
        run.code = process.returncode
        self.check_failure(run, 5, ["cannot be written", "folder is not there"])
        self.assertNotIn("wrote", run.out)
        self.assertFalse(os.path.exists(run.folder))

    def check_damaged_best(self, run):
        """Beside a good last one: named, passed over, and the results are of that."""
        for name in ("best.h5", "last.h5"):
            os.remove(run.checkpoint(name))
            shutil.copyfile(run.checkpoint("epoch-000001.h5"), run.checkpoint(name))
        with open(run.checkpoint("best.h5"), "r+b") as f:
            f.seek(5000)
            f.write(b"damage")
        words = "best.h5: damaged or foreign checkpoint: its checksum does not match; passed over"
        done = self.try_run("whole", SMALL)
        self.assertEqual((done.code, words in done.err), (0, True), done.err)
        self.assertIn("last.h5", open(run.path("evaluation.json")).read())
        shutil.copyfile(run.checkpoint("best.h5"), run.checkpoint())
        done = self.try_run("whole", SMALL, word="eval")
        self.assertEqual((done.code, words in done.err), (0, True), done.err)
        self.assertIn("epoch-000001.h5", done.out)

    def test_checkpoints_of_others(self):
        """The checksum of a file is right, its contents are not: refused in one line by all that read it."""
        whole = self.train("whole", SMALL)
        self.check_damaged_best(whole)
        shutil.copyfile(whole.checkpoint("epoch-000001.h5"), whole.checkpoint())
        path = os.path.join(self.folder, "other.h5")
        forge = [
            (["other.h5", "damaged"], None, text_of_any_size),
            (["batch is -1"], lambda f: f["state"].attrs.modify("batch", np.int64(-1)), None),
            (["encoder.w.weight has shape [8, 8], expected [4000, 8]"], lambda f: rewrite_config(f, "w_dim: 4", "w_dim: 2000"), None),
            (["covariates are not the batch keys"], lambda f: rewrite_config(f, "batch_keys: [batch]", "batch_keys: []"), None)]
        for words, change, bytes_change in forge:
            with self.subTest(words=words):
                shutil.copyfile(whole.checkpoint(), path)
                if change:
                    with h5py.File(path, "r+") as f:
                        change(f)
                reseal(path, bytes_change)
                self.fails(["other.h5", *words], 3, "whole", {**SMALL, "checkpoint.path": path}, word="embed")
        with h5py.File(whole.checkpoint("epoch-000001.h5"), "r+") as f:
            f["state"].attrs.modify("batch", np.int64(7))
        reseal(whole.checkpoint("epoch-000001.h5"))
        for name in ("best.h5", "last.h5"):
            os.remove(whole.checkpoint(name))
        self.fails(["batch 7 of an epoch of 6"], 3, "whole", {**SMALL, "train.epochs": 2})
        reseal(whole.checkpoint("epoch-000001.h5"), text_of_any_size)
        failed = self.fails(["none of the 1 checkpoints there is good"], 3, "whole", {**SMALL, "train.epochs": 2})
        self.assertEqual(failed.err.count("warning"), 1)


if __name__ == "__main__":
    main()
