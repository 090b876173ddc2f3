"""The program as its users meet it: exit codes, messages, texts on stdout. Needs the standard library only.

usage: cli.py PATH/gmvae_dist
"""
import os
import subprocess
import sys
import tempfile
import unittest

PROGRAM = os.path.abspath(sys.argv.pop(1))
MPIEXEC = os.environ.get("MPIEXEC", "mpirun")
LAUNCHER_VARIABLES = ("OMPI_", "PMIX_", "PMI_", "SLURM_")


class Cli(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def write(self, name, text, mode="w"):
        with open(os.path.join(self.folder, name), mode) as out:
            out.write(text)
        return name

    def run_command(self, command, env=None):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER_VARIABLES)}
        clean.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_pml="ob1", **(env or {}))
        return subprocess.run(command, cwd=self.folder, env=clean, capture_output=True, text=True, timeout=120)

    def run_program(self, *arguments, env=None):
        return self.run_command([PROGRAM, *arguments], env)

    def run_ranks(self, ranks, *arguments):
        return self.run_command([MPIEXEC, "--oversubscribe", "-np", str(ranks), PROGRAM, *arguments])

    def prints(self, *arguments, env=None):
        """Stdout of a run that must succeed in silence on stderr."""
        done = self.run_program(*arguments, env=env)
        self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
        return done.stdout

    def fails(self, message, *arguments, code=2, env=None):
        """A run that must fail with one line on stderr, and nothing on stdout."""
        done = self.run_program(*arguments, env=env)
        self.assertEqual(done.returncode, code, (arguments, done.stderr))
        self.assertEqual(done.stderr, f"gmvae_dist: error: {message}\n")
        self.assertEqual(done.stdout, "")

    # texts that need no MPI

    def test_help(self):
        text = self.prints("--help")
        for word in ("train", "sweep", "embed", "eval", "denoise", "generate", "markers", "synth", "inspect", "doctor", "--dry-run", "--version", "KEY=VALUE", "75"):
            self.assertIn(word, text)
        self.assertNotIn("--print-config-docs", text)
        self.assertEqual(text, self.prints("-h"))

    def test_help_of_a_command(self):
        for arguments in (("train", "--help"), ("--help", "train"), ("train", "c.yaml", "--help")):
            text = self.prints(*arguments)
            self.assertIn("gmvae_dist train CONFIG.yaml", text)
            self.assertIn("--dry-run", text)
        self.assertIn("gmvae_dist inspect FILE", self.prints("inspect", "--help"))
        self.assertNotIn("--dry-run", self.prints("inspect", "--help"))

    def test_version(self):
        text = self.prints("--version")
        for name in ("gmvae_dist ", "MPI ", "HDF5 ", "OpenBLAS ", "libyaml "):
            self.assertIn(name, text)

    def test_print_config_reads_back(self):
        defaults = self.prints("--print-config")
        self.write("defaults.yaml", defaults)
        self.assertEqual(self.prints("--print-config", "defaults.yaml"), defaults)
        self.assertEqual(self.prints("defaults.yaml", "--print-config"), defaults)
        self.write("c.yaml", "data: {train: ['*.h5ad', \"a: b\"], genes: {n_top: 7}}\ntrain: {kl_warmup: 0}\n")
        changed = self.prints("train", "c.yaml", "--print-config", "train.lr=0.3", "output.dir=out/x=1")
        self.write("changed.yaml", changed)
        self.assertIn("  genes: {n_top: 7, flavor: log1p_variance}\n", changed)
        self.assertIn("  lr: 0.3\n", changed)
        self.assertEqual(self.prints("--print-config", "changed.yaml"), changed)

    def test_print_config_without_file_takes_overrides(self):
        self.assertIn("epochs: 3\n", self.prints("--print-config", "train.epochs=3"))

    def test_config_docs(self):
        self.assertTrue(self.prints("--print-config-docs").startswith("# Configuration\n"))

    def test_config_name_with_equals_sign(self):
        os.mkdir(os.path.join(self.folder, "lr=0.1"))
        self.write("lr=0.1/c.yaml", "seed: 5\n")
        self.write("x=1.yaml", "seed: 6\n")
        self.assertIn("seed: 5\n", self.prints("--print-config", "lr=0.1/c.yaml"))
        self.assertIn("seed: 6\n", self.prints("--print-config", "x=1.yaml"))

    def test_only_one_task_prints(self):
        self.assertEqual(self.prints("--help", env={"SLURM_PROCID": "1"}), "")
        done = self.run_ranks(3, "--print-config")
        self.assertEqual((done.returncode, done.stdout.count("seed: 1\n")), (0, 1))

    def test_reader_that_leaves_early(self):
        done = self.run_command(["bash", "-c", 'set -o pipefail; "$0" --help | true', PROGRAM])
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_full_disk(self):
        done = self.run_command(["bash", "-c", '"$0" --help > /dev/full', PROGRAM])
        self.assertEqual(done.returncode, 5)
        self.assertIn("cannot write to standard output", done.stderr)
        for words in ("doctor", "synth --dry-run"):
            done = self.run_command(["bash", "-c", f'"$0" {words} > /dev/full', PROGRAM])
            self.assertEqual(done.returncode, 5, words)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        done = self.run_command(["bash", "-c", 'set -o pipefail; "$0" doctor | true', PROGRAM])
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    # paths, and what a terminal must not see

    def test_home_and_variables_in_paths(self):
        self.write("c.yaml", "data: {train: ~/a.h5ad}\n")
        home = {"HOME": self.folder, "AT": "deep"}
        gone = "No such file or directory; check the path"
        self.fails(f"{self.folder}/a.h5ad: {gone}", "c.yaml", code=3, env=home)
        self.fails(f"x/deep/deep.h5ad: {gone}", "c.yaml", "data.train=x/$AT/${AT}.h5ad", code=3, env=home)
        self.fails('data.train: "x/$NOPE" has the variable NOPE, which is not set; set it, or write the path', "c.yaml",
                   "data.train=x/$NOPE", env=home)
        self.fails('output.dir: "$NOPE/x" has the variable NOPE, which is not set; set it, or write the path', "c.yaml",
                   "output.dir=$NOPE/x", env=home)
        self.fails(f"a$.h5ad: {gone}", "c.yaml", "data.train=a$.h5ad", code=3, env=home)
        self.assertIn("train: [\"~/a.h5ad\"]\n", self.prints("--print-config", "c.yaml", env=home))

    def test_escapes_from_the_config_are_not_printed(self):
        """Of messages in one line, of warnings, and of what is logged."""
        self.write("c.yaml", 'data: {train: "a\\x1b\\x1b31m\\nb.h5ad"}\n')
        self.fails("a??31m?b.h5ad: a line break in the name of a file; give it another name", "c.yaml")
        self.write("d.yaml", 'data: {train: a, batch_keys: ["x\\x9b1\\ny", "x\\x9b1\\ny"]}\n')
        self.fails('d.yaml: "x??1?y" is in data.batch_keys twice; keep one', "d.yaml")
        self.write("e.yaml", 'synth: {path: "a\\x1b\\rb.h5ad"}\n')
        text = self.prints("synth", "--dry-run", "e.yaml")
        self.assertIn("a??b.h5ad", text)
        self.assertFalse(set("\x1b\r") & set(text))

    # mistakes

    def test_usage(self):
        self.write("c.yaml", "data: {train: a.h5ad}\n")
        self.fails("no config file given; write gmvae_dist train CONFIG.yaml, or gmvae_dist --help")
        self.fails("no config file given; write gmvae_dist embed CONFIG.yaml, or gmvae_dist --help", "embed")
        self.fails("no config file given; write gmvae_dist train CONFIG.yaml, or gmvae_dist --help", "train",
                   "train.epochs=3")
        self.fails("no file given; write gmvae_dist inspect FILE", "inspect")
        self.fails('unknown command "trian"; did you mean "train"?', "trian", "c.yaml")
        self.fails('"xyzzy" is neither a command nor a config file; see gmvae_dist --help', "xyzzy")
        self.fails('unknown option "--dryrun"; did you mean "--dry-run"?', "c.yaml", "--dryrun")
        self.fails('unknown option "--xyzzy"; see gmvae_dist --help', "c.yaml", "--xyzzy")
        self.fails('"b.yaml" after c.yaml is not KEY=VALUE; write for example train.epochs=10', "c.yaml", "b.yaml")
        self.fails("--dry-run belongs to train, sweep, denoise, generate and synth; eval takes no such option", "eval", "c.yaml", "--dry-run")
        self.fails("--json belongs to inspect; train takes no such option", "c.yaml", "--json")

    def test_sweeps(self):
        """Whatever a run of it could not take is known before the first one."""
        self.write("s.yaml", "data: {train: a.h5ad}\nsweep:\n  repeats: 2\n  over:\n    model.clusters: [10, none]\n")
        self.fails('s.yaml:5:26: model.clusters must be an integer, not "none"', "sweep", "s.yaml")
        self.write("s.yaml", "data: {train: a.h5ad}\nsweep:\n  over:\n    model.objective: [marginal, mc]\n")
        self.fails("s.yaml: run objective=mc,seed=1: model.objective: mc is for model.prior: mixture_of_w, but the prior is "
                   "mixture; leave the objective marginal", "sweep", "s.yaml", "model.prior=mixture")
        for changes, message in (
                (["sweep.over={}"], "sweep.over is empty; name keys with their values, such as sweep: {over: "
                                    "{model.clusters: [10, 20]}}"),
                (["sweep.method=random"], "sweep.method: random draws sweep.runs combinations, which is 0; set it"),
                (["sweep.method=random", "sweep.runs=3"], "sweep.runs: there are only 2 combinations, not 3; lower it, or "
                                                          "take the grid"),
                (["sweep.over={train.lr: {min: 0.1, max: 1}}"],
                 "sweep.over: a range, {min: ..., max: ...}, has no end of values; list some, or set sweep.runs and "
                 "sweep.method: random"),
                (["seed=9007199254740991", "sweep.repeats=2"],
                 "run objective=marginal,seed=9007199254740992: seed 9007199254740992 is out of range; lower seed or "
                 "sweep.repeats"),
                (["data.validation=0"], "run objective=marginal,seed=1: data.validation holds no cells out, by which runs could "
                                        "be compared; set it, such as data.validation=0.1")):
            self.fails("s.yaml: " + message, "sweep", "s.yaml", *changes)

    def test_config_files(self):
        self.fails("nope.yaml: no such config file; check the path", "nope.yaml")
        self.fails("./: is a folder; name the YAML file in it", "./")
        self.fails("out/lr=1/c.yaml: no such config file; check the path", "out/lr=1/c.yaml")
        self.write("zero.yaml", b"seed: 1\0\n", "wb")
        self.fails("zero.yaml:1:8: character U+0000 cannot stand in YAML; remove it", "zero.yaml")
        self.write("big.yaml", "#" * (1 << 20) + "\n")
        self.fails("big.yaml: larger than 1 MiB, which no config is; is this a data file?", "big.yaml")
        self.write("ten.yaml", "train:\n  epochs: ten\n")
        self.fails('ten.yaml:2:11: train.epochs must be an integer, not "ten"', "ten.yaml")
        self.fails('ten.yaml:2:11: train.epochs must be an integer, not "ten"', "--print-config", "ten.yaml")
        self.write("c.yaml", "data: {train: a.h5ad}\n")
        self.fails('override "train.epoch=3": unknown key "train.epoch"; did you mean "train.epochs"?', "c.yaml",
                   "train.epoch=3")
        self.fails('override "train.epoch=3": unknown key "train.epoch"; did you mean "train.epochs"?',
                   "--print-config", "train.epoch=3")

    def test_contradictions(self):
        empty = "data.train is empty; name the files to train on, such as data.train=atlas.h5ad"
        self.write("c.yaml", "")
        self.fails(f"c.yaml: {empty}", "c.yaml")
        self.fails(f"c.yaml: {empty}", "c.yaml", "data.predict=x.h5ad")
        self.fails("c.yaml: data.shards (10) must be a multiple of train.micro_batches (8) with train.reduction: exact;"
                   " take 16 shards", "c.yaml", "data.train=a", "data.shards=10", "train.reduction=exact")

    def test_every_rank_leaves_and_one_speaks(self):
        self.write("c.yaml", "seed: -1\n")
        for arguments, message in ((("trian",), 'unknown command "trian"'), (("c.yaml",), "c.yaml:1:7: "),
                                   (("nope.yaml",), "nope.yaml: no such")):
            done = self.run_ranks(3, *arguments)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertEqual(done.stderr.count(f"gmvae_dist: error: {message}"), 1, done.stderr)
            self.assertEqual(done.stderr.count("gmvae_dist: error:"), 1, done.stderr)

    # doctor

    def test_doctor(self):
        text = self.prints("doctor")
        for name in ("ranks ", "processor ", "OpenBLAS ", "MPI ", "HDF5 ", "deflate ", "CUDA ", "NCCL "):
            self.assertIn(name, text)
        self.assertIn("1 on 1 host\n", text)
        done = self.run_ranks(2, "doctor")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.count("2 on 1 host\n"), 1)

    def test_doctor_takes_a_config(self):
        self.write("c.yaml", "runtime: {threads: 3}\n")
        self.assertIn(" 3 of ", self.prints("doctor", "c.yaml"))
        self.fails("no.yaml: no such config file; check the path", "doctor", "no.yaml")

    def test_independent_copies_are_noticed(self):
        for env, said in (({"SLURM_NTASKS": "4"}, True), ({"PMI_SIZE": "4", "PMI_RANK": "0"}, True),
                          ({"SLURM_NTASKS": "4", "SLURM_PROCID": "2"}, False), ({"SLURM_NTASKS": "1"}, False)):
            done = self.run_program("doctor", env=env)
            self.assertEqual(done.returncode, 0)
            self.assertEqual("warning: 4 tasks were asked for, but MPI connects only this one" in done.stderr, said, env)


if __name__ == "__main__":
    unittest.main()
