r"""Line searches, and the methods that need them: steepest descent, Newton and BFGS, after Nocedal and Wright 2006.

Each goes from w along a direction p by a step r that a line search finds: w + r p. A line search gets the problem, w, p
and the gradient g at w, and refuses a p that does not point down, <g, p> >= 0. A path (k + 1, d) ends where |grad F| <=
tolerance, or after ``steps``.
"""

from collections.abc import Callable
from math import inf

import numpy as np

from papers.understanding_ml.numerical_optimisation import Curved, Problem, Quadratic, start, stop_if_diverged
from shared.errors import Diverged
from shared.tree import Array

LineSearch = Callable[[Problem, Array, Array, Array], float]
SUFFICIENT = 1e-4  # c_1: the share of the slope's promise that a step must keep
CURVATURE = 0.9  # c_2: the share of the slope at 0 to which a step must flatten it
TRIALS = 100  # 2^-100 and 2^100 are beyond every useful step


def slope(p: Array, g: Array) -> float:
    """<g, p>. ValueError unless p points down."""
    down = float(g @ p)
    if not down < 0:
        raise ValueError(f"p is no descent direction: <g, p> = {down:.4g} must be below 0")
    return down


def armijo(problem: Problem, w: Array, p: Array, down: float) -> Callable[[float], bool]:
    """Whether a step r is sufficient: F(w + r p) <= F(w) + c_1 r <g, p>.

    Near a minimum <g, p> is too small for F to show it: below 1e-12 |F| a few rounding errors of F are allowed.
    """
    here = problem.loss(w)
    slack = 4 * float(np.finfo(float).eps) * abs(here) if -down < 1e-12 * abs(here) else 0.0
    return lambda r: problem.loss(w + r * p) - here <= SUFFICIENT * r * down + slack


def full_step(problem: Problem, w: Array, p: Array, g: Array) -> float:
    """1, always: no search. Newton's own step, quadratic near a minimum and unsafe far from it."""
    return 1.0


def backtracking(problem: Problem, w: Array, p: Array, g: Array) -> float:
    r"""The first of 1, 1/2, 1/4, ... that ``armijo`` accepts.

    F(w + r p) <= F(w) + r <g, p> + L/2 r^2 |p|^2, so every r <= 2 (1 - c_1) |<g, p>| / (L |p|^2) is accepted, and
    halving ends at 1 or above half of that. ValueError when no step down to 2^-100 is: then g is not the gradient of F.
    """
    sufficient = armijo(problem, w, p, slope(p, g))
    for k in range(TRIALS):
        if sufficient(0.5**k):
            return 0.5**k
    raise ValueError("no step along p lowers the loss: check the gradient, or ask for a larger tolerance")


def wolfe(problem: Problem, w: Array, p: Array, g: Array) -> float:
    r"""A step that ``armijo`` accepts and long enough: <grad F(w + r p), p> >= c_2 <g, p>, the Wolfe conditions.

    If r is not sufficient, the interval (low, r) holds a solution; if it is but the slope there is still steep, (r,
    high) does. Halve it, or double r while there is no high. With s = r p and y the change of the gradient,
    <s, y> >= (c_2 - 1) r <g, p> > 0: what BFGS needs. Diverged when F falls along p without end.
    """
    down = slope(p, g)
    sufficient = armijo(problem, w, p, down)
    low, high, r = 0.0, inf, 1.0
    for _ in range(TRIALS):
        if not sufficient(r):
            high = r
        elif problem.gradient(w + r * p) @ p < CURVATURE * down:
            low = r
        else:
            return r
        r = (low + high) / 2 if high < inf else 2 * r
    if high == inf:
        raise Diverged(f"the loss falls without end: it is {problem.loss(w + low * p):.4g} at step {low:.4g} along p")
    raise ValueError(
        "no step along p satisfies the Wolfe conditions: check the gradient, or ask for a larger tolerance"
    )


def exact(problem: Problem, w: Array, p: Array, g: Array) -> float:
    r"""The lowest point along p of a quadratic: F(w + r p) = F(w) + r <g, p> + r^2/2 p^T A p. ValueError for others."""
    if not isinstance(problem, Quadratic):
        raise ValueError("an exact search needs a Quadratic: use wolfe or backtracking")
    return -slope(p, g) / float(p @ problem.A @ p)


