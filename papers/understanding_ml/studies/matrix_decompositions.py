"""Study: five decompositions against numpy.linalg, and what they say about projections, ranks, images and solving."""

import itertools
from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.understanding_ml.eigen import Eigen, eigen_jacobi, eigen_qr, jacobi_sweeps, qr_iterates
from papers.understanding_ml.linear_systems import projection, pseudo_inverse, solve
from papers.understanding_ml.qr import qr
from papers.understanding_ml.study import Rows, Study, farthest_from, measured, repeats
from papers.understanding_ml.svd import (
    SVD,
    low_rank,
    power_iterates,
    rotation_scale_rotation,
    svd_jacobi,
    svd_power,
    truncate,
)
from shared import plot
from shared.claims import Claim
from shared.experiment import Run
from shared.tree import Array

METHODS = ("QR, Householder", "eigen, shifted QR", "eigen, Jacobi", "SVD, Jacobi", "SVD, power", "pseudo-inverse")
RANKS = (1, 2, 4, 8, 16, 32, 64, 96)  # of the photo, 106
SHOWN = (4, 16, 48)
CUTOFF = 1e-13  # of the pseudo-inverses: no singular value of the matrices below is near it
KAPPAS = 10.0 ** np.arange(1, 13.5, 0.5)
SQUARED = 10**6.5  # the largest kappa for the normal equations: above, X^T X is singular in 16 digits
VALUES = np.arange(1.0, 9)  # eigenvalues of the matrix that the iterations work on
FALLING = 0.8 ** np.arange(8)  # singular values of the one for power iteration
STEPS = 32
EXAMPLE = np.array([[1.3, 0.9], [-0.3, 0.8]])  # the map of the plane in the figure


def measure(run: Run, effort: float) -> None:
    """One seed's rows of the parts, and the photo for the figure."""
    image = photo()
    run.keep(photo=image)
    oracle(run)
    projections(run, repeats(effort, 1_000, least=50))
    gram(run, repeats(effort, 1_000, least=50))
    approximations(run, image, repeats(effort, 20, least=2))
    plane(run, repeats(effort, 500, least=20))
    solving(run, repeats(effort, 10, least=1))
    perturbations(run, repeats(effort, 100, least=5))
    convergence(run)


def photo() -> Array:
    """scikit-learn's china.jpg in grey, (106, 160) from 0 to 1: each pixel is the mean of 4 x 4."""
    from sklearn.datasets import load_sample_image  # takes longer to import than a smoke run takes

    grey = load_sample_image("china.jpg")[:424].mean(axis=2) / 255
    return np.asarray(grey.reshape(106, 4, 160, 4).mean(axis=(1, 3)))


def orthonormal(n: int, rng: np.random.Generator) -> Array:
    """A random orthogonal matrix (n, n)."""
    return qr(rng.standard_normal((n, n)))[0]


def with_values(values: Array, rng: np.random.Generator, symmetric: bool = False) -> Array:
    """A random (n, n) matrix with these singular values; with these eigenvalues when ``symmetric``."""
    U = orthonormal(len(values), rng)
    V = U if symmetric else orthonormal(len(values), rng)
    A = (U * values) @ V.T
    return (A + A.T) / 2 if symmetric else A


def hilbert(n: int) -> Array:
    """1 / (i + j - 1), (n, n)."""
    return np.asarray(1 / (1.0 + np.add.outer(np.arange(n), np.arange(n))))


def matrices(rng: np.random.Generator) -> dict[str, Array]:
    """Well-conditioned ones of each shape, and ill-conditioned ones of each sort."""
    upper = np.triu(np.ones((20, 20)), 1)
    return {
        "tall": rng.standard_normal((30, 12)),
        "wide": rng.standard_normal((12, 30)),
        "square": rng.standard_normal((12, 12)) + 6 * np.eye(12),
        "Hilbert": hilbert(12),
        "Vandermonde": np.vander(np.linspace(0, 1, 20), 12),
        "Kahan": 0.6 ** np.arange(20)[:, None] * (np.eye(20) - 0.8 * upper),
        "graded columns": rng.standard_normal((12, 8)) * np.logspace(0, -12, 8),
        "kappa = 1e12": with_values(np.logspace(0, -12, 12), rng),
        "rank 4": rng.standard_normal((12, 4)) @ rng.standard_normal((4, 10)),
    }


