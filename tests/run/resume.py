"""Runs that are stopped, killed and continued end as runs that were left alone.

usage: resume.py PATH/gmvae_dist
"""
import os
import re
import signal

from cells import rewrite
from support import DEEP, FEW, RunTest, contents, lines_of, main

# 44 steps an epoch: time enough for a signal to arrive in the middle
LONG = {"train.epochs": 4, "train.batch_size": 32, "checkpoint.every": 1, "checkpoint.keep": 2, "model.dropout": 0.1}
STEPS = 44
TRIES = 5


def more_lines(n):
    """For interrupt: n lines of metrics are there, and at least one that this process wrote."""
    found = []

    def ready(run):
        lines = lines_of(run)
        found.append(lines)
        return lines >= max(n, found[0] + 1)
    return ready


class Resume(RunTest):
    def stop(self, name, changes, lines, number, ranks=1, to="launcher", codes=(75,)):
        """A run that a signal stops once `lines` lines of metrics are there; earlier, when it was too late."""
        for _ in range(TRIES):
            run = self.interrupt(name, changes, more_lines(lines), number, ranks, to)
            if run.code != 0:
                break
            lines = lines * 2 // 3
            for file in run.files():
                os.remove(run.path(file))
        self.assertIn(run.code, codes, run.out + run.err)
        return run

    def nothing_left(self, run):
        """No files but those that a run promises."""
        for file in run.files():
            folder, name = os.path.split(file)
            good = name in ("last.h5", "best.h5") or name.startswith("epoch-") and name.endswith(".h5")
            self.assertTrue(good if folder == "checkpoints" else
                            name in ("config.resolved.yaml", "metrics.jsonl", "evaluation.json", "embedding.h5ad", "run.json"), file)

    def test_stopped_by_a_signal(self):
        whole = self.train("whole", LONG)
        moments = ((10, signal.SIGTERM), (STEPS + 20, signal.SIGUSR1), (2 * STEPS + 4, signal.SIGINT))
        for lines, number in moments[:1] if FEW else moments:
            name = f"signal{number}"
            run = self.stop(name, LONG, lines, number)
            self.check_failure(run, 75, ["stopped by a signal in epoch", "run the same command again"])
            self.assertNotIn("error", run.err)
            self.nothing_left(run)
            again = self.train(name, LONG)
            self.assertIn("resuming from", again.out)
            self.same_run(whole, again)
            self.nothing_left(again)
            epoch, step = map(int, re.search(r"in epoch (\d+), step (\d+)", run.err).groups())
            self.assertEqual(again.masses().keys(), whole.masses().keys() - ({epoch} if step % STEPS else set()))

    def test_stopped_again_and_again(self):
        """Wherever the signal falls, epoch borders included."""
        changes = {**LONG, "train.batch_size": 256}
        whole = self.train("whole", changes)
        stops = 0
        for lines in (1, 6, 7, 9, 16, 17) if DEEP else (6, 16) if FEW else (6, 7, 16): # ends of epochs
            run = self.interrupt("parts", changes, more_lines(lines), signal.SIGUSR1)
            if run.code == 0:
                break
            self.assertEqual(run.code, 75, run.err)
            stops += 1
        self.assertGreater(stops, 0)
        self.same_run(whole, self.train("parts", changes))

    def test_signals_under_mpirun(self):
        changes = {**LONG, "train.epochs": 2}
        whole = self.train("whole", changes, ranks=2)
        for number, to in ((signal.SIGUSR1, "launcher"), (signal.SIGTERM, "rank"))[:2 if DEEP else 1]: # signals.py has ranks
            name = f"{to}{number}"
            run = self.stop(name, changes, 15, number, ranks=2, to=to)
            self.assertEqual(run.err.count("gmvae_dist: stopped by a signal"), 1, run.err)
            self.same_run(whole, self.train(name, changes, ranks=2))
        self.stop("killed", changes, STEPS + 10, signal.SIGKILL, ranks=2, to="rank", codes=(137,))
        self.same_run(whole, self.train("killed", changes, ranks=2))
        # mpirun passes SIGTERM on, and ends its ranks a second later
        self.stop("terminated", changes, 15, signal.SIGTERM, ranks=2, codes=(1, 75, 143))
        self.same_run(whole, self.train("terminated", changes, ranks=2))

    def test_other_numbers_of_ranks(self):
        changes = {**LONG, "train.batch_size": 64, "train.reduction": "exact"}
        whole = self.train("whole", changes)
        self.stop("parts", changes, 10, signal.SIGUSR1, ranks=2)
        self.stop("parts", changes, 40, signal.SIGUSR1, ranks=1)
        again = self.train("parts", changes, ranks=4)
        self.same_run(whole, again)

    def test_killed(self):
        whole = self.train("whole", LONG)
        for lines in (STEPS - 1, STEPS + 3, 3 * STEPS) if DEEP else (STEPS + 3,):
            name = f"killed{lines}"
            run = self.stop(name, LONG, lines, signal.SIGKILL, codes=(-signal.SIGKILL,))
            again = self.train(name, LONG)
            self.same_run(whole, again)
            self.assertEqual(whole.checkpoints(), again.checkpoints())
            self.nothing_left(again)
            self.assertEqual(run.folder, again.folder)

    def test_litter_of_a_killed_writer_is_removed(self):
        run = self.train("run")
        for name in (".last.h5.0123456789abcdef0123456789abcdef.part", "../.embedding.h5ad.0123456789abcdef0123456789abcdef.part"):
            with open(run.checkpoint(name), "w") as out:
                out.write("half a file")
            os.utime(run.checkpoint(name), (1e9, 1e9))
        self.nothing_left(self.train("run", {"train.epochs": 3}))

    def test_again_after_the_end(self):
        first = self.train("run", LONG)
        before = {name: contents(first.checkpoint(name)) for name in first.checkpoints()}
        results = first.results()
        again = self.train("run", LONG)
        self.assertEqual({name: contents(again.checkpoint(name)) for name in again.checkpoints()}, before)
        self.assertEqual(again.results(), results)

    def test_more_epochs(self):
        changes = {"train.kl_warmup": {"steps": 5}, "train.epochs": 3}
        whole = self.train("whole", changes)
        self.train("longer", {**changes, "train.epochs": 1})
        longer = self.train("longer", changes)
        self.same_run(whole, longer)
        self.same_run(whole, longer, "best.h5") # of an epoch behind the first

    def test_never_starts_anew(self):
        whole = self.train("run")
        self.assertEqual(len(whole.metrics("validation")), 2)
        old = contents(whole.checkpoint())
        again = self.train("run", {"checkpoint.resume": "never", "seed": 3, "train.epochs": 1})
        self.assertNotIn("resuming", again.out)
        self.assertEqual(len(again.metrics("validation")), 1)
        self.assertEqual(again.checkpoints(), ["best.h5", "epoch-000001.h5", "last.h5"])
        self.assertNotEqual(contents(again.checkpoint()), old)

    def test_always_wants_a_checkpoint(self):
        self.fails(["there is no good checkpoint", "checkpoint.resume=auto"], 3, "run", {"checkpoint.resume": "always"})
        self.train("run")
        self.assertIn("resuming", self.train("run", {"checkpoint.resume": "always"}).out)

    def test_another_model_is_refused(self):
        first = self.train("run")
        before = contents(first.checkpoint())
        for ranks in (1, 2):
            self.fails(["model.clusters: 4, here 7", "model.decoder: [32], here [16]", "seed: 1, here 2", "checkpoints/"], 2,
                       "run", {"model.clusters": 7, "model.decoder": [16], "seed": 2}, ranks=ranks)
        self.assertEqual(contents(first.checkpoint()), before)

    def test_other_cells_are_refused(self):
        """A position in the order of some cells means nothing among others, and a finished run is of its own cells."""
        half = {**LONG, "data.train": [rewrite(os.path.join(self.folder, "half.h5ad"), rows=700)]}
        self.stop("run", LONG, 30, signal.SIGTERM)
        words = ["last.h5 was trained on other data: there are 700 cells instead of 1558", "data.train"]
        self.fails(words, 3, "run", half)
        self.train("run", LONG)
        self.fails(["700 cells instead of 1558"], 3, "run", {**half, "train.epochs": 5})

    def test_what_is_kept(self):
        run = self.train("run", {"train.epochs": 7, "checkpoint.every": 2, "checkpoint.keep": 2, "train.batch_size": 1000})
        self.assertEqual(run.checkpoints(), ["best.h5", "epoch-000006.h5", "epoch-000007.h5", "last.h5"])
        self.assertEqual(contents(run.checkpoint()), contents(run.checkpoint("epoch-000007.h5")))
        held_out = run.losses("validation")
        best = contents(run.checkpoint("best.h5"))
        self.assertEqual(int.from_bytes(best["@epoch"], "little"), held_out.argmin() + 1)
        self.nothing_left(run)

    def test_best_is_not_the_last(self):
        """With a learning rate that spoils what was learnt, an earlier epoch stays the best."""
        self.train("run", {"train.epochs": 3})
        run = self.train("run", {"train.epochs": 6, "train.lr": 0.2})
        held_out = run.losses("validation")
        best = contents(run.checkpoint("best.h5"))
        self.assertLess(held_out.argmin(), len(held_out) - 1)
        self.assertEqual(int.from_bytes(best["@epoch"], "little"), held_out.argmin() + 1)

    def test_best_is_remembered(self):
        """What is worse than the best before the stop does not become the best after it."""
        self.train("run", {"train.epochs": 3})
        run = self.train("run", {"train.epochs": 5, "train.lr": 0.2})
        held_out = run.losses("validation")
        self.assertEqual((len(held_out), held_out.argmin()), (5, 2))
        self.assertEqual(int.from_bytes(contents(run.checkpoint("best.h5"))["@epoch"], "little"), 3)

    def test_the_last_checkpoint_alone(self):
        run = self.train("run", {"checkpoint.every": 0, "data.validation": 0})
        self.assertEqual(run.checkpoints(), ["epoch-000002.h5", "last.h5"])
        self.nothing_left(run)


if __name__ == "__main__":
    main()
