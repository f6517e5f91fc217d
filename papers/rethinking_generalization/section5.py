r"""The jobs of section 5 and of the theory: kernel interpolation, what SGD finds, theorem 1, and bounds beside the gap.

interpolation   test error and norm of the interpolant against n, on pixels and on random filters' answers
bandwidth       one n, over widths of the kernel: what "bw" of the first author's README is
sgd             least squares with more unknowns than equations: from zero, and from elsewhere
theorem1        2n + d weights for n arbitrary labels
bounds          the networks of Figure 1: the measured gap, and what bounds promise
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import nan
from typing import Any, NamedTuple

import numpy as np

from papers.rethinking_generalization import bounds, filters, kernels, theorem1, training
from papers.rethinking_generalization.data import CLASSES, data
from shared import tree
from shared.datasets import load
from shared.errors import BadRequest
from shared.experiment import Job, Run, notice
from shared.settings import Settings, choice, number
from shared.tree import Array

TRAINING_IMAGES = {"digits": 1_500, "mnist": 60_000, "cifar10": 50_000}
TEST_IMAGES = {"digits": 297, "mnist": 10_000, "cifar10": 10_000}
PIXELS = {"digits": 64, "mnist": 784, "cifar10": 3_072}

README_GAMMA = 0.02  # of exp(-gamma |x - x'|^2), MNIST's pixels in [0, 1]
SPREAD = 2.1  # gamma times the mean of |x - x'|^2, which that is on MNIST; other data and features get the same
SPREADS = (0.1, 0.3, 1.0, 5.0, 10.0, 30.0, 100.0, 1e3)  # of the bandwidth study, and these:
# What bw = 0.02 could mean, as the gamma that it amounts to on pixels in [0, 1].
READINGS = {
    "exp(-bw d²)": README_GAMMA,
    "exp(-d²/bw)": 1 / README_GAMMA,
    "exp(-d²/2bw²)": 1 / (2 * README_GAMMA**2),
    "exp(-bw d²), pixels to 255": README_GAMMA * 255**2,
}

RIDGES = (0.0, 1e-3, 1e-2, 1e-1, 1.0)  # against k(x, x) = 1
DOUBLE = 20_000  # the largest n in float64
# Added to the diagonal before it is factored; refinements with float64 residuals take it out of the solution.
JITTER = {"float64": 1e-10, "float32": 1e-4}
TOLERANCE, PASSES = 1e-8, 15  # of max |(K + ridge I) alpha - Y| (max |Y| = 1); the most solutions with one factor
AT_A_TIME = 1_024  # filters
LARGE = 8 * 10**8  # bytes from which a job has the machine to itself

EQUATIONS, UNKNOWNS, EPOCHS, RECORD_EVERY = 50, 200, 300, 10  # of the SGD study
DIMENSION = 20  # of theorem 1's generated points
CHUNK = 1_000  # images a forward pass


@dataclass
class Section5Settings(Settings):
    """What this module reads of the settings, besides the seeds and the networks of Figure 1."""

    kernel_data: str = choice("digits", "mnist", default="digits")
    kernel_sizes: list[int] = number(low=2, high=10**9, default_factory=list)  # numbers n of training images
    filters: int = number(low=1, high=10**7, default=128)  # random ones, on kernel_data
    colour_sizes: list[int] = number(low=2, high=10**9, empty=True, default_factory=list)  # n of CIFAR-10
    colour_filters: int = number(low=1, high=10**7, default=32_000)
    bandwidth_size: int = number(low=2, high=10**9, default=500)
    theorem_sizes: list[int] = number(low=2, high=10**9, default_factory=list)


class Points(NamedTuple):
    """Training images x (n, H, W, C), pixels in [0, 1], and labels y (n,); the test set's z and y_test."""

    x: Array
    y: Array
    z: Array
    y_test: Array


@lru_cache(1)
def points(name: str, n: int, dtype: str, seed: int) -> Points:
    """n training images in a random order, and the whole test set."""
    source = load(name)
    order = np.random.default_rng((seed, 50)).permutation(len(source.train_labels))[:n]
    x, z = (
        images.reshape(*images.shape[:3], -1).astype(dtype) / np.asarray(source.levels, dtype)
        for images in (source.train_images[order], source.test_images)
    )
    return Points(x, source.train_labels[order].astype(np.int64), z, source.test_labels.astype(np.int64))


