"""How far samples are from data, on features of both: Fréchet distance, inception score, precision and recall."""

import numpy as np

from shared.tree import Array

BLOCK = 256  # rows of a matrix of distances at a time


def frechet_distance(a: Array, b: Array) -> float:
    r"""|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (R S_b R)^(1/2)), R = S_a^(1/2), of features a (N, F) and b (M, F).

    The squared 2-Wasserstein distance between the Gaussians with their means mu and covariances S (Dowson and Landau
    1982; Heusel et al. 2017, eq. 6). (S_a S_b)^(1/2), as it is usually written, needs the root of a matrix that is not
    symmetric. R S_b R is similar to S_a S_b and symmetric: its eigenvalues are real and not negative but for rounding,
    and the trace of its root is the sum of theirs. The covariances divide by N - 1 and M - 1.
    """
    (mean_a, cov_a), (mean_b, cov_b) = gaussian(a), gaussian(b)
    if len(mean_a) != len(mean_b):
        raise ValueError(f"frechet_distance: features must be of one length, got {len(mean_a)} and {len(mean_b)}")
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_b @ root), 0)).sum()
    shift = mean_a - mean_b
    return float(max(shift @ shift + np.trace(cov_a) + np.trace(cov_b) - 2 * cross, 0))


def gaussian(x: Array) -> tuple[Array, Array]:
    """Mean (F,) and covariance (F, F) of x (N, F), N >= 2, in float64."""
    check_features("frechet_distance", x, 2)
    mean = x.mean(0, dtype=np.float64)
    deviation = x - mean
    return mean, deviation.T @ deviation / (len(x) - 1)


def inception_score(probability: Array) -> float:
    r"""exp(mean over n of KL(p(y|x_n) || p(y))), p(y) = mean over n of p(y|x_n): probability (N, K), value in 1..K.

    The mean KL is H(p(y)) - mean H(p(y|x_n)): classes all there, each image sure of its own. Salimans et al. 2016,
    section 4, over all images at once.
    """
    check_features("inception_score", probability, 1)
    if (probability < 0).any() or not np.allclose(probability.sum(1), 1, rtol=0, atol=1e-4):
        raise ValueError("inception_score: each row must be a distribution: not negative, with sum 1")
    p = probability.astype(np.float64)
    return float(np.exp(entropy(p.mean(0)) - entropy(p).mean()))


def entropy(p: Array) -> Array:
    """-sum_k p_k log p_k in nats over the last axis; 0 log 0 = 0."""
    return -(p * np.log(np.maximum(p, np.finfo(p.dtype).tiny))).sum(-1)


def precision_recall(real: Array, fake: Array, k: int = 3) -> tuple[float, float]:
    r"""(share of fake inside of real's manifold, share of real inside of fake's), for features (N, F) each.

    A set's manifold is the union of balls around its points, each as large as the distance to the k-th nearest other
    point of the set. Kynkäänniemi et al. 2019, eq. 1 and 2. A ball shrinks as points are added, so counts are equal.
    """
    for x in (real, fake):
        check_features("precision_recall", x, 2)
    if real.shape != fake.shape:
        raise ValueError(f"precision_recall: real and fake must have one shape, got {real.shape} and {fake.shape}")
    if not 1 <= k < len(real):
        raise ValueError(f"precision_recall: k must be in 1..{len(real) - 1}, one less than the points, got {k}")
    centre = real.mean(0, dtype=np.float64)  # distances do not change, and their rounding gets smaller
    real, fake = real - centre, fake - centre
    real_radius, fake_radius = radii(real, k), radii(fake, k)
    inside, covered = 0, np.zeros(len(real), bool)
    for start in range(0, len(fake), BLOCK):
        d = squared_distances(fake[start : start + BLOCK], real)
        inside += int((d <= real_radius).any(1).sum())
        covered |= (d <= fake_radius[start : start + BLOCK, None]).any(0)
    return inside / len(fake), float(covered.mean())


def radii(x: Array, k: int) -> Array:
    """The squared distance of each row of x (N, F) to the k-th nearest other row, (N,)."""
    found = np.empty(len(x))
    for start in range(0, len(x), BLOCK):
        d = squared_distances(x[start : start + BLOCK], x)
        row = np.arange(len(d))
        d[row, start + row] = np.inf
        found[start : start + BLOCK] = np.partition(d, k - 1, axis=1)[:, k - 1]
    return found


def squared_distances(a: Array, b: Array) -> Array:
    """|a_i|^2 + |b_j|^2 - 2 a_i b_j (N, M), and exactly 0 where that is no more than what rounding can make of 0."""
    sizes = np.einsum("if,if->i", a, a)[:, None] + np.einsum("jf,jf->j", b, b)
    d = sizes - 2 * (a @ b.T)
    d[d <= 2 * a.shape[1] * np.finfo(d.dtype).eps * sizes] = 0
    return d


def check_features(metric: str, x: Array, least: int) -> None:
    """ValueError for what is no table of finite numbers with so many rows."""
    if x.ndim != 2 or len(x) < least:
        raise ValueError(f"{metric}: features must be (N, F) with N >= {least}, got {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{metric}: features must be finite")