def symmetric_matrices(rng: np.random.Generator) -> dict[str, Array]:
    """The same for eigenvalues. Wilkinson's has pairs that agree in 14 digits."""
    A = rng.standard_normal((15, 15))
    scales = np.logspace(0, -6, 10)
    return {
        "Gaussian": A + A.T,
        "Hilbert": hilbert(12),
        "Wilkinson": np.diag(np.abs(np.arange(-10.0, 11))) + np.eye(21, k=1) + np.eye(21, k=-1),
        "graded": np.outer(scales, scales) * (np.eye(10) + 0.1),
        "kappa = 1e12": with_values(np.logspace(0, -12, 12), rng, symmetric=True),
        "repeated": with_values(np.repeat([-1.0, 0, 2], 4), rng, symmetric=True),
    }


def oracle(run: Run) -> None:
    """How far each method is from numpy.linalg and from its defining equations, as a relative change of A."""
    for name, A in matrices(run.rng).items():
        deviations = (
            qr_deviation(A),
            svd_deviation(A, svd_jacobi(A)),
            svd_deviation(A, svd_power(A, run.rng)),
            inverse_deviation(A),
        )
        for method, deviation in zip((METHODS[0], *METHODS[3:]), deviations, strict=True):
            run.record(part="oracle", method=method, matrix=name, deviation=deviation)
    for name, A in symmetric_matrices(run.rng).items():
        for method, found in ((METHODS[1], eigen_qr(A)), (METHODS[2], eigen_jacobi(A))):
            run.record(part="oracle", method=method, matrix=name, deviation=eigen_deviation(A, found))


def qr_deviation(A: Array) -> float:
    """A change of A by eps |A| turns column j of Q by eps |A| over the last singular value of the columns up to j."""
    Q, R = qr(A)
    theirs, norm = np.linalg.qr(A), np.linalg.norm(A, 2)
    smallest = np.array([np.linalg.norm(A[:, : j + 1], -2) for j in range(Q.shape[1])]) / norm
    turned = np.abs(Q - theirs.Q).max(axis=0) * smallest
    moved = np.abs(R - theirs.R).max(axis=1) * smallest / norm
    return float(np.max([*turned, *moved, np.linalg.norm(Q @ R - A) / norm, defect(Q)]))


def eigen_deviation(A: Array, found: Eigen) -> float:
    """A change of A by eps |A| moves values by eps |A| and turns vectors by eps |A| over the gap to the next value."""
    theirs, norm = np.linalg.eigh(A), np.linalg.norm(A, 2)
    moved = np.abs(found.values - theirs.eigenvalues) / norm
    turned = sines(found.vectors, theirs.eigenvectors) * gaps(theirs.eigenvalues) / norm
    left = np.linalg.norm((found.vectors * found.values) @ found.vectors.T - A) / norm
    return float(np.max([*moved, *turned, left, defect(found.vectors)]))


def svd_deviation(A: Array, found: SVD) -> float:
    """Like ``eigen_deviation``; the gaps are those between all s_i and 0."""
    theirs = np.linalg.svd(A, full_matrices=False)
    norm, apart = theirs.S[0], gaps(np.append(theirs.S, 0))[:-1]
    moved = np.abs(found.s - theirs.S) / norm
    turned = np.maximum(sines(found.U, theirs.U), sines(found.Vt.T, theirs.Vh.T)) * apart / norm
    left = np.linalg.norm((found.U * found.s) @ found.Vt - A) / norm
    return float(np.max([*moved, *turned, left, defect(found.U), defect(found.Vt.T)]))


