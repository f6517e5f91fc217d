"""What is sampled, and what is measured on the samples: one job a point of the figures."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from papers.diffusion import features, gan_training, metrics, training
from papers.diffusion.classifier import Classifier
from papers.diffusion.guidance import Gradient, Predict, ancestral_step, ddim_step
from papers.diffusion.images import CLASSES, data, grey
from papers.diffusion.process import Process
from papers.diffusion.unet import UNet
from shared.errors import Diverged
from shared.experiment import Job, Run, Setting, digest
from shared.threads import spread
from shared.tree import Array, Tree

CHUNK = 250  # images that go through the steps together
SHOWN = 100  # images kept of each job
FRAMES, FILMED = 25, 36  # of the film: moments, and images in each


def sources(cfg: Any) -> dict[str, Job]:
    """The trainings that samples and metrics rest on, by what they are here."""
    models = {job["model"]: job for job in training.jobs(cfg) if job["kind"] == "model"}
    (gan,), (clean,) = gan_training.jobs(cfg), features.jobs(cfg)
    return models | {"classifier": training.classifier_job(cfg), "gan": gan, "features": clean}


def jobs(cfg: Any) -> list[Job]:
    """Figure 4's points first, a seed after another; each point once."""
    found: list[Job] = []
    steps = {"ancestral": cfg.ancestral_steps, "ddim": cfg.ddim_steps}
    other = "ddim" if cfg.sweep == "ancestral" else "ancestral"
    few = cfg.ddim_steps
    for seed in cfg.seeds:
        points = [("conditional", cfg.sweep, steps[cfg.sweep], s, True) for s in cfg.scales]
        points += [("unconditional", cfg.sweep, steps[cfg.sweep], s, True) for s in cfg.scales]
        points += [("conditional", other, steps[other], s, True) for s in cfg.other_scales]
        points += [("conditional", sampler, n, 0.0, True) for n in steps.values() for sampler in steps]
        points += [("conditional", "ancestral", few, s, sigma) for sigma in (True, False) for s in cfg.ablated_scales]
        for point in dict.fromkeys(points):
            found.append(sample_job(cfg, seed, *point))
        found += [single(cfg, "truncation", seed, truncation=float(psi)) for psi in cfg.truncations]
    return [*found, single(cfg, "floor", cfg.seeds[0])]


