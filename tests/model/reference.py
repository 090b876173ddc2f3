"""The models' loss and gradient in double precision, written from the formulas, with autograd's derivatives, against the
program's own.

    reference.py DUMP_STEP [PATTERN]

PATTERN keeps the cases whose name contains it; GMVAE_TEST_QUICK in the environment, every ninth case;
GMVAE_TEST_DEEP adds half of the grid of all choices.
DUMP_STEP is tests/tools/dump_step: it runs one training and one evaluation pass on made-up cells and writes
parameters, cells, noise, terms and gradients. This file repeats both passes from those and compares.
Exit status 77 means skipped: a Python package is missing.
"""

import itertools
import os
import re
import subprocess
import sys
import tempfile

try:
    import autograd
    import autograd.numpy as anp
    import h5py
    import numpy as np
    from autograd.scipy.special import erf, gammaln, logsumexp
except ImportError as missing:
    # whoever chose the interpreter for this test wants it run
    print(f"skipped: {missing}")
    sys.exit(1 if "GMVAE_TEST_PYTHON" in os.environ else 77)

TERM_TOLERANCE = 1e-5      # relative, of every term of every cell
GRADIENT_TOLERANCE = 1e-4  # of the norm of every tensor
TERMS = {  # by the prior of x, in the order of the program's columns
    "mixture_of_w": ("reconstruction", "kl_w", "kl_z", "kl_x", "prior"),
    "mixture": ("reconstruction", "kl_z", "kl_x", "prior"),
    "normal": ("reconstruction", "kl_x"),
}
TRAINED = {"mixture_of_w": ("kl_w", "prior"), "mixture": ("prior",), "normal": ("kl_x",)}

BASE = {
    "seed": 11,
    "model.latent_dim": 5,
    "model.w_dim": 3,
    "model.clusters": 5,
    "model.encoder": "[11, 7]",
    "model.decoder": "[6, 9]",
    "model.beta": "[8]",
    "model.dropout": 0.2,
    "train.mc_samples": 1,
}


TABLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "include", "gmvae")


def rows(table):
    """Names of the rows of a table: what is added there is tried here, and needs its formulas."""
    with open(os.path.join(TABLES, table), encoding="utf-8") as file:
        return tuple(re.findall(r"^GMV_\w+\((\w+),", file.read(), re.M))


def families():
    """Name -> settings of every family, the default first."""
    with open(os.path.join(TABLES, "families.def"), encoding="utf-8") as file:
        found = re.findall(r'^GMV_FAMILY\((\w+), "\{(.*?)\}"', file.read(), re.M)
    return {name: {f"model.{key}": value for key, value in re.findall(r"(\w+): ([^,]+)", settings)} for name, settings in found}


OBJECTIVES, LIKELIHOODS = ("marginal", "published", "mc"), rows("likelihoods.def")


def combined(objective, likelihood, clusters, keys, draws, kind):
    return (f"{objective}-{likelihood}-K{clusters}-C{keys}-M{draws}-{kind}",
            {"model.objective": objective, "model.likelihood": likelihood, "model.clusters": clusters,
             "train.mc_samples": draws, "model.input": kind}, 13, 31, keys, 1.0)


def grid():
    """Half of the grid: still every combination of any five of the choices."""
    axes = (OBJECTIVES, LIKELIHOODS, (1, 5), (0, 2), (1, 3), ("log1p", "standardize"))
    for at in itertools.product(*(range(len(axis)) for axis in axes)):
        if sum(at) % 2 == 0:
            yield combined(*(axis[i] for axis, i in zip(axes, at)))


