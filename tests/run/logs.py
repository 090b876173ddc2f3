"""Logs beside metrics.jsonl: what they say is what that says, also of runs that go on.

The event files are read by a parser of their format, and where the package tensorboard is there, by that, too.
usage: logs.py PATH/gmvae_dist
"""
import csv
import glob
import json
import os
import struct

from support import DEEP, RunTest, main, np

LOGS = {"output.logs": ["csv", "tensorboard"], "train.log_steps": 5, "train.batch_size": 128}


def masked_crc(data):
    """CRC-32C, bit by bit, as TFRecord masks it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


assert masked_crc(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF  # published


def records(data):
    while data:
        length, crc = struct.unpack("<QI", data[:12])
        assert crc == masked_crc(data[:8]) and len(data) >= length + 16
        assert struct.unpack("<I", data[12 + length:16 + length])[0] == masked_crc(data[12:12 + length])
        yield data[12:12 + length]
        data = data[16 + length:]


def fields(message):
    """Number and value of each field of a protocol buffer."""
    def varint():
        nonlocal at
        value, shift = 0, 0
        while True:
            at, value, shift, last = at + 1, value | (message[at] & 0x7F) << shift, shift + 7, message[at] < 0x80
            if last:
                return value

    at = 0
    while at < len(message):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            yield number, varint()
            continue
        n = {1: 8, 5: 4}[kind] if kind != 2 else varint()
        value, at = message[at:at + n], at + n
        assert len(value) == n
        yield number, struct.unpack({1: "<d", 5: "<f"}[kind], value)[0] if kind != 2 else value


def events(path):
    """{tag: [(wall time, step, value)]}"""
    with open(path, "rb") as file:
        first, *others = records(file.read())
    assert dict(fields(first))[3] == b"brain.Event:2"
    found = {}
    for event in map(dict, map(fields, others)):
        for number, value in fields(event[5]):
            scalar = dict(fields(value))
            assert number == 1 and set(scalar) == {1, 2}
            found.setdefault(scalar[1].decode(), []).append((event[1], event[2], scalar[2]))
    return found


class Logs(RunTest):
    def event_file(self, run):
        found = glob.glob(run.path("events.out.tfevents.*"))
        self.assertEqual(len(found), 1, found)
        return found[0]

    def check(self, run):
        """Every number of every line, once, in order."""
        lines, wanted = run.metrics(), {}
        for line in lines:
            for name, value in line.items():
                if name not in ("split", "step", "time", "component_mass") and value is not None:
                    wanted.setdefault(f"{line['split']}/{name}", []).append((line["time"], line["step"], float(np.float32(value))))
        self.assertEqual(events(self.event_file(run)), wanted)
        self.assertTrue({"train/neg_elbo", "validation/neg_elbo", "train/lr", "train/cells_per_s"} <= set(wanted))
        with open(run.path("metrics.csv"), newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertTrue(any("component_mass" in line for line in lines))
        lines = [{name: value for name, value in line.items() if not isinstance(value, list)} for line in lines]
        self.assertEqual(rows, [{name: "" if value is None else value if name == "split" else row[name] for name, value in line.items()}
                                for line, row in zip(lines, rows, strict=True)])
        for line, row in zip(lines, rows):
            self.assertEqual([float(row[name]) for name, value in line.items() if isinstance(value, (int, float))],
                             [value for value in line.values() if isinstance(value, (int, float))])
        self.check_by_tensorboard(run, wanted)

    def check_by_tensorboard(self, run, wanted):
        try:
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        except ImportError:
            return
        found = EventAccumulator(run.folder, size_guidance={"scalars": 0}).Reload()
        self.assertEqual({tag: [(e.wall_time, e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}, wanted)

    def test_run_that_goes_on(self):
        """With what a killed run has left behind its checkpoint, of a run that had one log less."""
        run = self.train("run", {**LOGS, "output.logs": ["tensorboard"]})
        self.assertIn("metrics.jsonl, config.resolved.yaml, evaluation.json, run.json, an event file\n", run.out)
        first, lines = self.event_file(run), run.metrics()
        self.assertFalse(os.path.exists(run.path("metrics.csv")))
        with open(run.path("metrics.jsonl"), "a") as out:
            out.write(json.dumps({**lines[-1], "step": lines[-1]["step"] + 5, "split": "step"}) + '\n{"epoch": 3, "st')
        with open(first, "ab") as out:
            out.write(b"half a record")
        os.symlink(os.path.join(self.folder, "elsewhere"), run.path("metrics.csv"))
        again = self.train("run", {**LOGS, "train.epochs": 3, "output.report": True}, ranks=2)
        self.assertIn("resuming from", again.out)
        self.assertEqual(again.metrics()[:len(lines)], lines)
        self.assertEqual([row["epoch"] for row in again.metrics("train")], [1, 2, 3])
        self.assertGreater(self.event_file(again), first)  # by its name: TensorBoard goes on to it
        self.check(again)
        self.assertIn("step", {line["split"] for line in again.metrics()})
        self.assertFalse(os.path.exists(os.path.join(self.folder, "elsewhere")) or os.path.islink(run.path("metrics.csv")))

        self.check_record(again)

    def check_record(self, run):
        """Times of sessions add up."""
        with open(run.path("run.json")) as file:
            sessions = json.load(file)["sessions"]
        self.assertEqual([(s["from_epoch"], s["to_epoch"], s["ranks"]) for s in sessions], [(0, 2, 1), (2, 3, 2)])
        with open(run.path("report.html"), encoding="utf-8") as file:
            page = file.read()
        for stage in ("loading", "training", "checkpoints"):
            self.assertTrue(all(s["seconds"][stage] > 0 for s in sessions))
            self.assertIn(f"<td>{stage}</td><td>{sum(s['seconds'][stage] for s in sessions):.2f}</td>", page)

    def test_many_components(self):
        """Lines are as long as they need to be, also those that a run keeps when it goes on."""
        components = 1000 if DEEP else 300
        changes = {**LOGS, "model.clusters": components, "train.log_steps": 0, "output.report": True}
        lines = self.train("many", changes).metrics()
        again = self.train("many", {**changes, "train.epochs": 3, "output.embedding": True}, ranks=2)
        self.assertTrue(again.metrics()[:len(lines)] == lines)
        self.assertEqual(sorted(again.masses()), [1, 2, 3])
        for row in again.metrics("train"):
            mass = np.array(row["component_mass"])
            self.assertEqual((len(mass), np.sum(mass > 0.005)), (components, row["active_clusters"]))
            self.assertTrue((mass >= 0).all() and abs(mass.sum() - 1) < 1e-3, mass.sum())
        with open(again.path("metrics.csv")) as file:
            self.assertNotIn("component_mass", file.readline())
        self.check(again)
        self.assertLess(os.path.getsize(again.path("pictures", "component-mass.svg")), 1_000_000)

    def test_names(self):
        self.fails(['output.logs: there is no "tensorbord"; did you mean "tensorboard"?'], 2, "run", {"output.logs": ["tensorbord"]})
        self.fails(['output.logs: there is no "jsonl"; there are csv and tensorboard'], 2, "run", {"output.logs": ["jsonl"]})
        os.makedirs(os.path.join(self.folder, "run", "metrics.csv"))
        self.fails(["run/metrics.csv: something that is no file has that name"], 5, "run", LOGS)


if __name__ == "__main__":
    main()
