"""Study: every method's rate beside its theorem's, from gradient descent (chapter 14) to Newton and BFGS."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.understanding_ml import logistic_regression
from papers.understanding_ml.logistic_regression import Binary, sigmoid, smoothness
from papers.understanding_ml.newton_methods import (
    CURVATURE,
    SUFFICIENT,
    armijo,
    backtracking,
    bfgs,
    exact,
    newton,
    steepest_descent,
)
from papers.understanding_ml.numerical_optimisation import (
    FIG_14_1,
    Curved,
    Problem,
    Quadratic,
    Rosenbrock,
    accelerated,
    accelerated_bound,
    descend,
    largest_step,
    smooth_bound,
    tuned,
)
from papers.understanding_ml.stochastic_gradient import (
    lipschitz_bound,
    lipschitz_step,
    sgd,
    strongly_convex_bound,
    strongly_convex_step,
    suffix_average,
)
from papers.understanding_ml.studies.numerical_optimisation_claims import CLAIMS
from papers.understanding_ml.study import Rows, Study, repeats
from papers.understanding_ml.worst_cases import Coin, Huber, Kink, chain, resisting
from shared import plot
from shared.errors import Diverged
from shared.experiment import Run
from shared.optim import SGD, Adagrad, Adam, Momentum, Nesterov, Optimizer, RMSProp
from shared.tree import Array

KAPPAS = (1.25, 10, 100)
FITTED = (1e-3, 1e-11)  # a linear rate is fitted where theory's rate^t is between these: neither start nor rounding
HORIZONS = (16, 64, 256, 1024)  # of functions that are made for T steps
COIN_TIMES = (64, 256, 1024, 4096)  # the walk arrives after 2 sqrt(T) steps, T / 4 at most
KINK_TIMES = tuple(2**k for k in range(6, 14))
RATES = (0.01, 0.03, 0.1, 0.3)  # tried for the adaptive methods
STRETCHED = np.array([1.0, 100.0, 10_000.0])  # curvatures
VALLEY = np.array([-1.2, 1.0])  # Rosenbrock's start
BOWL = Quadratic(np.diag([1.0, 10.0]), np.zeros(2))


def measure(run: Run, effort: float) -> None:
    """One seed's rows of all parts."""
    linear_rates(run)
    stability(run)
    line_searches(run)
    worst_functions(run)
    coin(run, COIN_TIMES[: repeats(effort, 4, least=3)], repeats(effort, 200, least=50))
    kink(run, KINK_TIMES[: repeats(effort, 8, least=4)], repeats(effort, 400, least=50))
    projected(run, repeats(effort, 100, least=10))
    average_in_noise(run, repeats(effort, 200, least=10))
    adaptive(run)
    orders(run, repeats(effort, 40, least=5))
    termination(run)
    logistic(run, repeats(effort, 300, least=120), repeats(effort, 40, least=5))
    rosenbrock(run, repeats(effort, 10_000, least=1000))
    paths(run)


def fitted(x: Array, y: Array) -> tuple[float, float]:
    """The slope of the least-squares line through the points and its standard error."""
    x, y = x - x.mean(), y - y.mean()
    slope = x @ y / (x @ x)
    residual = y - slope * x
    return float(slope), float(np.sqrt(residual @ residual / (len(x) - 2) / (x @ x)))


def record_slope(run: Run, of: str, slope: float, error: float) -> None:
    """A row of the fitted slopes."""
    run.record(part="slopes", of=of, slope=slope, error=error)


def record_mean_slope(run: Run, of: str, x: Array, runs: Array, y: Callable[[Array], Array] = np.log) -> None:
    """The slope of y(mean of runs (n, times)) in x, its standard error from 200 samples of n runs with repetition."""
    samples = [runs[run.rng.integers(len(runs), size=len(runs))] for _ in range(200)]
    error = np.std([fitted(x, y(sample.mean(0)))[0] for sample in samples])
    record_slope(run, of, fitted(x, y(runs.mean(0)))[0], float(error))


def turned(run: Run, h: Array) -> Quadratic:
    """The quadratic with the curvatures h (d,) along random orthogonal axes, and its minimum at 0."""
    S = np.sqrt(h)[:, None] * np.linalg.qr(run.rng.standard_normal((len(h), len(h)))).Q
    return Quadratic(S.T @ S, np.zeros(len(h)))


