"""Study: gradient, Jacobian and Hessian of a function of the plane, finite differences, and Jacobians of deep networks.

Without f the figure shows the surface "hills" and the map "fold", and networks are measured too; with f it shows that
function, and only what holds for any function is claimed.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.understanding_ml.expressions import NAMED, WINDOW, Function, evaluate, read
from papers.understanding_ml.jacobian import (
    area_ratio,
    central,
    circle,
    complex_step,
    curvature,
    forward,
    layer_jacobian,
    level_normal,
    stretches,
)
from papers.understanding_ml.jacobian_page import page
from papers.understanding_ml.study import Rows, Study, measured, repeats
from shared import plot, tree
from shared.claims import Claim
from shared.experiment import Run
from shared.init import Normal
from shared.layers.activation import ReLU, Tanh
from shared.layers.base import Layer
from shared.layers.combinators import Residual, Sequential
from shared.layers.linear import Linear
from shared.tree import Array

NAME = "jacobian"
STYLES = {"forward": "-", "central": "-", "complex step": "--"}  # central and complex truncation errors coincide
METHODS = {"forward": forward, "central": central, "complex step": complex_step}
STEPS = 10.0 ** np.arange(-16, 0.1, 0.25)
TINY = 10.0 ** np.arange(-300, -7, 4)  # more steps for the complex one
# Where an error follows one power of h, by theory for a function whose derivatives are about 1: two decades and more
# from where truncation and rounding meet (1e-8, and 1e-5 for central), and from where p + h keeps no digits of h.
FITS = {
    "forward, rounding": ("forward", 1e-14, 1e-10, -1),
    "forward, truncation": ("forward", 1e-6, 1e-2, 1),
    "central, rounding": ("central", 1e-14, 1e-7, -1),
    "central, truncation": ("central", 1e-3, 1e-1, 2),
    "complex step, truncation": ("complex step", 1e-6, 1e-1, 2),
}
REACHES = 10.0 ** np.linspace(-4, -2, 9)  # how far from the point the tangent plane is tried
SMALL = 1e-3  # side of a square, radius of a circle, step of a second difference: errors are of its square
TOP = np.array([-2 * np.sqrt(2), -np.sqrt(2)]) * np.exp(-0.5)  # eigenvalues of the Hessian of "hills" at its maximum
WIDTH, DEPTH = 64, 32
QUARTER = WIDTH // 4


def functions(text: str | None) -> tuple[Function, Function]:
    """The function whose surface is shown, and the one whose map is: the same, where one is given."""
    if text is None:
        return read("hills"), read("fold")
    f = read(text)
    return f, f


def measure(run: Run, effort: float) -> None:
    """One seed's rows: what holds for any function; and of the default alone its own numbers, and the networks."""
    text = run.job.get("f")
    surface, mapped = functions(text)
    n = repeats(effort, 400, least=40)
    p, q = points(run.rng, surface, n), points(run.rng, mapped, n)
    run.keep(p=p, q=q)
    derivatives(run, surface, mapped, p, q)
    level_sets(run, surface, p)
    second_order(run, surface, p)
    local_map(run, mapped, q)
    errors = differences(run, surface, p)
    if text is None:
        slopes(run, errors)
        tangent_plane(run, surface, p)
        top(run, surface)
        fold(run, mapped, q)
        networks(run, repeats(effort, 8, least=1))


def points(rng: np.random.Generator, f: Function, n: int) -> Array:
    """At most n random points of the window where everything is finite; f's own point where none was found."""
    p = rng.uniform(-WINDOW, WINDOW, (4 * n, 2))
    p = p[np.isfinite(evaluate(f.everything, p)).all(axis=1)][:n]
    return p if len(p) else f.point[None]


def matrix(f: Function, name: str, p: Array) -> Array:
    """f's ``jacobian`` or ``hessian`` (m, 2, 2) at p (m, 2)."""
    rows = getattr(f, name)
    return evaluate([e for row in rows for e in row], p).reshape(*p.shape[:-1], 2, 2)


def relative(difference: Array, size: Array) -> Array:
    """|difference| over the larger of 1 and |size|, matrix by matrix (m, k, n): small where both are 0 too."""
    norms = [np.sqrt(np.sum(a**2, axis=(1, 2))) for a in (difference, size)]
    return norms[0] / np.maximum(1, norms[1])


def record_median(run: Run, part: str, values: Array, **also: str) -> None:
    """The median of what is finite: near the end of a domain a step may leave it. No row where nothing is."""
    values = values[np.isfinite(values)]
    if len(values):
        run.record(part=part, median=np.median(values), **also)