def sample_job(cfg: Any, seed: int, model: str, sampler: str, n: int, scale: float, with_sigma: bool) -> Job:
    """One point: ``cfg.samples`` images of random classes."""
    rest_on = {name: job for name, job in sources(cfg).items() if name in (model, "classifier", "features")}
    return {
        "kind": "sample",
        "model": model,
        "sampler": sampler,
        "sampling_steps": n,
        "scale": float(scale),
        "with_sigma": with_sigma,
        "seed": seed,
        "samples": cfg.samples,
        "steps": -(-cfg.samples // CHUNK) * n,
        "data": cfg.data,
        "rests_on": digest(rest_on),
    }


def is_swept(cfg: Any, job: Job) -> bool:
    """Whether a job is a point of Figure 4's sweep."""
    n = cfg.ancestral_steps if cfg.sweep == "ancestral" else cfg.ddim_steps
    own = ("sample", cfg.sweep, n, True)
    return own == tuple(job.get(key) for key in ("kind", "sampler", "sampling_steps", "with_sigma"))


def single(cfg: Any, kind: str, seed: int, **more: Any) -> Job:
    """A job of one step: samples of the GAN, or test images in the place of samples."""
    rest_on = {name: job for name, job in sources(cfg).items() if name in ("gan", "features")}
    own = {"kind": kind, "seed": seed, "samples": cfg.samples, "steps": 1, "data": cfg.data}
    return own | more | {"rests_on": digest(rest_on)}


def measure(trained: Mapping[str, Job], job: Job, run: Run) -> None:
    """One point of a figure, from the trainings ``trained``: a row of metrics, and the first images."""
    images = data(job["data"])
    labels = np.random.default_rng((job["seed"], 5)).integers(CLASSES, size=(job["samples"],))
    if job["kind"] == "sample":
        x = sampled(trained, job, run, labels)
    else:
        run.restore({})
        for _ in run.steps():
            pass
        if job["kind"] == "floor":
            x, labels = images.test[: job["samples"]], images.test_labels[: job["samples"]]
        else:
            x = gan_training.sample(
                gan_training.trained(trained["gan"], run.setting), job["samples"], job["truncation"], run.rng
            )
    real, fake, probability = against(trained["features"], run.setting, x)
    n = min(len(x), len(real))
    precision, recall = metrics.precision_recall(real[:n], fake[:n])
    run.record(
        part="metrics",
        images=len(x),
        frechet=metrics.frechet_distance(real, fake),
        inception_score=metrics.inception_score(probability),
        precision=precision,
        recall=recall,
        accuracy=np.nan if job["kind"] == "truncation" else float((probability.argmax(1) == labels).mean()),
    )
    run.keep(images=grey(x[:SHOWN]), labels=labels[:SHOWN])


@lru_cache(1)
def clean_classifier(name: str, setting: Setting, of: tuple[tuple[str, Any], ...]) -> tuple[Tree, Array]:
    """The features' network, and the features of all training images (N, F)."""
    p = features.trained(dict(of), setting)
    return p, features.features(p, data(name).train)[0]


def against(job: Job, setting: Setting, x: Array) -> tuple[Array, Array, Array]:
    """(features of all training images, features of x, class probabilities of x)."""
    p, real = clean_classifier(job["data"], setting, tuple(job.items()))
    return real, *features.features(p, x)


def predictor(net: UNet, p: Tree, process: Process, y: Array) -> Predict:
    """What the samplers ask of a network, for images of the classes y (N,): each thread takes a part of them."""

    def predict(x: Array, t: Array) -> tuple[Array, Array]:
        def of(part: slice) -> Array:
            return net(p, x[part], process.times[t[part]], y[part] if net.classes else None)[0]

        eps, v = np.split(np.concatenate(spread(of, len(x))), 2, -1)
        return eps, process.log_variance(v, t)

    return predict


def sampled(trained: Mapping[str, Job], job: Job, run: Run, labels: Array) -> Array:
    """``samples`` images (n, H, W, 1), float32: chunk after chunk through all steps; a job's step is one of a chunk's.

    The noise depends on the seed alone, so the points of a sweep start from the same x_T and are moved by the same
    noise. Raises Diverged when an image is no longer finite.
    """
    model = trained[job["model"]]
    net, p = training.network(model), training.trained(model, run.setting)
    guide, q = training.network(trained["classifier"]), training.trained(trained["classifier"], run.setting)
    assert isinstance(net, UNet)
    assert isinstance(guide, Classifier)
    process = training.diffusion(model).respaced(job["sampling_steps"])
    side, n = net.plan.side, job["sampling_steps"]
    done = np.zeros((job["samples"], side, side, 1), np.float32)
    film = np.zeros((FRAMES, min(FILMED, CHUNK, job["samples"]), side, side), np.uint8)
    run.restore({"done": done, "film": film})
    moments = np.round(np.linspace(0, n, FRAMES)).astype(int)
    for step in run.steps():
        chunk, position = divmod(step, n)
        part = slice(chunk * CHUNK, min((chunk + 1) * CHUNK, len(done)))
        y, x = labels[part], done[part]
        if not position:
            x[:] = run.rng.standard_normal(x.shape, dtype=np.float32)
            if not chunk:
                film[moments == 0] = grey(x[: film.shape[1], ..., 0])
        t, predict = n - 1 - position, predictor(net, p, process, y)

        def gradient(x: Array, t: Array, y: Array = y) -> Array:
            return guide.log_gradient(q, y)(x, process.times[t])

        given: Gradient | None = gradient if job["scale"] else None
        if job["sampler"] == "ddim":
            x[:] = ddim_step(process, predict, x, t, given, job["scale"])
        else:
            noise = run.rng.standard_normal(x.shape, dtype=np.float32)
            x[:] = ancestral_step(process, predict, x, t, noise, given, job["scale"], job["with_sigma"])
        if not np.isfinite(x).all():
            where = f"step {position + 1} of {n} with scale={job['scale']:g}"
            raise Diverged(f"samples are not finite at {where}. Lower scales.")
        if not chunk:
            film[moments == position + 1] = grey(x[: film.shape[1], ..., 0])
    run.keep(film=film)
    return done