def steps_to(rate: float) -> int:
    """Enough steps for rate^t to fall to the end of what is fitted, and for t rate^t to be drawn."""
    return int(1.3 * np.log(FITTED[1]) / np.log(rate)) + 1


def linear_rates(run: Run) -> None:
    """Distances to the minimum by step for each kappa and method, and the fitted slope over theory's, log(rate).

    Where two roots fall together the distance is t rate^t, so it is fitted over t. With kappa = 1.25 momentum is at
    rounding after eight steps, too few to see that law: it is fitted for the others only.
    """
    for kappa in KAPPAS:
        random = turned(run, np.array([1.0, kappa]))
        problem, w = (FIG_14_1, np.zeros(2)) if kappa == 1.25 else (random, run.rng.standard_normal(2))
        found = {
            name: (descend(problem, w, rule, steps_to(rate)), rate)
            for name, (rule, rate) in tuned(problem.mu, problem.L).items()
        }
        rate = found["gradient descent"][1]
        worst = problem.c + np.linalg.eigh(problem.A)[1] @ np.array([kappa, 1.0])
        found["exact search"] = steepest_descent(problem, worst, exact, 0.0, steps_to(rate)), rate
        for name, (path, rate) in found.items():
            t, error = np.arange(len(path)), np.linalg.norm(path - problem.c, axis=1)
            error /= error[0]
            run.keep(**{f"error {kappa:g} {name}": np.maximum(error, 1e-17)})
            double = name in ("momentum", "Nesterov")
            if kappa > 2 or not double:
                window = (rate**t < FITTED[0]) & (rate**t > FITTED[1])
                law = np.log((error / np.maximum(t, 1) if double else error)[window])
                slope, wrong = fitted(t[window], law)
                ratio, relative = slope / np.log(rate), wrong / -np.log(rate)
                run.record(part="rates", kappa=kappa, method=name, slope=ratio, error=relative)


def stability(run: Run) -> None:
    """Whether a step of 0.98 times the largest converges, and one of 1.02 times is stopped."""
    problem = turned(run, np.geomspace(1, 10, 4))
    w = run.rng.standard_normal(4)
    rules: tuple[Callable[[float], Optimizer], ...] = (SGD, Momentum, Nesterov)
    for rule in rules:
        bound = largest_step(rule(1.0), problem.L)
        converges = problem.loss(descend(problem, w, rule(0.98 * bound), 500)[-1]) < 1e-6 * problem.loss(w)
        try:
            descend(problem, w, rule(1.02 * bound), 500)
            stopped = False
        except Diverged:
            stopped = True
        run.record(part="stability", right=float(converges and stopped))


def line_searches(run: Run) -> None:
    """Backtracking's smallest step over (1 - c_1) / L, and the share of BFGS's steps with both Wolfe conditions."""
    quadratic, valley = turned(run, np.geomspace(1, 100, 5)), Rosenbrock()
    path = steepest_descent(quadratic, run.rng.standard_normal(5), tolerance=1e-6)
    shortest = np.min([np.linalg.norm(b - a) / np.linalg.norm(quadratic.gradient(a)) for a, b in pairwise(path)])
    fine = []
    for _ in range(10):
        for a, b in pairwise(bfgs(valley, VALLEY + 0.3 * run.rng.standard_normal(2))):
            down = float(valley.gradient(a) @ (b - a))
            fine.append(armijo(valley, a, b - a, down)(1) and valley.gradient(b) @ (b - a) >= CURVATURE * down)
    run.record(part="line search", shortest=shortest * quadratic.L / (1 - SUFFICIENT), wolfe=np.mean(fine))


