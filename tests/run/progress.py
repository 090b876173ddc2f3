"""What a run says while it works: one redrawn line on a terminal, plain lines elsewhere.

usage: progress.py PATH/gmvae_dist
"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from support import PATIENCE, PROGRAM, RunTest, main

LONG = {"train.epochs": 6, "train.batch_size": 64, "train.log_steps": 0, "eval.samples": 10,
        "output.embedding": True, "output.umap": True, "output.metrics": ["asw"], "data.label_key": "cell_type"}
CONTROL = re.compile(r"\r|\n|\x1b\[K|\x1b.|[^\r\n\x1b]+")


class Screen:
    """A terminal that knows what the program uses of it, and nothing else."""

    def __init__(self):
        self.lines, self.at, self.drawn = [""], 0, []

    def take(self, text):
        for part in CONTROL.findall(text):
            line = self.lines[-1]
            if part == "\r":
                self.at = 0
            elif part == "\n":
                self.lines.append("")
            elif part == "\x1b[K":
                self.drawn += [line[:self.at]] if self.at else []
                self.lines[-1] = line[:self.at]
            else:
                assert not part.startswith("\x1b"), repr(part)
                self.lines[-1] = line[:self.at] + part + line[self.at + len(part):]
                self.at += len(part)


class Progress(RunTest):
    def on_terminal(self, name, changes=None, ranks=1, columns=80, word="train", term="xterm", watch=None):
        """Runs with a terminal of so many columns. watch: called with screen, process and terminal whenever there is news."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        screen, data, end = Screen(), b"", time.monotonic() + PATIENCE
        process = subprocess.Popen(self.command(name, {**LONG, **(changes or {})}, ranks, word), cwd=self.folder, stdin=slave, stdout=slave,
                                   stderr=slave, start_new_session=True, env={**self.environment(), "TERM": term, "NO_COLOR": "1"})
        os.close(slave)
        while time.monotonic() < end and select.select([master], [], [], PATIENCE)[0]:
            try:
                got = os.read(master, 1 << 16)
            except OSError:  # the last who had it is gone
                break
            data += got
            screen.take(got.decode())
            if watch:
                watch(screen, process, master)
        os.close(master)
        return process.wait(timeout=PATIENCE), screen, data.decode()

    def check_left(self, screen):
        """What stays on the screen are lines of the log."""
        self.assertEqual(screen.lines[-1], "")
        self.assertEqual([line for line in screen.lines if re.search(r"\d (s|min|h) left", line)], [])

    def test_terminal(self):
        code, screen, _ = self.on_terminal("run")
        self.assertEqual(code, 0, screen.lines)
        steps = [line for line in screen.drawn if re.fullmatch(r"epoch \d+/6  step \d+/22  -ELBO [\d.]+  \d+ cells/s  \d+ (s|min) left", line)]
        self.assertGreater(len(steps), 3, screen.drawn)
        for stage in ("evaluation", "layout", "embedding"):
            self.assertTrue(any(re.fullmatch(stage + r" \d+ %, \d+ s left", line) for line in screen.drawn), (stage, screen.drawn))
        self.check_left(screen)
        self.assertEqual(sum(line.startswith("epoch ") for line in screen.lines), 6, screen.lines)

    def test_narrow_and_stopped(self):
        """The terminal becomes narrower while it draws; then comes a signal."""
        at = []

        def narrow_then_stop(screen, process, terminal):
            if not at and any("step" in line for line in screen.drawn):
                fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 21, 0, 0))
                at.append(len(screen.drawn))
            if len(at) == 1 and len(screen.drawn) > at[0] + 2:
                at.append(process.send_signal(signal.SIGTERM))

        code, screen, _ = self.on_terminal("run", {"train.epochs": 100, "output.embedding": False}, columns=34, watch=narrow_then_stop)
        self.assertEqual(code, 75, screen.lines)
        self.assertEqual(max(map(len, screen.drawn[:at[0]])), 33)
        self.assertEqual(max(map(len, screen.drawn[at[0] + 1:])), 20)  # one may be under way
        self.assertTrue(screen.lines[-2].startswith("gmvae_dist: stopped by a signal"), screen.lines)
        self.check_left(screen)

    def test_ranks(self):
        at = []

        def narrow(screen, process, terminal):
            if not at and screen.drawn:
                fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 31, 0, 0))
                at.append(len(screen.drawn))

        code, screen, _ = self.on_terminal("run", {"output.embedding": False}, ranks=2, columns=40, watch=narrow)
        self.assertEqual(code, 0, screen.lines)
        epochs = [int(line.split("/")[0][6:]) for line in screen.drawn if line.startswith("epoch")]
        self.assertTrue(epochs and epochs == sorted(epochs), screen.drawn)
        self.assertLess(max(map(len, screen.drawn[at[0] + 1:])), 31)  # mpirun does not tell its ranks
        self.assertEqual(sum(line.startswith("epoch ") for line in screen.lines), 6, screen.lines)
        self.check_left(screen)

    def test_sweep(self):
        code, screen, _ = self.on_terminal("run", {"sweep": {"over": {"train.lr": [0.001, 0.002]}}, "train.epochs": 3, "output.embedding": False, "eval.samples": 2}, word="sweep")
        self.assertEqual(code, 0, screen.lines)
        self.assertTrue(any(line.startswith("run 1 of 2  epoch ") for line in screen.drawn), screen.drawn)
        self.assertTrue(any(re.match(r"run 2 of 2 \(\d+ s left of all\)  epoch ", line) for line in screen.drawn), screen.drawn)
        self.check_left(screen)

    def test_elsewhere(self):
        few = {"train.epochs": 2, "output.embedding": False, "eval.samples": 2}
        _, _, dumb = self.on_terminal("dumb", few, term="dumb")
        piped = self.train("piped", {**LONG, **few}, ranks=2).out
        command = self.command("shell", {**LONG, **few}, ranks=2)
        at = command.index(PROGRAM[0])  # between it and mpirun, whose terminal is none
        command[at:at] = ["sh", "-c", '"$@"; exit $?', "sh"]
        shell = subprocess.run(command, cwd=self.folder, env={**self.environment(), "TERM": "xterm"}, capture_output=True, text=True).stdout
        for text in (dumb.replace("\r\n", "\n"), piped, shell):
            self.assertNotRegex(text, r"[\r\x1b]| left")
            self.assertEqual(text.count("\nepoch "), 2)


if __name__ == "__main__":
    main()
