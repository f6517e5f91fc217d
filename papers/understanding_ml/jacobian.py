"""Derivatives as numbers: finite differences, the local linear map, second differences, and Jacobians of layers.

A map f takes points (..., n) to values (..., k), elementwise over the leading axes; its Jacobian at each of them is
(..., k, n), a row for every component. Section 20.6 of the book uses two: of x -> W x it is W, of an elementwise sigma
it is diag(sigma').
"""

from collections.abc import Callable

import numpy as np

from shared.layers.base import Layer
from shared.tree import Array, Tree

Map = Callable[[Array], Array]


def check(p: Array, h: float) -> None:
    """ValueError unless the points p (..., n) are real and finite, and the step h is above 0."""
    if p.ndim == 0 or p.shape[-1] == 0 or p.dtype.kind != "f" or not np.isfinite(p).all():
        raise ValueError(f"the points must be finite real numbers (..., n), n at least 1; got {p.dtype} {p.shape}")
    if not 0 < h < np.inf:
        raise ValueError(f"h={h}: a step must be above 0 and finite")


def forward(f: Map, p: Array, h: float) -> Array:
    r"""The Jacobian (..., k, n) of f at p (..., n) by (f(p + h e_j) - f(p)) / h.

    f(p + h) = f + h f' + h^2/2 f'' + ...: the quotient is off by h/2 f''. Rounding puts about eps |f| into each value,
    and eps |f| / h into the quotient: the sum is least near h = sqrt(eps) ~ 1e-8, where it is about as large as h.
    ValueError like ``check``.
    """
    check(p, h)
    return np.stack([(f(p + step) - f(p)) / h for step in h * np.eye(p.shape[-1])], axis=-1)


def central(f: Map, p: Array, h: float) -> Array:
    r"""The Jacobian (..., k, n) of f at p (..., n) by (f(p + h e_j) - f(p - h e_j)) / 2h.

    The even terms cancel: the error is h^2/6 f''' + eps |f| / h, least near h = eps^(1/3) ~ 1e-5, about 1e-11 there.
    ValueError like ``check``.
    """
    check(p, h)
    return np.stack([(f(p + step) - f(p - step)) / (2 * h) for step in h * np.eye(p.shape[-1])], axis=-1)


def complex_step(f: Map, p: Array, h: float) -> Array:
    r"""The Jacobian (..., k, n) of a real analytic f at p (..., n) by Im f(p + i h e_j) / h.

    f(p + ih) = f + i h f' - h^2/2 f'' - i h^3/6 f''' + ...: the imaginary part over h is off by h^2/6 f'''. Nothing is
    subtracted, so nothing cancels, and h may be so small that this error vanishes: the rest is rounding, about 1e-16.
    f must take complex points by the same formula: neither absolute values nor comparisons. ValueError like ``check``.
    """
    check(p, h)
    return np.stack([f(p + 1j * step).imag / h for step in h * np.eye(p.shape[-1])], axis=-1)


def curvature(f: Map, p: Array, u: Array, d: float) -> Array:
    r"""Second differences (..., k) of f at p (..., n) along u: (f(p + d u) - 2 f(p) + f(p - d u)) / d^2.

    With f(p + d u) = f + d <grad f, u> + d^2/2 u^T H u + ... they are u^T H u + O(d^2). ValueError like ``check``.
    """
    check(p, d)
    return (f(p + d * u) - 2 * f(p) + f(p - d * u)) / d**2


def circle(n: int) -> Array:
    """n unit vectors (n, 2), counter-clockwise from (1, 0)."""
    angle = 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def polygon_area(corners: Array) -> Array:
    r"""The signed area (...) of polygons (..., n, 2): above 0 where the corners run counter-clockwise.

    Triangles from the first corner a: sum of det(b - a, c - a) / 2 over the following pairs of corners b, c.
    """
    if corners.ndim < 2 or corners.shape[-1] != 2 or corners.shape[-2] < 3:
        raise ValueError(f"polygons must be (..., n, 2) with n at least 3 corners; got {corners.shape}")
    spokes = corners[..., 1:, :] - corners[..., :1, :]
    b, c = spokes[..., :-1, :], spokes[..., 1:, :]
    return np.sum(b[..., 0] * c[..., 1] - b[..., 1] * c[..., 0], axis=-1) / 2


