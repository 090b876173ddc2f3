#!/usr/bin/env python3
"""The training step of gmvae_dist in PyTorch, as one would write it there: the peer of bench_step.

    bench/torch_step.py [--genes 13431] [--nonzeros 1209] [--batch 1024] [--draws 1] [--levels 13] [--device cuda]
                        [--precision fp32[,tf32[,bf16]]] [--compile] [--warmup 5] [--steps 30]

The same model (w, x, z mixture VAE, marginal objective, negative binomial with softmax means and a dispersion per
gene), sizes, dropout, clipping and Adam as the defaults of gmvae_dist. Counts are dense and already on the device:
loading is not part of the step. bf16 is autocast, with the likelihood in fp32. --compile compiles loss and backward
with torch.compile(mode="max-autotune-no-cudagraphs" on a CPU, "max-autotune" on a GPU). Prints one JSON line for each
precision, as soon as it is measured.
"""

import argparse
import json
import math
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

X, W, K = 80, 60, 20
ENCODER, DECODER, BETA = (300, 250), (250, 300), (300,)
DROPOUT, CLIP = 0.05, 100.0
LOG_2PI = math.log(2.0 * math.pi)


def trunk(widths):
    layers = []
    for into, out in zip(widths, widths[1:]):
        layers += [nn.Linear(into, out), nn.GELU(), nn.LayerNorm(out), nn.Dropout(DROPOUT)]
    return nn.Sequential(*layers)


class Gmvae(nn.Module):
    """Encoder, beta network, decoder; forward gives the mean loss of a batch."""

    def __init__(self, genes, levels, draws):
        super().__init__()
        self.draws, self.levels = draws, levels
        self.encoder = trunk((genes,) + ENCODER)
        self.to_x, self.to_w = nn.Linear(ENCODER[-1], 2 * X), nn.Linear(ENCODER[-1], 2 * W)
        self.beta = trunk((W,) + BETA)
        self.components = nn.Linear(BETA[-1], 2 * K * X)
        self.decoder = trunk((X + levels,) + DECODER)
        self.mean = nn.Linear(DECODER[-1], genes)
        self.theta = nn.Parameter(torch.zeros(genes))

    def draw(self, posterior):
        mean, raw = posterior.float().chunk(2, -1)
        variance = raw.clamp(max=30.0).exp() + 1e-4
        noise = torch.randn(mean.shape[0], self.draws, mean.shape[1], device=mean.device)
        return mean, variance, mean[:, None] + variance.sqrt()[:, None] * noise

    def prior(self, mean_x, variance_x, x, w):
        """KL of the conditional prior, exact: log q(x) - log mean_k p_k(x), mean over draws."""
        raw = self.components(self.beta(w)).float().view(x.shape[0], self.draws, 2, K, X)
        mean, variance = raw[:, :, 0], raw[:, :, 1].clamp(max=30.0).exp() + 1e-4
        density = -0.5 * (variance.log() + (x[:, :, None] - mean) ** 2 / variance + LOG_2PI).sum(-1)
        mixture = torch.logsumexp(density, -1) - math.log(K)
        own = -0.5 * (variance_x.log()[:, None] + (x - mean_x[:, None]) ** 2 / variance_x[:, None] + LOG_2PI).sum(-1)
        return (own - mixture).mean(1)

    def reconstruction(self, counts, library, level, x):
        onehot = F.one_hot(level, self.levels).to(x.dtype)[:, None].expand(-1, self.draws, -1)
        logits = self.mean(self.decoder(torch.cat([x, onehot], -1))).float()
        mu = library[:, None, None] * torch.softmax(logits, -1)
        theta, y = self.theta.clamp(-30.0, 30.0).exp(), counts[:, None]
        log_sum = torch.log(theta + mu)
        log_p = (theta * (self.theta - log_sum) + y * (torch.log(mu) - log_sum) + torch.lgamma(y + theta)
                 - torch.lgamma(theta) - torch.lgamma(y + 1.0))
        return -log_p.sum(-1).mean(1)

    def forward(self, counts, library, level):
        hidden = self.encoder(torch.log1p(counts))
        mean_x, variance_x, x = self.draw(self.to_x(hidden))
        mean_w, variance_w, w = self.draw(self.to_w(hidden))
        kl_w = 0.5 * (variance_w + mean_w**2 - 1.0 - variance_w.log()).sum(-1)
        return (self.reconstruction(counts, library, level, x) + kl_w + self.prior(mean_x, variance_x, x, w)).mean()