def inverse_deviation(A: Array) -> float:
    """A change of A by eps |A| changes A^+ by eps |A| / s_r^2."""
    s = np.linalg.svd(A, compute_uv=False)
    change = np.linalg.norm(pseudo_inverse(A, CUTOFF) - np.linalg.pinv(A, CUTOFF), 2)
    return float(change * s[s > CUTOFF * s[0]][-1] ** 2 / s[0])


def defect(Q: Array) -> float:
    """How far the columns of Q are from orthonormal."""
    return float(np.abs(Q.T @ Q - np.eye(Q.shape[1])).max())


def sines(V: Array, W: Array) -> Array:
    """Of the angles between the lines along the columns of V and W."""
    return np.asarray(np.linalg.norm(V - W * np.sum(V * W, axis=0), axis=0))


def gaps(values: Array) -> Array:
    """The distance from each value to the nearest other one."""
    return np.min(np.abs(values[:, None] - values) + np.diag(np.full(len(values), np.inf)), axis=0)


def projections(run: Run, n: int) -> None:
    """Whether P is a projection, and how many of n points of the column space are closer to b than P b."""
    for name, A in matrices(run.rng).items():
        P, b = projection(A), run.rng.standard_normal(len(A))
        distance = np.linalg.norm(b - P @ b)
        others = P @ run.rng.standard_normal((len(A), n))  # of the space, near P b and far from it
        others = (P @ b)[:, None] + others * 10.0 ** -run.rng.uniform(0, 6, n)
        closer = np.sum(np.linalg.norm(b[:, None] - others, axis=0) < distance * (1 - 1e-12))
        missed = np.linalg.norm(P @ A - A) / np.linalg.norm(A)
        idempotent = np.max([np.abs(P @ P - P).max(), np.abs(P - P.T).max(), missed])
        run.record(part="projections", matrix=name, defect=float(idempotent), closer=int(closer))


def gram(run: Run, n: int) -> None:
    """s_i^2 against the eigenvalues of A^T A, and how many of n vectors beat v_i where it is the greedy choice."""
    for m, d in ((30, 12), (12, 30), (12, 12)):
        A = run.rng.standard_normal((m, d))
        _, s, Vt = svd_jacobi(A)
        difference = np.abs(s**2 - eigen_qr(A.T @ A).values[::-1][: len(s)]).max() / s[0] ** 2
        beaten = 0
        for i in range(len(s)):
            v = Vt[i][:, None] + run.rng.standard_normal((d, n)) * 10.0 ** -run.rng.uniform(-1, 6, n)
            v -= Vt[:i].T @ (Vt[:i] @ v)
            stretch = np.linalg.norm(A @ v, axis=0) / np.linalg.norm(v, axis=0)
            beaten += int(np.sum(stretch > s[i] + 1e-12 * s[0]))
        run.record(part="gram", m=m, n=d, difference=float(difference), beaten=beaten)


def approximations(run: Run, image: Array, n: int) -> None:
    """Errors of the best rank k against the dropped singular values, and of n others each of two sorts."""
    found = svd_jacobi(image)
    for k in RANKS:
        run.record(part="photo", n=k, **compared(image, truncate(found, k), found, k, n, run.rng))
    for m, d in ((12, 8), (8, 12)):
        A = run.rng.standard_normal((m, d))
        found = svd_jacobi(A)
        for k in range(1, 9):
            run.record(part="Gaussian", n=k, **compared(A, low_rank(A, k), found, k, n, run.rng))


