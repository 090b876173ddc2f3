"""The program on the CUDA backend against the program on the CPU: the same losses, sums over ranks, failures.

usage: devices.py PATH/gmvae_dist

Uses the plug-in that GMVAE_CUDA_PLUGIN names, or that the program finds. With GMVAE_TEST_ON_HOST=1 the plug-in is the
host build of the kernels: then the number of GPUs and faults of CUDA, cuBLAS and NCCL can be set, too.
"""
import json
import os
import re
import subprocess
import tempfile
import unittest

from support import DEEP, FEW, PROGRAM, RunTest, contents, datasets, h5py, main, np, tensors

ON_HOST = os.environ.get("GMVAE_TEST_ON_HOST", "0") not in ("", "0")
SMALL = {"train.batch_size": 64, "model.encoder": [16], "model.decoder": [16], "model.beta": [16]}


def setUpModule():
    """On the host a step takes as long as its cells and genes are many: some of them, in eleven batches."""
    if ON_HOST and not DEEP:
        from cells import rewrite
        folder = tempfile.TemporaryDirectory()
        unittest.addModuleCleanup(folder.cleanup)
        SMALL.update({"train.epochs": 1, "train.batch_size": 27, "data.genes.n_top": 400,
                      "data.train": [rewrite(os.path.join(folder.name, "cells.h5ad"), rows=300)]})