def make_batches(args, number):
    """Counts with the same share of non-zeros as bench_step's, heavy-tailed over genes."""
    generator = torch.Generator().manual_seed(1)
    rate = torch.exp(1.6 * torch.randn(args.genes, generator=generator))
    for _ in range(40):
        rate = (rate * args.nonzeros / rate.clamp(max=0.98).sum()).clamp(max=0.98)
    batches = []
    for _ in range(number):
        there = torch.rand(args.batch, args.genes, generator=generator) < rate
        tail = torch.rand(args.batch, args.genes, generator=generator).clamp(min=1e-4) ** -0.7
        counts = (there * tail.floor().clamp(1, 300)).to(args.device)
        level = torch.randint(args.levels, (args.batch,), generator=generator).to(args.device)
        batches.append((counts, counts.sum(1).clamp(min=1.0), level))
    return batches


def wait(args):
    if args.device.startswith("cuda"):
        torch.cuda.synchronize()


def make_step(args, precision, model):
    on_gpu = args.device.startswith("cuda")
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, **({"fused": True} if on_gpu else {}))

    def loss_of(*batch):
        with torch.autocast("cuda" if on_gpu else "cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            return model(*batch)

    if args.compile:
        loss_of = torch.compile(loss_of, mode="max-autotune" if on_gpu else "max-autotune-no-cudagraphs")

    def step(batch):
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(*batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        return loss.detach()

    return step


def measure(args, precision, batches):
    torch.manual_seed(1)
    model = Gmvae(args.genes, args.levels, args.draws).to(args.device)
    step, seconds = make_step(args, precision, model), []
    for i in range(args.warmup):
        step(batches[i % len(batches)])
    for i in range(args.steps):
        wait(args)
        start = time.perf_counter()
        step(batches[i % len(batches)])
        wait(args)
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    for i in range(args.steps):
        loss = step(batches[i % len(batches)])
    wait(args)
    total = time.perf_counter() - start
    device = torch.cuda.get_device_name() if args.device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    print(json.dumps({
        "bench": "step", "program": "torch" + (".compile" if args.compile else ""), "version": torch.__version__,
        "backend": f"{args.device}: {device}", "ranks": 1, "genes": args.genes,
        "nonzeros": round(float((batches[0][0] > 0).sum(1).float().mean()), 1), "batch": args.batch,
        "draws": args.draws, "precision": precision, "steps": args.steps,
        "step_ms_median": round(1e3 * statistics.median(seconds), 4), "step_ms_min": round(1e3 * min(seconds), 4),
        "step_ms_max": round(1e3 * max(seconds), 4), "cells_per_s": round(args.batch * args.steps / total, 1),
        "loss": round(float(loss), 3)}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (("genes", 13431), ("nonzeros", 1209), ("batch", 1024), ("draws", 1), ("levels", 13),
                          ("warmup", 5), ("steps", 30), ("threads", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="fp32", help="some of fp32, tf32, bf16, with commas between them")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    precisions = args.precision.split(",")
    if not set(precisions) <= {"fp32", "tf32", "bf16"}:
        parser.error(f"--precision {args.precision}: some of fp32, tf32, bf16")
    if args.threads:
        torch.set_num_threads(args.threads)
    batches = make_batches(args, 4)
    for precision in precisions:
        measure(args, precision, batches)
        if args.compile:
            torch.compiler.reset()


if __name__ == "__main__":
    main()