def compared(A: Array, best: Array, found: SVD, k: int, n: int, rng: np.random.Generator) -> dict[str, float]:
    """Errors over |A|_F of rank k: the best one, what it should be, random ones; and how many beat it, in two norms."""
    dropped, size = found.s[k:], np.linalg.norm(A)
    frobenius, spectral = float(np.sqrt(np.sum(dropped**2))), float(np.max(dropped, initial=0))
    differences = np.linalg.norm(A - best) - frobenius, np.linalg.norm(A - best, 2) - spectral
    errors: dict[str, list[float]] = {"random": [], "turned": []}
    beaten = 0
    for _ in range(n):
        noise = rng.standard_normal((A.shape[1], k))
        for sort, directions in (("random", noise), ("turned", found.Vt[:k].T + 0.01 * noise)):
            Q = np.linalg.qr(directions).Q
            other = (A @ Q) @ Q.T  # of all B with these k rows' span the closest to A
            errors[sort].append(float(np.linalg.norm(A - other) / size))
            worse = 1 - 1e-12
            beaten += int(
                np.linalg.norm(A - other) < worse * frobenius or np.linalg.norm(A - other, 2) < worse * spectral
            )
    return {
        "error": float(np.linalg.norm(A - best) / size),
        "dropped": frobenius / float(size),
        "difference": float(np.abs(differences).max() / size),
        "random": float(np.min(errors["random"])),
        "turned": float(np.min(errors["turned"])),
        "beaten": beaten,
    }


def plane(run: Run, n: int) -> None:
    """Maps of the plane put together from their angles and scales, and their unit circles against the semi-axes."""
    t = np.linspace(0, np.pi, 400)
    rebuilt, outside, axes = [], [], []
    for _ in range(n):
        A = run.rng.standard_normal((2, 2))
        left, scales, right = rotation_scale_rotation(A)
        rebuilt.append(np.abs(rotation(left) @ np.diag(scales) @ rotation(right) - A).max() / scales[0])
        lengths = np.linalg.norm(A @ np.array([np.cos(t), np.sin(t)]), axis=0)
        outside.append(np.max([lengths.max() - scales[0], abs(scales[1]) - lengths.min()]) / scales[0])
        ends = A @ rotation(right).T  # what A does to v_1 and v_2
        axes.append(np.abs(ends - rotation(left) * scales).max() / scales[0])
    run.record(part="plane", rebuilt=np.max(rebuilt), ellipse=np.max([*outside, *axes]))


def rotation(angle: float) -> Array:
    """The matrix (2, 2) that rotates by ``angle``, in radians."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def solving(run: Run, n: int, d: int = 10) -> None:
    """The relative error of x from A x = b by QR and by the normal equations, medians over n problems of each kappa."""
    for kappa in KAPPAS:
        errors: dict[str, list[float]] = {"QR": [], "normal equations": []}
        for _ in range(n):
            A, x = with_values(np.geomspace(1, 1 / kappa, d), run.rng), run.rng.standard_normal(d)
            b = A @ x
            errors["QR"].append(relative(solve(A, b), x))
            if kappa <= SQUARED:
                errors["normal equations"].append(relative(solve(A.T @ A, A.T @ b), x))
        for way, found in errors.items():
            if found:
                run.record(part="solving", way=way, kappa=float(kappa), error=float(np.median(found)))


def relative(x: Array, exact: Array) -> float:
    """|x - exact| / |exact|."""
    return float(np.linalg.norm(x - exact) / np.linalg.norm(exact))


def perturbations(run: Run, n: int, d: int = 6, kappa: float = 1e4) -> None:
    """The largest ratio of |dx| / |x| to kappa |db| / |b|: over n random b and db, and for the worst ones."""
    A = with_values(np.geomspace(1, 1 / kappa, d), run.rng)
    U = svd_jacobi(A).U
    directions = [(run.rng.standard_normal(d), run.rng.standard_normal(d)) for _ in range(n)]
    largest = np.max([amplified(A, b, db) for b, db in directions]) / kappa
    run.record(part="perturbations", random=largest, worst=amplified(A, U[:, 0], U[:, -1]) / kappa)


def amplified(A: Array, b: Array, db: Array) -> float:
    """The relative change of x over that of b, where A x = b."""
    x, dx = solve(A, np.stack([b, db], axis=1)).T
    return float(np.linalg.norm(dx) / np.linalg.norm(x) * np.linalg.norm(b) / np.linalg.norm(db))


def convergence(run: Run) -> None:
    """What is left off the diagonal after each sweep of Jacobi's and each step of QR, and of the other v_i by power."""
    A = with_values(VALUES, run.rng, symmetric=True)
    record_steps(run, "Jacobi", [off_diagonal(W) for W, _ in jacobi_sweeps(A)])
    for way, shifted in (("QR", False), ("shifted QR", True)):
        iterates = itertools.islice(qr_iterates(A, shifted), STEPS + 1)
        record_steps(run, way, [float(np.linalg.norm(X[-1, :-1])) for X in iterates])
    A = with_values(FALLING, run.rng)
    v_1 = np.linalg.svd(A).Vh[0]
    for j, v in enumerate(power_iterates(A, run.rng)):
        tangent = float(np.linalg.norm(v - v_1 * (v_1 @ v)) / abs(v_1 @ v))
        run.record(part="convergence", way="power", step=2**j, left=tangent)


