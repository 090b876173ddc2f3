#!/usr/bin/env python3
"""Sweeps: the runs that a block asks for, one after the other or several at a time, stopped and continued, their table."""
import csv
import re
import signal
import struct

from support import CONFIG, Run, RunTest, json, lines_of, main, np, os, subprocess

QUICK = {"data.check_seconds": 0, "checkpoint.every": 0, "train.epochs": 2}  # no process for a look at every file
GRID = {**QUICK, "sweep.over": {"model.clusters": [2, 3]}, "sweep.repeats": 2, "data.label_key": "cell_type"}
RUNS = [f"clusters={k},seed={s}" for k in (2, 3) for s in (1, 2)]
FIGURES = ("neg_elbo", "reconstruction", "kl_w", "kl_z", "kl_x", "active_clusters", "clusters", "ari", "nmi")


def table_of(sweep):
    with open(sweep.path("sweep.csv"), newline="") as file:
        return list(csv.DictReader(file))


def listed(run):
    """Names of runs that a dry run lists."""
    return [line.split(None, 2)[2] for line in run.out.splitlines() if line.startswith("run ")]


class Sweeps(RunTest):
    def command(self, name, changes, ranks=1, word="sweep"):
        """Without changes to nested keys: those of sweep.over stay dotted."""
        over = changes.get("sweep.over")
        command = super().command(name, {k: v for k, v in changes.items() if k != "sweep.over"}, ranks, word)
        if over is not None:
            file = command[-1]
            with open(file) as text:
                config = json.load(text)
            config.setdefault("sweep", {})["over"] = over
            with open(file, "w") as out:
                json.dump(config, out, indent=1)
        return command

    def sweep(self, name, changes, ranks=1):
        run = self.try_run(name, changes, ranks, word="sweep")
        self.assertEqual((run.code, run.err), (0, ""), run.out)
        return run

    def dry_run(self, name, changes, *more, ranks=1):
        command = [*self.command(name, changes, ranks), "--dry-run", *more]
        done = subprocess.run(command, cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=180)
        return Run(self.folder, name, done)

    def part(self, sweep, name):
        return Run(sweep.folder, name)

    def check_table(self, sweep):
        """sweep.csv, sweep.json and sweep.md say what the runs' folders hold."""
        rows = table_of(sweep)
        self.assertEqual([row["run"] for row in rows], RUNS)
        with open(sweep.path("sweep.json")) as file:
            objects = json.load(file)["runs"]
        for row, item in zip(rows, objects):
            with open(sweep.path(row["run"], "evaluation.json")) as file:
                result = json.load(file)
            self.assertEqual((row["state"], row["exit_code"], row["epochs"]), ("done", "0", "2"))
            self.assertGreater(float(row["seconds"]), 0)
            self.assertEqual((item["run"], item["settings"]), (row["run"], {"model.clusters": row["model.clusters"]}))
            for key in FIGURES:
                self.assertEqual((float(row[key]), item[key]), (result[key], result[key]), key)
        with open(sweep.path("sweep.md")) as file:
            lines = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in file if line.startswith("|")]
        for i, k in enumerate((2, 3)):
            bounds = [float(row["neg_elbo"]) for row in rows[2 * i:2 * i + 2]]
            self.assertNotEqual(bounds[0], bounds[1])  # of two seeds
            expected = f"{np.mean(bounds):.2f} ± {np.std(bounds, ddof=1):.2f}"
            self.assertEqual(lines[2 + i][:3], [str(k), "2", expected])
        with open(sweep.path("sweep.md")) as file:
            self.assertIn(file.read().split("\n\n")[1], sweep.out)
        figures = len(rows[0]) - len(("run", "state", "exit_code", "model.clusters", "seed", "epochs", "why"))
        with open(sweep.path("sweep.png"), "rb") as file:
            width, height = struct.unpack(">II", file.read(24)[16:])
        self.assertEqual((width, height), (2 * 3 * 330, 2 * (44 + (figures + 2) // 3 * (250 + 24))))  # a chart of each
        with open(sweep.path("sweep.svg")) as file:
            discs = re.findall(r'fill[:=]"?rgb\(0%, ?44\.7\d*%, ?69\.8\d*%\)', file.read())
        self.assertEqual(len(discs), (len(rows) + 2) * figures)  # runs and means

    def test_grid(self):
        """Two at a time give what one after the other does, also when that is stopped and goes on."""
        packed = self.sweep("packed", GRID, ranks=2)
        self.assertIn("2 runs at a time, on 1 rank each", packed.out)
        self.check_table(packed)

        alone = self.interrupt("alone", GRID, lambda run: lines_of(self.part(run, RUNS[1])) > 0, signal.SIGUSR1)
        self.assertEqual(alone.code, 75, alone.err)
        self.assertIn("of 4 runs are done; run the same command again to continue", alone.err)
        states = [row["state"] for row in table_of(alone)]
        self.assertEqual((states[0], states[2:]), ("done", ["waiting", "waiting"]))
        before = os.stat(alone.path(RUNS[0], "evaluation.json")).st_mtime_ns
        alone = self.sweep("alone", GRID)
        self.assertEqual(os.stat(alone.path(RUNS[0], "evaluation.json")).st_mtime_ns, before)
        self.assertNotIn(RUNS[0] + ":", alone.out)
        self.check_table(alone)
        for name in RUNS:
            self.same_run(self.part(packed, name), self.part(alone, name))

        # a grid that has grown knows what it has; one of other settings is not mixed up with it
        grown = self.dry_run("alone", {**GRID, "sweep.over": {"model.clusters": [2, 4, 3]}})
        self.assertEqual(listed(grown), [RUNS[0] + "  (done)", RUNS[1] + "  (done)", "clusters=4,seed=1", "clusters=4,seed=2",
                                         RUNS[2] + "  (done)", RUNS[3] + "  (done)"])
        self.fails([RUNS[0], "train.lr: 0.001, here 0.002"], 2, "alone", {**GRID, "train.lr": 2e-3}, word="sweep")
        again = self.dry_run("alone", {**GRID, "eval.samples": 3})
        self.assertEqual(listed(again), RUNS)  # the same models, but other results
        self.check_table(alone)

    def test_a_run_fails(self):
        """It is in the table, the others are done, and the exit code is its own."""
        over = {"data.batch_keys": ["batch", "nobody"]}
        sweep = self.fails(["1 of 2 runs failed", "batch_keys=nobody,seed=1", "no column 'nobody'"], 2, "fails",
                           {**QUICK, "sweep.over": over, "train.epochs": 1, "output.markers": True, "output.report": True, "output.clusters": "components"}, word="sweep")
        good, bad = table_of(sweep)
        self.assertEqual((good["state"], good["exit_code"], good["why"]), ("done", "0", ""))
        self.assertEqual((bad["state"], bad["exit_code"], bad["neg_elbo"]), ("failed", "2", ""))
        self.assertIn("no column 'nobody'", bad["why"])
        files = self.part(sweep, "batch_keys=batch,seed=1").files()
        self.assertTrue("evaluation.json" in files and not {"markers.csv", "report.html", "predictive.json"} & set(files), files)
        with open(sweep.path("sweep.md")) as file:
            text = file.read()
        self.assertRegex(text, r"\| nobody +\| 0 of 1 +\| ")
        self.assertIn("- `batch_keys=nobody,seed=1` failed (exit code 2): ", text)
        with open(sweep.path("batch_keys=nobody,seed=1", "train.log")) as file:
            self.assertIn("error: ", file.read())

    def test_halving(self):
        """The best of the first epoch goes on, and is the run that it would be alone."""
        rates = [1e-3, 1e-2, 3e-3]
        changes = {**QUICK, "sweep.method": "halving", "sweep.over": {"train.lr": rates}}
        sweep = self.sweep("halving", changes)
        rows = table_of(sweep)
        first = [self.part(sweep, row["run"]).losses("validation")[0] for row in rows]
        best = int(np.argmin(first))
        for i, row in enumerate(rows):
            self.assertEqual((row["state"], row["epochs"]), ("done", "2") if i == best else ("left behind", "1"))
            self.assertEqual(os.path.exists(sweep.path(row["run"], "evaluation.json")), i == best)
            if i != best:
                self.assertAlmostEqual(float(row["neg_elbo"]), first[i], places=4)
        alone = self.train("alone", {**QUICK, "train.lr": rates[best]})
        self.same_run(self.part(sweep, rows[best]["run"]), alone)

    def test_lists(self):
        """Draws are the same however many there are; the example configs can be run."""
        over = {"train.lr": {"min": 1e-4, "max": 1e-2, "log": True}, "model.clusters": {"min": 2, "max": 4},
                "model.encoder": [[8], [8, 16]]}
        draws = [listed(self.dry_run("draws", {"sweep.method": "random", "sweep.runs": n, "sweep.over": over}))
                 for n in (3, 40)]
        self.assertEqual([len(names) for names in draws], [3, 40])
        self.assertEqual((draws[1][:3], len(set(draws[1]))), (draws[0], 40))
        values = [dict(setting.split("=") for setting in name.split(",")) for name in draws[1]]
        rates = sorted(float(value["lr"]) for value in values)
        self.assertTrue(1e-4 <= rates[0] < 3e-4 < rates[20] < 3e-3 < rates[-1] <= 1e-2, rates)
        self.assertEqual({value["clusters"] for value in values}, {"2", "3", "4"})
        self.assertEqual({value["encoder"] for value in values}, {"8", "8-16"})

        configs = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "configs")
        for name, runs in (("seed_k_sweep", 36), ("notebook_grid", 128)):
            command = self.command(name, {})[:2] + [os.path.join(configs, name + ".yaml"), "--dry-run", "data.matrix=auto",
                                                    "data.train=" + CONFIG["data.train"][0], "output.dir=out"]
            done = subprocess.run(command, cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=180)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(len(set(listed(Run(self.folder, name, done)))), runs)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "out")))


if __name__ == "__main__":
    main()
