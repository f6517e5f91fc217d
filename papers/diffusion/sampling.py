"""What is sampled, and what is measured on the samples: one job a point of the figures."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from papers.diffusion import features, gan_training, metrics, training
from papers.diffusion.classifier import Classifier
from papers.diffusion.guidance import Gradient, Predict, samples
from papers.diffusion.images import CLASSES, data, grey, subset
from papers.diffusion.process import Process
from papers.diffusion.unet import UNet
from shared.errors import Diverged
from shared.experiment import Experiment, Job, Run, Setting, digest, finished
from shared.threads import spread
from shared.tree import Array, Tree

CHUNK = 250  # images that go through the steps together
SHOWN = 100  # images kept of each job
FRAMES, FILMED = 25, 36  # of the film: moments, and images in each
RULERS = ("features", "other features")  # the title is judged by both, all else by the first


def sources(cfg: Any) -> dict[str, Job]:
    """The trainings, by what they are to the samples and metrics that rest on them.

    The headline's model first, then the longest first: two workers end at about the same time.
    """
    return {
        "conditional": training.model_job(cfg, "conditional"),
        "gan": gan_training.gan_job(cfg),
        "unconditional": training.model_job(cfg, "unconditional"),
        "additive": training.model_job(cfg, "additive"),
        "classifier": training.classifier_job(cfg),
        **{name: features.features_job(cfg, ruler) for ruler, name in enumerate(RULERS)},
    }


def needed(job: Job) -> list[str]:
    """Which of the sources a point rests on."""
    networks = ["gan"] if "moment" in job else []
    if job["kind"] == "sample":
        networks = [job["model"], "classifier"] if job["scale"] else [job["model"]]
    return [*networks, *RULERS]


def jobs(cfg: Any, failed: Container[Job] = ()) -> list[Job]:
    """Figure 4's points first, a seed after another; each once, and none that rests on a training that failed."""
    found: list[Job] = []
    steps = {"ancestral": cfg.ancestral_steps, "ddim": cfg.ddim_steps}
    other = "ddim" if cfg.sweep == "ancestral" else "ancestral"
    few, swept = cfg.ddim_steps, (cfg.sweep, steps[cfg.sweep])
    for seed in cfg.seeds:
        points = [("conditional", *swept, s, True) for s in cfg.scales]
        points += [("unconditional", *swept, s, True) for s in cfg.scales]
        points += [("conditional", other, steps[other], s, True) for s in cfg.other_scales]
        points += [("conditional", sampler, n, 0.0, True) for n in steps.values() for sampler in steps]
        points += [("conditional", "ancestral", few, s, sigma) for sigma in (True, False) for s in cfg.ablated_scales]
        for model, sampler, n, scale, with_sigma in dict.fromkeys(points):
            own = {"model": model, "sampler": sampler, "sampling_steps": n, "scale": float(scale)}
            own |= {"with_sigma": with_sigma, "swept": (sampler, n) == swept and with_sigma}
            found.append(point(cfg, "sample", seed, -(-cfg.samples // CHUNK) * n, **own))
        last = gan_training.MOMENTS
        found += [point(cfg, "truncation", seed, truncation=float(psi), moment=last) for psi in cfg.truncations]
        found += [point(cfg, "history", seed, truncation=1.0, moment=moment) for moment in range(1, last + 1)]
    found.append(point(cfg, "floor", cfg.seeds[0]))
    trained = sources(cfg)
    return [job for job in found if not any(trained[name] in failed for name in needed(job))]


def point(cfg: Any, kind: str, seed: int, steps: int = 1, **more: Any) -> Job:
    """Samples of a diffusion model ("swept": one of Figure 4) or the GAN, or ("floor") test images in their place."""
    job = {"kind": kind, "seed": seed, "samples": cfg.samples, "steps": steps, "data": cfg.data} | more
    trained = sources(cfg)
    return job | {"rests_on": digest({name: trained[name] for name in needed(job)})}


class Untrained(Setting):
    """Where every network is still as it began."""

    def weights(self, job: Job, into: Tree) -> None:
        pass


def forecast(cfg: Any, experiment: Experiment) -> None:
    """Print how long the points that are not done yet will take: no step waits for what its network has learned."""
    setting = experiment.setting
    left = [job for job in jobs(cfg) if not finished(setting.run_folder(job))]
    untrained = Untrained(**vars(setting) | {"label": f"{setting.label}, samples"})
    replace(experiment, setting=untrained).forecast(partial(measure, sources(cfg)), left)


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
            index = subset(images.test, job["samples"])
            x, labels = images.test[index], images.test_labels[index]
        else:
            p = gan_training.trained(trained["gan"], run.setting, job["moment"])
            x = gan_training.sample(p, labels, job["truncation"], run.rng)
    (real, fake, probability), (other_real, other_fake, _) = (
        against(trained[ruler], run.setting, x) for ruler in RULERS
    )
    as_many = subset(real, len(x))
    precision, recall = metrics.precision_recall(real[as_many], fake[: len(as_many)])
    run.record(
        part="metrics",
        images=len(x),
        frechet=metrics.frechet_distance(real, fake),
        other_frechet=metrics.frechet_distance(other_real, other_fake),
        inception_score=metrics.inception_score(probability),
        precision=precision,
        recall=recall,
        accuracy=float((probability.argmax(1) == labels).mean()),
    )
    run.keep(images=grey(x[:SHOWN]), labels=labels[:SHOWN])


@lru_cache(len(RULERS))
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


def guide(job: Job, setting: Setting, process: Process, y: Array) -> Gradient:
    """What the samplers ask of the trained classifier, for images of the classes y (N,)."""
    net, p = training.network(job), training.trained(job, setting)
    assert isinstance(net, Classifier)
    gradient = net.log_gradient(p, y)
    return lambda x, t: gradient(x, process.times[t])


def sampled(trained: Mapping[str, Job], job: Job, run: Run, labels: Array) -> Array:
    """``samples`` images (n, H, W, 1), float32: chunk after chunk through all steps; a job's step is one of a chunk's.

    The noise depends on the seed alone, so the points of a sweep start from the same x_T and are moved by the same
    noise. Raises Diverged when an image is no longer finite.
    """
    model, n = trained[job["model"]], job["sampling_steps"]
    net, p = training.network(model), training.trained(model, run.setting)
    assert isinstance(net, UNet)
    process = training.diffusion(model).respaced(n)
    done = np.zeros((job["samples"], net.plan.side, net.plan.side, 1), np.float32)
    film = np.zeros((FRAMES, min(FILMED, CHUNK, job["samples"]), net.plan.side, net.plan.side), np.uint8)
    run.restore({"done": done, "film": film})
    moments = np.round(np.linspace(0, n, FRAMES)).astype(int)

    def walk(x: Array, y: Array, start: int) -> Iterator[Array]:
        gradient = guide(trained["classifier"], run.setting, process, y) if job["scale"] else None
        how = job["sampler"], gradient, job["scale"], job["with_sigma"]
        return samples(process, predictor(net, p, process, y), x, run.rng, *how, start=start)

    steps: Iterator[Array] = iter(())
    first = run.step
    for step in run.steps():
        chunk, position = divmod(step, n)
        part = slice(chunk * CHUNK, min((chunk + 1) * CHUNK, len(done)))
        x = done[part]
        if not position:
            x[:] = run.rng.standard_normal(x.shape, dtype=np.float32)
            if not chunk:
                film[moments == 0] = grey(x[: film.shape[1], ..., 0])
        if not position or step == first:
            steps = walk(x, labels[part], position)
        x[:] = next(steps)
        if not np.isfinite(x).all():
            where = f"step {position + 1} of {n} with scale={job['scale']:g}"
            raise Diverged(f"samples are not finite at {where}. Lower scales.")
        if not chunk:
            film[moments == position + 1] = grey(x[: film.shape[1], ..., 0])
    run.keep(film=film)
    return done