def cases():
    """(name, overrides, cells, genes, keys, KL weight) of every case; genes as dump_step takes them.

    Choices that meet in one part are tried in pairs: objective and clusters, objective and free nats, genes that are
    absent with likelihood and library. Others do not know of each other: each is tried, beside some of the rest.
    """
    pairs = itertools.product(OBJECTIVES, (1, 5))
    beside = ((0, 3, "log1p"), (2, 1, "standardize"), (2, 3, "none"), (0, 3, "unit_sphere"), (2, 1, "standardize"), (0, 3, "log1p"))
    for at, ((objective, clusters), rest) in enumerate(zip(pairs, beside)):
        yield combined(objective, LIKELIHOODS[(at + at // 2) % 2], clusters, *rest)
    if os.environ.get("GMVAE_TEST_DEEP", "0") not in ("", "0"):
        yield from grid()
    plain = {"model.objective": "marginal", "model.likelihood": "nb"}
    for objective, nats in (("published", 0.4), ("mc", 0.8), ("published", 50.0), ("mc", 50.0)):  # some cells above; all below
        yield (f"{objective}-free-nats-{nats}",
               {"model.objective": objective, "train.z_free_nats": nats, "train.mc_samples": 3}, 13, 31, 1, 0.7)
    yield "warm-up-start", plain, 13, 31, 1, 0.0
    yield "warm-up-middle", plain, 13, 31, 1, 0.25
    yield "library-none", {**plain, "model.library": "none"}, 13, 31, 2, 1.0
    yield "no-dropout", {**plain, "model.dropout": 0.0}, 13, 31, 1, 1.0
    masked = {**plain, "train.mc_samples": 2}
    for likelihood in LIKELIHOODS:
        kind = "standardize" if likelihood == "nb_logit" else "log1p"
        yield f"masked-{likelihood}", {**masked, "model.likelihood": likelihood, "model.input": kind}, 13, "31/3", 1, 1.0
    yield "masked-nb-library-none", {**masked, "model.library": "none"}, 13, "31/3", 1, 1.0
    yield "masked-many-genes", plain, 37, "800/2", 1, 1.0
    yield "one-cell-one-gene", plain, 1, 1, 0, 1.0
    yield "deep", {**plain, "model.encoder": "[9, 8, 7, 6]", "model.beta": "[4, 5, 6]", "model.decoder": "[5]"}, 13, 31, 1, 1.0
    yield "beta-without-layers", {**plain, "model.beta": "[]", "train.mc_samples": 2}, 13, 31, 1, 1.0
    for family in list(families())[1:]:
        yield family, {"model.family": family, "train.mc_samples": 3}, 13, 31, 2, 0.7
    yield "vae_mog-K1", {"model.family": "vae_mog", "model.clusters": 1}, 13, 31, 0, 1.0
    yield "wide", {**plain, "model.latent_dim": 33, "model.w_dim": 17, "model.clusters": 7, "model.encoder": "[65]",
                   "model.decoder": "[40, 70]", "train.mc_samples": 2}, 70, 401, 2, 1.0


# ---- the model ----


def gelu(x):
    return 0.5 * x * (1.0 + erf(x / anp.sqrt(2.0)))


def trunk(p, name, h, masks, rate):
    """Linear, GELU, LayerNorm, Dropout, as often as there are layers; h [..., in]."""
    layer = 0
    while f"{name}.layers.{layer}.linear.weight" in p:
        at = f"{name}.layers.{layer}"
        h = gelu(h @ p[f"{at}.linear.weight"].T + p[f"{at}.linear.bias"])
        centred = h - h.mean(-1, keepdims=True)
        h = centred / anp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        h = h * p[f"{at}.norm.weight"] + p[f"{at}.norm.bias"]
        if masks is not None:
            h = h * masks[f"{name}.{layer}"] / (1.0 - rate)
        layer += 1
    return h


def linear(p, name, h):
    return h @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def gaussian(raw):
    """Means and variances from a head [..., 2 n]."""
    n = raw.shape[-1] // 2
    return raw[..., :n], anp.exp(raw[..., n:]) + 1e-4


def softplus(x):
    return anp.logaddexp(0.0, x)


def log_normal(x, mean, variance):
    return (-0.5 * (anp.log(2.0 * anp.pi * variance) + (x - mean) ** 2 / variance)).sum(-1)


def kl_normal(m, v, mean, variance):
    return (0.5 * (anp.log(variance / v) + (v + (m - mean) ** 2) / variance - 1.0)).sum(-1)


def encoder_input(y, config):
    kind = config["model.input"]
    if kind == "standardize":
        return (y - config["mean"]) / config["std"]
    if kind == "none":
        return y
    x = anp.log1p(y)
    if kind == "unit_sphere":
        norm = anp.sqrt((x**2).sum(-1, keepdims=True))
        return x / anp.where(norm > 0, norm, 1.0)
    return x


def log_likelihood(p, h, data, config):
    """log p(y | x, b) of every draw; h [B, M, H]. Genes that a cell lacks have no part in it."""
    y, there = data["counts"][:, None, :], data["present"][:, None, :]
    if config["model.likelihood"] == "nb_logit":
        r = softplus(linear(p, "decoder.r", h)) + 1e-3
        logit = linear(p, "decoder.logit", h)
        each = gammaln(y + r) - gammaln(r) - gammaln(y + 1.0) - r * softplus(logit) - y * softplus(-logit)
        return (each * there).sum(-1)
    head = linear(p, "decoder.mean", h)
    if config["model.library"] == "observed":
        head = head + anp.log(y.sum(-1, keepdims=True)) - logsumexp(head, -1, b=there, keepdims=True)
    if config["model.likelihood"] != "nb":
        sys.exit(f"no formula here of model.likelihood {config['model.likelihood']}")
    mu, theta = anp.exp(head), anp.exp(p["decoder.theta"])
    each = (gammaln(y + theta) - gammaln(theta) - gammaln(y + 1.0) + theta * anp.log(theta / (theta + mu))
            + y * anp.log(mu / (theta + mu)))
    return (each * there).sum(-1)


def mixture_terms(x, mx, vx, raw, log_weight, config):
    """kl_z, kl_x and prior of x under the mixture of raw [..., 2, K, D], and p(z | x)."""
    mean, variance = raw[..., 0, :, :], anp.exp(raw[..., 1, :, :]) + 1e-4
    log_p = log_normal(x[:, :, None], mean, variance)  # [B, M, K]
    log_joint = log_p + log_weight
    log_pi = log_joint - logsumexp(log_joint, -1, keepdims=True)
    pi = anp.exp(log_pi)
    log_q = log_normal(x, mx[:, None], vx[:, None])  # [B, M]
    kl_z = (pi * (log_pi - log_weight)).sum(-1).mean(-1)
    kl_x = (pi * (log_q[..., None] - log_p)).sum(-1).mean(-1)
    gated = anp.maximum(config["train.z_free_nats"], kl_z)
    if config["model.objective"] == "marginal":
        prior = (log_q - logsumexp(log_joint, -1)).mean(-1)
    elif config["model.objective"] == "published":
        component = kl_normal(mx[:, None, None], vx[:, None, None], mean, variance)
        prior = gated + (pi * component).sum(-1).mean(-1)
    else:
        prior = gated + kl_x
    return {"kl_z": kl_z, "kl_x": kl_x, "prior": prior}, pi


def prior_terms(p, x, mx, vx, hidden, noise, masks, config):
    """Terms of the prior of x by name, and cluster probabilities [B, M, K]."""
    k, d = config["model.clusters"], config["model.latent_dim"]
    if config["model.prior"] == "normal":
        return {"kl_x": kl_normal(mx, vx, 0.0, 1.0)}, np.zeros((*x.shape[:2], 0))
    if config["model.prior"] == "mixture":
        logits = p["prior.log_weight"]
        return mixture_terms(x, mx, vx, p["prior.components"].reshape(2, k, d), logits - logsumexp(logits), config)
    mw, vw = gaussian(linear(p, "encoder.w", hidden))
    w = mw[:, None] + anp.sqrt(vw)[:, None] * noise["eps_w"]
    raw = linear(p, "beta.out", trunk(p, "beta", w, masks, config["model.dropout"])).reshape(*w.shape[:2], 2, k, d)
    terms, pi = mixture_terms(x, mx, vx, raw, -np.log(k), config)
    return {"kl_w": kl_normal(mw, vw, 0.0, 1.0), **terms}, pi


def terms_of(p, data, noise, masks, config):
    """Per-cell terms [B, terms] and cluster probabilities [B, K]."""
    rate = config["model.dropout"]
    y = data["counts"]
    hidden = trunk(p, "encoder", encoder_input(y, config)[:, None, :], masks, rate)[:, 0]
    mx, vx = gaussian(linear(p, "encoder.x", hidden))
    x = mx[:, None] + anp.sqrt(vx)[:, None] * noise["eps_x"]  # [B, M, D]
    terms, pi = prior_terms(p, x, mx, vx, hidden, noise, masks, config)

    onehot = np.zeros((y.shape[0], config["levels"]))
    np.add.at(onehot, (np.arange(y.shape[0])[:, None], data["level"]), 1.0)
    onehot = np.broadcast_to(onehot[:, None], (*x.shape[:2], config["levels"]))
    decoded = trunk(p, "decoder", anp.concatenate([x, onehot], -1), masks, rate)
    terms["reconstruction"] = -log_likelihood(p, decoded, data, config).mean(-1)
    return anp.stack([terms[name] for name in TERMS[config["model.prior"]]], -1), pi.mean(1)


def loss_of(p, data, noise, masks, config):
    terms, _ = terms_of(p, data, noise, masks, config)
    names = TERMS[config["model.prior"]]
    trained = sum(terms[:, names.index(name)] for name in TRAINED[config["model.prior"]])
    return (terms[:, names.index("reconstruction")] + config["kl_weight"] * trained).mean()


# ---- the comparison ----


def load(path, config):
    with h5py.File(path) as file:
        def wide(group):
            return {name: item[()].astype(np.float64) for name, item in file.get(group, {}).items()}

        config.update({name: float(value) for name, value in file.attrs.items()})
        config["levels"] = int(config["levels"])
        data = {"counts": file["counts"][()].astype(np.float64), "level": file["level"][()]}
        data["present"] = file["present"][()].astype(np.float64) if "present" in file else np.ones(data["counts"].shape)
        return wide("params"), wide("grads"), data, wide("train"), wide("eval"), wide("mask")


def compare_terms(what, names, got, want, problems):
    scale = np.abs(want) + 1e-3 * np.abs(want[:, :1])  # small terms are differences of terms of that size
    error = np.abs(got - want) / np.maximum(scale, 1.0)
    for column, name in enumerate(names):
        worst = error[:, column].max()
        if not worst <= TERM_TOLERANCE:
            cell = error[:, column].argmax()
            problems.append(f"{what} {name}: cell {cell}: {got[cell, column]:.9g}, reference {want[cell, column]:.9g}")


def compare(path, config):
    """List of what differs."""
    params, grads, data, train, evaluated, masks = load(path, config)
    problems = []
    terms, probability = terms_of(params, data, train, masks, config)
    gradient = autograd.grad(loss_of)(params, data, train, masks, config)
    names, clusters = TERMS[config["model.prior"]], config["model.prior"] != "normal"
    compare_terms("train", names, train["terms"], terms, problems)
    # an error of a log density, a sum over the dimensions of x, is a relative error of a probability
    allowed = TERM_TOLERANCE * config["model.latent_dim"]
    if clusters and not np.abs(probability - train["probability"]).max() <= allowed:
        problems.append("cluster probabilities differ in training")
    terms, probability = terms_of(params, data, evaluated, None, config)
    compare_terms("eval", names, evaluated["terms"], terms, problems)
    if clusters and not np.abs(probability - evaluated["probability"]).max() <= allowed:
        problems.append("cluster probabilities differ in evaluation")
    if set(gradient) != set(grads):
        problems.append(f"tensors differ: {set(gradient) ^ set(grads)}")
    for name in sorted(gradient):
        want = gradient[name]
        error, norm = np.linalg.norm(grads[name] - want), np.linalg.norm(want)
        if not error <= GRADIENT_TOLERANCE * norm + 1e-12:
            problems.append(f"gradient of {name}: off by {error:.3g} of norm {norm:.3g}")
    return problems


def run(tool, folder, name, overrides, cells, genes, keys, kl_weight):
    settings = families()
    settings = settings[overrides.get("model.family", next(iter(settings)))]
    config = {**BASE, "model.objective": "marginal", "model.likelihood": "nb", "model.input": "log1p",
              "model.library": "observed", "train.z_free_nats": 0.0, **settings, **overrides}
    path = os.path.join(folder, name + ".h5")
    with open(os.path.join(folder, "config.yaml"), "w") as file:
        file.write("seed: 11\n")
    overrides = [f"{key}={value}" for key, value in config.items() if key in overrides or key not in settings]
    done = subprocess.run([tool, file.name, path, str(cells), str(genes), str(keys), str(kl_weight), *overrides],
                          capture_output=True, text=True)
    if done.returncode != 0:
        return [f"{os.path.basename(tool)} failed with status {done.returncode}: {done.stderr.strip()[-500:]}"]
    problems = compare(path, config)
    os.remove(path)
    return problems


def main():
    tool, pattern = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    failed = passed = 0
    with tempfile.TemporaryDirectory() as folder:
        chosen = [case for case in cases() if pattern in case[0]]
        for name, *rest in chosen[:: 9 if "GMVAE_TEST_QUICK" in os.environ else 1]:
            problems = run(tool, folder, name, *rest)
            failed += bool(problems)
            passed += not problems
            for problem in problems:
                print(f"FAILED {name}: {problem}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
