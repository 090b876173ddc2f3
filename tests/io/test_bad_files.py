"""Damaged and unsuitable files: one line that says where and what, the right exit code, and no rank left hanging."""
import bz2
import gzip
import json
import lzma
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

from support import DATA, FEW, FormatTest, anndata, h5py, main, np, small_counts, words_of


class BadFiles(FormatTest):
    def broken_each(self, cases, *arguments, obs=None, dense=False, **how):
        """For each of (words, change): makes a good file, lets `change` spoil it, and expects the words."""
        requests = []
        for i, (words, change) in enumerate(cases):
            path = self.make(f"cells{i}.h5ad", obs=obs or {"b": ["x", "y"] * 20}, dense=dense)
            with h5py.File(path, "r+") as f:
                change(f)
            requests.append(([f"cells{i}.h5ad", *words], path, *arguments))
        self.fails_each(requests, **how)

    def broken(self, words, change, *arguments, **how):
        self.broken_each([(words, change)], *arguments, **how)

    def spoiled(self, value, words, row=33):
        """Puts `value` at the first count of a row: only the rank that owns it can see it."""
        path = self.make()
        with h5py.File(path, "r+") as f:
            f["X/data"][f["X/indptr"][row]] = value
        words = [f"cells.h5ad: X, row {row} (cell 'cell{row}')", "'gene0'", *words]
        self.fails_each([(words, path), (words, path, "data.driver=posix")], ranks=(1, 4))

    # counts

    def test_negative(self):
        self.spoiled(-3, ["negative count -3"])

    def test_fractional(self):
        self.spoiled(1.5, ["1.5 is not a whole number"])

    def test_nan(self):
        self.spoiled(np.nan, ["NaN"])

    def test_infinity(self):
        self.spoiled(np.inf, ["infinity"])

    def test_too_large(self):
        self.spoiled(2**24, ["16777216", "2^24"])

    def test_dense_fraction(self):
        def change(f):
            f["X"][21, 4] = 0.25

        self.broken(["X, row 21 (cell 'cell21')", "'gene4'", "0.25"], change, dense=True, ranks=(1, 4))

    def test_published_files_that_are_no_counts(self):
        negative, fractional = (os.path.join(DATA, "as_found", name) for name in
                                ("mini_mat_int_64_neg.anndata-v0.12.6.h5ad", "data_loader_pancreas_noninteger.h5ad"))
        self.fails_each([(["negative count"], negative), (["not a whole number"], fractional, "data.matrix=X")])

    def test_counts_in_a_layer_of_another_name(self):
        counts = small_counts()
        path = self.make(counts=np.log1p(counts), layers={"raw_counts": counts, "scaled": counts / 2})
        self.fails_each([([r"cells.h5ad: X has ", "but layers/raw_counts holds counts; set data.matrix: layers/raw_counts"], path),
                         (["layers/scaled, row 0 (cell 'cell0')", "is not a whole number"], path, "data.matrix=layers/scaled")])
        self.same(self.load(path, "data.matrix=layers/raw_counts"), counts)
        path = self.make("two.h5ad", counts=np.log1p(counts), layers={"a": counts, "b": counts})
        self.fails(["but layers/a, layers/b hold counts; set data.matrix to one of them"], path, ranks=(1,))

    def test_no_matrix_holds_counts(self):
        counts = np.log1p(small_counts())
        self.make(counts=counts, layers={"counts": -counts})
        self.fails(["no matrix holds counts", "layers/counts has -", "X has "], "cells.h5ad")

    # structure of the sparse matrix

    def set_value(self, part, at, value):
        def change(f):
            f[part][at] = value

        return change

    def test_index_out_of_range(self):
        self.broken(["gene index 12 is outside 0 .. 11"], self.set_value("X/indices", -1, 12), ranks=(1, 4))
        self.broken(["gene index -1 is outside"], self.set_value("X/indices", 0, -1))

    def test_repeated_index(self):
        def change(f):
            at = f["X/indptr"][30]
            f["X/indices"][at + 1] = f["X/indices"][at]

        self.broken(["row 30 (cell 'cell30')", "gene 'gene0' is repeated", "sum_duplicates"], change, ranks=(1, 4))

    def test_indptr_does_not_start_at_zero(self):
        self.broken(["X/indptr runs from 1"], self.set_value("X/indptr", 0, 1))

    def test_indptr_does_not_end_at_nnz(self):
        self.broken(["X/indptr runs from 0 to 99999"], self.set_value("X/indptr", -1, 99999))

    def test_indptr_descends(self):
        self.broken_each([(["X/indptr", "damaged"], self.set_value("X/indptr", 20, 0)),
                          (["X/indptr", "damaged"], self.set_value("X/indptr", 20, 2**31 - 1))], ranks=(1, 2, 4))

    def replace(self, path, values):
        def change(f):
            attributes = dict(f[path].attrs)
            del f[path]
            f.create_dataset(path, data=values(f) if callable(values) else values)
            f[path].attrs.update(attributes)

        return change

    def test_lengths_differ(self):
        self.broken_each([(["indices but", "values"], self.replace("X/indices", np.zeros(3, np.int32))),
                          (["X/indptr has 3 entries", "41"], self.replace("X/indptr", np.zeros(3, np.int32)))])

    def test_wrong_types(self):
        self.broken_each([(["X/indices does not hold integers"], self.replace("X/indices", np.zeros(3))),
                          (["X/data does not hold numbers"], self.replace("X/data", np.array([b"a", b"b"]))),
                          (["X/data has 2 dimensions"], self.replace("X/data", np.zeros((3, 3))))])

    def test_shape(self):
        def shape(value):
            def change(f):
                del f["X"].attrs["shape"]
                if value is not None:
                    f["X"].attrs["shape"] = value

            return change

        self.broken_each([(["X has shape 41 x 12", "obs has 40 cells"], shape([41, 12])),
                          (["X has shape 40 x 13", "var 12 genes"], shape([40, 13])),
                          (["shape"], shape([-1, 12])),
                          (["no valid attribute 'shape'"], shape(None)),
                          (["attribute shape", "2 numbers"], shape([1, 2, 3]))])

    def test_missing_parts(self):
        self.broken_each([(words, lambda f, part=part: f.pop(part)) for part, *words in (
            ("X/data", "X/data is missing"), ("X/indices", "X/indices is missing"), ("X/indptr", "X/indptr is missing"),
            ("X", "no matrix 'X'", "there are none"), ("obs", "not an h5ad", "obs is missing", "uns"),
            ("var", "not an h5ad", "var is missing"), ("obs/_index", "index obs/_index of obs is missing"))])

    def test_wrong_group(self):
        def change(f):
            del f["X"].attrs["encoding-type"]

        self.broken(["X is a group of type 'none'"], change)

    def test_dangling_link(self):
        def change(f):
            del f["X/data"]
            f["X/data"] = h5py.SoftLink("/nowhere")

        self.broken(["X/data is missing or a link to nowhere"], change)

    def test_external_link(self):
        with h5py.File(self.path("other.h5"), "w") as f:
            f["data"] = np.zeros(3)

        def change(f):
            del f["X/data"]
            f["X/data"] = h5py.ExternalLink("other.h5", "data")

        self.broken(["X/data is missing or a link to nowhere"], change)

    def test_external_link_behind_a_soft_link(self):
        with h5py.File(self.path("other.h5"), "w") as f:
            f["X/data"] = np.ones(3)

        def change(f):
            del f["X/data"]
            f["X/elsewhere"] = h5py.ExternalLink("other.h5", "/X")
            f["X/data"] = h5py.SoftLink("/X/elsewhere/data")

        self.broken(["X/data is missing or a link to nowhere"], change)

    def test_links_in_circles(self):
        """Soft links that lead to each other are none; a group that contains itself is no obstacle."""
        def lost(f):
            del f["X/data"]
            f["X/data"], f["X/other"] = h5py.SoftLink("/X/other"), h5py.SoftLink("/X/data")

        self.broken(["X/data is missing or a link to nowhere"], lost)
        path = self.make("circle.h5ad")
        with h5py.File(path, "r+") as f:
            f["obs/up"], f["obs/self"] = f["/"], f["obs"]
            f["obs/above"] = h5py.SoftLink("/obs")
        self.same(self.load(path), small_counts())

    def test_values_in_other_files(self):
        """External raw storage, and a virtual dataset."""
        np.arange(1000.0).tofile(self.path("values.bin"))
        with h5py.File(self.path("other.h5"), "w") as f:
            f["data"] = np.ones(10)

        def external(f):
            n = len(f["X/data"])
            del f["X/data"]
            f["X"].create_dataset("data", (n,), "f8", external=[(self.path("values.bin"), 0, 8 * n)])

        def virtual(f):
            layout = h5py.VirtualLayout((len(f["X/data"]),), "f8")
            layout[:10] = h5py.VirtualSource(self.path("other.h5"), "data", (10,))
            del f["X/data"]
            f["X"].create_virtual_dataset("data", layout)

        self.broken_each([(["X/data takes its values from other files"], external),
                          (["X/data takes its values from other files"], virtual)])

    def test_enormous_shapes_without_data(self):
        """None of them may be allocated: 2^60 values, 10^12 pointers, a string of 2^31 bytes in every row."""
        def matrix(**how):
            def change(f):
                del f["X"]
                f.create_dataset("X", (2**40, 2**20), "f4", **how)

            return change

        def pointers(f):
            del f["X/indptr"]
            f["X"].create_dataset("indptr", (10**12,), "i8", chunks=(2**20,), compression="gzip")

        def names(f):
            del f["obs/_index"]
            f["obs"].create_dataset("_index", (40,), "S2147483647", chunks=(1,), compression="gzip")

        self.broken_each([(["X declares", "damaged"], matrix()), (["X declares", "damaged"], matrix(chunks=(1, 1024))),
                          (["X/indptr declares", "damaged"], pointers), (["obs/_index declares", "damaged"], names)])

    def test_pointers_beyond_64_bits(self):
        """Unsigned ones above 2^63, and a sum of lengths that would come back to the right end."""
        def change(values):
            def spoil(f):
                pointers = f["X/indptr"][:].astype(np.uint64)
                pointers[20:20 + len(values)] = values
                del f["X/indptr"]
                f["X/indptr"] = pointers

            return spoil

        self.broken_each([(["X/indptr", "damaged"], change([2**64 - 1])), (["X/indptr", "damaged"], change([2**63, 2**62])),
                          (["X/indptr", "damaged"], change([2**63 - 1, 5]))], ranks=(1, 2, 4))

    def test_declared_size_without_bytes(self):
        def change(f):
            del f["X/data"]
            f["X"].create_dataset("data", shape=(3_000_000_000,), dtype="f4", chunks=(1000,))

        self.broken(["X/data declares", "damaged"], change)

    def test_named_matrix_is_missing(self):
        self.make(layers={"counts": small_counts()})
        self.fails(["no matrix 'layers/count' in the file", "X, layers/counts", "did you mean 'layers/counts'?"],
                   "cells.h5ad", "data.matrix=layers/count", code=2)

    # files that are none

    def test_truncated(self):
        """An interrupted download: in the middle, and within the first block."""
        path = self.make(counts=small_counts(cells=500))
        size, cases = os.path.getsize(path), []
        for left, told in ((size // 2, size), (60, size), (30, 96)):
            shutil.copy(path, self.path(f"cut{left}.h5ad"))
            os.truncate(self.path(f"cut{left}.h5ad"), left)
            cases.append(([f"cut{left}.h5ad: the file is cut short: {left} of {told} bytes", "an interrupted download or copy?"],
                          self.path(f"cut{left}.h5ad")))
        self.fails_each(cases)

    def test_locks(self):
        """A lock that somebody holds is refused, a file system without locks is not; a mark of an open file is another thing."""
        path = self.make()
        held = subprocess.Popen([sys.executable, "-c", "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print(flush=True); "
                                                       "sys.stdin.read()", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        held.stdout.readline()
        words = ["cells.h5ad: another program has it open for writing", "HDF5_USE_FILE_LOCKING=FALSE"]
        self.fails_each([(words, path)])
        os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE" # as the message says
        self.addCleanup(os.environ.pop, "HDF5_USE_FILE_LOCKING", None)
        self.same(self.load(path), small_counts())
        del os.environ["HDF5_USE_FILE_LOCKING"]
        held.communicate()
        marked = self.path("marked.h5ad")
        subprocess.run([sys.executable, "-c", "import h5py, os, sys; f = h5py.File(sys.argv[1], 'w', libver='latest'); f['a'] = 1; "
                                              "f.flush(); os._exit(0)", marked], check=True)
        self.fails(["marked.h5ad: marked as open for writing", "h5clear -s "], marked, ranks=(1,))

    def test_file_system_without_locks(self):
        """Everything works there that reads or writes: training, evaluation of its checkpoint, synthetic cells."""
        with open(self.path("none.c"), "w") as out:
            out.write("#include <errno.h>\nint flock(int f, int o) { (void)f; (void)o; errno = ENOLCK; return -1; }\n")
        if shutil.which("cc") is None or FEW:
            self.skipTest("no compiler, or a sanitizer that must be loaded first")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self.path("none.so"), self.path("none.c")], check=True)
        self.make()
        os.environ["LD_PRELOAD"] = self.path("none.so")
        self.addCleanup(os.environ.pop, "LD_PRELOAD")
        data = ("data.train=cells.h5ad", "output.dir=run", "synth={path: s.h5ad, cells: 20, genes: 5, types: 2}")
        for done in [self.run_trainings((command, *data))[0] for command in ("train", "eval", "synth")]:
            self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue(os.path.exists(self.path("run/embedding.h5ad")) and os.path.exists(self.path("s.h5ad")))

    def test_not_hdf5(self):
        rds, save = b"X\n\0\0\0\3\0\4\2\0\0\3\5\0\0\0\0\5UTF-8" + bytes(200), b"RDX3\nX\n\0\0\0\3"
        with open(self.make("whole.h5ad"), "rb") as whole:
            packed = gzip.compress(whole.read())
        files = (("empty.h5ad", b"", "an empty file"), ("noise.h5ad", b"\1\2\3", "not an HDF5 file"),
                 ("a.csv", b"a,b\n1,2\n", "not an HDF5 file but a table as text"),
                 ("b.tsv.gz", gzip.compress(b"a\tb\n1\t2\n"), "sep='\\t')"),
                 ("c.h5ad", b"\x1f\x8b\x08\x00 zipped", "gzip -dc c.h5ad"), ("d.h5ad.gz", packed, "gzip -dc d.h5ad.gz > cells.h5ad"),
                 ("e.xz", lzma.compress(rds), "xz -dc e.xz"), ("f.rds", gzip.compress(rds), "an R object (Seurat"),
                 ("g.rds", lzma.compress(rds), "readRDS('g.rds')"), ("h.RData", gzip.compress(save), "load('h.RData')"),
                 ("i.rda", bz2.compress(save), "load('i.rda')"), ("j", rds, "zellkonverter::writeH5AD(x, 'cells.h5ad')"),
                 ("k.h5ad", b"<!DOCTYPE html><html>", "a web page"), ("l.h5ad", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
                 ("matrix.mtx", b"%%MatrixMarket matrix coordinate", "scanpy.read_10x_mtx('.')"), ("m.zip", b"PK\3\4", "unzip"))
        for name, content, _ in files:
            with open(self.path(name), "wb") as out:
                out.write(content)
        seurat = self.create("n.h5seurat", lambda f: (f.create_group("assays"), f.create_dataset("cell.names", data=[1])))
        self.fails_each([([name, word], name) for name, _, word in files] +
                        [(["SeuratDisk::Convert('", "n.h5seurat', dest = 'h5ad')"], seurat)], ranks=(1,))

    def damaged_heap(self, size, name="heap", links=True):
        """The first text in the file says that it has so many bytes; and the root group has lost its links."""
        path = self.make(f"{name}{size:x}.h5ad", obs={"b": ["x", "y"] * 20})
        with open(path, "r+b") as f:
            data = f.read()
            f.seek(data.index(b"GCOL") + 24)
            f.write(struct.pack("<Q", size))
            if not links:
                f.seek(data.index(b"HEAP"))
                f.write(bytes(4))
        return path

    def test_damage_that_ends_hdf5(self):
        """HDF5 1.10 loops for ever on the first, also where it cannot list the links; the second makes it read outside its
        memory."""
        old = re.search(r"HDF5 +1\.10\.", self.run_program("--version").stdout)
        endless, crash = self.damaged_heap(2**64 - 16), self.damaged_heap(2**63)
        blind = self.damaged_heap(2**64 - 16, "blind", links=False)
        cases = [(endless, "HDF5 is not done with / after 1 s" if old else "cannot be read"),
                 (crash, "HDF5 crashes on /" if old else "cannot be read"),
                 (blind, "HDF5 is not done with / after 1 s" if old else "cannot be read")]
        self.fails_each([([os.path.basename(path), word], "data.check_seconds=1", path) for path, word in cases])
        for path, word in cases:
            done = self.run_program("inspect", path, "data.check_seconds=1")
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (3, "", 1), done.stderr)
            self.assertIn(word, done.stderr)

    def test_attribute_larger_than_its_object(self):
        """HDF5 1.10 copies as many bytes as the type of an attribute declares, where it gets the memory: the process that
        looks first gets less than the run."""
        import pandas
        path = self.path("cells.h5ad")
        data = anndata.AnnData(small_counts(), obs=pandas.DataFrame({"b": pandas.Categorical(["x", "y"] * 20)}))
        data.write_h5ad(path)
        with open(path, "r+b") as f:
            at = f.read().index(b"ordered\0") + 20 # the size of the numbers behind an enum
            f.seek(at)
            f.write(struct.pack("<I", 0x7F000001))
        old = re.search(r"HDF5 +1\.10\.", self.run_program("--version").stdout)
        self.fails_each([([os.path.basename(path), "HDF5 crashes on" if old else "cannot be read"], path,
                          "data.batch_keys=b", "data.check_seconds=60")], ranks=(1,))
        done = self.run_program("inspect", path)
        self.assertEqual((done.returncode, done.stderr.count("\n")), (3, 1), done.stderr)

    def test_chunk_that_lacks_a_byte(self):
        """HDF5 1.10 reads it from behind the chunk: a crash of the process that looks first, whatever lies there, also
        after many other files."""
        path = self.make("short.h5ad")
        with h5py.File(path, "r+") as f:
            note = f.create_dataset("note", shape=(37,), chunks=(37,), dtype="f8", shuffle=True)
            note.id.write_direct_chunk((0,), bytes(37 * 8 - 1))
        old = re.search(r"HDF5 +1\.10\.", self.run_program("--version").stdout)
        words = ["short.h5ad", "HDF5 crashes on note" if old else "note"]
        good = [self.make(f"good{i}.h5ad") for i in range(8)]
        self.fails_each([(words, "data.check_seconds=60", path), (words, "data.check_seconds=60", *good, path)])

    def test_inspect_says_what_training_would(self):
        """A file that inspect can describe, and train would refuse: for its values, for names, for pointers; and one that
        takes a setting."""
        logged = self.make("logged.h5ad", counts=np.log1p(small_counts()))
        names, order = self.make("names.h5ad"), self.make("order.h5ad")
        with h5py.File(names, "r+") as f:
            f["var/_index"][3] = "gene4" # repeated names are none
            del f["var/_index"]
        with h5py.File(order, "r+") as f:
            f["X/indices"][1] = f["X/indices"][0]
        layer = self.make("layer.h5ad", counts=np.log1p(small_counts()), layers={"raw_counts": small_counts()})
        for path, word, auto in ((logged, "is not a whole number", None), (order, "is repeated", "X"), (layer, "set data.matrix: layers/raw_counts", None)):
            text, report = self.run_program("inspect", path), self.run_program("inspect", path, "--json")
            seen = json.loads(report.stdout)
            self.assertEqual((text.returncode, report.returncode, seen["auto"]), (3, 3, auto))
            self.assertIn(word, seen["problem"])
            self.assertRegex(text.stderr, r"error: .*\(train would refuse the file\)\n$")
            self.assertIn("cells 40, genes 12", text.stdout)
        self.assertEqual(self.run_program("inspect", names).returncode, 3)
        self.assertIsNone(self.inspect(self.make())["problem"])
        odd = self.path(os.fsdecode(b"caf\xe9.h5ad")) # no UTF-8
        os.rename(self.make(), odd)
        self.assertEqual(self.inspect(odd)["file"], odd)
        done = self.run_program("inspect", layer, "data.matrix=layers/raw_counts")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with open("/dev/full", "w") as full:
            for words in ((), ("--json",)):
                done = subprocess.run([self.program(), "inspect", self.path("layer.h5ad"), "data.matrix=layers/raw_counts", *words],
                                      env=self.environment(), stdout=full, stderr=subprocess.PIPE, text=True)
                self.assertEqual(done.returncode, 5)
                self.assertIn("cannot write to standard output", done.stderr)

    def test_first_of_several_damaged_files(self):
        """Whatever the number of ranks that they are divided among."""
        good = [self.make(f"good{i}.h5ad") for i in range(3)]
        crash, cut = self.damaged_heap(2**63), self.path("cut.h5ad")
        with open(good[0], "rb") as whole, open(cut, "wb") as out:
            out.write(whole.read()[:3000])
        self.fails(["heap8000000000000000.h5ad"], "data.check_seconds=60", good[0], good[1], crash, good[2], cut, ranks=(1, 3, 4))

    def test_directory(self):
        for name, file in (("store.zarr", ".zgroup"), ("many", "a.h5ad"), ("mtx", "matrix.mtx.gz")):
            os.mkdir(self.path(name))
            open(self.path(f"{name}/{file}"), "w").close()
        self.fails_each([(["store.zarr: a directory", "read_zarr"], "store.zarr"), (["many: a folder; name its files: many/*.h5ad"], "many"),
                         (["many/: a folder; name its files: many/*.h5ad"], "many/"), (["read_10x_mtx('mtx')"], "mtx")], ranks=(1,))

    def test_no_regular_file(self):
        """Opening a FIFO for reading would wait for a writer; a device has no end."""
        os.mkfifo(self.path("pipe.h5ad"))
        self.fails_each([(["pipe.h5ad: a pipe, not a file"], "pipe.h5ad"), (["/dev/zero: a device"], "/dev/zero"),
                         (["/dev/null: a device"], "/dev/null")])
        done = self.run_program("inspect", "pipe.h5ad")
        self.assertEqual((done.returncode, done.stdout), (3, ""), done.stderr)

    def test_no_such_file(self):
        os.symlink("nowhere", self.path("link.h5ad"))
        self.fails_each([(["gone.h5ad: No such file", "check the path"], "gone.h5ad"),
                         (["link.h5ad: No such file"], "link.h5ad"), (["no file matches"], "gone*.h5ad")])

    def test_no_permission(self):
        path = self.make()
        os.chmod(path, 0)
        command = [self.program(), "inspect", path]
        if os.geteuid() == 0: # whom permissions do not stop, but for these two
            command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--", *command]
            if shutil.which("setpriv") is None:
                self.skipTest("setpriv (util-linux) is missing")
        done = self.run_command(command)
        self.assertEqual((done.returncode, done.stdout), (3, ""), done.stderr)
        self.assertRegex(done.stderr, r"^gmvae_dist: error: .*cells\.h5ad: cannot be opened: Permission denied\n$")

    # files that change

    def paused(self, command, when, change):
        """Stops a program as soon as `when` is true of it, changes something, and lets it go on.
        Returns its exit code and its stderr."""
        run = subprocess.Popen(command, cwd=self.folder, env=self.environment(), text=True, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
        while not when(run.pid) and run.poll() is None:
            time.sleep(0.001)
        run.send_signal(signal.SIGSTOP)
        change()
        run.send_signal(signal.SIGCONT)
        errors = run.communicate(timeout=100)[1]
        return run.returncode, errors

    def test_file_that_is_written_to_while_it_is_read(self):
        counts = np.random.default_rng(0).poisson(0.7, (8000, 400)).astype(np.float32)
        path = self.make(counts=counts, compression="gzip")

        def is_read(pid): # past HDF5, which has it open, too
            try:
                folder = f"/proc/{pid}/fd"
                return sum(os.readlink(os.path.join(folder, fd)) == path for fd in os.listdir(folder)) > 1
            except OSError: # closed since it was listed
                return False

        def write(share=0): # what is not yet read of it may be read without a complaint, or not
            size = os.path.getsize(path)
            with open(path, "r+b") as f:
                f.seek(size // 2 - int(share * size / 2))
                f.write(bytes(64 + int(share * size)))

        command = [self.loader(), *words_of(("data.matrix=X", "data.check_seconds=0", path))]
        self.assertEqual(self.paused(command, is_read, lambda: os.utime(path, (1, 1))), (0, ""))
        for change in (write, lambda: write(0.9), lambda: os.replace(self.make("other.h5ad"), path)):
            if os.path.exists(path):
                os.remove(path)
            self.make(counts=counts, compression="gzip")
            code, errors = self.paused(command, is_read, change)
            self.assertEqual(code, 3, errors)
            self.assertRegex(errors, r"error: .*cells\.h5ad: the file has changed while it was in use; .*\n$")

    def test_file_that_changes_during_training(self):
        """Counts are read at the start, the columns of obs when the embedding is written."""
        path, out = self.make(), self.path("out")
        other = self.make("other.h5ad", obs={"late": ["x"] * 40})
        with open(self.path("c.yaml"), "w") as config:
            config.write(f"data: {{train: [{path}]}}\nmodel: {{encoder: [4], decoder: [4], beta: [], clusters: 2, "
                         f"latent_dim: 2, w_dim: 2}}\ntrain: {{epochs: 600}}\neval: {{every: 600}}\n"
                         f"checkpoint: {{every: 0}}\noutput: {{dir: {out}}}\n")
        code, errors = self.paused([self.program(), "train", "c.yaml"],
                                   lambda pid: os.path.exists(os.path.join(out, "metrics.jsonl")),
                                   lambda: os.replace(other, path))
        self.assertEqual(code, 3, errors)
        self.assertRegex(errors, r"error: .*cells\.h5ad: the file has changed while it was in use")
        self.assertEqual([name for name in os.listdir(out) if name.startswith("embedding")], [])

    def test_without_x(self):
        self.fails(["no matrix 'X'"], os.path.join(DATA, "as_found", "anndata_v0.11.4.h5ad"))

    def filtered(self, number):
        """Names the filter, of which HDF5 has none: being optional, it is left out when the values are written."""
        def change(f):
            values = f["X/data"][:]
            del f["X/data"]
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_chunk((8,))
            properties.set_filter(number, h5py.h5z.FLAG_OPTIONAL, ())
            space = h5py.h5s.create_simple(values.shape)
            h5py.h5d.create(f["X"].id, b"data", h5py.h5t.IEEE_F32LE, space, properties)
            f["X/data"][:] = values

        return change

    def test_missing_filters(self):
        plugin, debian = ["pip install hdf5plugin", "HDF5_PLUGIN_PATH=", "gzip"], "apt install hdf5-filter-plugin"
        self.broken_each([([f"X/data is compressed with {name} (HDF5 filter {number})", *plugin, *more], self.filtered(number))
                          for number, name, more in ((307, "bzip2", [debian]), (32001, "blosc", [f"{debian}-blosc-serial"]),
                                                     (32004, "lz4", [debian]), (32008, "bitshuffle", []), (32015, "zstd", []),
                                                     (32026, "blosc2", []))])
        self.broken(["X/data is compressed with", "32999", "find its plug-in", "gzip"], self.filtered(32999))

    # covariates

    def test_missing_column(self):
        """A suggestion does not repeat a list of one."""
        self.broken(["no column 'bach'", "there are batch, n; did you mean 'batch'?"], lambda f: None, "data.batch_keys=bach", code=2,
                    obs={"batch": ["x"] * 40, "n": ["y"] * 40})
        done = self.run_load((self.make(obs={"batch": ["x"] * 40}), "data.batch_keys=bach"))
        self.assertTrue(done.stderr.endswith("(data.batch_keys); there are batch\n"), done.stderr)

    def test_float_column(self):
        self.broken(["obs/f holds floats"], lambda f: None, "data.batch_keys=f", obs={"f": np.arange(40) / 3})

    def test_missing_level(self):
        self.broken(["obs/b has no value for 1 of 40"], self.set_value("obs/b/codes", 35, -1), "data.batch_keys=b", ranks=(1, 4))

    def test_code_out_of_range(self):
        self.broken(["obs/b, row 35: code 2 of 2"], self.set_value("obs/b/codes", 35, 2), "data.batch_keys=b", ranks=(1, 4))

    def test_column_of_other_length(self):
        self.broken(["obs/b has 3 rows for 40 cells"], self.replace("obs/b/codes", np.zeros(3, np.int8)), "data.batch_keys=b")

    def test_dangling_reference(self):
        def change(f):
            del f["obs/b"]
            f["obs/b"] = np.zeros(40, np.int8)
            f["gone"] = np.zeros(2)
            f["obs/b"].attrs["categories"] = f["gone"].ref
            del f["gone"]

        self.broken(["categories of obs/b are a reference to nowhere"], change, "data.batch_keys=b")

    def test_escapes_in_names_are_not_printed(self):
        def change(f):
            f["X/data"][0] = -1
            f["var/_index"][0] = "\x1b[31mred"

        self.broken(["gene '?[31mred'"], change)


if __name__ == "__main__":
    main()
