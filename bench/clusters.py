#!/usr/bin/env python3
"""The clusters of a run against labels, beside what others make of the same embedding.

    bench/clusters.py [--json FILE] [--seeds 1,2,3] [--components 20,30,50] [--steps 5000] [--set KEY=VALUE]... SPEC...

SPEC is PATH[,label=OBS COLUMN][,batch=OBS COLUMN]. Each data set is trained on once for every number of components and seed, for 60
epochs, or as many as --steps takes: small sets have few steps in an epoch. The figures are ARI and NMI with the labels, over all labelled cells, of

  ours        gmvae_cluster of embedding.h5ad
  components  gmvae_component
  leiden      Leiden, modularity, on the fuzzy graph of 15 neighbours of the latent means, at resolution 1, scanpy's default;
              and the best of eight resolutions from 0.1 to 2, chosen by the labels
  k-means     on the latent means, told the number of labels

Needs numpy, h5py and scikit-learn; for Leiden umap-learn and igraph, which are left out where they are not there.
"""
import argparse
import json
import os

import h5py
import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors

import runs

SETTINGS = {
    "data.validation": 0.1,
    "data.genes.n_top": 2000,
    "model.latent_dim": 10,
    "model.w_dim": 10,
    "model.encoder": [128],
    "model.decoder": [128],
    "model.beta": [128],
    "train.batch_size": 128,
    "checkpoint.every": 0,
    "output.markers": False,
    "output.report": False,
    "output.umap": False,
    "runtime.threads": 1,
}
RESOLUTIONS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)


def leiden(x, resolutions=RESOLUTIONS):
    """Clusters at each resolution; nothing without the libraries."""
    try:
        import igraph
        from umap.umap_ import fuzzy_simplicial_set
    except ImportError:
        return {}
    distance, index = NearestNeighbors(n_neighbors=15).fit(x).kneighbors(x)
    graph = fuzzy_simplicial_set(x, 15, 0, "euclidean", knn_indices=index, knn_dists=distance.astype(np.float32))[0].tocoo()
    half = graph.row < graph.col
    network = igraph.Graph(n=len(x), edges=np.stack([graph.row[half], graph.col[half]], 1).tolist())
    return {resolution: np.array(network.community_leiden("modularity", weights=graph.data[half].tolist(), resolution=resolution,
                                                          n_iterations=2).membership) for resolution in resolutions}


def scores(labels, clusters):
    return {"ari": adjusted_rand_score(labels, clusters), "nmi": normalized_mutual_info_score(labels, clusters),
            "clusters": len(set(clusters.tolist()))}


def compare(run, label):
    with h5py.File(os.path.join(run.out, "embedding.h5ad")) as file:
        x, names = file["obsm/X_gmvae"][()], file[f"obs/{label}/categories"].asstr()[()]
        code, cluster, component = (file[f"obs/{name}/codes"][()] for name in (label, "gmvae_cluster", "gmvae_component"))
    there = np.isfinite(x).all(1)
    known = np.array([name.lower() not in runs.UNLABELLED for name in names])[code] & (code >= 0)
    of_those = known[there]
    found = {"labels": len(set(code[known & there].tolist())), "ours": scores(code[known & there], cluster[known & there]),
             "components": scores(code[known & there], component[known & there])}
    for resolution, clusters in leiden(x[there]).items():
        found[f"leiden {resolution}"] = scores(code[there][of_those], clusters[of_those])
    means = KMeans(found["labels"], n_init=10, random_state=0).fit_predict(x[there])
    found["k-means"] = scores(code[there][of_those], means[of_those])
    return found


def epochs(path, steps):
    with h5py.File(path) as file:
        obs = file["obs"]
        cells = len(obs[obs.attrs["_index"]])
    batches = -(-(cells - int(cells * SETTINGS["data.validation"])) // SETTINGS["train.batch_size"])
    return max(60, -(-steps // batches))


def row(data, components, found):
    tried = [value for key, value in found.items() if key.startswith("leiden")]
    shown = [found["components"], found["ours"], found.get("leiden 1.0"), max(tried, key=lambda s: s["ari"], default=None), found["k-means"]]
    return f"| {data} ({found['labels']}) | {components} | " + " | ".join("" if s is None else f"{s['ari']:.2f} ({s['clusters']})" for s in shown) + " |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("specs", nargs="+")
    parser.add_argument("--json")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--components", default="20,30,50")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--program", default=runs.default_program())
    arguments = parser.parse_args()
    changes = {key: json.loads(value) if value[:1] in "[{0123456789tf" else value for key, value in (item.split("=", 1) for item in arguments.set)}
    print("| data (labels) | components | arg max | ours | Leiden 1 | Leiden by labels | k-means told |\n|---|---|---|---|---|---|---|")
    for spec in arguments.specs:
        path, *columns = spec.split(",")
        columns = dict(column.split("=", 1) for column in columns)
        for components in map(int, arguments.components.split(",")):
            for seed in map(int, arguments.seeds.split(",")):
                settings = {**SETTINGS, "data.train": [os.path.abspath(path)], "train.epochs": epochs(path, arguments.steps), "model.clusters": components, "seed": seed, **changes}
                if "batch" in columns:
                    settings["data.batch_keys"] = [columns["batch"]]
                with runs.Run(arguments.program, settings) as run:
                    found = compare(run, columns.get("label", "cell_type"))
                data = os.path.basename(path)
                print(row(data, components, found), flush=True)
                if arguments.json:
                    with open(arguments.json, "a", encoding="utf-8") as out:
                        out.write(json.dumps({"bench": "clusters", "data": data, "components": components, "seed": seed, "settings": changes, **found}) + "\n")


if __name__ == "__main__":
    main()