def derivatives(run: Run, surface: Function, mapped: Function, p: Array, q: Array) -> None:
    """sympy's gradient, Hessian and Jacobian against complex steps through the functions below them."""
    for what, f, exact, at in (
        ("gradient", [surface.surface], evaluate(surface.gradient, p)[:, None], p),
        ("Hessian", surface.gradient, matrix(surface, "hessian", p), p),
        ("Jacobian", mapped.map, matrix(mapped, "jacobian", q), q),
    ):
        stepped = complex_step(partial(evaluate, f), at, 1e-20)
        record_median(run, "derivatives", relative(stepped - exact, exact), what=what)


def level_sets(run: Run, f: Function, p: Array) -> None:
    """The angle in degrees between the gradient and the normal of the level set, found without derivatives."""
    gradient = evaluate(f.gradient, p)
    normal = level_normal(partial(evaluate, [f.surface]), p, SMALL / 10)
    across = normal[:, 0] * gradient[:, 1] - normal[:, 1] * gradient[:, 0]
    steep = np.any(gradient != 0, axis=1)
    angle = np.degrees(np.arctan2(np.abs(across), np.sum(normal * gradient, axis=1)))
    record_median(run, "level sets", angle[steep])


def second_order(run: Run, f: Function, p: Array) -> None:
    """Second differences along eight directions against u^T H u."""
    H, u = matrix(f, "hessian", p), circle(8)
    seconds = np.stack([curvature(partial(evaluate, [f.surface]), p, v, SMALL)[:, 0] for v in u], axis=1)
    difference = np.abs(seconds - np.einsum("vi,mij,vj->mv", u, H, u)).max(axis=1)
    record_median(run, "curvature", difference / np.maximum(1, np.linalg.norm(H, axis=(1, 2))))


def local_map(run: Run, f: Function, q: Array) -> None:
    """Areas of small squares against det J, half axes of the images of small circles against its singular values."""
    J = matrix(f, "jacobian", q)
    scale = np.maximum(1, np.linalg.norm(J, axis=(1, 2)))
    areas = area_ratio(partial(evaluate, f.map), q, SMALL)
    record_median(run, "areas", np.abs(areas - np.linalg.det(J)) / scale**2)
    lengths = stretches(partial(evaluate, f.map), q, SMALL)
    record_median(run, "ellipses", np.abs(lengths - np.linalg.svd(J, compute_uv=False)).max(axis=1) / scale)


def differences(run: Run, f: Function, p: Array) -> dict[str, tuple[Array, Array]]:
    """The error of each method by h, root mean square over points and components: (h, error) a method."""
    exact = evaluate(f.gradient, p)[:, None]
    found = {}
    for name, method in METHODS.items():
        steps = np.concatenate([TINY, STEPS]) if name == "complex step" else STEPS
        errors = []
        for h in steps:
            off = (method(partial(evaluate, [f.surface]), p, h) - exact) ** 2
            errors.append(np.sqrt(np.mean(off[np.isfinite(off)])) if np.isfinite(off).any() else np.nan)
            if np.isfinite(errors[-1]):
                run.record(part="differences", method=name, h=h, error=errors[-1])
        found[name] = steps, np.array(errors)
    return found


def slopes(run: Run, errors: Mapping[str, tuple[Array, Array]]) -> None:
    """The powers of h that the errors follow, and where they are least."""
    for fit, (name, low, high, power) in FITS.items():
        h, error = errors[name]
        inside = (h >= 0.99 * low) & (h <= 1.01 * high)
        slope = np.polyfit(np.log10(h[inside]), np.log10(error[inside]), 1)[0]
        run.record(part="slopes", fit=fit, slope=slope, power=power)
    for name in ("forward", "central"):
        h, error = errors[name]
        best = np.argmin(error)
        run.record(part="minima", method=name, h=np.log10(h[best]), error=np.log10(error[best]))
    h, error = errors["complex step"]
    run.record(part="complex", worst=error[h < 1.01e-8].max())


def tangent_plane(run: Run, f: Function, p: Array) -> None:
    """What the tangent plane, and the parabola through the Hessian, miss at distance d in random directions."""
    u = circle(360)[run.rng.integers(0, 360, len(p))]
    value, slope = evaluate([f.surface], p)[:, 0], np.sum(evaluate(f.gradient, p) * u, axis=1)
    bend = np.einsum("mi,mij,mj->m", u, matrix(f, "hessian", p), u)
    missed = []
    for d in REACHES:
        off = evaluate([f.surface], p + d * u)[:, 0] - value - d * slope
        missed.append([np.sqrt(np.mean(off**2)), np.sqrt(np.mean((off - d**2 / 2 * bend) ** 2))])
    plane, parabola = np.polyfit(np.log10(REACHES), np.log10(missed), 1)[0]
    run.record(part="tangent", plane=plane, parabola=parabola)


