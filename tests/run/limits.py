"""What the machine gives: address space, threads, and variables that libraries read while they are loaded.

usage: limits.py PATH/gmvae_dist
"""
import os
import re
import subprocess
import unittest

from support import FEW, PATIENCE, PROGRAM, Run, RunTest, lines_of, main, time

STARTED_FOR = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS")
NARROW = {"train.epochs": 1, "data.validation": 0}


def environment_of(pid):
    with open(f"/proc/{pid}/environ") as file:
        return dict(pair.split("=", 1) for pair in file.read().split("\0") if "=" in pair)


@unittest.skipIf(FEW, "sanitizers need all addresses")
class AddressSpace(RunTest):
    def limited(self, megabytes, threads=1, ranks=1, options=()):
        """A run with `ulimit -v`."""
        command = self.command("run", NARROW, ranks)
        at = command.index(PROGRAM[0])
        limit = ["sh", "-c", f'ulimit -v {megabytes * 1000000 // 1024}; exec "$@"', "sh"]
        done = subprocess.run([*command[:at], *limit, PROGRAM[0], *options, *command[at + 1:]], cwd=self.folder,
                              env=self.environment(threads), capture_output=True, text=True, timeout=PATIENCE)
        return Run(self.folder, "run", done)

    def test_too_little_for_products(self):
        for options in ((), ("--dry-run",)):
            run = self.limited(300, options=options)
            self.check_failure(run, 5, ["address space (ulimit -v) of 300 MB", "raise it"])
            self.assertEqual(run.err.count("\n"), 1)
        needed = int(re.search(r"products need (\d+) MB with one thread", run.err)[1])
        run = self.limited(needed + 1)
        self.assertEqual((run.code, run.err), (0, ""))
        self.check_failure(self.limited(300, ranks=2), 5, ["address space (ulimit -v) of 300 MB"])

    def test_too_little_for_some_threads(self):
        run = self.limited(700, threads=16)
        self.assertEqual(run.code, 0, run.err)
        self.assertRegex(run.err, r"^gmvae_dist: warning: only [1-9] of 16 threads are used: [^\n]* \(ulimit -v\)\n$")

    def test_too_little_to_start(self):
        run = self.limited(100)
        self.check_failure(run, 5, ["address space (ulimit -v) of 100 MB", "need at least"])


class Counts(RunTest):
    def test_too_few_open_files(self):
        """MPI would end with its own texts and exit code 1."""
        for few, code in ((24, 5), (32, 0)):
            command = ["sh", "-c", f'ulimit -n {few}; exec "$@"', "sh", *self.command("run", NARROW), "--dry-run"]
            done = subprocess.run(command, cwd=self.folder, env=self.environment(), capture_output=True, text=True,
                                  timeout=PATIENCE)
            self.assertEqual(done.returncode, code, done.stderr)
            if code != 0:
                self.assertRegex(done.stderr, r"^gmvae_dist: error: the limit on open files \(ulimit -n\) of 24 [^\n]*\n$")


class Variables(RunTest):
    def seen(self, name, **variables):
        """Environment, arguments and name of a run under way."""
        command = self.command(name, {"train.epochs": 100000, "output.embedding": False})
        environment = {k: v for k, v in self.environment().items() if k not in STARTED_FOR}
        process = subprocess.Popen(command, cwd=self.folder, env={**environment, **variables},
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + PATIENCE
            while lines_of(Run(self.folder, name)) == 0:
                self.assertIsNone(process.poll())
                self.assertLess(time.monotonic(), end, "the run does not come on")
                time.sleep(0.01)
            with open(f"/proc/{process.pid}/cmdline") as line, open(f"/proc/{process.pid}/comm") as comm:
                self.assertEqual(line.read().split("\0")[:-1], command)
                self.assertEqual(comm.read().strip(), os.path.basename(PROGRAM[0])[:15])
            with open(f"/proc/{process.pid}/task/{process.pid}/children") as children:
                self.assertEqual(children.read(), "")  # no daemon of Open MPI
            directory = f"gmvae_dist.{os.uname().nodename}.{os.getuid()}.{process.pid}"
            self.assertTrue(os.path.isdir(os.path.join(self.mpi_folder, directory)), os.listdir(self.mpi_folder))
            return environment_of(process.pid)
        finally:
            process.kill()
            process.wait()

    def test_bounded_spinning(self):
        seen = self.seen("free", GMVAE_TEST_MARK="kept")
        self.assertEqual((seen["GOMP_SPINCOUNT"], seen["OPENBLAS_NUM_THREADS"]), ("1000", "1"))
        self.assertEqual(seen["GMVAE_TEST_MARK"], "kept")
        self.assertEqual(self.seen("count", GOMP_SPINCOUNT="7")["GOMP_SPINCOUNT"], "7")
        self.assertNotIn("GOMP_SPINCOUNT", self.seen("policy", OMP_WAIT_POLICY="passive"))

    def test_more_ranks_than_cores(self):
        """Open MPI says itself what it has found in the environment."""
        def pieces(**variables):
            command = [*self.command("run", NARROW, os.cpu_count() + 1), "--dry-run"]
            done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE,
                                  env={**self.environment(), "OMPI_MCA_mpi_show_mca_params": "enviro", **variables})
            self.assertEqual(done.returncode, 0, done.stderr)
            return re.findall(r"btl_vader_max_send_size=(\d+)", done.stdout + done.stderr)
        self.assertEqual(pieces(), ["524288"])
        self.assertEqual(pieces(OMPI_MCA_btl_vader_max_send_size="65536"), ["65536"])

    def test_a_session_directory_of_its_own(self):
        """Open MPI's default is one for all programs of a user: those that run at once end with one another."""
        self.seen("run")
        others = os.listdir(self.mpi_folder)
        self.train("again", NARROW)
        self.assertEqual(os.listdir(self.mpi_folder), others)  # of the one that was killed
        self.assertFalse([name for name in others if not name.startswith("gmvae_dist.")])

    def test_started_by_the_loader(self):
        loader = "/lib64/ld-linux-x86-64.so.2"
        done = subprocess.run([loader, PROGRAM[0], "--version"], env=self.environment(), capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout.split()[0]), (0, "gmvae_dist"), done.stderr)


if __name__ == "__main__":
    main()