def jobs(cfg: Any, without: Container[Job] = ()) -> list[Job]:
    """Every study of every seed, the largest matrices first. Bounds look at Figure 1's trainings, less ``without``.

    Pixels of the whole training set are the same for all seeds, and filters stop at the largest n in float64.
    """
    problems = ((cfg.kernel_data, cfg.kernel_sizes, cfg.filters), ("cifar10", cfg.colour_sizes, cfg.colour_filters))
    found = [
        interpolation_job(name, n, count, seed)
        for name, sizes, filter_count in problems
        for n in sorted(sizes, reverse=True)
        for count in ((0, filter_count) if n <= DOUBLE else (0,))
        for seed in (cfg.seeds if count or n < TRAINING_IMAGES[name] else cfg.seeds[:1])
    ]
    for seed in cfg.seeds:
        widths = len(SPREADS) + len(READINGS)
        found.append(study("bandwidth", seed, widths, data=cfg.kernel_data, n=cfg.bandwidth_size))
        found.append(study("sgd", seed, EPOCHS, data="generated"))
        found += [study("theorem1", seed, 2, data=cfg.kernel_data, n=n) for n in cfg.theorem_sizes]
        trained = [] if training.convolutional(cfg.model) else training.figure_1(cfg, seed)
        found += [bounds_job(job) for job in trained if job not in without]
    return found


def study(name: str, seed: int, steps: int, **more: Any) -> Job:
    """The job of a study, with all that its rows depend on."""
    return {"stage": "section5", "study": name, "seed": seed, "steps": steps, **more}