class Devices(RunTest):
    variables = {}

    def environment(self, threads=1):
        return {**super().environment(threads), **self.variables}

    def on_gpu(self, name, changes=None, ranks=1, **variables):
        """A run on the GPU that must succeed; a warning that ranks share it is all it may say."""
        self.variables = variables
        run = self.try_run(name, {**SMALL, "backend": "cuda", **(changes or {})}, ranks)
        self.variables = {}
        lines = [line for line in run.err.splitlines() if "ranks share a GPU" not in line]
        self.assertEqual((run.code, lines), (0, []), (name, changes, ranks, run.err))
        return run

    def fails_on_gpu(self, words, code, name, changes=None, ranks=1, **variables):
        self.variables = variables
        run = self.try_run(name, {**SMALL, "backend": "cuda", **(changes or {})}, ranks)
        self.variables = {}
        self.check_failure(run, code, words)
        return run

    # ---- the same results ----

    def agree(self, changes, steps=100, name=""):
        """First ten losses to 1e-5, the first hundred to 1e-3, the held-out bound to 1e-3."""
        changes = {"train.epochs": 5 if steps >= 100 else 2, **changes}
        cpu = self.train(f"cpu{name}", {**SMALL, **changes})
        gpu = self.on_gpu(f"gpu{name}", changes)
        a, b = cpu.losses("step"), gpu.losses("step")
        self.assertEqual(len(a), len(b))
        self.assertGreaterEqual(len(a), min(steps, 20))
        np.testing.assert_allclose(b[:10], a[:10], rtol=1e-5)
        np.testing.assert_allclose(b[:steps], a[:steps], rtol=1e-3)
        np.testing.assert_allclose(gpu.losses("validation")[-1], cpu.losses("validation")[-1], rtol=1e-3)
        self.assertEqual([row["cells"] for row in gpu.metrics()], [row["cells"] for row in cpu.metrics()])
        return cpu, gpu

    def test_a_hundred_steps(self):
        self.agree({"model.dropout": 0.05}, steps=20 if FEW or ON_HOST and not DEEP else 100)

    @unittest.skipIf(FEW, "fewer cases in slow builds")
    def test_two_draws_published_two_covariates(self):
        self.agree({"train.mc_samples": 2, "model.objective": "published", "train.z_free_nats": 0.3,
                    "data.batch_keys": ["batch", "condition"], "model.input": "standardize"}, steps=20)

    @unittest.skipIf(FEW, "fewer cases in slow builds")
    def test_nb_logit_mc(self):
        self.agree({"model.likelihood": "nb_logit", "model.objective": "mc"}, steps=20)

    @unittest.skipIf(FEW, "fewer cases in slow builds")
    def test_families(self):
        """Those but for the first, which the other tests have; a new one is here by its row. Beside the loss, of which terms
        of the prior are a thousandth, each term to 1e-4, and tensors to a hundredth of what they move at most."""
        for name in families()[1:]:
            with self.subTest(name):
                cpu, gpu = self.agree({"model.family": name, "train.epochs": 1}, steps=10, name=f"-{name}")
                for a, b in zip(cpu.metrics("step"), gpu.metrics("step")):
                    terms = [key for key in a if key.startswith(("kl_", "reconstruction", "grad_norm"))]
                    np.testing.assert_allclose([b[key] for key in terms], [a[key] for key in terms], rtol=1e-4)
                a, b = tensors(cpu.checkpoint()), tensors(gpu.checkpoint())
                self.assertEqual(list(a), list(b))
                moved = 1e-3 * len(cpu.metrics("step"))
                for tensor in a:
                    np.testing.assert_allclose(b[tensor], a[tensor], rtol=0, atol=0.01 * moved, err_msg=tensor)

    @unittest.skipIf(FEW, "fewer cases in slow builds")
    def test_bf16_and_tf32_stay_close(self):
        cpu = self.train("cpu", SMALL)
        for precision, tolerance in (("tf32", 2e-3), ("bf16", 1e-2)):
            gpu = self.on_gpu(precision, {"train.precision": precision})
            np.testing.assert_allclose(gpu.losses("validation"), cpu.losses("validation"), rtol=tolerance)

    def test_the_same_bits_wherever_the_matrix_is(self):
        """On the device, in the host's memory because it is asked for, or because the GPU is small; and a second time."""
        device = self.on_gpu("device", {"data.residence": "device"})
        self.assertIn("on the device", device.out)
        host = self.on_gpu("host", {"data.residence": "host"})
        self.assertIn("in host memory", host.out)
        self.same_run(device, host)
        if ON_HOST:
            tight = self.on_gpu("tight", GMVAE_CUDA_HOST_MEMORY="400000000")
            self.assertIn("in host memory", tight.out)
            self.same_run(device, tight)
        if DEEP or not ON_HOST: # the host's order of threads and of streams' work is the same in every run
            self.same_run(device, self.on_gpu("again", {"data.residence": "device"}))

    def test_streamed_cells(self):
        """Windows that the device reads in the host's memory: as on the CPU, also on two ranks."""
        changes = {"data.residence": "stream", "data.window": 256, "train.epochs": 2, "train.batch_size": 48}
        cpu = self.train("cpu", {**SMALL, **changes})
        for ranks in (1, 2):
            gpu = self.on_gpu(f"gpu{ranks}", {**changes, "runtime.share_gpu": True}, ranks)
            self.assertIn("the matrix stays on disk", gpu.out)
            np.testing.assert_allclose(gpu.losses("step")[:10], cpu.losses("step")[:10], rtol=1e-5)
            np.testing.assert_allclose(gpu.losses("step"), cpu.losses("step"), rtol=1e-3)
            np.testing.assert_allclose(gpu.losses("validation"), cpu.losses("validation"), rtol=1e-3)

    @unittest.skipIf(FEW, "fewer cases in slow builds")
    def test_a_stopped_run_continues_with_the_same_bits(self):
        epochs = 3 if DEEP or not ON_HOST else 2
        whole = self.on_gpu("whole", {"train.epochs": epochs, "train.kl_warmup.steps": 10, "checkpoint.every": 1})
        self.on_gpu("parts", {"train.epochs": 1, "train.kl_warmup.steps": 10, "checkpoint.every": 1})
        parts = self.on_gpu("parts", {"train.epochs": epochs, "train.kl_warmup.steps": 10, "checkpoint.every": 1})
        self.same_run(whole, parts)

    def results(self, backend, checkpoint):
        """The folder with the embedding and the evaluation of a checkpoint."""
        changes = {"checkpoint.path": checkpoint, "data.label_key": "cell_type", "output.metrics": ["ari", "nmi"]}
        for word in ("embed", "eval"):
            run = self.try_run(f"by_{backend}", {**SMALL, **changes, "backend": backend}, word=word)
            self.assertEqual((run.code, run.err), (0, ""), (backend, word))
        return run

    def same_embedding(self, cpu, gpu):
        """Numbers to 1e-5 of the largest of their array, labels where the first two clusters are 1e-4 apart."""
        self.assertEqual(sorted(datasets(cpu)), sorted(datasets(gpu)))
        floats, parts = [], "obsm/gmvae_component_prob"
        with h5py.File(cpu) as a, h5py.File(gpu) as b:
            for name in datasets(cpu):
                x, y = a[name][()], b[name][()]
                if np.asarray(x).dtype.kind == "f":
                    floats.append(name)
                    np.testing.assert_allclose(y, x, rtol=0, atol=1e-5 * np.abs(x).max(), err_msg=name)
                elif name not in ("uns/gmvae_dist/config", "obs/gmvae_component/codes", "obs/gmvae_cluster/codes"):
                    np.testing.assert_array_equal(y, x, err_msg=name)
            second, first = np.sort(a[parts][()], 1)[:, -2:].T
            clear = first - second > 1e-4
            self.assertGreater(clear.sum(), 0.642 * len(clear))
            labels = [f["obs/gmvae_component/codes"][()][clear] for f in (a, b)]
            np.testing.assert_array_equal(labels[0], a[parts][()].argmax(1)[clear])
            np.testing.assert_array_equal(labels[1], labels[0])
        self.assertLessEqual({"obsm/X_gmvae", parts, "obsm/gmvae_cluster_prob", "obs/gmvae_certainty", "obs/gmvae_neg_elbo"}, set(floats))

    def test_embedding_and_evaluation(self):
        """Of one checkpoint: tighter than runs, whose steps add up what they differ by."""
        checkpoint = self.train("run", {**SMALL, "train.epochs": 4}).checkpoint()
        cpu, gpu = (self.results(backend, checkpoint) for backend in ("cpu", "cuda"))
        self.same_embedding(cpu.path("embedding.h5ad"), gpu.path("embedding.h5ad"))
        a, b = (evaluation(run) for run in (cpu, gpu))
        self.assertEqual(a.pop("files"), b.pop("files"))
        for found in (a, b):
            del found["checkpoint"]
        self.assertLessEqual({"neg_elbo", "reconstruction", "kl_w", "kl_z", "kl_x", "neg_elbo_se", "ari", "nmi"}, set(a))
        self.assertEqual(list(a), list(b))
        np.testing.assert_allclose(list(b.values()), list(a.values()), rtol=1e-5)

    @unittest.skipIf(FEW, "fewer cases in slow builds")
    def test_training_ends_with_the_embedding_of_its_checkpoint(self):
        run = self.on_gpu("run", {"output.embedding": True})
        with h5py.File(run.path("embedding.h5ad")) as f:
            checkpoint = f["uns/gmvae_dist/checkpoint"][()].decode()
        again = self.results("cpu", checkpoint)
        with h5py.File(again.path("embedding.h5ad")) as f:
            self.assertEqual(f["uns/gmvae_dist/checkpoint"][()].decode(), checkpoint)
        self.same_embedding(again.path("embedding.h5ad"), run.path("embedding.h5ad"))
        self.assertIn("neg_elbo", evaluation(run))

    # ---- ranks ----

    def ranks_agree(self, ranks, changes=None, **variables):
        """Sums over ranks, by whatever way the variables make, against one rank on the CPU."""
        cpu = self.train("cpu", {**SMALL, "train.epochs": 1})
        gpu = self.on_gpu(f"np{ranks}", {"train.epochs": 1, **(changes or {})}, ranks, **variables)
        np.testing.assert_allclose(gpu.losses("step")[:10], cpu.losses("step")[:10], rtol=1e-5)
        np.testing.assert_allclose(gpu.losses("validation")[-1], cpu.losses("validation")[-1], rtol=1e-3)
        return gpu

    def test_ranks_that_share_a_gpu(self):
        run = self.ranks_agree(2, {"runtime.share_gpu": True}, **one_gpu())
        self.assertIn("ranks share a GPU", run.err)

    def test_ranks_may_not_share_unasked(self):
        self.fails_on_gpu(["2 ranks", "1 GPU", "runtime.share_gpu"], 2, "np2", ranks=2, **one_gpu())

    @unittest.skipUnless(ON_HOST, "needs as many GPUs as ranks")
    def test_a_gpu_for_every_rank(self):
        for ranks in (2, 4) if DEEP else (2,): # four below
            run = self.ranks_agree(ranks, GMVAE_CUDA_HOST_DEVICES=str(ranks))
            self.assertIn("NCCL", run.out)
            self.assertEqual(run.err, "")

    @unittest.skipUnless(ON_HOST, "needs as many GPUs as ranks")
    def test_exact_sums_give_the_same_bits(self):
        changes = {"train.reduction": "exact", "train.epochs": 1, "train.batch_size": 64 if DEEP else 150}
        first = self.on_gpu("np1", changes)
        for ranks in (2, 4) if DEEP else (2,):
            self.same_run(first, self.on_gpu(f"np{ranks}", changes, ranks, GMVAE_CUDA_HOST_DEVICES=str(ranks)))
        shared = self.on_gpu("shared", {**changes, "runtime.share_gpu": True}, 2, **one_gpu())
        self.assertEqual(contents(first.checkpoint()), contents(shared.checkpoint()))

    # ---- choosing, failing ----

    def test_auto_takes_the_gpu(self):
        ranges = os.path.join(self.folder, "ranges")
        run = self.on_gpu("auto", {"backend": "auto", "train.epochs": 1}, GMVAE_CUDA_HOST_RANGES=ranges)
        self.assertIn("cuda:", run.out)
        if ON_HOST:
            self.check_ranges(ranges, len(run.metrics("step")))

    def check_ranges(self, path, steps):
        """What a profiler is told: every range ends, and lies where it belongs."""
        counts, at = {}, []
        with open(path) as lines:
            for line in lines.read().splitlines():
                if line == "<":
                    at.pop()
                else:
                    at.append(line[2:])
                    counts["/".join(at)] = counts.get("/".join(at), 0) + 1
        self.assertEqual(at, [])
        self.assertEqual(counts["training/epoch"], 1)
        self.assertEqual(counts["training/epoch/step"], steps)
        for part in ("batch", "gradient/forward/encoder", "gradient/backward/encoder", "sum", "update"): # of steps that are not replayed
            self.assertTrue(1 <= counts["training/epoch/step/" + part] < steps, part)
        for stage in ("evaluation/forward/encoder", "checkpoints", "clusters"):
            self.assertIn(stage, counts)

    @unittest.skipUnless(ON_HOST, "needs a machine without a GPU")
    def test_without_a_gpu(self):
        run = self.on_gpu("auto", {"backend": "auto", "train.epochs": 1}, GMVAE_CUDA_HOST_DEVICES="0")
        self.assertIn("cpu:", run.out)
        self.fails_on_gpu(["backend: cuda", "no GPU"], 5, "cuda", GMVAE_CUDA_HOST_DEVICES="0")

    @unittest.skipUnless(ON_HOST, "faults are injected")
    def test_out_of_memory_is_explained(self):
        self.fails_on_gpu(["out of memory", "train.batch_size", "MB for"], 5, "small", GMVAE_CUDA_HOST_MEMORY="36000000")

    @unittest.skipUnless(ON_HOST, "faults are injected")
    def test_faults_of_the_libraries(self):
        for fault, word in (("cudaMalloc:3=2", "out of memory"), ("cublasSgemm:5=13", "cuBLAS"),
                            ("cudaGraphLaunch:1=999", "CUDA"), ("cudaStreamBeginCapture:1=900", "CUDA"),
                            ("cudaMemcpyAsync:30=700", "CUDA")):
            with self.subTest(fault):
                self.fails_on_gpu([word], 5, fault.split(":")[0], GMVAE_CUDA_HOST_FAIL=fault)

    @unittest.skipUnless(ON_HOST, "faults are injected")
    def test_a_sum_that_never_ends(self):
        self.variables = {"GMVAE_CUDA_HOST_FAIL": "ncclAllReduce:7=hang", "GMVAE_CUDA_HOST_DEVICES": "2"}
        run = self.try_run("hang", {**SMALL, "backend": "cuda", "runtime.timeout": 2}, 2)
        self.variables = {}
        self.assertEqual(run.code, 75, run.err)
        self.assertRegex(run.err, r"gmvae_dist: error: \[rank \d\] lost contact .*runtime.timeout")


def families():
    """As the program has them: the bundle that a GPU's tests come in has no sources."""
    docs = subprocess.run([PROGRAM[0], "--print-config-docs"], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"`(\w+)`", re.search(r"^\| `model.family` \| [^|]* \| ([^|]*)\|", docs, re.M).group(1))
    assert len(found) > 2, docs
    return found


def evaluation(run):
    with open(run.path("evaluation.json")) as text:
        return json.load(text)


def one_gpu():
    return {"GMVAE_CUDA_HOST_DEVICES": "1"} if ON_HOST else {"CUDA_VISIBLE_DEVICES": "0"}


if __name__ == "__main__":
    main()
