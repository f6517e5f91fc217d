"""Logistic regression for two classes and for K, by Newton's method and by gradient descent: section 9.3, chapter 12.

X (m, d) has one example a row. A problem is what to minimise over w: the mean of the examples' losses, plus a ridge.

    F(w) = 1/m sum_i loss_i(w) + ridge/2 |w|^2

The ridge shrinks every weight, that of a constant column too. scikit-learn's LogisticRegression minimises the same with
C = 1 / (ridge m) and fit_intercept=False.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from papers.understanding_ml import linear_regression
from shared.tree import Array

MOST_STEPS = 200  # of Newton's method, which takes about ten unless the ridge is all that holds the weights


def check(X: Array, y: Array, ridge: float, kinds: str, labels: str) -> Array:
    """X in float64. ValueError unless the shapes fit, all is finite, X not 0 and y of one of NumPy's ``kinds``."""
    if y.dtype.kind not in kinds:
        raise ValueError(f"labels must be {labels}; got an array of {y.dtype}")
    X, _ = linear_regression.check(X, y)
    if not X.any():
        raise ValueError("X is 0 everywhere: there is no feature to learn from")
    if not 0 <= ridge < np.inf:
        raise ValueError(f"ridge={ridge}: must be finite and not negative")
    if (y == y[0]).all():
        raise ValueError(f"all labels are {y[0]}: there must be examples of two classes at least")
    return X


def sigmoid(z: Array) -> Array:
    """1 / (1 + e^-z) elementwise: P(y = +1 | x) for z = <w, x>. As e^z / (1 + e^z) where z < 0: nothing overflows.

    The shared layer's (1 + tanh(z/2)) / 2 is faster, but rounds to 0 below z = -37, where separable data end up.
    """
    e = np.exp(-np.abs(z))
    return np.where(z < 0, e, 1) / (1 + e)


def softmax(Z: Array) -> Array:
    """exp(Z_k) / sum_j exp(Z_j) in each row of Z (..., K): P(y = k | x) for Z_k = <w_k, x>."""
    E = np.exp(Z - Z.max(-1, keepdims=True))
    return E / E.sum(-1, keepdims=True)


@dataclass(frozen=True, eq=False)
class Binary:
    r"""Two classes: X (m, d), y (m,) in {-1, +1}, w (d,), and the loss log(1 + exp(-y <w, x>)) of section 9.3.

    It is -log P(y | x) where P(y | x) = sigmoid(y <w, x>). ValueError for other labels and what ``check`` refuses.
    """

    X: Array
    y: Array
    ridge: float = 0.0
    bend = 1 / 4  # the largest second derivative of the loss in the score <w, x>: sigmoid (1 - sigmoid)

    def __post_init__(self) -> None:
        object.__setattr__(self, "X", check(self.X, self.y, self.ridge, "if", "-1 and +1"))
        if not np.isin(self.y, (-1, 1)).all():
            raise ValueError(f"labels must be -1 and +1; got {np.unique(self.y)[:5]}. From 0 and 1: 2 * y - 1")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of w."""
        return self.X.shape[1:]

    def margins(self, w: Array) -> Array:
        """y <w, x> (m,): positive where w is right."""
        return self.y * (self.X @ w)

    def losses(self, w: Array) -> Array:
        """Each example's loss (m,): log(1 + e^-z) = max(-z, 0) + log(1 + e^-|z|), where nothing overflows."""
        z = self.margins(w)
        return np.maximum(-z, 0) + np.log1p(np.exp(-np.abs(z)))

    def loss(self, w: Array) -> float:
        """F(w)."""
        return float(self.losses(w).mean() + self.ridge / 2 * (w @ w))

    def gradient(self, w: Array) -> Array:
        """The derivative of log(1 + e^-z) is -sigmoid(-z): 1/m sum_i -sigmoid(-z_i) y_i x_i + ridge w, (d,)."""
        return -(sigmoid(-self.margins(w)) * self.y) @ self.X / len(self.X) + self.ridge * w

    def hessian(self, w: Array) -> Array:
        """1/m X^T S X + ridge I (d, d) with S = diag(sigmoid(z) sigmoid(-z)): v^T H v is a sum of squares."""
        q = sigmoid(-np.abs(self.X @ w))
        B = np.sqrt(q * (1 - q) / len(q))[:, None] * self.X
        return B.T @ B + self.ridge * np.eye(len(w))

    def solve(self, w: Array, g: Array) -> Array:
        """H^-1 g."""
        return np.linalg.solve(self.hessian(w), g)


