"""The page and the pictures of a run: what they say is what the files say.

usage: report.py PATH/gmvae_dist
"""
import csv
import html.parser
import json
import os
import re
import struct
import subprocess
import xml.etree.ElementTree as tree

from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
import cells
from support import PROGRAM, RunTest, h5py, main, np

LEARNT = {"model.clusters": 6, "train.epochs": 12, "train.batch_size": 64, "train.lr": 3e-3, "train.log_steps": 0, "data.label_key": "cell_type",
          "output.embedding": True, "output.report": True, "output.umap": True, "output.counts_umap": True, "output.markers": True, "checkpoint.every": 0, "output.clusters": 3}
ALONE = {"br", "meta", "link", "img", "hr", "path", "rect", "use", "image"}


class Page(html.parser.HTMLParser):
    """Sentences, values of spots, and whether all that is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tips, self.verdicts, self.ids, self.references, self.rows = [], [], [], [], [], []
        self.feed(text)
        assert self.open == [], self.open

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.note(found)
        if tag not in ALONE:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "li":
            self.verdicts.append([found.get("class"), ""])

    def handle_startendtag(self, tag, attributes):
        self.note(dict(attributes))

    def note(self, found):
        self.tips += [found["data-tip"]] if "data-tip" in found else []
        self.ids += [found["id"]] if "id" in found else []
        self.references += [found[key] for key in ("src", "href", "xlink:href") if key in found]

    def handle_endtag(self, tag):
        if tag not in ALONE:
            assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if "li" in self.open:
            self.verdicts[-1][1] += data
        if "td" in self.open:
            self.rows[-1][-1] += data


class Report(RunTest):
    def page(self, run):
        with open(run.path("report.html"), encoding="utf-8") as file:
            return file.read()

    def report(self, name, changes=None, ranks=1):
        run = self.try_run(name, {**LEARNT, **(changes or {})}, ranks, word="report")
        self.assertEqual((run.code, run.err), (0, ""))
        return run

    def test_a_run(self):
        run = self.train("run", LEARNT)
        self.assertIn("report.html", run.out)
        text = self.page(run)
        page = Page(text)
        self.check_alone(text, page)
        self.check_pairs(run, page)
        self.check_heat_map(run, page)
        self.check_pictures(run)
        self.check_layout(run)
        with open(run.path("metrics.jsonl")) as lines:
            rows = [json.loads(line) for line in lines]
        self.assertIn(f"1558 cells of kang_pbmc_4sample.h5ad.", page.verdicts[0][1])
        self.assertIn(f"12 of 12 epochs, {rows[-1]['step']} steps", page.verdicts[0][1])
        self.assertTrue(any(verdict.startswith("3 clusters. 6 components were merged") for _, verdict in page.verdicts), page.verdicts)
        last = next(row for row in rows if row["epoch"] == 12 and row["split"] == "validation")
        self.assertTrue(any(tip.startswith("epoch 12\n") and f"held out: {last['neg_elbo']:.6g}" in tip for tip in page.tips))
        self.check_record(run, page)
        self.check_markers(run, page)
        self.check_mass(run, page)
        # again, from the files: what was trained is what they say, whatever config names the folder
        self.report("run", {"model.latent_dim": 9, "train.epochs": 99, "data.batch_keys": ["condition"]}, ranks=2)
        self.assertEqual(self.page(run), text)

    def check_markers(self, run, page):
        """The first genes of each cluster that the table has, in a table, beside the tree, and where somebody points."""
        with open(run.path("markers.csv"), newline="") as file:
            rows = [row for row in csv.DictReader(file) if int(row["rank"]) <= 8]
        with h5py.File(run.path("embedding.h5ad")) as f:
            cells = np.bincount(f["obs/gmvae_cluster/codes"][()])
        for cluster in range(3):
            genes = [row["gene"] for row in rows if row["cluster"] == str(cluster)]
            self.assertIn([str(cluster), str(cells[cluster]), ", ".join(genes)], page.rows)
            self.assertIn(", ".join(genes), page.tips)
        for row in rows:
            self.assertIn(f"log2 fold change {float(row['log2_fold_change']):.2f}, probability {float(row['probability']):.2f}", page.tips)

    def check_mass(self, run, page):
        with h5py.File(run.path("embedding.h5ad")) as f:
            cluster = f["uns/gmvae_dist/component_cluster"][()]
        for epoch, mass in run.masses().items():
            shares = np.bincount(cluster, mass, minlength=3)
            tip = next(tip for tip in page.tips if tip.startswith(f"epoch {epoch}\ncluster 0: "))
            found = [float(line.split(": ")[1].split()[0]) for line in tip.splitlines()[1:]]
            np.testing.assert_allclose(found, 100 * shares, atol=0.1)

    def test_without_markers(self):
        """A file that is missing, damaged, or of other clusters is left out with a note; all else stays."""
        short = {"train.epochs": 2, "output.umap": False}
        run = self.train("few", {**LEARNT, **short})
        self.assertIn("probability", self.page(run))
        with open(run.path("markers.h5ad"), "rb") as file:
            whole = file.read()
        for bytes_of, words in ((whole[:3000], "markers.h5ad: "), (whole[:len(whole) // 2], "markers.h5ad: "), (b"no HDF5", "not an HDF5 file"),
                                (None, "There is no markers.h5ad")):
            os.remove(run.path("markers.h5ad"))
            if bytes_of is not None:
                with open(run.path("markers.h5ad"), "wb") as file:
                    file.write(bytes_of)
            self.report("few", short)
            page = self.page(run)
            Page(page)
            self.assertIn(words, page)
            self.assertIn("<h2>Genes of each cluster</h2>\n<p>", page)
            self.assertIn("3 clusters.", page)
            if bytes_of is not None:
                self.assertIn("gmvae_dist markers writes it anew", page)
            else:
                open(run.path("markers.h5ad"), "w").close()
        self.assertEqual(self.try_run("few", {**LEARNT, **short, "output.clusters": 4}, word="markers").code, 0)
        self.report("few", short)
        self.assertIn("is of other clusters than embedding.h5ad", self.page(run))

    def check_alone(self, text, page):
        """Nothing of it is elsewhere, and no name is twice."""
        self.assertEqual([reference for reference in page.references if not reference.startswith(("#", "data:"))], [])
        self.assertNotRegex(re.sub(r'xmlns(:xlink)?="[^"]*"', "", text), r"https?://|@import|url\((?!#)")
        self.assertEqual(len(page.ids), len(set(page.ids)))
        self.assertGreater(len(page.ids), 20)
        inside = [reference[1:] for reference in page.references if reference.startswith("#")]
        self.assertEqual(sorted(set(inside) - set(page.ids)), [])
        self.assertGreater(len(inside), 100)

    def check_record(self, run, page):
        """What run.json says of the one session: where, by what, how long."""
        with open(run.path("run.json")) as file:
            session, = json.load(file)["sessions"]
        self.assertEqual((session["from_epoch"], session["to_epoch"], session["hosts"], session["ranks"], session["threads"]), (0, 12, 1, 1, 1))
        self.assertRegex(session["began"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        printed = dict(line.split(None, 1) for line in subprocess.check_output([PROGRAM[0], "--version"], text=True).splitlines())
        self.assertEqual(session["versions"], printed)
        self.assertTrue(0 < session["peak_memory"] < session["host_memory"])
        seconds = session["seconds"]
        self.assertEqual(set(seconds), {"other", "loading", "training", "evaluation", "checkpoints", "clusters", "metrics", "layout", "embedding", "markers", "predictive"})
        for row in ([["all", f"{sum(seconds.values()):.2f}", "100.0"]] + [[stage, f"{spent:.2f}", f"{100 * spent / sum(seconds.values()):.1f}"] for stage, spent in seconds.items()]
                    + [list(version) for version in printed.items()]):
            self.assertIn(row, page.rows)
        self.assertIn([session["began"], "0 to 12", "1", "1", "1", session["compute"], session["processor"], f"{session['host_memory'] / 1e9:.1f}",
                       f"{session['peak_memory'] / 1e9:.2f}"], page.rows)

    def check_pairs(self, run, page):
        """Every cell of the map of types and clusters."""
        with h5py.File(run.path("embedding.h5ad")) as f:
            names, clusters = f["obs/cell_type/categories"].asstr()[()], f["obs/gmvae_cluster/categories"].asstr()[()]
            counts = np.zeros((len(names), len(clusters)), int)
            np.add.at(counts, (f["obs/cell_type/codes"][()], f["obs/gmvae_cluster/codes"][()]), 1)
        for i, name in enumerate(names):
            for c, cluster in enumerate(clusters):
                share = 100 * counts[i, c] / counts[i].sum()
                self.assertIn(f"{name} in cluster {cluster}: {counts[i, c]} of {counts[i].sum()}, {share:.1f} %", page.tips)

    def check_heat_map(self, run, page):
        """The mean of every gene in every cluster, from the data; genes are beside each other by the cluster where they are highest."""
        with h5py.File(run.path("embedding.h5ad")) as f:
            cluster = f["obs/gmvae_cluster/codes"][()]
        with open(run.path("heatmap.json")) as file:
            found = json.load(file)
        counts, names = cells.counts()
        cluster, counts = cluster[found["row"]], counts[found["row"]]
        values = np.log1p(1e4 * counts / counts.sum(1, keepdims=True))[:, [names.index(name) for name in found["gene"]]]
        means = np.array([values[cluster == c].mean(0) for c in range(3)])
        order = sorted(range(60), key=lambda g: (means[:, g].argmax(), -means[:, g].max()))
        tips = [f"{found['gene'][g]} in cluster {c}: {means[c, g]:.3g}, mean of {(cluster == c).sum()} cells" for c in range(3) for g in order]
        self.assertEqual(tips, [tip for tip in page.tips if ", mean of " in tip])

    def check_layout(self, run):
        """A place for every cell, near those that are near."""
        with h5py.File(run.path("embedding.h5ad")) as f:
            x, at = f["obsm/X_gmvae"][()], f["obsm/X_umap"][()]
            np.testing.assert_array_equal(f["obs/gmvae_counts"][()], cells.counts()[0].sum(1))
        self.assertEqual(at.shape, (len(x), 2))
        self.assertGreater(trustworthiness(x, at, n_neighbors=15), 0.95)
        with h5py.File(run.path("embedding.h5ad")) as f:
            by_counts = f["obsm/X_counts_umap"][()]
        counts, _ = cells.counts()
        x = PCA(50, random_state=0).fit_transform(np.log1p(1e4 * counts / counts.sum(1, keepdims=True)))
        self.assertGreater(trustworthiness(x, by_counts, n_neighbors=15), 0.945)

    def test_counts_in_the_plane(self):
        """The same for every number of ranks, in memory and streamed."""
        found, few = [], cells.rewrite(os.path.join(self.folder, "few.h5ad"), rows=300)
        for name, residence, ranks in (("host", "host", 1), ("host", "host", 2), ("stream", "stream", 1), ("stream", "stream", 3)):
            run = self.train(name, {**LEARNT, "data.train": [few], "train.epochs": 1, "output.report": False, "data.residence": residence}, ranks=ranks)
            with h5py.File(run.path("embedding.h5ad")) as f:
                found.append(f["obsm/X_counts_umap"][()])
            os.remove(run.path("embedding.h5ad"))
            np.testing.assert_array_equal(found[-1], found[0], err_msg=f"{residence}, {ranks} ranks")

    def check_pictures(self, run):
        names = sorted(os.listdir(run.path("pictures")))
        self.assertEqual(names, sorted(f"{name}.{end}" for end in ("svg", "png") for name in (
            "umap-cluster", "umap-label", "heatmap", "umap-batch-1", "counts-umap-cluster", "counts-umap-label", "counts-umap-batch-1", "umap-certainty", "umap-counts", "counts-umap-counts", "tree", "clusters-of-label", "clusters-of-batch-1",
            "check-zeros", "check-variance", "check-library", "loss", "reconstruction", "divergences", "components", "component-mass")))
        for name in names:
            with open(run.path(f"pictures/{name}"), "rb") as file:
                data = file.read()
            if name.endswith("svg"):
                self.assertGreater(len(list(tree.fromstring(data).iter())), 20, name)
            else:
                self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n", name)
                width, height = struct.unpack(">II", data[16:24])
                self.assertTrue(400 <= width <= 3000 and 200 <= height <= 3000, (name, width, height))

    def verdicts(self, bounds, changes=None):
        """Of a folder with nothing but a course of the held-out bound."""
        os.makedirs(os.path.join(self.folder, "course"), exist_ok=True)
        with open(os.path.join(self.folder, "course", "metrics.jsonl"), "w") as out:
            for epoch, bound in enumerate(bounds, 1):
                out.write(json.dumps({"epoch": epoch, "step": 100 * epoch, "split": "validation", "neg_elbo": bound}) + "\n")
            out.write('{"epoch": 99, "spl') # cut short
        return Page(self.page(self.report("course", changes))).verdicts

    def test_courses(self):
        epochs = np.arange(40)
        for bounds, mood, words in ((1000 + 100 * np.exp(-epochs / 3), "fine", "It converged."),
                                    (1000 - epochs, "worry", "It had not converged. The held-out -ELBO still fell by 0.83 %"),
                                    (1000 + np.abs(epochs - 10), "worry", "It overfits. The held-out -ELBO was lowest at epoch 11 and has risen by 2.9 %"),
                                    ([1000, 990, None, None, None, None], "worry", "The loss is not finite."),
                                    ([1000, 990], "worry", "Nothing can be said of convergence.")):
            found = self.verdicts([bound if bound is None else float(bound) for bound in bounds])
            self.assertTrue(any(how == mood and text.startswith(words) for how, text in found), (words, found))
        self.assertTrue(any(text.startswith("Few steps.") for _, text in found), found)

    def test_nothing_of_an_earlier_training(self):
        """One that begins anew in its folder, and makes neither page nor markers."""
        shown = {"markers.csv", "markers.h5ad", "predictive.json", "heatmap.json"}
        short = {**LEARNT, "train.epochs": 1, "output.umap": False, "output.counts_umap": False}
        self.assertLessEqual(shown, set(self.train("again", short).files()))
        without = {"output.report": False, "output.markers": False}
        self.assertLessEqual(shown, set(self.train("again", {**short, **without}).files()))  # the same training
        anew = {**short, **without, "checkpoint.resume": "never", "seed": 2, "output.embedding": False, "data.validation": 0}
        run = self.train("again", anew)
        self.assertFalse(shown & set(run.files()))
        # results that were not written again stay, and are no part of the page until they are
        for name in ("embedding.h5ad", "evaluation.json"):
            os.utime(run.path(name), (1e9, 1e9))
        self.report("again", anew)
        said = [verdict for _, verdict in Page(self.page(run)).verdicts]
        self.assertTrue(any("embedding.h5ad and evaluation.json are older" in verdict for verdict in said), said)
        self.assertTrue(said[0].startswith("The run has no embedding yet."), said)
        self.assertEqual(self.try_run("again", anew, word="embed").code, 0)
        self.report("again", anew)
        said = [verdict for _, verdict in Page(self.page(run)).verdicts]
        self.assertTrue(any(" evaluation.json is older" in verdict for verdict in said), said)
        self.assertTrue(said[0].startswith("1558 cells of"), said)

    def test_wrong_folders(self):
        self.fails(["nowhere: there is no run to report of", "train first"], 3, "nowhere", LEARNT, word="report")
        os.makedirs(os.path.join(self.folder, "odd"))
        with open(os.path.join(self.folder, "odd", "embedding.h5ad"), "w") as out:
            out.write("no HDF5")
        self.fails(["odd/embedding.h5ad", "not an HDF5 file"], 3, "odd", LEARNT, word="report")
        self.assertEqual(os.listdir(os.path.join(self.folder, "odd")), ["embedding.h5ad"])
        run = self.train("run", {**LEARNT, "train.epochs": 1, "output.umap": False})
        with open(run.path("heatmap.json")) as file:
            good = json.load(file)
        for change in ({"row": [10 ** 9] * 600}, {"library": [1]}, {"count": [[1]] * 600}, {"gene": [1] * 60}):
            with open(run.path("heatmap.json"), "w") as out:
                json.dump({**good, **change}, out)
            self.fails(["heatmap.json: its lists do not fit together"], 3, "run", LEARNT, word="report")


if __name__ == "__main__":
    main()
