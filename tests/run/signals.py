"""Signals in every phase of every command, and ranks that make no progress: the run ends with 75, says why, and the same
command does the rest.

usage: signals.py PATH/gmvae_dist
"""
import glob
import os
import shutil
import signal
import subprocess
import time

from support import CONFIG, CELLS, PATIENCE, Run, RunTest, h5py, lines_of, main

del CONFIG["data.check_seconds"]  # files are looked at first, as they are for everybody

EPOCHS = {"train.epochs": 1}
SLOW_EVALUATION = {"eval.epoch_samples": 20000}
SLOW_RESULTS = {"eval.samples": 20000}


def says(text):
    """For stop: the run has said this."""
    return lambda run: text in run.out


def trains(run):
    return lines_of(run) > 3


def evaluates(run):
    """The line of the epoch is there, which stands before its evaluation."""
    return lines_of(run) > 6


def embeds(run):
    return bool(glob.glob(run.path(".embedding*.part")))


def results(run):
    """In the middle of the final evaluation: nothing was written for a while."""
    best = run.checkpoint("best.h5")
    return os.path.exists(best) and time.time() > os.path.getmtime(best) + 0.5


class Signals(RunTest):
    def start(self, name, changes, ranks=1, word="train"):
        command = self.command(name, changes, ranks, word)
        out = open(os.path.join(self.folder, "out"), "w")
        self.addCleanup(out.close)
        process = subprocess.Popen(command, cwd=self.folder, env=self.environment(), stdout=out,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        return process

    def reach(self, process, run, ready):
        end = time.monotonic() + PATIENCE
        while process.poll() is None:
            with open(os.path.join(self.folder, "out")) as out:
                run.out = out.read()
            if ready(run):
                return
            self.assertLess(time.monotonic(), end, "the run does not come on")
            time.sleep(0.005)
        self.fail(f"ended before it was stopped: {run.out}{process.stderr.read()}")

    def finish(self, process, run):
        _, run.err = process.communicate(timeout=PATIENCE)
        run.code = process.returncode
        return run

    def stop(self, number, ready, changes, ranks=1, word="train", name="run"):
        """Stops one of the ranks when the run is ready for it; all end."""
        process, run = self.start(name, changes, ranks, word), Run(self.folder, name)
        self.reach(process, run, ready)
        os.kill(process.pid if ranks == 1 else self.rank_of(process.pid), number)
        return self.finish(process, run)

    def stopped(self, run, words):
        self.check_failure(run, 75, ["stopped by a signal", "run the same command again", *words])
        self.assertNotIn("error", run.err)
        self.assertFalse([file for file in run.files() if file.endswith((".part", ".tmp"))])

    def test_evaluation_of_an_epoch(self):
        """It comes again, with the metrics and the best checkpoint of a run that was left alone."""
        whole = self.train("whole", EPOCHS, ranks=2)
        run = self.stop(signal.SIGHUP, evaluates, {**EPOCHS, **SLOW_EVALUATION}, ranks=2)
        self.stopped(run, ["a checkpoint was written"])
        again = self.train("run", EPOCHS)
        self.same_run(whole, again)
        self.same_run(whole, again, "best.h5")

    def test_results(self):
        """Of a training that is complete, only the results are made again."""
        for number, ranks, changes, ready in ((signal.SIGXCPU, 1, {}, says("epoch 1/1")),
                                              (signal.SIGUSR1, 2, {"output.embedding": True, "data.validation": 0},
                                               embeds)):
            name = f"results{ranks}"
            run = self.stop(number, ready, {**EPOCHS, **SLOW_RESULTS, **changes}, ranks, name=name)
            self.stopped(run, ["after training", "its results not yet"])
            lines = lines_of(run)
            again = self.train(name, {**EPOCHS, **changes})
            self.assertEqual(lines_of(again), lines)
            self.assertIn("embedding.h5ad" if changes else "evaluation.json", again.files())

    def test_embed_and_eval(self):
        self.train("run", EPOCHS)
        for word, file, number, ready in (("embed", "embedding.h5ad", signal.SIGTERM, embeds),
                                          ("eval", "evaluation.json", signal.SIGINT, says("checkpoint "))):
            before = self.read(file) if os.path.exists(self.path(file)) else None
            run = self.stop(number, ready, {**EPOCHS, **SLOW_RESULTS}, 2, word)
            self.stopped(run, [f"before {file} was written"])
            self.assertEqual(self.read(file) if before is not None else None, before)
            self.assertEqual(self.try_run("run", EPOCHS, word=word).code, 0)

    def path(self, file):
        return os.path.join(self.folder, "run", file)

    def read(self, file):
        with open(self.path(file), "rb") as data:
            return data.read()

    def test_reading(self):
        """The process that looks at the files is stopped, as a slow disk does it."""
        files = [os.path.join(self.folder, f"{i}.h5ad") for i in range(4)]
        for file in files:
            shutil.copy(CELLS, file)
        for number, ranks in ((signal.SIGUSR1, 1), (signal.SIGTERM, 2)):
            process, run = self.start("run", {"data.train": files}, ranks), Run(self.folder, "run")
            self.reach(process, run, lambda _: self.stop_checker(process.pid, ranks))
            os.kill(process.pid if ranks == 1 else self.rank_of(process.pid, 0), number)
            self.stopped(self.finish(process, run), ["before training"])

    def test_an_earlier_result(self):
        """It is no result of other files because nobody has looked at it."""
        self.train("run", EPOCHS)
        earlier = self.path("embedding-kang_pbmc_4sample.h5ad")
        with h5py.File(earlier, "w") as f:
            for i in range(3000):
                f.create_group(f"{i}").attrs["x"] = i
        process = self.start("run", {**EPOCHS, "data.predict": [CELLS]}, word="embed")
        run = Run(self.folder, "run")
        self.reach(process, run, lambda run: "cells: " in run.out and self.stop_checker(process.pid, 1))
        os.kill(process.pid, signal.SIGTERM)
        self.stopped(self.finish(process, run), ["before embedding.h5ad was written"])

    def stop_checker(self, launcher, ranks):
        """Stops the process that the last rank has started, once it is there."""
        try:
            rank = launcher if ranks == 1 else self.rank_of(launcher, ranks - 1)
            with open(f"/proc/{rank}/task/{rank}/children") as children:
                for child in children.read().split():
                    with open(f"/proc/{child}/cmdline") as command:
                        if "--check-input-files" in command.read():
                            os.kill(int(child), signal.SIGSTOP)
                            return True
        except (AssertionError, OSError):
            pass
        return False

    def test_before_the_ranks_are_connected(self):
        """Kept until they are: at the start, as long as it takes."""
        for number in (signal.SIGUSR1, signal.SIGHUP):
            process, run = self.start("run", {"train.epochs": 1000}), Run(self.folder, "run")
            self.reach(process, run, lambda _: self.catches(process.pid, number))
            process.send_signal(number)
            run = self.finish(process, run)
            self.check_failure(run, 75, ["stopped by a signal before anything was done"])
            self.assertEqual(run.out, "")

    @staticmethod
    def catches(pid, number):
        with open(f"/proc/{pid}/status") as status:
            caught = next(line.split()[1] for line in status if line.startswith("SigCgt:"))
        return int(caught, 16) >> (number - 1) & 1

    def test_a_rank_without_progress(self):
        self.lose_a_rank({"train.epochs": 10000}, trains)

    def test_a_rank_lost_while_others_work(self):
        """In an evaluation that takes far longer than the time limit, with nothing to wait for before its end."""
        self.lose_a_rank({**EPOCHS, "eval.samples": 100000}, results)

    def lose_a_rank(self, changes, ready):
        process, run = self.start("run", {**changes, "runtime.timeout": 2}, ranks=2), Run(self.folder, "run")
        self.reach(process, run, ready)
        ranks = [self.rank_of(process.pid, rank) for rank in range(2)]
        os.kill(ranks[1], signal.SIGSTOP)
        run = self.finish(process, run)
        self.assertEqual(run.code, 75, run.err)
        self.assertEqual(run.err.count("gmvae_dist:"), 1, run.err)
        self.assertIn(f"[rank 0 on {os.uname().nodename}] no sign of life for", run.err)
        self.assertIn(f"from rank 1 on {os.uname().nodename} (runtime.timeout)", run.err)
        end = time.monotonic() + 10
        while any(map(self.lives, ranks)):
            self.assertLess(time.monotonic(), end, "processes are left")
            time.sleep(0.02)

    @staticmethod
    def lives(pid):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False


if __name__ == "__main__":
    main()