def top(run: Run, f: Function) -> None:
    """Gradient ascent to the maximum of "hills", and the eigenvalues of the Hessian there."""
    p = run.rng.uniform((0.3, -0.5), (1.2, 0.5))
    for _ in range(300):
        p = p + 0.4 * evaluate(f.gradient, p)
    found = np.linalg.eigvalsh(matrix(f, "hessian", p))
    run.record(part="top", error=np.abs(found / TOP - 1).max())


def fold(run: Run, f: Function, q: Array) -> None:
    """Areas of small squares under "fold" against 1 - y cos x, its determinant by hand."""
    by_hand = 1 - q[:, 1] * np.cos(q[:, 0])
    areas = area_ratio(partial(evaluate, f.map), q, SMALL)
    turned = np.mean((areas < 0) == (by_hand < 0))
    run.record(part="fold", error=np.abs(areas - by_hand).max(), turned=turned, negative=np.mean(by_hand < 0))


def block(activation: Layer, variance: float) -> Sequential:
    """h -> sigma(h) W + b, with Var W = variance / WIDTH."""
    return Sequential((activation, Linear(WIDTH, WIDTH, Normal(float(np.sqrt(variance / WIDTH))))))


NETS: dict[str, Layer] = {
    "plain, ReLU": block(ReLU(), 2),  # He's variance: 2 / fan_in
    "plain, tanh": block(Tanh(), 1),
    "residual, ReLU": Residual(block(ReLU(), 2)),
    "residual / $\\sqrt{L}$, ReLU": Residual(block(ReLU(), 2 / DEPTH)),
}
PLAIN, TANH, RESIDUAL, SCALED = NETS


def chain(net: Layer, rng: np.random.Generator) -> list[Array]:
    """The Jacobians of DEPTH fresh layers of one kind, each at what the layers before it make of a random input."""
    x, found = rng.standard_normal(WIDTH), []
    for _ in range(DEPTH):
        x, J = layer_jacobian(net, tree.astype(net.init(rng), float), x)
        found.append(J)
    return found


def products(Js: list[Array]) -> Iterator[Array]:
    """J_1, J_2 J_1, ..., J_L ... J_1."""
    product = np.eye(WIDTH)
    for J in Js:
        product = J @ product
        yield product


def networks(run: Run, n: int) -> None:
    """Spectra of the layers and of the network up to each of them; the size of gradients on their way back."""
    for name, net in NETS.items():
        chains = [chain(net, run.rng) for _ in range(n)]
        single = np.linalg.svd(chains, compute_uv=False)  # (n, DEPTH, WIDTH)
        up_to = np.linalg.svd([list(products(Js)) for Js in chains], compute_uv=False)
        # A cotangent at the output with mean square 1 reaches layer l as G^T dy, of mean square |G|_F^2 / WIDTH.
        back = [[np.sum(G**2) / WIDTH for G in products([J.T for J in Js[::-1]])] for Js in chains]
        spread = np.median(up_to[..., 0] / up_to[..., QUARTER - 1], axis=0)
        for layer in range(DEPTH):
            gradient = np.sqrt(np.mean(back, axis=0)[layer])
            run.record(part="depth", net=name, layers=layer + 1, spread=spread[layer], gradient=gradient)
        run.record(part="layer", net=name, largest=single[..., 0].mean(), zeros=np.mean(single < 1e-9))
        run.keep(**{f"{name}: layers": single.ravel(), f"{name}: up to": up_to[0]})


