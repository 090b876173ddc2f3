"""The default family computes what an earlier program did, and goes on from its checkpoint.

usage: earlier.py PATH/gmvae_dist            (earlier.py EARLIER_PROGRAM --record writes tests/data/earlier)

Names, shapes and initial values of tensors must have the same bits: values are a function of the seed and of the place of a
tensor among all. What is computed may differ by the roundings of another instruction set.
"""
import gzip
import hashlib
import json
import os
import shutil
import sys

from support import PROGRAM, RunTest, h5py, main, np, tensors

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "data", "earlier")
CHECKPOINT, RESULTS = os.path.join(FOLDER, "checkpoint.h5.gz"), os.path.join(FOLDER, "results.json")
TINY = {"seed": 7, "data.genes": {"n_top": 12}, "data.shards": 4, "data.validation": 0.2, "model.latent_dim": 3, "model.w_dim": 2,
        "model.clusters": 3, "model.encoder": [4], "model.decoder": [3, 4], "model.beta": [3], "train.batch_size": 128,
        "train.kl_warmup.steps": 10, "train.log_steps": 0, "checkpoint.every": 0}
INITIAL = {"nb": {}, "nb_logit": {"model.likelihood": "nb_logit", "model.beta": []}}
RTOL = 1e-4


def digest(found):
    """SHA-256 of names, shapes and bits."""
    sha = hashlib.sha256()
    for name in sorted(found):
        sha.update(f"{name} {found[name].shape} ".encode() + found[name].astype("<f4").tobytes())
    return sha.hexdigest()


class Earlier(RunTest):
    def initial(self):
        """Of both heads: with a learning rate of 0 parameters stay as they are."""
        return {name: digest(tensors(self.train(name, {**TINY, **changes, "train.lr": 0, "train.epochs": 1}).checkpoint()))
                for name, changes in INITIAL.items()}

    def continued(self):
        """Numbers of the second epoch, of the checkpoint behind it, and of evaluation and embedding under it."""
        run = self.train("run", {**TINY, "train.epochs": 2, "output.embedding": True})
        found = {f"{row['split']} {key}": value for row in run.metrics() if row["epoch"] == 2 for key, value in row.items()
                 if isinstance(value, (int, float)) and key not in ("cells_per_s", "time")}
        for group in ("params", "adam/m", "adam/v"):
            found.update({f"{group}/{name}": float(np.sqrt(np.mean(np.square(item, dtype=float))))
                          for name, item in tensors(run.checkpoint(), group).items()})
        with open(run.path("evaluation.json")) as text:
            found.update({f"evaluation {key}": value for key, value in json.load(text).items() if isinstance(value, (int, float))})
        with h5py.File(run.path("embedding.h5ad")) as file:
            for name in ("obsm/X_gmvae", "obs/gmvae_neg_elbo"):
                found.update({f"{name} {i}": value for i, value in enumerate(np.abs(file[name][()]).mean(0, dtype=float).ravel())})
        return found

    def test_initial_values(self):
        with open(RESULTS) as text:
            self.assertEqual(self.initial(), json.load(text)["initial"])

    def test_its_checkpoint(self):
        os.makedirs(os.path.join(self.folder, "run", "checkpoints"))
        with gzip.open(CHECKPOINT) as packed, open(os.path.join(self.folder, "run", "checkpoints", "last.h5"), "wb") as file:
            shutil.copyfileobj(packed, file)
        found = self.continued()
        with open(RESULTS) as text:
            wanted = json.load(text)["continued"]
        self.assertLessEqual(set(wanted), set(found)) # it knew no clusters, and less is said of components
        self.assertGreater(len(wanted), 100)
        np.testing.assert_allclose([found[key] for key in wanted], [wanted[key] for key in wanted], rtol=RTOL)

    def record(self):
        checkpoint = self.train("run", {**TINY, "train.epochs": 1}).checkpoint()
        with open(checkpoint, "rb") as file, open(CHECKPOINT, "wb") as packed:
            packed.write(gzip.compress(file.read(), mtime=0))
        with open(RESULTS, "w") as text:
            json.dump({"initial": self.initial(), "continued": self.continued()}, text, indent=0)
            text.write("\n")


if __name__ == "__main__":
    if sys.argv[2:] == ["--record"]:
        PROGRAM.append(os.path.abspath(sys.argv[1]))
        Earlier("record").debug()
    else:
        main()