def record_steps(run: Run, way: str, left: list[float]) -> None:
    """A row for each step of an iteration."""
    for step, value in enumerate(left):
        run.record(part="convergence", way=way, step=step, left=value)


def off_diagonal(W: Array) -> float:
    """The Frobenius norm of W without its diagonal."""
    return float(np.linalg.norm(W - np.diag(np.diag(W))))


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Six panels: the photo at some ranks, its errors, a map of the plane; solving, convergence, numpy.linalg."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(13.5, 7.6), layout="constrained")
        pictures, errors, maps, solutions, steps, deviations = figure.subplots(2, 3).flat
        compression(pictures, arrays["photo"])

        own = rows[rows["part"] == "photo"]
        plot.band(errors, own, "n", "random", marker="o", label="best random rank $k$")
        plot.band(errors, own, "n", "turned", marker="s", mfc="none", label="best random turn of the $v_i$")
        plot.band(errors, own, "n", "error", label="$|A - A_k|_F$")
        dropped = own.groupby("n")["dropped"].median()
        errors.plot(dropped.index, dropped, "k.", zorder=5, label="$(\\sum_{i>k} s_i^2)^{1/2}$")
        errors.set(xlabel="rank $k$", ylabel="error / $|A|_F$", title="The photo: nothing is closer (Eckart-Young)")
        errors.set(xscale="log", yscale="log")
        errors.set_xticks(RANKS, [str(k) for k in RANKS])
        errors.minorticks_off()
        errors.legend(loc="lower left")

        action(maps)

        own = rows[rows["part"] == "solving"]
        for way, power, last, label in (
            ("QR", 1, KAPPAS[-1], "$\\epsilon\\, \\kappa$"),
            ("normal equations", 2, SQUARED, "$\\epsilon\\, \\kappa^2$"),
        ):
            plot.band(solutions, own[own["way"] == way], "kappa", "error", marker=".", label=way)
            kappas = np.array([KAPPAS[0], last])
            line = np.finfo(float).eps * kappas**power
            solutions.plot(kappas, line, "k:")
            solutions.annotate(label, (kappas[1], line[1]), (-4, 2), textcoords="offset points", ha="right")
        solutions.set(xlabel="condition number $\\kappa$", ylabel="relative error of $x$", xscale="log", yscale="log")
        solutions.set_title("Solving $A x = b$")
        solutions.legend(loc="lower right")

        iterations(steps, rows[rows["part"] == "convergence"])
        compared_with_numpy(deviations, rows[rows["part"] == "oracle"])
        plot.caption(
            figure,
            [
                "Photo: china.jpg of scikit-learn, by danielbuechele (CC BY 2.0), in grey, m x n = 106 x 160; shares: "
                "k (m + n + 1) numbers to store in place of m n. All else generated. The plane: $v_1$ and $v_2$ are "
                "the lines, $e_1$ the dot, $e_2$ the square. Convergence: 8 x 8, eigenvalues 1 to 8; power iteration: "
                "singular values $0.8^i$. Deviations: a dot a matrix and seed. "
                f"Lines: medians, bands: range over {rows['seed'].nunique()} seeds."
            ],
        )
    return figure


