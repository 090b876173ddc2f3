"""Held-out cells by fraction, by file and by level of an obs column, on any number of ranks.

usage: split.py PATH/gmvae_dist
"""
import json
import os
import shutil

from cells import rewrite
from support import CELLS, FEW, RunTest, contents, h5py, main, np

PARTS = (400, 500, 658)
EXACT = {"train.reduction": "exact", "train.epochs": 1, "train.kl_warmup": 0, "data.batch_keys": []}


def column(path, key):
    with h5py.File(path) as file:
        names = [name.decode() for name in file[f"obs/{key}/categories"][()]]
        return np.array(names)[file[f"obs/{key}/codes"][()]]


class Split(RunTest):
    def parts(self):
        """The cells in three files; obs column `part` says in which."""
        paths, first = [], 0
        for i, rows in enumerate(PARTS):
            paths.append(rewrite(os.path.join(self.folder, f"part{i}.h5ad"), rows, first=first, columns={"part": i}))
            first += rows
        return paths

    def held_out(self, run):
        return run.metrics("validation")[-1]["cells"], run.metrics("train")[-1]["cells"]

    def test_files_and_levels_on_any_ranks(self):
        """The same cells, held out by file or by a level that tells the files apart: the same bits."""
        paths = self.parts()
        by_file = {**EXACT, "data.train": paths, "data.validation": {"files": ["part1.h5ad"]}}
        first = self.train("file1", by_file)
        self.assertEqual(self.held_out(first), (PARTS[1], PARTS[0] + PARTS[2]))
        self.assertIn(f"held out: {PARTS[1]} of {sum(PARTS)} cells (part1.h5ad)", first.out)
        for ranks in (4,) if FEW else (2, 4):
            self.same_run(first, self.train(f"file{ranks}", by_file, ranks))
        by_level = {**by_file, "data.validation": {"key": "part", "levels": ["level1"]}}
        for ranks in (2,) if FEW else (1, 2, 4):
            run = self.train(f"level{ranks}", by_level, ranks)
            self.same_run(first, run)
            self.assertIn("cells (level1 of part)", run.out)

    def test_patterns(self):
        paths = self.parts()
        for number, (files, rows) in enumerate((
                (["part[01].h5ad"], PARTS[0] + PARTS[1]), (paths[2:], PARTS[2]), (["part0.h5ad", "*2.h5ad"], PARTS[0] + PARTS[2]),
                ([os.path.basename(self.folder) + "/part1*"], PARTS[1]))):
            run = self.try_run(f"run{number}", {**EXACT, "data.train": paths, "data.validation": {"files": files}}, 2)
            self.assertEqual((run.code, run.err), (0, ""))
            self.assertEqual(self.held_out(run)[0], rows)

    def test_the_evaluated_cells_are_those(self):
        """The mean of the bounds that embedding.h5ad has for the cells of the level is that of evaluation.json."""
        of_type = column(CELLS, "cell_type")
        level = np.unique(of_type)[1]
        changes = {"data.label_key": "cell_type", "data.validation": {"key": "cell_type", "levels": [level]},
                   "output.embedding": True}
        run = self.train("run", changes, 2)
        with open(run.path("evaluation.json")) as file:
            found = json.load(file)
        with h5py.File(run.path("embedding.h5ad")) as file:
            bounds = file["obs/gmvae_neg_elbo"][()]
        self.assertEqual(found["cells"], (of_type == level).sum())
        self.assertAlmostEqual(found["neg_elbo"] / bounds[of_type == level].mean(dtype=np.float64), 1, places=6)

    def test_eval_and_resume_hold_out_the_same(self):
        paths = self.parts()
        changes = {**EXACT, "train.epochs": 2, "data.train": paths, "data.validation": {"key": "part", "levels": ["level2"]}}
        run = self.train("run", changes, 2)
        with open(run.path("evaluation.json")) as file:
            before = json.load(file)
        with open(run.path("config.resolved.yaml")) as file:
            self.assertIn("validation: {key: part, levels: [level2]}", file.read())
        # the checkpoint's split, whatever this run's config says
        again = self.try_run("run", {**changes, "data.validation": 0.1}, 4, word="eval")
        self.assertEqual((again.code, again.err), (0, ""))
        with open(run.path("evaluation.json")) as file:
            self.assertEqual(json.load(file), before)
        shutil.copytree(run.path(), os.path.join(self.folder, "half"))
        half = os.path.join(self.folder, "half")
        self.fails(["data.validation: {key: part, levels: [level2]}, here {files: [part2.h5ad]}", "another output.dir"], 2,
                   "half", {**changes, "train.epochs": 3, "data.validation": {"files": ["part2.h5ad"]}})
        os.remove(os.path.join(half, "metrics.jsonl"))
        longer = {**changes, "train.epochs": 3}
        whole = self.train("whole", longer)
        resumed = self.train("half", longer, 2)
        self.assertIn("resuming from", resumed.out)
        a, b = contents(whole.checkpoint()), contents(resumed.checkpoint())
        self.assertEqual([key for key in a if a[key] != b[key]], [])

    def test_a_level_of_a_covariate_that_is_not_trained(self):
        level = np.unique(column(CELLS, "batch"))[0]
        run = self.try_run("run", {"data.validation": {"key": "batch", "levels": [level]}}, 2)
        self.assertEqual(run.code, 0, run.err)
        self.assertIn("covariate batch: all cells of 1 of its", run.err)
        self.assertIn(f"({level})", run.err)

    def test_mistakes(self):
        paths = self.parts()
        for number, (words, held_out) in enumerate((
                (["no file of data.train is 'part7.h5ad'", "did you mean 'part0.h5ad'?"], {"files": ["part7.h5ad"]}),
                (["there are 'part0.h5ad', 'part1.h5ad', 'part2.h5ad'"], {"files": ["part0.h5ad", "other/atlas"]}),
                (["obs/part has no level 'levle1'; did you mean 'level1'?"], {"key": "part", "levels": ["level0", "levle1"]}),
                (["obs/part has no level 'd3'; there are 'level0', 'level1', 'level2'"], {"key": "part", "levels": ["d3"]}),
                (["'donor'", "data.validation"], {"key": "donor", "levels": ["d3"]}),
                (["level0, level1, level2 of part holds out all of the 1558 cells"],
                 {"key": "part", "levels": ["level0", "level1", "level2"]}),
                (["part?.h5ad holds out all of the 1558 cells"], {"files": ["part?.h5ad"]}),
                (["1e-05 holds out none of the 1558 cells", "data.validation=0"], 1e-5))):
            self.fails(words, 2, f"run{number}", {**EXACT, "data.train": paths, "data.validation": held_out}, 1 + 2 * (number % 2))


if __name__ == "__main__":
    main()