def shown(rows: Rows) -> str | None:
    """The f of the run, if it had one."""
    return str(rows["f"].iloc[0]) if "f" in rows else None


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Six panels: gradient field, tangent plane, curvature; local map, areas, errors of differences."""
    text = shown(rows)
    surface, mapped = functions(text)
    with plt.rc_context(plot.STYLE), np.errstate(all="ignore"):
        figure = Figure(figsize=(12.5, 8), layout="constrained")
        field, bends, local, areas, errors = (figure.add_subplot(2, 3, k) for k in (1, 3, 4, 5, 6))
        gradient_field(field, surface)
        plane(figure.add_subplot(2, 3, 2, projection="3d"), surface)
        second_differences(bends, surface)
        linear_map(local, mapped)
        area_scatter(areas, mapped, arrays["q"])
        v_shapes(errors, rows[rows["part"] == "differences"])
        about = f"Function: {surface.text}."
        if text is None:
            about = f"Top, and differences: {surface.text}. Map and areas: {mapped.text}."
        seeds = rows["seed"].nunique()
        plot.caption(
            figure,
            [f"{about} Errors: root mean square over random points; lines: medians, bands: range over {seeds} seeds."],
        )
    return figure


def of(f: Function) -> tuple[str, str]:
    """What the surface and the map are called."""
    return ("f", "\\nabla f") if len(f.components) == 1 else ("f_1", "f")


def grid(half: float, n: int) -> tuple[Array, Array, Array]:
    """x, y (n, n) and the points (n, n, 2) of a square grid about 0."""
    side = np.linspace(-half, half, n)
    x, y = np.meshgrid(side, side)
    return x, y, np.stack([x, y], axis=-1)


def limits(values: Array) -> tuple[float, float]:
    """Between which values to draw: one in fifty at either end may be a pole. (0, 0) where none is finite."""
    finite = values[np.isfinite(values)]
    return (float(np.quantile(finite, 0.02)), float(np.quantile(finite, 0.98))) if len(finite) else (0.0, 0.0)


def gradient_field(axes: Axes, f: Function) -> None:
    """Level sets with arrows along the gradient, of one length, coloured by the steepness."""
    x, y, at = grid(WINDOW, 121)
    for e, colors in zip(f.components, ("0.6", "tab:orange"), strict=False):
        values = evaluate([e], at)[..., 0]
        low, high = limits(values)
        if high > low:
            levels = np.linspace(low, high, 13)
            axes.contour(x, y, np.ma.masked_invalid(values), levels, colors=colors, linewidths=0.8, linestyles="-")
    x, y, at = grid(WINDOW, 17)
    gradient = evaluate(f.gradient, at)
    steep = np.linalg.norm(gradient, axis=-1)
    drawn = np.isfinite(steep + evaluate([f.surface], at)[..., 0]) & (steep > 0)
    if drawn.any():
        u = gradient[drawn] / steep[drawn][:, None]
        arrows = axes.quiver(x[drawn], y[drawn], *u.T, steep[drawn], cmap="viridis", pivot="mid", scale=24, width=0.006)
        arrows.set_clim(0, limits(steep)[1])
        axes.figure.colorbar(arrows, ax=axes, label=f"$|\\nabla {of(f)[0]}|$", shrink=0.8)
    axes.plot(*f.point, "ko", ms=5)
    axes.set(xlabel="$x$", ylabel="$y$", aspect="equal", title=f"Gradient $\\nabla {of(f)[0]}$ over level sets")
    axes.set(xlim=(-WINDOW, WINDOW), ylim=(-WINDOW, WINDOW))
    if len(f.components) == 2:
        axes.set_title("Level sets of $f_1$ (grey), $f_2$ (orange); $\\nabla f_1$")


def plane(axes: Axes, f: Function) -> None:
    """The surface, and the tangent plane at the point."""
    x, y, at = grid(WINDOW, 41)
    z = evaluate([f.surface], at)[..., 0]
    low, high = limits(z)
    z = np.where((z >= low - (high - low)) & (z <= high + (high - low)), z, np.nan)
    if np.isfinite(z).any():
        axes.plot_surface(x, y, z, cmap="viridis", alpha=0.55, linewidth=0, rcount=40, ccount=40)  # type: ignore[attr-defined]
    dx, dy, _ = grid(0.6, 5)
    value, slope = evaluate([f.surface], f.point)[0], evaluate(f.gradient, f.point)
    tangent = value + slope[0] * dx + slope[1] * dy
    axes.plot_surface(  # type: ignore[attr-defined]
        f.point[0] + dx, f.point[1] + dy, tangent, color="tab:red", alpha=0.7, linewidth=0.3, edgecolor="k"
    )
    axes.plot(*f.point[:, None], [value], "ko", ms=5)
    axes.set(xlabel="$x$", ylabel="$y$", title=f"${of(f)[0]}$ and its tangent plane")
    axes.tick_params(pad=0)
    downhill = np.degrees(np.arctan2(*-slope[::-1]))
    axes.view_init(elev=30, azim=downhill + 25)  # type: ignore[attr-defined]  # the plane leans towards the reader


def second_differences(axes: Axes, f: Function) -> None:
    """Curvature by direction at the point: second differences, u^T H u, and the two eigenvalues."""
    u, H = circle(90), matrix(f, "hessian", f.point)
    degrees = np.arange(0, 180, 4)
    for d in (0.5, 0.1):
        seconds = [curvature(partial(evaluate, [f.surface]), f.point, v, d)[0] for v in u]
        axes.plot(degrees, seconds[:45], lw=2, label=f"second difference, $d$ = {d}")
    axes.plot(degrees, np.einsum("vi,ij,vj->v", u, H, u)[:45], "k.", ms=4, label="$u^T H u$")
    for value, label in zip(np.linalg.eigvalsh(H), ("eigenvalues of $H$", None), strict=True):
        axes.axhline(value, color="0.5", ls=":", label=label)
    where = ", ".join(f"{v:.2g}" for v in f.point)
    axes.set(xlabel="direction $u$ (degrees)", ylabel="second derivative along $u$", title=f"Curvature at ({where})")
    axes.set_xticks([0, 45, 90, 135, 180])
    axes.legend(fontsize=8, frameon=True, framealpha=0.9)


def linear_map(axes: Axes, f: Function) -> None:
    """A grid and a circle (inset), their image, and what the Jacobian makes of them."""
    half, J, image = 0.4, matrix(f, "jacobian", f.point), evaluate(f.map, f.point)
    threads = np.linspace(-half, half, 41)
    around = half * np.vstack([circle(200), circle(1)])
    inset = axes.inset_axes((0.02, 0.72, 0.26, 0.26))
    for k in np.linspace(-half, half, 5):
        for line in (np.stack([0 * threads + k, threads], axis=1), np.stack([threads, 0 * threads + k], axis=1)):
            axes.plot(*evaluate(f.map, f.point + line).T, color="0.6", lw=0.7)
            inset.plot(*line.T, color="0.6", lw=0.7)
    axes.plot(*evaluate(f.map, f.point + around).T, color="tab:blue", lw=2, label="image of the circle")
    axes.plot(*(image + around @ J.T).T, "k:", lw=2, label="$J$ times the circle")
    inset.plot(*around.T, color="tab:blue", lw=2)
    U, s, Vt = np.linalg.svd(J)
    for i, color in ((0, "tab:red"), (1, "tab:green")):
        label = f"$\\sigma_{i + 1}$ = {s[i]:.3g}"
        axes.plot(*np.stack([image, image + half * s[i] * U[:, i]], axis=1), color=color, lw=2, label=label)
        inset.plot(*np.stack([0 * Vt[i], half * Vt[i]], axis=1), color=color, lw=2)
    inset.set(xticks=[], yticks=[], aspect="equal")
    name = of(f)[1]
    axes.set(xlabel=f"first component of ${name}$", ylabel=f"second component of ${name}$", aspect="equal")
    axes.set_title(f"Jacobian of ${name}$: det $J$ = {np.linalg.det(J):.3g}")
    axes.margins(0.25)
    axes.set_adjustable("datalim")
    axes.legend(fontsize=8, loc="lower right")


def area_scatter(axes: Axes, f: Function, q: Array) -> None:
    """The areas of the images of squares against the determinant, at random points."""
    determinant = np.linalg.det(matrix(f, "jacobian", q))
    for h, marker in ((1.0, "o"), (0.1, ".")):
        ratio = area_ratio(partial(evaluate, f.map), q, h)
        axes.plot(determinant, ratio, marker, ms=3, alpha=0.7, label=f"squares of side {h:g}")
    ends = np.array(limits(determinant))
    axes.plot(ends, ends, "k:", label="area ratio = det $J$")
    axes.set(xlabel="det $J$", ylabel="signed area of the image / of the square", title="The determinant as area")
    room = 0.1 * (ends[1] - ends[0]) or 1
    axes.set(xlim=(ends[0] - room, ends[1] + room), ylim=(ends[0] - 3 * room, ends[1] + 3 * room))
    axes.legend(fontsize=8)


def v_shapes(axes: Axes, rows: Rows) -> None:
    """The error of the gradient by h, for the three methods."""
    for method in METHODS:
        own = rows[(rows["method"] == method) & (rows["h"] > 0.9 * STEPS[0]) & (rows["error"] > 0)]
        plot.band(axes, own, "h", "error", label=method, ls=STYLES[method])
    h = STEPS[STEPS > 1e-8]
    axes.plot(h[::2], h[::2], "k.", ms=3, label="slopes 1, 2 and $-1$")
    axes.plot(h[h > 1e-5][::2], h[h > 1e-5][::2] ** 2, "k.", ms=3)
    h = STEPS[STEPS < 1e-5]
    axes.plot(h[::2], 1e-16 / h[::2], "k.", ms=3)
    axes.set(xlabel="step $h$", ylabel="error of $\\nabla f$", xscale="log", yscale="log", title="Finite differences")
    axes.legend(fontsize=8)


def draw_networks(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Four panels: spectra of layers, spectra of the network up to a depth, their spread, gradients on the way back."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(9, 6.6), layout="constrained")
        single, cumulative, spreads, gradients = figure.subplots(2, 2).flat
        own = rows[rows["part"] == "depth"]
        for i, name in enumerate(NETS):
            color = f"C{i}"
            values = arrays[f"{name}: layers"]
            single.hist(values, bins=np.linspace(0, 3.5, 71), density=True, histtype="step", color=color, label=name)
            for layers, style in ((1, ":"), (8, "--"), (DEPTH, "-")):
                s = arrays[f"{name}: up to"][layers - 1]
                label = name if layers == DEPTH else None
                cumulative.plot(np.arange(1, WIDTH + 1), np.maximum(s / s[0], 1e-18), style, color=color, label=label)
            part = own[own["net"] == name]
            plot.band(spreads, part, "layers", "spread", color=color, label=name)
            plot.band(gradients, part, "layers", "gradient", color=color, label=name)
        s = np.linspace(np.sqrt(2) - 1, np.sqrt(2) + 1, 400)[1:-1]
        single.plot(s[::8], law(s[::8]), "k.", ms=4, label="limit of plain ReLU; the other half is 0")
        single.set(xlabel="singular value", ylabel="density", ylim=(0, 2), title=f"One layer of {WIDTH} units")
        single.legend(fontsize=8)
        cumulative.set(xlabel="index $k$", ylabel="$\\sigma_k / \\sigma_1$", yscale="log", ylim=(1e-12, 2))
        cumulative.set_title(f"Up to layer 1 (dotted), 8 (dashed), {DEPTH} (solid)")
        depths = np.arange(1, DEPTH + 1)
        spreads.plot(depths, 2.0 ** (depths / 2), "k.", ms=3, label="$2^{l/2}$")
        spreads.set(xlabel="layers $l$", ylabel=f"$\\sigma_1 / \\sigma_{{{QUARTER}}}$", yscale="log")
        spreads.set_title("Spread of the spectrum up to layer $l$")
        spreads.legend(fontsize=8)
        gradients.plot(depths, 2.0 ** (depths / 2), "k.", ms=3, label="$2^{l/2}$ and $(1 + 1/L)^{l/2}$")
        gradients.plot(depths, (1 + 1 / DEPTH) ** (depths / 2), "k.", ms=3)
        gradients.set(xlabel="layers from the output", ylabel="norm of the gradient / at the output", yscale="log")
        gradients.set_title("Gradient on its way back")
        gradients.legend(fontsize=8)
        seeds = rows["seed"].nunique()
        plot.caption(figure, [f"Fresh networks, random inputs. Lines: medians, bands: range over {seeds} seeds."])
    return figure


def law(s: Array) -> Array:
    r"""The density of the singular values above 0 of a wide ReLU layer, times the share 1/2 of them.

    The n/2 rows with Var W = 2/n: Marchenko and Pastur with ratio c = 1/2 and mean 2, on s from sqrt(2) - 1 to
    sqrt(2) + 1; with t = s^2 / 2 the density in t is sqrt((b - t)(t - a)) / (2 pi c t), a, b = (1 -+ sqrt(c))^2.
    """
    c, t = 0.5, s**2 / 2
    a, b = (1 - np.sqrt(c)) ** 2, (1 + np.sqrt(c)) ** 2
    return np.asarray(0.5 * np.sqrt(np.maximum((b - t) * (t - a), 0)) / (2 * np.pi * c * t) * s)


def more(rows: Rows, arrays: Mapping[str, Array]) -> dict[str, bytes]:
    """The page, of the function or of all named ones; the figure of the networks, where they were measured."""
    text = shown(rows)
    if text is not None:
        return {"jacobian.html": page({text: read(text)})}
    return {
        "jacobian.html": page({name: read(name) for name in NAMED}),
        "jacobian_networks.png": plot.png(draw_networks(rows, arrays)),
    }


def median_of(part: str) -> Callable[[Rows], list[float]]:
    """A claim's measurement: the (largest) median that a seed recorded of this part."""
    return measured(NAME, part, lambda seed: float(seed["median"].max()))