def worst_functions(run: Run) -> None:
    """Gaps after T steps on the functions that are worst for T steps, over their bounds, and the slopes.

    Cor 14.2 also on a random function, the mean of |<w - u, x_i>| with |x_i| <= 1: its minimum is 0, at u, |u| = 1.
    """
    X, u = run.rng.standard_normal((30, 5)), run.rng.standard_normal(5)
    X, u = X / np.linalg.norm(X, axis=1).max(), u / np.linalg.norm(u)
    R, T = run.rng.uniform(0.5, 2), np.array(HORIZONS)
    gaps = np.empty((3, len(T)))
    for k, t in enumerate(HORIZONS):
        eta = lipschitz_step(1, 1, t)
        gaps[0, k] = suffix_average(sgd(resisting, np.zeros(t), eta, t), 1).max() + t**-0.5
        mean = suffix_average(sgd(lambda w: np.sign(X @ (w - u)) @ X / len(X), np.zeros(5), eta, t), 1)
        huber, hard = Huber(R / (2 * t + 1)), chain(t // 4)
        gaps[1, k] = huber.loss(descend(huber, np.array([R]), SGD(1.0), t)[-1])
        gaps[2, k] = hard.loss(accelerated(hard, 0 * hard.c, 1 / hard.L, t // 4)[-1]) / (hard.c @ hard.c)
        run.record(
            part="worst",
            T=t,
            gap=gaps[0, k],
            lipschitz=gaps[0, k] / lipschitz_bound(1, 1, t),
            random=np.abs(X @ (mean - u)).mean() / lipschitz_bound(1, 1, t),
            smooth=gaps[1, k] / smooth_bound(1, R, t),
            accelerated=gaps[2, k] / accelerated_bound(hard.L, 1, t // 4),
        )
    record_slope(run, "lipschitz", *fitted(np.log(T), np.log(gaps[0])))
    record_slope(run, "smooth", *fitted(np.log(2 * T + 1), np.log(gaps[1])))
    record_slope(run, "accelerated", *fitted(np.log(T // 4 + 1), np.log(gaps[2])))


def coin(run: Run, times: Sequence[int], n: int) -> None:
    """Thm 14.8 with B = rho = 1: the gap of the mean iterate of n runs for each T, which sets the step size."""
    problem, runs = Coin(run.rng), []
    for T in times:
        path = sgd(problem.subgradient, np.zeros((n, 1)), lipschitz_step(1, 1, T), T, 1.0)
        runs.append(problem.gap(suffix_average(path, 1)))
        run.record(part="coin", T=T, gap=runs[-1].mean(), bound=lipschitz_bound(1, 1, T))
    record_mean_slope(run, "coin", np.log(times), np.array(runs).T)


def kink(run: Run, times: Sequence[int], n: int) -> None:
    """Thm 14.11: the gaps of the means of all and of the last half of the first T iterates of n runs."""
    problem, T = Kink(run.rng), np.array(times, float)
    path = sgd(problem.subgradient, np.ones((n, 1)), strongly_convex_step(1), times[-1], 1.0)
    average, suffix = (np.array([problem.gap(suffix_average(path[:t], share)) for t in times]).T for share in (1, 0.5))
    bound = strongly_convex_bound(problem.rho, 1, T)
    for t, of_all, of_half, most in zip(times, average.mean(0), suffix.mean(0), bound, strict=True):
        run.record(part="kink", T=t, gap=of_all, suffix=of_half, bound=most)
    record_mean_slope(run, "average", np.log(T), average, lambda gap: np.log(gap / (1 + np.log(T))))
    record_mean_slope(run, "log factor", np.log(T), average, lambda gap: T * gap)
    record_mean_slope(run, "suffix", np.log(T), suffix)


def projected(run: Run, n: int) -> None:
    """Thm 14.8 where only the projection bounds the subgradient: least squares with |x|, |y| <= 1, rho = B + 1.

    The ball is half as wide as the distance of the free minimum, so the iterates press against it.
    """
    X = run.rng.standard_normal((50, 5))
    X /= np.linalg.norm(X, axis=1).max()
    y = np.clip(X @ run.rng.standard_normal(5) + 0.5 * run.rng.standard_normal(50), -1, 1)
    B, T, lengths = float(np.linalg.norm(np.linalg.lstsq(X, y, rcond=None)[0])) / 2, 512, []

    def oracle(W: Array) -> Array:
        i = run.rng.integers(len(X), size=len(W))
        V = ((W * X[i]).sum(1) - y[i])[:, None] * X[i]
        lengths.append(np.linalg.norm(V, axis=1).max())
        return V

    def loss(W: Array) -> Array:
        return ((W @ X.T - y) ** 2).mean(-1) / 2

    path = sgd(oracle, np.zeros((n, 5)), lipschitz_step(B, B + 1, T), T, B)
    best = sgd(lambda w: (X @ w - y) @ X / len(X), np.zeros(5), 1.0, 1000, B)[-1]
    run.record(
        part="projected",
        length=np.linalg.norm(path, axis=2).max() / B,
        subgradient=np.max(lengths) / (B + 1),
        bound=(loss(suffix_average(path, 1)).mean() - loss(best)) / lipschitz_bound(B, B + 1, T),
    )


def average_in_noise(run: Run, n: int) -> None:
    """Fig 14.3: SGD with a constant step on noisy gradients; the average's distance to w* over a typical iterate's."""
    A, c = FIG_14_1.A, FIG_14_1.c
    path = sgd(lambda W: (W - c) @ A + 3 * run.rng.standard_normal(W.shape), np.zeros((n, 2)), 0.1, 400)
    typical = np.median(np.linalg.norm(path[200:] - c, axis=2), axis=0)
    run.record(part="noise", ratio=np.median(np.linalg.norm(suffix_average(path) - c, axis=1) / typical))


def adaptive(run: Run) -> None:
    """What Adagrad, RMSProp and Adam do with curvatures of 1, 100 and 10,000: along the axes, and turned."""
    w, oblique = run.rng.standard_normal(3), turned(run, STRETCHED)
    aligned, round_ = (Quadratic(np.diag(h), np.zeros(3)) for h in (STRETCHED, np.ones(3)))
    rules: dict[str, Optimizer] = {"Adagrad": Adagrad(0.5), "RMSProp": RMSProp(0.01), "Adam": Adam(0.05)}
    for name, rule in rules.items():
        ours, plain, lost = (descend(problem, w, rule, 300) for problem in (aligned, round_, oblique))
        ratio = np.linalg.norm(lost[-1]) / np.linalg.norm(ours[-1])
        run.record(part="adaptive", method=name, difference=np.abs(ours - plain).max(), turned=ratio)

    path, T = descend(oblique, w, Adagrad(0.5), 299), np.arange(1, 301)
    h = np.cumsum((path @ oblique.A) ** 2, axis=0)
    furthest = np.maximum.accumulate(np.abs(path).max(1))
    bounds = (furthest**2 / (2 * 0.5) + 0.5) * np.sqrt(h).sum(1) / T
    means = np.cumsum(path, axis=0) / T[:, None]
    run.record(part="regret", bound=np.max(np.array([oblique.loss(mean) for mean in means]) / bounds))

    etas = (0.03, 0.06, 0.12)
    sizes = [np.abs(descend(aligned, w, RMSProp(eta), 2000)[-200:]).mean() for eta in etas]
    record_slope(run, "RMSProp", *fitted(np.log(etas), np.log(sizes)))


def examples(run: Run, m: int, d: int, ridge: float) -> Binary:
    """Logistic regression with features of different scales; labels drawn from the model."""
    X = run.rng.standard_normal((m, d)) * np.geomspace(2, 0.2, d)
    return Binary(X, np.where(run.rng.random(m) < sigmoid(X @ run.rng.standard_normal(d)), 1, -1), ridge)


def orders(run: Run, n: int) -> None:
    """Distances to w* before and after a step of Newton and of BFGS, from n starts, and the slope of their logarithms.

    Fitted where the distance before is from 1e-5 (Newton) or 1e-7 (BFGS) to 1e-1: close, and the next above rounding.
    """
    problem = examples(run, 100, 4, 0.01)
    best = newton(problem, np.zeros(4), tolerance=1e-14)[-1]
    starts = best + 2 * run.rng.standard_normal((n, 4))
    for name, least, found in (
        ("Newton", 1e-5, [newton(problem, w, tolerance=1e-12) for w in starts]),
        ("BFGS", 1e-7, [bfgs(problem, w, tolerance=1e-11) for w in starts]),
    ):
        errors = [np.linalg.norm(path - best, axis=1) for path in found]
        pairs = np.array([pair for error in errors for pair in pairwise(error) if least < pair[0] < 0.1])
        record_slope(run, name, *fitted(*np.log(pairs.T)))
        run.keep(**{f"pairs {name}": pairs})


def termination(run: Run) -> None:
    """BFGS with exact searches on a quadratic: the distance after d = 10 steps, and how conjugate they are."""
    problem = turned(run, np.geomspace(1, 10, 10))
    path = bfgs(problem, run.rng.standard_normal(10), exact, 0.0, 10)
    S = np.diff(path, axis=0)
    G = S @ problem.A @ S.T
    cosine = np.abs(G / np.sqrt(np.outer(np.diag(G), np.diag(G))) - np.eye(10)).max()
    run.record(part="termination", left=np.linalg.norm(path[-1]) / np.linalg.norm(path[0]), cosine=cosine)


class Counted:
    """A problem that notes F - F* at each new point where the gradient is asked for."""

    def __init__(self, problem: Curved, best: float) -> None:
        self.problem, self.best, self.last = problem, best, np.array(np.nan)
        self.gaps: list[float] = []
        self.loss, self.hessian = problem.loss, problem.hessian

    def gradient(self, w: Array) -> Array:
        """That of the problem."""
        if not np.array_equal(w, self.last):
            self.gaps.append(max(self.loss(w) - self.best, 1e-17))
            self.last = w.copy()
        return self.problem.gradient(w)


def curve(problem: Curved, best: float, method: Callable[..., Array], *arguments: Any) -> Array:
    """The lowest F - F* so far by the number of gradients, of method(problem, *arguments)."""
    counted = Counted(problem, best)
    method(counted, *arguments)
    return np.minimum.accumulate(counted.gaps)


def needed(gaps: Array) -> int:
    """How many gradients it took to 1e-6: all of them where it was not reached."""
    return int(np.argmax(gaps <= 1e-6)) if gaps[-1] <= 1e-6 else len(gaps)


def logistic(run: Run, steps: int, passes: int) -> None:
    """F - F* on a logistic loss with a ridge, by the number of gradients, for all methods."""
    problem, w = examples(run, 200, 6, 1e-3), np.zeros(6)
    solution = logistic_regression.newton(problem)[-1]
    best, m, mu, L = problem.loss(solution), len(problem.y), problem.ridge, smoothness(problem)
    rules = {name: rule for name, (rule, _) in tuned(mu, L).items()} | {"gradient descent": SGD(1 / L)}
    curves = {name: curve(problem, best, descend, w, rule, steps) for name, rule in rules.items()}
    curves["line search"] = curve(problem, best, steepest_descent, w)[:steps]
    kinds: dict[str, Callable[[float], Optimizer]] = {"Adagrad": Adagrad, "RMSProp": RMSProp, "Adam": Adam}
    for name, kind in kinds.items():
        tried = [curve(problem, best, descend, w, kind(rate), steps) for rate in RATES]
        curves[name] = min(tried, key=lambda gaps: float(gaps[-1]))
    curves |= {"Newton": curve(problem, best, newton, w), "BFGS": curve(problem, best, bfgs, w)}

    def one(v: Array) -> Array:
        i = run.rng.integers(m)
        return mu * v - sigmoid(-problem.y[i] * (problem.X[i] @ v)) * problem.y[i] * problem.X[i]

    radius = float(np.sqrt(2 * np.log(2) / mu))  # mu/2 |w*|^2 <= F(w*) <= F(0) = log 2
    path = sgd(one, w, strongly_convex_step(mu), passes * m, radius)
    curves["SGD"] = np.array([problem.loss(suffix_average(path[: t * m])) - best for t in range(1, passes + 1)])
    for name, gaps in curves.items():
        run.record(part="logistic", method=name, gradients=needed(gaps))
        run.keep(**{f"logistic {name}": gaps})
    run.keep(smooth_bound=np.array(smooth_bound(L, float(np.linalg.norm(solution)), 1.0)))


def rosenbrock(run: Run, most: int) -> None:
    """Gradients until F <= 1e-6 from near (-1.2, 1), with at most so many steps of steepest descent."""
    valley, w = Rosenbrock(), VALLEY + 0.1 * run.rng.standard_normal(2)
    slow = curve(valley, 0.0, steepest_descent, w, backtracking, 1e-8, most)
    for name, gaps in (("line search", slow), ("BFGS", curve(valley, 0.0, bfgs, w))):
        run.record(part="rosenbrock", method=name, gradients=needed(gaps))


def paths(run: Run) -> None:
    """The paths that the figure shows: on a quadratic with kappa = 10, and on Rosenbrock's function."""
    valley, w = Rosenbrock(), np.array([-9.0, 2.5])
    found = {f"bowl {name}": descend(BOWL, w, rule, 40) for name, (rule, _) in tuned(1, 10).items()}
    found |= {
        "bowl Adam": descend(BOWL, w, Adam(0.5), 60),
        "bowl SGD": sgd(lambda v: BOWL.gradient(v) + 4 * run.rng.standard_normal(2), w, 0.08, 300),
        "valley line search": steepest_descent(valley, VALLEY),
        "valley momentum": descend(valley, VALLEY, Momentum(3e-4, momentum=0.95), 600),
        "valley Adam": descend(valley, VALLEY, Adam(0.05), 600),
        "valley BFGS": bfgs(valley, VALLEY),
        "valley Newton": newton(valley, VALLEY),
    }
    run.keep(**found)


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Six panels: paths on two functions, linear rates; all methods on a logistic loss, SGD's slopes, digits."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(14, 8.8), layout="constrained")
        bowl, valley, linear, loss, stochastic, digits = figure.subplots(2, 3).flat
        draw_paths(bowl, arrays, "bowl", BOWL, np.linspace(-10, 4.5, 120), np.linspace(-4, 5, 120))
        bowl.set_title("Paths, quadratic with $\\kappa$ = 10")
        draw_paths(valley, arrays, "valley", Rosenbrock(), np.linspace(-1.7, 1.7, 120), np.linspace(-0.4, 2.4, 120))
        valley.set_title("Paths on Rosenbrock's function")

        shown = [(kappa, "gradient descent") for kappa in KAPPAS] + [(100, "momentum"), (100, "Nesterov")]
        for kappa, name in shown:
            rate = tuned(1, kappa)[name][1]
            t = np.arange(steps_to(rate))
            linear.plot(arrays[f"error {kappa:g} {name}"], label=f"{name}, $\\kappa$ = {kappa:g}")
            linear.plot(t, rate**t, "k:", label="theory's rate$^t$" if (kappa, name) == shown[-1] else None)
        linear.set(xlim=(0, 200), ylim=(1e-11, 1e6), yscale="log", xlabel="step $t$")
        linear.set(ylabel="$|w_t - w^*| / |w_0 - w^*|$", title="Linear rates on quadratics")
        linear.legend(loc="upper right")

        curves = {key.removeprefix("logistic "): gaps for key, gaps in arrays.items() if key.startswith("logistic ")}
        for k, (name, gaps) in enumerate(curves.items()):
            loss.plot(np.arange(1, len(gaps) + 1), gaps, "-" if k < 5 else "--", color=f"C{k}", label=name)
        T = np.array([1, 300])
        loss.plot(T, arrays["smooth_bound"] / T, "k:", label="$L\\,|w^*|^2 / (2T)$")
        loss.set(xscale="log", yscale="log", xlim=(0.1, 350), ylim=(1e-12, 1e2))
        loss.set(
            xlabel="gradients (SGD: passes over the data)",
            ylabel="$F - F^*$ (nats)",
            title="Logistic loss with a ridge",
        )
        loss.legend(loc="lower left", fontsize=8)

        draw_stochastic(stochastic, rows)
        draw_digits(digits, rows, arrays)
        plot.caption(
            figure,
            [
                "Dots: theory ($\\kappa$ = 100 with momentum has the rate of $\\kappa$ = 10 without). Stars: minima. "
                "All panels but the lower middle one: first seed. Logistic loss: Adagrad, RMSProp and Adam with the "
                f"best step size of {RATES}, SGD with its suffix average; a line search's gradients count, its losses "
                "and Newton's Hessians do not. Slopes: least squares on logarithms with standard errors, medians over "
                f"{rows['seed'].nunique()} seeds; bands: range over seeds. 14.2 and 14.8: $B = \\rho = 1$."
            ],
        )
    return figure


def draw_paths(
    axes: Axes, arrays: Mapping[str, Array], part: str, problem: Problem, first: Array, second: Array
) -> None:
    """The contours of a function, at levels that are equally far apart in their logarithm, and the paths kept of it."""
    F = np.array([[problem.loss(np.array([a, b])) for a in first] for b in second])
    axes.contour(first, second, F, np.geomspace(1e-2 * F.max() ** 0.5, F.max(), 12), cmap="Greys_r", linewidths=0.6)
    for key, path in arrays.items():
        name = key.removeprefix(f"{part} ")
        if name == "SGD":
            axes.plot(*path.T, ".", ms=2.5, color="0.65", zorder=1, label="SGD, noisy gradients")
            axes.plot(*suffix_average(path), "D", ms=10, mfc="none", color="k", zorder=6, label="its suffix average")
        elif name != key:
            axes.plot(*path.T, ".-", ms=4, lw=1, label=f"{name}, {len(path) - 1} steps")
    axes.plot(*((0, 0) if part == "bowl" else (1, 1)), "k*", ms=7, zorder=7)
    axes.set(xlim=(first[0], first[-1]), ylim=(second[0], second[-1]), xlabel="$w_1$", ylabel="$w_2$")
    axes.legend(loc="upper right", fontsize=8, frameon=True, framealpha=0.9, edgecolor="none")


def with_error(rows: Rows, of: str) -> str:
    """A fitted slope and its error, medians over the seeds, for a legend."""
    own = rows[(rows["part"] == "slopes") & (rows["of"] == of)]
    return f"slope {own['slope'].median():.3f} $\\pm$ {own['error'].median():.3f}"


def draw_stochastic(axes: Axes, rows: Rows) -> None:
    """Gaps of averages against T, with the bounds of Cor 14.2, Thm 14.8 and Thm 14.11."""
    worst, walk, kinked = (rows[rows["part"] == part] for part in ("worst", "coin", "kink"))
    plot.band(axes, worst, "T", "gap", marker="o", ls="", label=f"14.2, worst: {with_error(rows, 'lipschitz')}")
    plot.band(axes, walk, "T", "gap", marker="s", ms=4, label=f"14.8, SGD: {with_error(rows, 'coin')}")
    T = np.geomspace(HORIZONS[0], KINK_TIMES[-1], 50)
    axes.plot(T, lipschitz_bound(1, 1, T), "k:", label="$B\\rho / \\sqrt{T}$")
    plot.band(axes, kinked, "T", "gap", marker="^", ms=4, label="14.11, mean of all iterates")
    plot.band(axes, kinked, "T", "suffix", marker="v", ms=4, label=f"of the last half: {with_error(rows, 'suffix')}")
    T = np.geomspace(KINK_TIMES[0], KINK_TIMES[-1], 50)
    bound = strongly_convex_bound(Kink.rho, 1, T)
    axes.plot(T, bound, "k-.", lw=1, label="$\\rho^2 (1 + \\log T) / (2 \\lambda T)$")
    axes.set(xscale="log", yscale="log", ylim=(1e-8, 2), xlabel="steps $T$", ylabel="$f(\\bar{w}) - f(w^*)$")
    axes.set_title("Subgradients and SGD")
    axes.legend(loc="lower left", fontsize=8)


def draw_digits(axes: Axes, rows: Rows, arrays: Mapping[str, Array]) -> None:
    """The correct digits of w after a step against those before it, Newton and BFGS."""
    for name, marker in (("Newton", "o"), ("BFGS", "x")):
        before, after = -np.log10(arrays[f"pairs {name}"]).T
        axes.plot(before, after, marker, ms=4, alpha=0.6, label=f"{name}: {with_error(rows, name)}")
    x = np.array([1, 7])
    axes.plot(x, 2 * x, "k:", label="slope 2: twice the digits")
    axes.plot(x, x, "k-.", lw=1, label="slope 1: a linear rate")
    axes.set(xlabel="digits of $w_k$: $-\\log_{10} |w_k - w^*|$", ylabel="digits of $w_{k+1}$", ylim=(0, 19))
    axes.set_title("Newton and BFGS on a logistic loss")
    axes.legend(loc="upper left")


STUDY = Study(title="Numerical optimisation", measure=measure, draw=draw, claims=CLAIMS)