def interpolation_job(name: str, n: int, count: int, seed: int) -> Job:
    """One kernel matrix, of ``count`` filters' answers, or of pixels where that is 0, solved for every ridge."""
    pieces = -(-count // AT_A_TIME) if count else 1
    steps = pieces + len(RIDGES) * factor_steps(n)
    return study("interpolation", seed, steps, data=name, n=n, filters=count, dtype=dtype(n))


def factor_steps(n: int) -> int:
    """The block columns of a factor."""
    return -(-n // kernels.BLOCK)


def dtype(n: int) -> str:
    """Of the matrices of n points."""
    return "float64" if n <= DOUBLE else "float32"


def bounds_job(job: Job) -> Job:
    """The look at a training of Figure 1, with all that its job says."""
    return job | {"stage": "section5", "study": "bounds", "steps": 1, "trained_steps": job["steps"]}


def training_of(job: Job) -> Job:
    """The training job whose weights a bounds job looks at."""
    own = {key: value for key, value in job.items() if key not in ("study", "trained_steps")}
    return own | {"stage": "train", "steps": job["trained_steps"]}


def check(cfg: Any) -> None:
    """BadRequest for more points than there are."""
    for option in ("kernel_sizes", "bandwidth_size", "theorem_sizes", "colour_sizes"):
        name = "cifar10" if option == "colour_sizes" else cfg.kernel_data
        value = getattr(cfg, option)
        if (max(value, default=0) if isinstance(value, list) else value) > TRAINING_IMAGES[name]:
            raise BadRequest(f"{option}={value}: must be at most the {TRAINING_IMAGES[name]} training images of {name}")


def memory(job: Job) -> tuple[int, int, int, str]:
    """(n, m, bytes a point, dtype) of the matrices of a job with n points, as ``kernels.bytes_needed`` takes them.

    A point is its pixels and the answers of the filters at hand, float32, and as much again for their squares.
    """
    name, kind, count = job["data"], job.get("dtype", "float64"), job.get("filters", 0)
    point = PIXELS[name] * np.dtype("float32" if count else kind).itemsize
    return job["n"], TEST_IMAGES[name], point + 2 * 4 * filters.ANSWERS * min(count, AT_A_TIME), kind


def check_memory(job: Job) -> None:
    """BadRequest, with the arithmetic, when a job's matrices are more than the free memory."""
    if "n" in job:
        kernels.check_memory(*memory(job))


def large(job: Job) -> bool:
    """Whether a job's matrices are so large that no other one should be there."""
    return "n" in job and sum(kernels.bytes_needed(*memory(job))) > LARGE


def run(job: Job, run: Run) -> None:
    """Do one job of ``jobs``. BadRequest when the memory has become too small for it."""
    check_memory(job)
    studies = {
        "interpolation": interpolation,
        "bandwidth": bandwidth,
        "sgd": sgd,
        "theorem1": memorisation,
        "bounds": bounds_and_gap,
    }
    studies[job["study"]](job, run)


def interpolation(job: Job, run: Run) -> None:
    """One row a ridge, kept by a checkpoint. None holds the matrix: a run that was stopped makes that anew."""
    run.restore({})
    if run.step:
        notice(f"{run.label}: {len(run.rows)} of {len(RIDGES)} ridges are done; the kernel is computed again")
    run.step = len(run.rows) * factor_steps(job["n"])
    turns = turns_of(job, RIDGES[len(run.rows) :])
    for _ in run.steps():
        if row := next(turns):
            run.record(**row)
            if run.board is not None:
                run.save()


def turns_of(job: Job, ridges: Sequence[float]) -> Iterator[dict[str, Any]]:
    """The work of an interpolation in turns: pieces of the products <x_i, x_j>, then for each ridge the block columns
    of the factor. The last turn of a ridge gives its row, the others nothing.
    """
    n, kind = job["n"], job["dtype"]
    p = points(job["data"], n, "float32" if job["filters"] else kind, job["seed"])
    m = len(p.z)
    K, C, squares_z = np.zeros((n, n), kind), np.zeros((m, n), kind), np.zeros(m, kind)
    for x, z in pieces(job, p):
        kernels.add_products(K, x)
        kernels.add_products(C, x, z)
        squares_z += (z**2).sum(1, dtype=kind)
        yield {}
    kernels.mirror(K)
    exact = job["data"] == "mnist" and not job["filters"]
    gamma = README_GAMMA if exact else SPREAD / kernels.mean_squared_distance(K)
    squares = K.diagonal().copy()
    kernels.exponentiate(K, gamma, squares, squares)
    kernels.exponentiate(C, gamma, squares, squares_z)
    for ridge in ridges:
        kernels.restore(K)
        jitter = max(ridge, JITTER[kind])
        for done in kernels.cholesky_in_place(K, jitter):
            if done < n:
                yield {}
        yield {"ridge": ridge, "jitter": jitter, "gamma": gamma, **solution(K, C, ridge, p)}


def pieces(job: Job, p: Points) -> Iterator[tuple[Array, Array]]:
    """Features of the training and the test images, some columns at a time."""
    if job["filters"]:
        size, rng = filters.SIZE[job["data"]], np.random.default_rng((job["seed"], 51))
        yield from filters.features(p.x, p.z, size, job["filters"], AT_A_TIME, rng)
    else:
        yield p.x.reshape(len(p.x), -1), p.z.reshape(len(p.z), -1)


def solution(K: Array, C: Array, ridge: float, p: Points) -> dict[str, float]:
    """Errors in percent and the norm sqrt(tr alpha^T K alpha) of the solution, from the factored K and C (m, n)."""
    Y = np.eye(CLASSES)[p.y]
    alpha, fitted, passes = kernels.refined(K, ridge, Y, TOLERANCE, PASSES)
    return {
        "train_error": 100 * float((fitted.argmax(1) != p.y).mean()),
        "test_error": 100 * float(((C @ alpha.astype(C.dtype)).argmax(1) != p.y_test).mean()),
        "norm": float(np.sqrt((alpha * fitted).sum())),
        "residual": float(abs(fitted + ridge * alpha - Y).max()),
        "passes": passes,
    }


def bandwidth(job: Job, run: Run) -> None:
    """One row a width: the interpolant with gamma = spread / mean |x - x'|^2."""
    widths = [("", spread) for spread in SPREADS]
    widths += [(reading, gamma * SPREAD / README_GAMMA) for reading, gamma in READINGS.items()]
    p = points(job["data"], job["n"], "float64", job["seed"])
    run.restore({})
    for step in run.steps():
        reading, spread = widths[step]
        run.record(reading=reading, spread=spread, **of_width(p, spread))


def of_width(p: Points, spread: float) -> dict[str, float]:
    """``solution`` without a ridge, and gamma."""
    x, z = p.x.reshape(len(p.x), -1), p.z.reshape(len(p.z), -1)
    squares, squares_z = (x**2).sum(1), (z**2).sum(1)
    K, C = x @ x.T, z @ x.T
    gamma = spread / kernels.mean_squared_distance(K)
    kernels.exponentiate(K, gamma, squares, squares)
    kernels.exponentiate(C, gamma, squares, squares_z)
    kernels.restore(K)
    for _ in kernels.cholesky_in_place(K, JITTER["float64"]):
        pass
    return {"gamma": gamma, **solution(K, C, 0.0, p)}


def sgd(job: Job, run: Run) -> None:
    r"""Least squares X w = y of 50 equations in 200 unknowns by SGD, an example at a time: from 0, and from elsewhere.

    w <- w + eta (y_i - <x_i, w>) x_i adds multiples of rows of X. From 0 it stays in their span, where X w = y has one
    solution, X^+ y. From w_0 it keeps the part (I - X^+ X) w_0 that X does not see, and ends at X^+ y plus that.
    """
    rng = np.random.default_rng((job["seed"], 52))
    X, y = rng.standard_normal((EQUATIONS, UNKNOWNS)), rng.standard_normal(EQUATIONS)
    w = np.stack([np.zeros(UNKNOWNS), rng.standard_normal(UNKNOWNS) / np.sqrt(UNKNOWNS)])
    pinv = np.linalg.pinv(X)
    least = pinv @ y
    ends = np.stack([least, least + w[1] - pinv @ (X @ w[1])])
    eta = 1 / (X**2).sum(1).max()
    run.restore({"w": w})
    for step in run.steps():
        for i in run.rng.permutation(EQUATIONS):
            w += eta * np.outer(y[i] - w @ X[i], X[i])
        if (step + 1) % RECORD_EVERY == 0:
            zero, elsewhere = np.linalg.norm(w - ends, axis=1) / np.linalg.norm(ends, axis=1)
            run.record(part="curve", epoch=step + 1, from_zero=zero, from_elsewhere=elsewhere)
    chosen = rng.permutation(UNKNOWNS)[:EQUATIONS]  # an interpolant of another kind: most coordinates are 0
    sparse = np.linalg.solve(X[:, chosen], y)
    run.record(
        part="end",
        relative_error=zero,
        residual=float(abs(X @ w.T - y[:, None]).max()),
        norm=float(np.linalg.norm(least)),
        norm_from_elsewhere=float(np.linalg.norm(w[1])),
        norm_sparse=float(np.linalg.norm(sparse)),
    )


def memorisation(job: Job, run: Run) -> None:
    """Theorem 1 on n generated points with normal values, and on n images with the parity of their digit as +-1."""
    run.restore({})
    for step in run.steps():
        rng = np.random.default_rng((job["seed"], 53, step))
        if step == 0:
            x: Array = rng.standard_normal((job["n"], DIMENSION))
            y: Array = rng.standard_normal((job["n"],))
            more: dict[str, Any] = {"part": "generated"}
            net = theorem1.memorise(x, y, rng)
        else:
            p = points(job["data"], job["n"], "float64", job["seed"])
            x, y = p.x.reshape(len(p.x), -1), 1.0 - 2 * (p.y % 2)
            net = theorem1.memorise(x, y, rng)
            answers = np.sign(net(p.z.reshape(len(p.z), -1)))
            more = {"part": "images", "test_error": 100 * float((answers != 1 - 2 * (p.y_test % 2)).mean())}
        run.record(d=x.shape[1], weights=net.weights, fit_error=float(abs(net(x) - y).max()), **more)


def bounds_and_gap(job: Job, run: Run) -> None:
    r"""One row: the gap of a trained MLP (a share, not percent) and what each bound promises.

    Bounds compare the training set with new data like it: of corrupted labels, with test labels resampled in the same
    way, of which (1 - p) a + p / K are answered rightly in expectation, a the share of the true ones.
    """
    run.restore({})
    for _ in run.steps():
        net, p, end = training.trained(training_of(job), run)
        split, _ = data(training_of(job))
        n = len(split.y)
        logits = np.concatenate([net(p, split.x[i : i + CHUNK])[0] for i in range(0, n, CHUNK)])
        margins = bounds.margins(logits, split.y)
        gamma = float(np.quantile(margins, bounds.BELOW))
        matrices = bounds.augmented(p)
        squares = float(np.square(split.x, dtype=np.float64).sum() + n)
        start = training.initial(training_of(job))[1]
        nothing = tree.map(np.zeros_like, p)
        train_accuracy, test_accuracy = end["train_accuracy"] / 100, end["test_accuracy"] / 100
        row = {
            "gap": train_accuracy - ((1 - job["p"]) * test_accuracy + job["p"] / CLASSES),
            "train_accuracy": end["train_accuracy"],
            "test_accuracy": end["test_accuracy"],
            "margin": gamma,
            "parameter_bound": bounds.parameter_bound(tree.size(tree.trainable(p)), n),
        }
        if job["p"] == 1:  # random labels: a draw of the signs
            row["rademacher"] = bounds.rademacher_estimate(train_accuracy, CLASSES)
        row |= dict.fromkeys(("frobenius", "spectral", "spectral_from_start"), nan)
        if gamma > 0:  # else there is no margin to bound with
            below = float((margins <= gamma).mean()) - (1 - train_accuracy)
            row["frobenius"] = below + bounds.frobenius_bound(matrices, squares, n, gamma)
            for name, reference in (("spectral", nothing), ("spectral_from_start", start)):
                bound = bounds.spectral_bound(matrices, bounds.augmented(reference), squares, n, gamma)
                row[name] = below + bound
        run.record(**row)