@dataclass(frozen=True, eq=False)
class Multinomial:
    r"""K classes: X (m, d), y (m,) in {0, ..., K-1}, W (K, d), and the loss -log softmax(W x)_y.

    Adding one vector to every row of W changes no probability. From W = 0 on the columns of W sum to 0, as those of the
    gradient do; a ridge has its minimum there. A Hessian costs m (K d)^2: with many classes and features a quasi-Newton
    method is cheaper. ValueError when a class is missing, and for what ``check`` refuses.
    """

    X: Array
    y: Array
    ridge: float = 0.0
    bend = 1 / 2  # the largest eigenvalue of diag(p) - p p^T, the second derivative of the loss in the scores

    def __post_init__(self) -> None:
        object.__setattr__(self, "X", check(self.X, self.y, self.ridge, "iu", "the integers 0 to K-1"))
        present = np.unique(self.y)
        if (present != np.arange(len(present))).any():
            raise ValueError(f"labels must be 0 to K-1, each at least once; got {present[:5]}: number them anew")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of W."""
        return int(self.y.max()) + 1, self.X.shape[1]

    def margins(self, W: Array) -> Array:
        """<w_y - w_k, x> (m, K): all positive, but for the 0 of k = y, where W is right."""
        Z = self.X @ W.T
        return Z[np.arange(len(Z)), self.y][:, None] - Z

    def losses(self, W: Array) -> Array:
        """Each example's loss (m,): log sum_k exp(-margin_k), shifted so that nothing overflows."""
        Z = -self.margins(W)
        top = Z.max(-1)
        return top + np.log(np.exp(Z - top[:, None]).sum(-1))

    def loss(self, W: Array) -> float:
        """F(W)."""
        return float(self.losses(W).mean() + self.ridge / 2 * np.sum(W * W))

    def gradient(self, W: Array) -> Array:
        """Row k is 1/m sum_i (p_ik - [y_i = k]) x_i + ridge w_k: (K, d)."""
        R = softmax(self.X @ W.T)
        R[np.arange(len(R)), self.y] -= 1
        return R.T @ self.X / len(R) + self.ridge * W

    def hessian(self, W: Array) -> Array:
        """1/m sum_i (diag(p_i) - p_i p_i^T) (x) x_i x_i^T + ridge I (K d, K d), for W row by row."""
        P, (m, d) = softmax(self.X @ W.T), self.X.shape
        A = ((P / np.sqrt(m))[:, :, None] * self.X[:, None, :]).reshape(m, -1)
        H = self.ridge * np.eye(W.size) - A.T @ A
        for k, p in enumerate(P.T):
            B = np.sqrt(p / m)[:, None] * self.X
            H[k * d : k * d + d, k * d : k * d + d] += B.T @ B
        return H

    def solve(self, W: Array, G: Array) -> Array:
        """The D with H D = G whose columns sum to 0, for a G like that.

        H without a ridge is 0 on the matrices with equal rows, so it has no inverse. Adding a matrix that is positive
        there, and 0 on all matrices whose columns sum to 0, makes it regular and leaves the solution as it is.
        """
        scale = np.diag(np.mean(self.X * self.X, axis=0))
        K = len(W)
        return np.linalg.solve(self.hessian(W) + np.kron(np.ones((K, K)) / K, scale), G.ravel()).reshape(G.shape)


Problem = Binary | Multinomial


def newton(problem: Problem) -> list[Array]:
    r"""Newton's iterates w_0 = 0, w_1, ..., the last one the minimiser to rounding: w_{t+1} = w_t - H^-1 grad F(w_t).

    A step is a least-squares problem with the weights sigmoid (1 - sigmoid), hence the name IRLS. With p the step and s
    a bound on what it adds to any difference of two scores, the curvature along p at w + r p is at most e^(r s) times
    that at w: F(w + r p) <= F(w) + <grad, p> (r - (e^(r s) - r s - 1) / s^2). This is lowest at r = log(1 + s) / s, the
    step where the full one, r = 1, does not lower F. For s <= 1 the full one does.
    ValueError where F has no one minimiser: dependent columns, or, without a ridge, a step that hurts no example,
    y <p, x> >= 0 for all. Then the data are separable, and F keeps falling along p for ever.
    """
    m, d = problem.X.shape
    scales = np.sqrt(np.mean(problem.X**2, axis=0) + problem.ridge)
    gram = problem.X.T @ problem.X / m + problem.ridge * np.eye(d)
    if not scales.all() or np.linalg.eigvalsh(gram / np.outer(scales, scales))[0] < 1e-12:
        raise ValueError("X has dependent columns, so no one minimiser: use a larger ridge, or gradient_descent")
    w = np.zeros(problem.shape)
    path = [w]
    for _ in range(MOST_STEPS):
        g = problem.gradient(w)
        p = -problem.solve(w, g)
        margins = problem.margins(p)
        s = 2 * np.abs(margins).max()
        if s < 1e-6:  # quadratic convergence: what is left after this step is of the order of s^2
            return [*path, w + p]
        if problem.ridge == 0 and margins.min() >= -1e-9 * s:
            raise ValueError(
                "the classes are separable, so the weights grow for ever: use a ridge, or gradient_descent"
            )
        if s > 1 and problem.loss(w + p) > problem.loss(w) + 1e-4 * np.sum(g * p):
            p *= np.log1p(s) / s
        w = w + p
        path.append(w)
    raise ValueError(f"no minimiser after {MOST_STEPS} steps, the classes are all but separable: use a larger ridge")


def smoothness(problem: Problem) -> float:
    """L, the most that v^T H v / |v|^2 can be: ``bend`` times the largest eigenvalue of X^T X / m, plus the ridge."""
    return float(problem.bend * np.linalg.eigvalsh(problem.X.T @ problem.X)[-1] / len(problem.X) + problem.ridge)


def gradient_descent(problem: Problem, steps: int) -> Iterator[Array]:
    r"""The iterates w_0 = 0, w_1, ..., w_steps with the step size 1 / L.

    F is convex and F(w + p) <= F(w) + <grad F(w), p> + L/2 |p|^2. The right side is lowest at p = -grad / L, and
    telescoping what is gained gives F(w_t) - F(u) <= L |u|^2 / (2 t) for every u.
    """
    eta = 1 / smoothness(problem)
    w = np.zeros(problem.shape)
    yield w
    for _ in range(steps):
        w = w - eta * problem.gradient(w)
        yield w
