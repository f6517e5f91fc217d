"""The book's classical methods against scikit-learn's, each to the same solution on the same data, on one thread."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from papers.understanding_ml.clustering import lloyd, plus_plus
from papers.understanding_ml.forests import random_forest
from papers.understanding_ml.linear_regression import minimum_norm, normal_equations, orthogonal
from papers.understanding_ml.logistic_regression import Binary, Multinomial, newton
from papers.understanding_ml.pca import pca

Fits = tuple[Callable[[], object], Callable[[], object]]


def regression(m: int, d: int, method: str) -> Fits:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((m, d)), rng.standard_normal(m)
    model = Ridge(1.0, fit_intercept=False) if method == "ridge" else LinearRegression(fit_intercept=False)
    ours: dict[str, Callable[[], object]] = {
        "QR": lambda: orthogonal(X, y),
        "pseudo-inverse": lambda: minimum_norm(X, y),
        "ridge": lambda: normal_equations(X, y, 1.0),
    }
    return ours[method], lambda: model.fit(X, y)


def logistic(m: int, d: int, classes: int) -> Fits:
    """Labels drawn from the model, both fits by Newton's method."""
    rng = np.random.default_rng(0)
    X, ridge = rng.standard_normal((m, d)), 1e-4
    y = np.argmax(X @ rng.standard_normal((d, classes)) + rng.gumbel(size=(m, classes)), axis=1)
    problem = Binary(X, 2 * y - 1, ridge) if classes == 2 else Multinomial(X, y, ridge)
    model = LogisticRegression(C=1 / (ridge * m), fit_intercept=False, solver="newton-cholesky", tol=1e-8)
    np.testing.assert_allclose(newton(problem)[-1].ravel(), model.fit(X, y).coef_.ravel(), atol=1e-6)
    return lambda: newton(problem), lambda: model.fit(X, y)


def components(m: int, d: int, n: int) -> Fits:
    X = np.random.default_rng(0).standard_normal((m, d)) * np.linspace(3, 1, d)
    return lambda: pca(X, n, centred=True), lambda: PCA(n).fit(X)


def means(m: int, d: int, k: int) -> Fits:
    rng = np.random.default_rng(0)
    X = 4 * rng.standard_normal((k, d))[rng.integers(k, size=m)] + rng.standard_normal((m, d))
    centres = plus_plus(X, k, rng)
    model = KMeans(k, init=centres, n_init=1, algorithm="lloyd", max_iter=1000, tol=0)
    np.testing.assert_array_equal(lloyd(X, centres).labels, model.fit(X).labels_)
    return lambda: lloyd(X, centres), lambda: model.fit(X)


def forest(m: int, d: int, trees: int) -> Fits:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((m, d))
    y = np.sign(X @ rng.standard_normal(d) + rng.standard_normal(m))
    model = RandomForestClassifier(trees, n_jobs=1, random_state=0)
    return lambda: random_forest(X, y, rng, trees), lambda: model.fit(X, y)


CASES: dict[str, tuple[Callable[[], Fits], float]] = {
    "least squares by QR, 20000 x 50": (lambda: regression(20_000, 50, "QR"), 3),
    "least squares by pseudo-inverse, 2000 x 400": (lambda: regression(2_000, 400, "pseudo-inverse"), 3),
    "ridge regression, 20000 x 50": (lambda: regression(20_000, 50, "ridge"), 3),
    "logistic regression, 20000 x 30": (lambda: logistic(20_000, 30, 2), 3),
    "logistic regression, 10000 x 20, 5 classes": (lambda: logistic(10_000, 20, 5), 3),
    "PCA of 1500 x 64 to 16": (lambda: components(1_500, 64, 16), 3),
    "PCA of 200 x 5000 to 20": (lambda: components(200, 5_000, 20), 3),
    "k-means of 20000 x 16, k = 10": (lambda: means(20_000, 16, 10), 3),
    "k-means of 5000 x 64, k = 50": (lambda: means(5_000, 64, 50), 3),
    "random forest, 100 trees, 5000 x 20": (lambda: forest(5_000, 20, 100), 10),
}


@pytest.mark.parametrize("name", CASES)
def test_fit(compare: Callable[..., float], name: str) -> None:
    make, limit = CASES[name]
    ours, theirs = make()
    size = {"blocks": 3, "steps": 1} if "forest" in name else {"blocks": 5, "steps": 6}
    assert compare("understanding_ml/quick", name, ours, theirs, threads=1, peer="sklearn", **size) <= limit