def steepness(method: str) -> Callable[[Rows], list[float]]:
    """A claim's measurement: how far a method's slopes are from the theory's, the largest."""

    def value(seed: Rows) -> float:
        own = seed[seed["fit"].str.startswith(method)]
        return float((own["slope"] - own["power"]).abs().max())

    return measured(NAME, "slopes", value)


def minimum(method: str, column: str) -> Callable[[Rows], list[float]]:
    """A claim's measurement: log10 of the best h of a method, or of its error there."""
    return measured(NAME, "minima", lambda seed: float(seed.loc[seed["method"] == method, column].iloc[0]))


def by_depth(net: str, value: Callable[[Rows], float]) -> Callable[[Rows], list[float]]:
    """A claim's measurement: ``value`` of the rows of one kind of network, by depth."""
    return measured(NAME, "depth", lambda seed: value(seed[seed["net"] == net].sort_values("layers")))


def growth(column: str, power: int) -> Callable[[Rows], float]:
    """log2 of (column to the power) gained a layer, from layer 8 on: before, the first layers still show."""

    def value(own: Rows) -> float:
        late = own[own["layers"] >= 8]
        return float(np.polyfit(late["layers"], power * np.log2(late[column]), 1)[0])

    return value


# The first five hold for any function, by the theorems that the notes derive; the rest are about the default.
CLAIMS = (
    Claim(
        id="uml-jac-derivatives",
        source="Chain rule",
        statement="sympy's gradient, Hessian and Jacobian are those of complex steps (largest of three medians over "
        "points, relative difference)",
        measure=median_of("derivatives"),
        holds=lambda difference: difference < 1e-12,
        tolerance="< 1e-12",
        average=max,
    ),
    Claim(
        id="uml-jac-level-sets",
        source="Chain rule: f is constant along its level set",
        statement="The gradient is at right angles to the level set and points up it: angle to the normal found "
        "without derivatives, in degrees (median over points; the circle's radius is 1e-4)",
        measure=median_of("level sets"),
        holds=lambda angle: angle < 0.1,
        tolerance="< 0.1",
        average=max,
    ),
    Claim(
        id="uml-jac-determinant",
        source="Jacobian as the local linear map",
        statement="The image of a square of side 1e-3 has det J times its area, with its sign (median over points, "
        "difference over |J|^2 or 1)",
        measure=median_of("areas"),
        holds=lambda difference: difference < 1e-5,
        tolerance="< 1e-5",
        average=max,
    ),
    Claim(
        id="uml-jac-ellipse",
        source="Singular value decomposition",
        statement="The image of a circle of radius 1e-3 has the half axes sigma_1 and sigma_2 of J (median over "
        "points, difference over |J| or 1; tolerance: half of the angle between 3,600 directions, 9e-4, is what it may "
        "be where sigma_2 = 0)",
        measure=median_of("ellipses"),
        holds=lambda difference: difference < 1e-3,
        tolerance="< 1e-3",
        average=max,
    ),
    Claim(
        id="uml-jac-curvature",
        source="Taylor's theorem, second order",
        statement="Second differences along u are u^T H u, in 8 directions (median over points, difference over |H| or "
        "1; step 1e-3)",
        measure=median_of("curvature"),
        holds=lambda difference: difference < 1e-4,
        tolerance="< 1e-4",
        average=max,
    ),
    Claim(
        id="uml-jac-complex-exact",
        source="Derived in the notes",
        statement="The complex step has no V: error for every h from 1e-8 down to 1e-300 (largest)",
        measure=measured(NAME, "complex", lambda seed: float(seed["worst"].iloc[0])),
        holds=lambda error: error < 1e-15,
        tolerance="< 1e-15",
        average=max,
    ),
    Claim(
        id="uml-jac-forward-slopes",
        source="Derived in the notes",
        statement="Forward differences: the error goes as h from 1e-6 to 1e-2 and as 1/h from 1e-14 to 1e-10 (larger "
        "difference of a fitted power to +1 or -1)",
        measure=steepness("forward"),
        holds=lambda difference: difference < 0.1,
        tolerance="< 0.1",
    ),
    Claim(
        id="uml-jac-central-slopes",
        source="Derived in the notes",
        statement="Central differences: the error goes as h^2 from 1e-3 to 1e-1 and as 1/h from 1e-14 to 1e-7 (larger "
        "difference of a fitted power to +2 or -1)",
        measure=steepness("central"),
        holds=lambda difference: difference < 0.1,
        tolerance="< 0.1",
    ),
    Claim(
        id="uml-jac-complex-slope",
        source="Derived in the notes",
        statement="Complex step: the error goes as h^2 from 1e-6 to 1e-1 (difference of the fitted power to +2)",
        measure=steepness("complex step"),
        holds=lambda difference: difference < 0.1,
        tolerance="< 0.1",
    ),
    *(
        Claim(
            id=f"uml-jac-{method}-best-{column}",
            source="Derived in the notes",
            statement=f"{method.capitalize()} differences: log10 of the {what} (within a decade of the theory's)",
            measure=minimum(method, column),
            holds=lambda found, expected=expected: abs(found - expected) <= 1,  # type: ignore[misc]
            tolerance=f"{expected} +- 1",
        )
        for method, column, what, expected in (
            ("forward", "h", "best h", -8),
            ("forward", "error", "least error", -8),
            ("central", "h", "best h", -5),
            ("central", "error", "least error", -11),
        )
    ),
    Claim(
        id="uml-jac-tangent-plane",
        source="Taylor's theorem, first order",
        statement="What the tangent plane misses at distance d goes as d^2 (fitted power, d from 1e-4 to 1e-2)",
        measure=measured(NAME, "tangent", lambda seed: float(seed["plane"].iloc[0])),
        holds=lambda power: abs(power - 2) < 0.05,
        tolerance="2 +- 0.05",
    ),
    Claim(
        id="uml-jac-parabola",
        source="Taylor's theorem, second order",
        statement="What is left beside the Hessian's term goes as d^3 (fitted power, d from 1e-4 to 1e-2)",
        measure=measured(NAME, "tangent", lambda seed: float(seed["parabola"].iloc[0])),
        holds=lambda power: abs(power - 3) < 0.05,
        tolerance="3 +- 0.05",
    ),
    Claim(
        id="uml-jac-top",
        source="By hand",
        statement="Gradient ascent on hills ends where the Hessian has the eigenvalues -2 sqrt(2/e) and -sqrt(2/e) "
        "(largest relative difference)",
        measure=measured(NAME, "top", lambda seed: float(seed["error"].iloc[0])),
        holds=lambda error: error < 1e-10,
        tolerance="< 1e-10",
        average=max,
    ),
    Claim(
        id="uml-jac-fold",
        source="By hand",
        statement="The map fold multiplies areas by 1 - y cos x (largest difference, squares of side 1e-3)",
        measure=measured(NAME, "fold", lambda seed: float(seed["error"].max())),
        holds=lambda error: error < 1e-5,
        tolerance="< 1e-5",
        average=max,
    ),
    Claim(
        id="uml-jac-layer-edge",
        source="Marchenko and Pastur 1967, for half of the rows",
        statement="The largest singular value of a plain ReLU layer with He's variance is sqrt(2) + 1 for infinite "
        "width (mean over layers; tolerance: width^(-2/3), the size of the edge's fluctuations)",
        measure=measured(NAME, "layer", lambda seed: float(seed.loc[seed["net"] == PLAIN, "largest"].iloc[0])),
        holds=lambda edge: abs(edge / (np.sqrt(2) + 1) - 1) < WIDTH ** (-2 / 3),
        tolerance="2.414 +- 6.25 %",
    ),
    Claim(
        id="uml-jac-layer-zeros",
        source="Symmetry of the weights",
        statement="Half of a plain ReLU layer's singular values are 0 (share; tolerance: 3 standard errors of 16,384)",
        measure=measured(NAME, "layer", lambda seed: float(seed.loc[seed["net"] == PLAIN, "zeros"].iloc[0])),
        holds=lambda share: abs(share - 0.5) < 0.012,
        tolerance="0.5 +- 0.012",
    ),
    Claim(
        id="uml-jac-plain-spread",
        source="Newman 1986, exponents of products of random matrices",
        statement=f"Plain ReLU: sigma_1 / sigma_{QUARTER} up to layer l doubles every two layers (log2 gained a layer, "
        f"from layer 8 to {DEPTH})",
        measure=by_depth(PLAIN, growth("spread", 1)),
        holds=lambda gain: abs(gain - 0.5) < 0.1,
        tolerance="0.5 +- 0.1",
    ),
    Claim(
        id="uml-jac-plain-collapse",
        source="As before",
        statement=f"Plain ReLU: a few directions carry all after {DEPTH} layers (sigma_1 / sigma_{QUARTER})",
        measure=by_depth(PLAIN, lambda own: float(own["spread"].iloc[-1])),
        holds=lambda spread: spread > 1000,
        tolerance="> 1000",
    ),
    Claim(
        id="uml-jac-residual-stays",
        source="Derived in the notes",
        statement=f"Residual blocks scaled by 1/sqrt(L): the spectrum stays together over {DEPTH} layers (sigma_1 / "
        f"sigma_{QUARTER})",
        measure=by_depth(SCALED, lambda own: float(own["spread"].iloc[-1])),
        holds=lambda spread: spread < 10,
        tolerance="< 10",
    ),
    Claim(
        id="uml-jac-residual-doubles",
        source="Derived in the notes",
        statement="Residual ReLU blocks with He's variance double the gradient's squared norm (its log2, a layer)",
        measure=by_depth(RESIDUAL, growth("gradient", 2)),
        holds=lambda gain: abs(gain - 1) < 0.1,
        tolerance="1 +- 0.1",
    ),
    Claim(
        id="uml-jac-residual-bounded",
        source="Derived in the notes",
        statement=f"Scaled by 1/sqrt(L) they multiply it by (1 + 1/L)^L = 2.68 over {DEPTH} layers",
        measure=by_depth(SCALED, lambda own: float(own["gradient"].iloc[-1] ** 2)),
        holds=lambda growth: abs(growth / (1 + 1 / DEPTH) ** DEPTH - 1) < 0.2,
        tolerance="2.68 +- 20 %",
    ),
)

STUDY = Study(title="Gradients and Jacobians", measure=measure, draw=draw, claims=CLAIMS, more=more)
