"""What is measured on a trained network: pictures (Figures 4 and 5), active units, and the checks of the paper's text.

Each trained AEVB network is one job; it starts from the weights that the training ended with.
"""

from statistics import NormalDist
from typing import Any

import numpy as np

from papers.vae.model import VAE, bound, noise_like, split
from papers.vae.training import network, pixels
from shared import tree
from shared.experiment import Job, Run
from shared.losses import gaussian_kl
from shared.tree import Array, Tree

POINTS_A_STEP = 4
ACTIVE = 0.01  # nats of KL on average: a unit with less carries nothing about x
GRID = 20  # images a side of the manifold
PAIRS, STOPS = 4, 10  # interpolations, and images along each


def analyses(cfg: Any, trained: list[Job]) -> list[Job]:
    """One job for each AEVB network, with all that the training's job says."""
    steps = -(-cfg.importance_points // POINTS_A_STEP) + cfg.gradient_draws
    more = {"points": cfg.importance_points, "draws": cfg.importance_draws}
    return [
        job | more | {"stage": "analysis", "steps": steps, "trained_steps": job["steps"]}
        for job in trained
        if job["method"] == "aevb"
    ]


def training_of(job: Job) -> Job:
    """The training job whose weights an analysis looks at."""
    own = ("points", "draws", "trained_steps")
    return {key: value for key, value in job.items() if key not in own} | {
        "stage": "train",
        "steps": job["trained_steps"],
    }


def analyse(job: Job, run: Run) -> None:
    """One row: log p(x) and the bound on the same points, the KL check, active units, the two gradients' variances."""
    vae, data = network(job), pixels(job["data"])
    _, p = tree.flatten(vae.init(np.random.default_rng(0)))
    run.setting.weights(training_of(job), into={"params": p})
    x, batch = data.test[: job["points"]], data.train[: job["batch_size"]]

    estimate_steps = -(-len(x) // POINTS_A_STEP)
    sums = {"log_px": np.zeros(1), "bound": np.zeros(1), "kl": np.zeros(3)}
    size = tree.size(p["encoder"])
    moments = {name: np.zeros((2, size)) for name in ("reparameterised", "score")}
    run.restore({"sums": sums, "moments": moments})
    for step in run.steps():
        if step < estimate_steps:
            points = x[step * POINTS_A_STEP : (step + 1) * POINTS_A_STEP]
            log_px, kl_sample = importance_estimate(vae, p, points, job["draws"], run.rng)
            sums["log_px"] += log_px.sum()
            sums["bound"] += bound(vae, p, np.repeat(points, 20, 0), run.rng)[0].sum() / 20
            exact = gaussian_kl(*split(vae.encoder(p["encoder"], points)[0]))[0]
            difference = kl_sample.mean(1) - exact
            sums["kl"] += difference.sum(), (kl_sample.var(1, ddof=1) / job["draws"]).sum(), exact.sum()
        else:
            for name, gradient in encoder_gradients(vae, p, batch, run.rng).items():
                moments[name] += gradient, gradient**2

    draws = job["steps"] - estimate_steps
    variance = {name: float(((m[1] - m[0] ** 2 / draws) / (draws - 1)).sum()) for name, m in moments.items()}
    kl_units = unit_kl(vae, p, data.test)
    run.record(
        log_px=sums["log_px"][0] / len(x),
        bound=sums["bound"][0] / len(x),
        kl_standard_errors=sums["kl"][0] / np.sqrt(sums["kl"][1]),
        active=int((kl_units > ACTIVE).sum()),
        reparameterised_variance=variance["reparameterised"],
        score_variance=variance["score"],
    )
    run.keep(kl_units=kl_units, samples=samples(vae, p, 100, run.rng))
    if job["latent"] == 2:
        run.keep(manifold=manifold(vae, p))
    run.keep(interpolation=interpolation(vae, p, data.test[: 2 * PAIRS]))


def importance_estimate(vae: VAE, p: Tree, x: Array, draws: int, rng: np.random.Generator) -> tuple[Array, Array]:
    r"""For x (N, n_x): log (1/S) sum_s p(x, z_s) / q(z_s|x) with z_s ~ q(z|x) (N,), and log q - log p(z) (N, S).

    The first is consistent for log p(x) and, in expectation, below it and above the bound (Jensen); the mean of the
    second over s estimates KL(q || p) without its closed form (appendix B).
    """
    mu, logvar = (np.repeat(part, draws, 0) for part in split(vae.encoder(p["encoder"], x)[0]))
    noise = noise_like(mu, rng)
    z = mu + np.exp(0.5 * logvar) * noise
    nll, _ = vae.nll(vae.decoder(p["decoder"], z)[0], np.repeat(x, draws, 0))
    # log N(z; mu, sigma^2) - log N(z; 0, I): the constants cancel.
    log_ratio = 0.5 * (z * z - noise * noise - logvar).sum(-1, dtype=np.float64)
    weights = (-nll - log_ratio).reshape(len(x), draws)
    return np.logaddexp.reduce(weights, axis=1) - np.log(draws), log_ratio.reshape(len(x), draws)


def encoder_gradients(vae: VAE, p: Tree, x: Array, rng: np.random.Generator) -> dict[str, Array]:
    r"""Two unbiased estimates of the encoder's gradient of E_q[log p(x|z)], from the same noise, flat float64.

    reparameterised (section 2.4)   d log p(x|z) / dz through z = mu + sigma epsilon
    score function  (section 2.2)   log p(x|z) d log q(z|x),  with d log q / dmu = epsilon / sigma and
                                    d log q / dlog sigma^2 = (epsilon^2 - 1) / 2
    """
    head, encoder_pullback = vae.encoder(p["encoder"], x)
    mu, logvar = split(head)
    sigma, noise = np.exp(0.5 * logvar), noise_like(mu, rng)
    logits, decoder_pullback = vae.decoder(p["decoder"], mu + sigma * noise)
    nll, nll_pullback = vae.nll(logits, x)
    mean = np.full_like(nll, 1 / len(x))
    dz, _ = decoder_pullback(nll_pullback(-mean))
    f = (-nll * mean)[:, None]
    cotangents = {
        "reparameterised": np.concatenate([dz, 0.5 * dz * sigma * noise], -1),
        "score": np.concatenate([f * noise / sigma, f * 0.5 * (noise * noise - 1)], -1),
    }
    return {
        name: np.concatenate([g.ravel() for _, g in tree.leaves(encoder_pullback(dhead)[1])]).astype(np.float64)
        for name, dhead in cotangents.items()
    }


def unit_kl(vae: VAE, p: Tree, x: Array) -> Array:
    """The KL term of each latent unit averaged over x (N, n_x): (n_z,), in nats."""
    mu, logvar = split(vae.encoder(p["encoder"], x)[0])
    return (0.5 * (mu * mu + np.exp(logvar) - 1 - logvar)).mean(0)


def images(vae: VAE, p: Tree, z: Array) -> Array:
    """E[x|z] for z (..., n_z) as grey values (..., n_x) uint8."""
    return np.round(255 * vae.mean(vae.decoder(p["decoder"], z)[0])).astype(np.uint8)


def samples(vae: VAE, p: Tree, n: int, rng: np.random.Generator) -> Array:
    """Figure 5: E[x|z] for z ~ N(0, I)."""
    return images(vae, p, rng.standard_normal((n, vae.n_z), dtype=np.float32))


def manifold(vae: VAE, p: Tree) -> Array:
    """Figure 4: E[x|z] over a grid in (0, 1)^2, equally spaced, sent through the inverse Gaussian CDF."""
    levels = [NormalDist().inv_cdf((i + 0.5) / GRID) for i in range(GRID)]
    z = np.stack(np.meshgrid(levels, levels[::-1]), -1).astype(np.float32)
    return images(vae, p, z)


def interpolation(vae: VAE, p: Tree, x: Array) -> Array:
    """Between the codes mu of x[0] and x[1], x[2] and x[3], ...: (pairs, 2, STOPS, n_x), linear and then spherical."""
    mu, _ = split(vae.encoder(p["encoder"], x)[0])
    t = np.linspace(0, 1, STOPS, dtype=np.float32)[:, None]
    paths = [[linear(a, b, t), spherical(a, b, t)] for a, b in zip(mu[::2], mu[1::2], strict=True)]
    return images(vae, p, np.array(paths))


def linear(a: Array, b: Array, t: Array) -> Array:
    """The points (1 - t) a + t b, with t (T, 1) and a, b (n_z,)."""
    return (1 - t) * a + t * b


def spherical(a: Array, b: Array, t: Array) -> Array:
    r"""Shoemake's slerp, (sin((1-t) w) a + sin(t w) b) / sin w, w the angle between a and b.

    Linear at w = 0 and pi, and where a or b is zero: there is no angle.
    Under N(0, I) the mass lies near the sphere of radius sqrt(n_z); a straight line cuts through its empty inside.
    """
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    w = np.arccos(np.clip(a @ b / norms, -1, 1)) if norms else 0.0
    if np.sin(w) < 1e-6:
        return linear(a, b, t)
    return ((np.sin((1 - t) * w) * a + np.sin(t * w) * b) / np.sin(w)).astype(a.dtype)