@np.errstate(over="ignore", invalid="ignore")
def line_search_path(
    problem: Problem,
    w: Array,
    direction: Callable[[Array, Array], Array],
    search: LineSearch,
    tolerance: float,
    steps: int,
) -> Array:
    """The path of w <- w + r p with p = direction(w, gradient) and r from the search. Diverged like ``descend``."""
    w = start(problem, w, steps)
    path, first = [w], problem.loss(w)
    for t in range(1, steps + 1):
        g = problem.gradient(w)
        if np.linalg.norm(g) <= tolerance:
            break
        p = direction(w, g)
        r = search(problem, w, p, g)
        w = w + r * p
        advice = "Search the step: search=backtracking or wolfe."
        stop_if_diverged("the loss", problem.loss(w), first, t, r, advice)
        path.append(w)
    return np.array(path)


def steepest_descent(
    problem: Problem, w: Array, search: LineSearch = backtracking, tolerance: float = 1e-8, steps: int = 1000
) -> Array:
    """The path (k + 1, d) along p = -grad F(w)."""
    return line_search_path(problem, w, lambda w, g: -g, search, tolerance, steps)


def newton_direction(H: Array, g: Array) -> Array:
    r"""p = -|H|^-1 g, with the eigenvalues' absolute values (at least 1e-12 of the largest) in place of them.

    Where H is positive definite it is Newton's own -H^-1 g. Elsewhere that step goes to a saddle or up; with positive
    eigenvalues <g, p> = -sum_i <v_i, g>^2 / |h_i| < 0, and p leads away from a saddle. ValueError for H = 0.
    """
    h, V = np.linalg.eigh(H)
    sizes = np.abs(h)
    if not sizes.max() > 0:
        raise ValueError("the Hessian is 0, so Newton has no step here: use steepest_descent or bfgs")
    return -V @ (V.T @ g / np.maximum(sizes, 1e-12 * sizes.max()))


def newton(
    problem: Curved, w: Array, search: LineSearch = backtracking, tolerance: float = 1e-8, steps: int = 100
) -> Array:
    r"""Newton's path (k + 1, d): w + r p has the lowest second-order model F + <g, p> + p^T H p / 2 for r = 1.

    With e = w - w*: 0 = grad F(w*) = g - H e + O(e^2), so w - H^-1 g - w* = H^-1 (H e - g) = O(e^2): twice the digits
    in each step. The search damps it where the model is no good, ``newton_direction`` turns it where H is indefinite.
    ValueError when it ends where the gradient vanishes but a curvature is negative: a saddle, or a maximum.
    """
    path = line_search_path(problem, w, lambda w, g: newton_direction(problem.hessian(w), g), search, tolerance, steps)
    h = np.linalg.eigvalsh(problem.hessian(path[-1]))
    if h[0] < -1e-8 * np.abs(h).max() and np.linalg.norm(problem.gradient(path[-1])) <= tolerance:
        raise ValueError(f"no minimum: the gradient vanishes, but a curvature is {h[0]:.4g}. Start elsewhere")
    return path


def bfgs_update(H: Array, s: Array, y: Array) -> Array:
    r"""(I - s y^T / <s, y>) H (I - y s^T / <s, y>) + s s^T / <s, y>, H (d, d) approximating the inverse Hessian.

    For the step s and the change y of the gradient: the new H is symmetric, maps y to s as the inverse Hessian does on
    average along s, and differs least from H. v^T H v stays positive: the first term vanishes only for v along y, where
    the second is <s, y>. ValueError unless <s, y> > 0 (the curvature condition).
    """
    r = s @ y
    if not r > 0:
        raise ValueError(f"<s, y> = {r:.4g}: must be above 0, which the Wolfe conditions ensure")
    Hy = H @ y
    return H + (1 + y @ Hy / r) / r * np.outer(s, s) - (np.outer(Hy, s) + np.outer(s, Hy)) / r


def bfgs(problem: Problem, w: Array, search: LineSearch = wolfe, tolerance: float = 1e-8, steps: int = 500) -> Array:
    r"""The path (k + 1, d) along p = -H grad F, H from ``bfgs_update``, at first I <s, y> / |y|^2: no Hessian needed.

    An update without curvature, <s, y> <= 0, is left out: with ``wolfe`` that is rounding only, with ``backtracking``
    it happens where F is not convex. On a quadratic with ``exact`` the directions are conjugate and d steps suffice.
    """
    H: Array | None = None
    before: tuple[Array, Array] | None = None

    def direction(w: Array, g: Array) -> Array:
        nonlocal H, before
        if before is not None:
            s, y = w - before[0], g - before[1]
            if s @ y > 0:
                H = bfgs_update(s @ y / (y @ y) * np.eye(len(w)) if H is None else H, s, y)
        before = w, g
        return -g if H is None else -H @ g

    return line_search_path(problem, w, direction, search, tolerance, steps)