def compression(axes: Axes, image: Array) -> None:
    """The photo and three of its approximations, with the share of the numbers that they need."""
    found, (m, n), gap = svd_jacobi(image), image.shape, 6
    picture = np.full((2 * m + gap, 2 * n + gap), 255, np.uint8)
    plot.show(axes, picture, "A photo of rank 106, and of rank $k$")
    for place, k in enumerate((m, *SHOWN)):
        top, left = place // 2 * (m + gap), place % 2 * (n + gap)
        pixels = np.clip(255 * truncate(found, k), 0, 255)
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=(left, left + n, top + m, top))
        label = "all" if k == m else f"$k$ = {k}: {k * (m + n + 1) / (m * n):.0%}"
        axes.text(left + 3, top + m - 4, label, fontsize=8, bbox={"fc": "white", "ec": "none", "pad": 1.5})
    axes.set(xlim=(0, 2 * n + gap), ylim=(2 * m + gap, 0))


def action(axes: Axes) -> None:
    """The unit circle and its two axes on their way through A = R(left) diag(scales) R(right)."""
    left, scales, right = rotation_scale_rotation(EXAMPLE)
    first = rotation(right)
    stages = [np.eye(2), first, np.diag(scales) @ first, rotation(left) @ np.diag(scales) @ first]
    names = ("$x$", f"$R({np.degrees(right):.0f}°)\\,x$", "$\\mathrm{diag}(s)\\,R\\,x$", "$A x$")
    t = np.linspace(0, 2 * np.pi, 200)
    for place, (M, name) in enumerate(zip(stages, names, strict=True)):
        middle = np.array([[3.6 * (place % 2)], [-3.4 * (place // 2)]])
        axes.fill(*(middle + M @ np.array([np.cos(t), np.sin(t)])), color="0.9", ec="0.5")
        for end, color in ((first.T[:, 0], "tab:blue"), (first.T[:, 1], "tab:orange")):
            axes.plot(*np.hstack([middle, middle + (M @ end)[:, None]]), color=color, lw=2)
        for end, marker in ((M[:, 0], "o"), (M[:, 1], "s")):
            axes.plot(*(middle[:, 0] + end), marker, color="k", ms=4)
        axes.text(middle[0, 0], middle[1, 0] - 1.62, name, ha="center", va="center")
    axes.set(aspect="equal", title="A map of the plane: rotate, scale, rotate")
    axes.set_axis_off()


def iterations(axes: Axes, rows: Rows) -> None:
    """What is left by sweep or step, down to rounding errors, and the rates that are derived."""
    rows = rows[rows["step"] <= STEPS].assign(left=rows["left"].clip(lower=1e-17))
    rows = rows[(rows["way"] != "shifted QR") | (rows["step"] <= 8)]  # from there on at rounding errors
    for way, marker, label in (
        ("Jacobi", "o", "Jacobi, a sweep"),
        ("shifted QR", "s", "QR, shifted"),
        ("QR", ".", "QR, not shifted"),
        ("power", "^", "power iteration"),
    ):
        plot.band(axes, rows[rows["way"] == way], "step", "left", marker=marker, ms=4, label=label)
    t = np.arange(4, STEPS + 1)
    for way, rate in (("QR", VALUES[0] / VALUES[1]), ("power", FALLING[1] ** 2)):
        end = rows[(rows["way"] == way) & (rows["step"] == STEPS)]["left"].median()
        axes.plot(
            t,
            end * rate ** (t - STEPS),
            "k:",
            label="$(\\lambda_8/\\lambda_7)^t$, $(s_2/s_1)^{2t}$" if way == "QR" else None,
        )
    axes.set(xlabel="sweep or step $t$", ylabel="off the diagonal; off $v_1$", yscale="log", title="Convergence")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.05))


def compared_with_numpy(axes: Axes, rows: Rows) -> None:
    """A dot for each matrix and seed, by method."""
    well = rows["matrix"].isin(["tall", "wide", "square", "Gaussian"])
    for place, method in enumerate(METHODS):
        for own, shift, color in ((rows[well], 0.15, "tab:blue"), (rows[~well], -0.15, "tab:red")):
            found = own[own["method"] == method]["deviation"].clip(lower=1e-18)
            axes.plot(found, np.full(len(found), len(METHODS) - 1 - place + shift), ".", ms=4, color=color)
    axes.plot([], [], ".", color="tab:blue", label="well-conditioned")
    axes.plot([], [], ".", color="tab:red", label="ill-conditioned")
    axes.axvline(1e-10, color="k", ls=":", label="claimed")
    axes.set_yticks(range(len(METHODS)), reversed(METHODS))
    axes.set(xlabel="deviation (relative change of $A$; from $10^{-18}$)", xscale="log", title="Against numpy.linalg")
    axes.legend(loc="lower right", bbox_to_anchor=(0.96, 0))


def largest(part: str, column: str, way: tuple[str, str] | None = None) -> Callable[[Rows], list[float]]:
    """A claim's measurement: the largest of a column over one part's rows, of those where ``way[0]`` is ``way[1]``."""

    def value(seed: Rows) -> float:
        own = seed if way is None else seed[seed[way[0]] == way[1]]
        return float(own[column].max())

    return measured("matrix_decompositions", part, value)


def slope(way: str) -> Callable[[Rows], list[float]]:
    """Of log error against log kappa, from kappa = 100 on."""

    def value(seed: Rows) -> float:
        own = seed[(seed["way"] == way) & (seed["kappa"] >= 100)]
        return float(np.polyfit(np.log(own["kappa"]), np.log(own["error"]), 1)[0])

    return measured("matrix_decompositions", "solving", value)


def left(seed: Rows, way: str) -> Array:
    """What an iteration left, by step."""
    return seed[seed["way"] == way].sort_values("step")["left"].to_numpy()


def quadratic(seed: Rows) -> float:
    """The largest off_{t+1} gap / off_t^2 over the sweeps that start below a quarter of the gap, which is 1."""
    off = left(seed, "Jacobi")
    return max(after / before**2 for before, after in itertools.pairwise(off) if before < 0.25)


def qr_rate(seed: Rows) -> float:
    """The mean factor by which a step of QR without shifts shrinks the last row, once the faster ones are gone."""
    last = left(seed, "QR")
    return float((last[STEPS] / last[STEPS - 10]) ** 0.1)


def power_excess(seed: Rows) -> float:
    """The largest ratio of tan(v_t, v_1), t > 1, to what the first step leaves at most, down to rounding errors."""
    own = seed[seed["way"] == "power"].sort_values("step")
    bound = own["left"].iloc[0] * (FALLING[1] / FALLING[0]) ** (2 * (own["step"] - 1))
    return float((own["left"] / np.maximum(bound, 1e-13)).iloc[1:].max())


APPENDIX, NOTES = "Appendix C", "Derived in the notes"


def grows(id: str, way: str, power: int) -> Claim:
    """A claim about the error of solving in one way."""
    return Claim(
        id,
        "Condition numbers; backward stability of QR, not derived here",
        f"The error of solving by {way} grows like kappa^{power} (slope in logarithms)",
        slope(way),
        holds=lambda found: abs(found - power) < 0.1,
        tolerance="+- 0.1",
    )


def equation(id: str, source: str, statement: str, measure: Callable[[Rows], list[float]]) -> Claim:
    """A claim that two things are the same up to rounding errors, for every seed."""
    return Claim(
        id,
        source,
        statement,
        measure,
        holds=lambda difference: difference < 1e-10,
        tolerance="< 1e-10",
        average=max,
    )


def never(id: str, source: str, statement: str, measure: Callable[[Rows], list[float]]) -> Claim:
    """A claim that something does not happen, with any seed, by counting."""
    return Claim(id, source, statement, measure, holds=lambda count: count == 0, tolerance="= 0", average=max)


CLAIMS = (
    *(
        equation(
            f"uml-{id}-numpy",
            APPENDIX,
            f"{method} is numpy.linalg's, also ill-conditioned (largest deviation, as a relative change of A)",
            largest("oracle", "deviation", ("method", method)),
        )
        for id, method in zip(
            ("qr", "eigen-qr", "eigen-jacobi", "svd-jacobi", "svd-power", "pinv"), METHODS, strict=True
        )
    ),
    equation(
        "uml-projection",
        APPENDIX,
        "P P = P, P^T = P and P A = A (largest difference, also with ill-conditioned and dependent columns)",
        largest("projections", "defect"),
    ),
    never(
        "uml-projection-closest",
        APPENDIX,
        "No point of the column space is closer to b than P b (how many are)",
        largest("projections", "closer"),
    ),
    equation(
        "uml-svd-gram",
        "Corollary C.6",
        "s_i^2 are the eigenvalues of A^T A (largest difference over s_1^2)",
        largest("gram", "difference"),
    ),
    never(
        "uml-svd-greedy",
        "Lemma C.5",
        "v_i has the longest A v of the unit vectors orthogonal to those before (how many are longer)",
        largest("gram", "beaten"),
    ),
    equation(
        "uml-eckart-young-error",
        "Eckart and Young 1936",
        "A_k misses the photo A by the dropped singular values, in two norms (largest difference over |A|)",
        largest("photo", "difference"),
    ),
    *(
        never(
            f"uml-eckart-young-{part.lower()}",
            "Eckart and Young 1936",
            f"No random rank k is closer to the {part} matrix than A_k, in two norms (how many are)",
            largest(part, "beaten"),
        )
        for part in ("photo", "Gaussian")
    ),
    equation(
        "uml-plane-rotations",
        APPENDIX,
        "A 2x2 matrix is rotation, scale, rotation (largest difference of their product to A, over s_1)",
        largest("plane", "rebuilt"),
    ),
    equation(
        "uml-plane-ellipse",
        APPENDIX,
        "It maps the unit circle to the ellipse with semi-axes s_i u_i (largest length outside, over s_1)",
        largest("plane", "ellipse"),
    ),
    Claim(
        id="uml-condition-bound",
        source=NOTES,
        statement="|dx| / |x| <= kappa |db| / |b| (largest ratio over random b and db)",
        measure=largest("perturbations", "random"),
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
        average=max,
    ),
    Claim(
        id="uml-condition-attained",
        source=NOTES,
        statement="For b along u_1 and db along u_n the two sides are equal (their ratio)",
        measure=largest("perturbations", "worst"),
        holds=lambda ratio: abs(ratio - 1) < 1e-8,
        tolerance="+- 1e-8",
        average=farthest_from(1),
    ),
    grows("uml-condition-qr", "QR", 1),
    grows("uml-condition-normal", "normal equations", 2),
    Claim(
        id="uml-jacobi-quadratic",
        source="Observation; sketched in the notes",
        statement="Below gap / 4, a sweep of Jacobi squares what is off the diagonal (largest off_{t+1} gap / off_t^2)",
        measure=measured("matrix_decompositions", "convergence", quadratic),
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
        average=max,
    ),
    Claim(
        id="uml-qr-rate",
        source=NOTES,
        statement="Without shifts QR shrinks the last row by lambda_8 / lambda_7 = 1/2 a step",
        measure=measured("matrix_decompositions", "convergence", qr_rate),
        holds=lambda rate: abs(rate - 0.5) < 0.005,
        tolerance="+- 1 %",
        average=farthest_from(0.5),
    ),
    Claim(
        id="uml-power-rate",
        source=NOTES,
        statement="tan(v_t, v_1) is at most (s_2 / s_1)^2(t-1) times that of the first step (largest ratio to it)",
        measure=measured("matrix_decompositions", "convergence", power_excess),
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
        average=max,
    ),
)

STUDY = Study(title="Matrix decompositions", measure=measure, draw=draw, claims=CLAIMS)