def area_ratio(f: Map, p: Array, h: float) -> Array:
    r"""The area (...) of the image of the square p +- h/2, over h^2, by its corners; f and p (..., 2) in the plane.

    f(p + v) = f(p) + J v + q(v) + O(h^3), q quadratic: the square becomes the parallelogram of J's columns, of area
    det J h^2, and as q(-v) = q(v) moves opposite corners alike, the ratio is det J + O(h^2). Signed: below 0 where f
    turns the square over. ValueError like ``check``.
    """
    check(p, h)
    square = h / 2 * np.array([(-1.0, -1), (1, -1), (1, 1), (-1, 1)])
    return polygon_area(f(p[..., None, :] + square)) / h**2


def stretches(f: Map, p: Array, r: float, directions: int = 3600) -> Array:
    r"""The longest and the shortest (..., 2) of |f(p + r u) - f(p - r u)| / 2r over unit vectors u, p (..., 2).

    To first order the image of the circle is the ellipse J u: with J = U S V^T its half axes are s_i u_i, the images of
    the directions v_i, so these are the singular values, up to O(r^2) and the angle between two directions.
    ValueError like ``check``.
    """
    check(p, r)
    around = r * circle(directions)
    p = p[..., None, :]
    length = np.linalg.norm(f(p + around) - f(p - around), axis=-1) / (2 * r)
    return np.stack([length.max(axis=-1), length.min(axis=-1)], axis=-1)


def level_normal(f: Map, p: Array, r: float, directions: int = 720) -> Array:
    r"""Unit vectors (..., 2) at right angles to the level set of f (one component) through p (..., 2), on f's rise.

    Where the level set crosses the circle of radius r about p, f equals f(p); the arc between the two crossings on
    which f is larger has the normal in its middle, which is its mean direction. No derivative is used. The mean of an
    arc of directions is weighted at its two ends by where f crosses between two neighbours. Up to O(r).
    NaN where there are not two crossings: at a minimum, a maximum or a saddle there is no one normal.
    ValueError like ``check``.
    """
    check(p, r)
    around = circle(directions)
    rise = (f(p[..., None, :] + r * around) - f(p[..., None, :]))[..., 0]
    after = np.roll(rise, -1, axis=-1)
    crosses = (rise > 0) != (after > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        crossing = np.where(crosses, np.abs(rise) / np.abs(rise - after), 0)
    # The share of the step to the next direction on which f is above f(p).
    share = np.where(rise > 0, np.where(after > 0, 1, crossing), np.where(after > 0, 1 - crossing, 0))
    middle = share @ (around + np.roll(around, -1, axis=0))
    middle = np.where(crosses.sum(axis=-1, keepdims=True) == 2, middle, np.nan)
    return middle / np.linalg.norm(middle, axis=-1, keepdims=True)


def layer_jacobian(layer: Layer, p: Tree, x: Array) -> tuple[Array, Array]:
    r"""(y, J) of a layer at one example x (n,): its value y (k,) and its Jacobian (k, n).

    A pullback maps dy to J^T dy, and J^T e_i is row i of J: pulling back the k unit vectors, each as one example of a
    batch in which all inputs are x, gives all of J at once. The layer must treat examples one by one.
    ValueError unless x is (n,).
    """
    if x.ndim != 1:
        raise ValueError(f"one example x (n,) at a time; got {x.shape}")
    y, _ = layer(p, x[None])
    _, pullback = layer(p, np.repeat(x[None], y.shape[-1], axis=0))
    return y[0], pullback(np.eye(y.shape[-1]))[0]
