"""Study: the identities behind backpropagation, three codes that agree, and what forward and reverse mode cost."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.understanding_ml.backpropagation import (
    ACTIVATIONS,
    LOSSES,
    by_dual,
    by_hand,
    by_pullbacks,
    by_tape,
    commutation,
    init,
    jacobian_forward,
    jacobian_reverse,
    network,
    softmax,
    vec,
)
from papers.understanding_ml.jacobian import central, complex_step
from papers.understanding_ml.study import Rows, Study, farthest_from, measured, repeats
from papers.understanding_ml.tape import tanh
from shared import plot, tree
from shared.claims import Claim
from shared.experiment import Run
from shared.tree import Array, Tree

NET, EXAMPLES = (6, 9, 4), 20  # of the agreement: 103 parameters
DEPTHS, WIDTHS = (2, 4, 8, 16, 32), (16, 32, 64, 128, 256)
AT_WIDTH, AT_DEPTH, BATCH = 64, 4, 64  # d = n_1 = ... = n_T = n in the sweeps
HIDDEN = (2, 4, 8, 16, 32)  # of the nets (4, h, 3) whose gradient is taken in forward mode from end to end
PRODUCT, MIDDLE = 1024, 32  # R^n -> R^32 -> R^m with n m = 1024
STEP, TINY = 1e-5, 1e-30  # of central differences and of complex steps


class Counted(np.ndarray):
    """An array that counts the multiplications in which it, or what is computed from it, takes part; see ``counted``.

    "matmul" are those of matrix products, "elementwise" all others: *, /, powers. Functions like tanh are none.
    """

    tally: Counter[str]

    def __array_finalize__(self, source: Any) -> None:
        self.tally = source.tally if isinstance(source, Counted) else Counter()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **settings: Any) -> Any:
        plain = [x.view(np.ndarray) if isinstance(x, Counted) else x for x in inputs]
        if out:
            settings["out"] = tuple(x.view(np.ndarray) if isinstance(x, Counted) else x for x in out)
        y = getattr(ufunc, method)(*plain, **settings)
        if ufunc is np.matmul:
            self.tally["matmul"] += np.size(y) * plain[0].shape[-1]
        elif ufunc in (np.multiply, np.divide, np.square, np.power) and method == "__call__":
            self.tally["elementwise"] += np.size(y)
        if method == "at":
            return None
        return out[0] if out else counted(y, self.tally)


def counted(x: Any, tally: Counter[str]) -> Counted:
    """x as an array whose multiplications are added to ``tally``."""
    y = np.asarray(x).view(Counted)
    y.tally = tally
    return y


def multiplications(f: Callable[..., Any], p: Tree, X: Array, *others: Any) -> Counter[str]:
    """The multiplications of f(p, X, *others)."""
    tally: Counter[str] = Counter()
    f(tree.map(lambda a: counted(a, tally), p), counted(X, tally), *others)
    return tally


def forward_pass(p: Tree, X: Array, y: Array, activation: str, loss: str) -> Array:
    """The loss and nothing else."""
    value: Array = LOSSES[loss].value(network(p, X, ACTIVATIONS[activation].sigma), y)
    return value


def matmul_formula(T: int, n: int, m: int) -> tuple[int, int]:
    """Multiplications in the matrix products of a pass, T m n^2, and of the way back: two each, but X needs none."""
    return T * m * n * n, (2 * T - 1) * m * n * n


def tape_formula(T: int, n: int, m: int) -> tuple[int, int]:
    """All multiplications: 1 in the loss; back 2 a unit for tanh, and m n + 2 m + 1 for exp, log and mean."""
    there, back = matmul_formula(T, n, m)
    return there + 1, back + 2 * m * (T - 1) * n + m * n + 2 * m + 1


def relative(a: Array, b: Array) -> float:
    """The largest difference of two arrays over their largest entry."""
    scale = np.max([np.abs(a).max(), np.abs(b).max()])
    return float(np.abs(a - b).max() / scale) if scale else 0.0


def apart(p: Tree, q: Tree) -> float:
    """The largest relative difference between two trees' leaves."""
    return float(np.max([relative(a, b) for (_, a), (_, b) in zip(tree.leaves(p), tree.leaves(q), strict=True)]))


def measure(run: Run, effort: float) -> None:
    """One seed's rows of the parts; the times are of the first seed, for the figure."""
    identities(run)
    agreement(run)
    times = costs(run, repeats(effort, 25, least=3))
    run.keep(times=times)
    forward_gradients(run)
    jacobians(run)


def identities(run: Run) -> None:
    """The Jacobian matrices of the ops against those of both modes, and the chain of a net as a product of matrices."""
    A, X, B, W, a = (run.rng.standard_normal(shape) for shape in ((3, 2), (2, 4), (4, 5), (4, 3), 7))
    S = run.rng.standard_normal((3, 3))
    s = softmax(a)
    cases: dict[str, tuple[Callable[[Any], Any], Array, Array]] = {
        "A X B": (lambda X: A @ X @ B, X, np.kron(B.T, A)),
        "X^T": (lambda X: X.T, X, commutation(2, 4)),
        "S S": (lambda S: S @ S, S, np.kron(S.T, np.eye(3)) + np.kron(np.eye(3), S)),
        "X W, for X": (lambda X: X @ W, X, np.kron(W.T, np.eye(2))),
        "X W, for W": (lambda W: X @ W, W, np.kron(np.eye(3), X)),
        "tanh a": (tanh, a[:, None], np.diag(1 - np.tanh(a) ** 2)),
        "softmax a": (lambda a: softmax(a.T).T, a[:, None], np.diag(s) - np.outer(s, s)),
    }
    for name, (f, at, matrix) in cases.items():
        rows, columns = at.shape

        def flat(v: Any, f: Callable[[Any], Any] = f, shape: tuple[int, int] = (columns, rows)) -> Any:
            return vec(f(v.reshape(*shape).T))

        both = [jacobian(flat, vec(at)) for jacobian in (jacobian_forward, jacobian_reverse)]
        run.record(part="identities", name=name, difference=np.max([relative(matrix, J) for J in both]))
    run.record(part="identities", name="chain", difference=chain(run))


def chain(run: Run) -> float:
    """dl/dW_1 as a product of four Jacobian matrices, from the left and from the right, against that by hand."""
    p, X, y = problem(run, NET, EXAMPLES)
    _, gradient = by_hand(p, X, y, "tanh", "cross-entropy")
    a1 = X @ p["1"]["W"] + p["1"]["b"]
    a2 = np.tanh(a1) @ p["2"]["W"] + p["2"]["b"]
    row = vec(LOSSES["cross-entropy"].derivative(a2, y))[None]
    second = np.kron(p["2"]["W"].T, np.eye(len(X)))
    slope = np.diag(vec(1 - np.tanh(a1) ** 2))
    first = np.kron(np.eye(NET[1]), X)
    left, right = ((row @ second) @ slope) @ first, row @ (second @ (slope @ first))
    return float(np.max([relative(vec(gradient["1"]["W"]), product[0]) for product in (left, right)]))


def problem(run: Run, widths: tuple[int, ...], m: int) -> tuple[Tree, Array, Array]:
    """Parameters, Gaussian examples and random labels."""
    p = init(run.rng, widths)
    return p, run.rng.standard_normal((m, widths[0])), run.rng.integers(0, widths[-1], m)


def agreement(run: Run) -> None:
    """Tape and pullbacks against the gradient by hand, and all three against complex steps and central differences."""
    p, X, labels = problem(run, NET, EXAMPLES)
    targets = {"cross-entropy": labels, "squared": run.rng.standard_normal((EXAMPLES, NET[-1]))}
    flat, _ = tree.flatten(p)
    for activation in ACTIVATIONS:
        for loss, y in targets.items():

            def f(theta: Array, y: Array = y, activation: str = activation, loss: str = loss) -> Array:
                return forward_pass(tree.views(p, theta), X, y, activation, loss)

            values, gradients = zip(
                *(way(p, X, y, activation, loss) for way in (by_hand, by_tape, by_pullbacks)), strict=True
            )
            hand, tape, pullbacks = gradients
            exact = tree.views(p, complex_step(f, flat, TINY))
            differences = tree.views(p, central(f, flat, STEP))
            run.record(
                part="agreement",
                activation=activation,
                loss=loss,
                values=np.max([relative(np.array(values[0]), np.array(v)) for v in values[1:]]),
                tape=apart(hand, tape),
                pullbacks=apart(hand, pullbacks),
                exact=np.max([apart(exact, gradient) for gradient in gradients]),
                central=np.max([apart(differences, gradient) for gradient in gradients]),
            )


def costs(run: Run, n_times: int) -> Array:
    """Multiplications of a pass and of gradients against depth and width; their times (sweep, size, method).

    Every direction of forward mode costs the same (``forward_gradients`` counts them all), so one is counted here and
    the rest follow: there are up to 270,000 of them.
    """
    m, names = BATCH, ("tanh", "cross-entropy")
    sweeps = {"depth": [(T, AT_WIDTH) for T in DEPTHS], "width": [(AT_DEPTH, n) for n in WIDTHS]}
    times = []
    for sweep, sizes in sweeps.items():
        for T, n in sizes:
            p, X, y = problem(run, (n,) * (T + 1), m)
            direction = run.rng.standard_normal((1, tree.size(p)))
            there, tape, pullbacks, dual = (
                multiplications(f, p, X, y, *names, *extra)
                for f, *extra in ((forward_pass,), (by_tape,), (by_pullbacks,), (by_dual, direction))
            )
            ways = [tape, pullbacks]
            if T == 2:
                ways.append(multiplications(by_hand, p, X, y, *names))
            matmul, total = np.cumsum(matmul_formula(T, n, m)), np.cumsum(tape_formula(T, n, m))
            wrong = [abs(way["matmul"] / matmul[1] - 1) for way in ways]
            wrong += [abs(there.total() / total[0] - 1), abs(tape.total() / total[1] - 1)]
            run.record(
                part="costs",
                sweep=sweep,
                size=T if sweep == "depth" else n,
                parameters=tree.size(p),
                reverse=tape.total() / there.total(),
                pullbacks=pullbacks.total() / there.total(),
                forward=1 + tree.size(p) * (dual.total() / there.total() - 1),
                direction=(dual.total() - there.total()) / (tape.total() - there.total()),
                formula=np.max(wrong),
            )
            times.append(seconds(n_times, p, X, y, direction))
    return np.array(times).reshape(len(sweeps), -1, 4)


def seconds(n: int, p: Tree, X: Array, y: Array, direction: Array) -> list[float]:
    """A pass, a gradient by tape and by pullbacks, a direction forward: the best of n processor times, interleaved."""
    calls: tuple[Callable[[], Any], ...] = (
        lambda: forward_pass(p, X, y, "tanh", "cross-entropy"),
        lambda: by_tape(p, X, y, "tanh", "cross-entropy"),
        lambda: by_pullbacks(p, X, y, "tanh", "cross-entropy"),
        lambda: by_dual(p, X, y, "tanh", "cross-entropy", direction),
    )
    taken = []
    for _ in range(n):
        for call in calls:
            start = time.process_time()
            call()
            taken.append(time.process_time() - start)
    return [float(t) for t in np.min(np.reshape(taken, (n, len(calls))), axis=0)]


def forward_gradients(run: Run) -> None:
    """Whole gradients in forward mode, one direction for every parameter, against reverse mode's."""
    for h in HIDDEN:
        p, X, y = problem(run, (4, h, 3), EXAMPLES)
        everything = np.eye(tree.size(p))
        _, gradient = by_dual(p, X, y, "tanh", "cross-entropy", everything)
        there, reverse = (multiplications(f, p, X, y, "tanh", "cross-entropy") for f in (forward_pass, by_tape))
        forward = multiplications(by_dual, p, X, y, "tanh", "cross-entropy", everything)
        run.record(
            part="forward",
            parameters=len(everything),
            ratio=forward.total() / reverse.total(),
            direction=(forward.total() - there.total()) / (reverse.total() - there.total()) / len(everything),
            difference=apart(by_hand(p, X, y, "tanh", "cross-entropy")[1], tree.views(p, gradient)),
        )


def jacobians(run: Run) -> None:
    """Jacobians of x -> tanh(tanh(x W_1) W_2), R^n -> R^m, in both modes, in multiples of the cost of the value."""
    for k in range(1, PRODUCT.bit_length() - 1):
        n, m = 2**k, PRODUCT // 2**k
        p = init(run.rng, (n, MIDDLE, m))
        x = run.rng.standard_normal(n)

        def value(p: Tree, x: Any) -> Any:
            return tanh(tanh(x @ p["1"]["W"]) @ p["2"]["W"])

        def forward(p: Tree, x: Array) -> Array:
            return jacobian_forward(lambda x: value(p, x), x)

        def reverse(p: Tree, x: Array) -> Array:
            return jacobian_reverse(lambda x: value(p, x), x)

        cost, by_forward, by_reverse = (multiplications(f, p, x).total() for f in (value, forward, reverse))
        run.record(
            part="jacobians",
            aspect=m / n,
            forward=by_forward / cost,
            reverse=by_reverse / cost,
            difference=relative(forward(p, x), reverse(p, x)),
        )


def crossover(rows: Rows) -> float:
    """m / n where forward mode gets cheaper than reverse mode: between two sizes, by a line in log-log."""
    rows = rows.sort_values("aspect")
    gap = np.log(rows["reverse"].to_numpy() / rows["forward"].to_numpy())
    return float(np.exp(np.interp(0, gap, np.log(rows["aspect"].to_numpy()))))


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Four panels: the agreement, costs against depth and against width, Jacobians both ways."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(9, 7.2), layout="constrained")
        agree, deep, wide, both = figure.subplots(2, 2).flat

        own = rows[rows["part"] == "agreement"]
        for i, (column, label) in enumerate(
            (("tape", "tape − by hand"), ("pullbacks", "pullbacks − by hand"), ("exact", "all − complex step"))
        ):
            worst = own.groupby(["activation", "seed"], sort=False)[column].max().clip(lower=1e-17).reset_index()
            places = worst["activation"].map({name: k for k, name in enumerate(ACTIVATIONS)}) + 0.22 * (i - 1)
            agree.plot(places, worst[column], "o", ms=3.5, alpha=0.8, label=label)
        agree.axhline(1e-12, color="k", ls=":", label="$10^{-12}$")
        agree.set_xticks(range(len(ACTIVATIONS)), list(ACTIVATIONS), rotation=30, ha="right")
        agree.set(ylabel="largest relative difference", yscale="log", ylim=(1e-17, 1e-9))
        agree.set_title("Three codes, one gradient")
        agree.legend(ncols=2, loc="upper center", fontsize=8)

        sweeps = (
            (deep, "depth", DEPTHS, [(T, AT_WIDTH) for T in DEPTHS], "depth $T$", f"Depth, at width {AT_WIDTH}"),
            (wide, "width", WIDTHS, [(AT_DEPTH, n) for n in WIDTHS], "width $n$", f"Width, at depth {AT_DEPTH}"),
        )
        for (axes, sweep, sizes, nets, xlabel, title), times in zip(sweeps, arrays["times"], strict=True):
            cost(axes, rows[(rows["part"] == "costs") & (rows["sweep"] == sweep)], list(sizes), nets, times)
            axes.set(xlabel=xlabel, title=title)
        deep.legend(fontsize=8, loc="center right", bbox_to_anchor=(1, 0.47))

        own = rows[rows["part"] == "jacobians"]
        plot.band(both, own, "aspect", "forward", marker="o", ms=4, color="tab:orange", label="forward mode")
        plot.band(both, own, "aspect", "reverse", marker="o", ms=4, color="tab:blue", label="reverse mode")
        aspect = np.sort(own["aspect"].unique())
        n, m = np.sqrt(PRODUCT / aspect), np.sqrt(PRODUCT * aspect)
        sweep_cost = 1 + 2 * (MIDDLE + m) / (MIDDLE * (n + m))
        both.plot(aspect, 1 + n * sweep_cost, "k.", ms=3, zorder=5, label="derived")
        both.plot(aspect, 1 + m * sweep_cost, "k.", ms=3, zorder=5)
        both.axvline(1, color="0.4", ls=":", label="$m = n$")
        both.set(xlabel="outputs over inputs $m / n$", ylabel="multiplications / those of $f$", xscale="log")
        both.set(yscale="log", title="Jacobian of $f: R^n \\to R^m$, $n m = 1024$")
        both.legend(fontsize=8, loc="upper center")
        plot.caption(
            figure,
            [
                f"Agreement: nets {'-'.join(map(str, NET))}, the worse of two losses, one dot for each of "
                f"{rows['seed'].nunique()} seeds. Costs: layers of one width, tanh, cross-entropy, {BATCH} examples; "
                "multiplications counted (lines, the same for every seed) and derived (dots), and the best of many "
                "processor times, first seed. Forward mode's times are those of one direction, times the parameters."
            ],
        )
    return figure


def cost(axes: Axes, rows: Rows, sizes: list[int], nets: list[tuple[int, int]], times: Array) -> None:
    """Gradients in units of a pass: counted, derived, and in time."""
    parameters = rows.groupby("size")["parameters"].first().to_numpy()
    there, back = np.array([tape_formula(T, n, BATCH) for T, n in nets]).T
    one_pass, by_tape_s, by_pullbacks_s, dual_s = times.T
    plot.band(axes, rows, "size", "forward", color="tab:orange", label="forward mode")
    axes.plot(sizes, 1 + parameters * (dual_s / one_pass - 1), "x", color="tab:orange", label="forward mode, time")
    plot.band(axes, rows, "size", "reverse", color="tab:blue", label="reverse mode")
    axes.plot(sizes, by_tape_s / one_pass, "x", color="tab:blue", label="tape, time")
    axes.plot(sizes, by_pullbacks_s / one_pass, "+", color="tab:green", label="pullbacks, time")
    axes.plot(sizes, 1 + parameters * back / there, "k.", ms=3, zorder=5, label="derived")
    axes.plot(sizes, 1 + back / there, "k.", ms=3, zorder=5)
    axes.set(ylabel="gradient / forward pass", xscale="log", yscale="log", ylim=(1, 3e6))
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()


def slope(rows: Rows) -> float:
    """Of log(ratio) against log(number of parameters), by least squares."""
    return float(np.polyfit(np.log(rows["parameters"]), np.log(rows["ratio"]), 1)[0])


CLAIMS = (
    Claim(
        id="uml-backprop-identities",
        source="Section 20.6, by matrix calculus",
        statement="Jacobians as matrices (Kronecker products, commutation, diagonals, a net's chain from both ends) "
        "are those of forward and reverse mode (largest relative difference)",
        measure=measured("backpropagation", "identities", lambda seed: float(seed["difference"].max())),
        holds=lambda difference: difference < 1e-12,
        tolerance="< 1e-12",
        average=max,
    ),
    Claim(
        id="uml-backprop-three-ways",
        source="Section 20.6",
        statement="By hand, by tape and by the shared pullbacks: one loss and gradient of a two-layer net, for 8 "
        "activations and 2 losses (largest relative difference)",
        measure=measured(
            "backpropagation", "agreement", lambda seed: float(seed[["values", "tape", "pullbacks"]].max().max())
        ),
        holds=lambda difference: difference < 1e-12,
        tolerance="< 1e-12",
        average=max,
    ),
    Claim(
        id="uml-backprop-complex-step",
        source="Section 20.6",
        statement="All three are the derivative: complex steps, which know no chain rule (largest relative difference)",
        measure=measured("backpropagation", "agreement", lambda seed: float(seed["exact"].max())),
        holds=lambda difference: difference < 1e-12,
        tolerance="< 1e-12",
        average=max,
    ),
    Claim(
        id="uml-backprop-differences",
        source="Section 20.6",
        statement="Central differences with step 1e-5 give all three, up to their own error (largest relative "
        "difference)",
        measure=measured("backpropagation", "agreement", lambda seed: float(seed["central"].max())),
        holds=lambda difference: difference < 1e-7,
        tolerance="< 1e-7",
        average=max,
    ),
    Claim(
        id="uml-autodiff-formula",
        source="Derived in the notes",
        statement="Multiplications counted are those derived: all of the tape's, and those in matrix products by hand "
        "and by pullbacks (largest relative difference)",
        measure=measured("backpropagation", "costs", lambda seed: float(seed["formula"].max())),
        holds=lambda difference: difference == 0,
        tolerance="= 0",
        average=max,
    ),
    Claim(
        id="uml-autodiff-cheap",
        source="Cheap gradient principle",
        statement="A gradient in reverse mode costs at most 4 forward passes, in multiplications, from depth 2 to 32 "
        "and width 16 to 256 (largest, of tape and pullbacks)",
        measure=measured("backpropagation", "costs", lambda seed: float(seed[["reverse", "pullbacks"]].max().max())),
        holds=lambda ratio: ratio <= 4,
        tolerance="<= 4",
        average=max,
    ),
    Claim(
        id="uml-autodiff-direction",
        source="Derived in the notes",
        statement="One direction forward costs as many multiplications as the whole way back (the ratio farthest from "
        "1, over depths and widths)",
        measure=measured(
            "backpropagation",
            "costs",
            lambda seed: float(seed["direction"].iloc[(seed["direction"] - 1).abs().argmax()]),
        ),
        holds=lambda ratio: abs(ratio - 1) < 1e-12,
        tolerance="1 +- 1e-12",
        average=farthest_from(1),
    ),
    Claim(
        id="uml-autodiff-forward-linear",
        source="Derived in the notes",
        statement="A gradient in forward mode costs in proportion to the parameters (slope in log-log of its cost over "
        "reverse mode's, 19 to 259 parameters, every direction counted)",
        measure=measured("backpropagation", "forward", slope),
        holds=lambda exponent: abs(exponent - 1) < 0.05,
        tolerance="1 +- 0.05",
    ),
    Claim(
        id="uml-autodiff-forward-agrees",
        source="Section 20.6",
        statement="Forward and reverse mode: one gradient, one Jacobian (largest relative difference)",
        measure=lambda rows: [
            float(np.max(pair))
            for pair in zip(
                measured("backpropagation", "forward", lambda seed: float(seed["difference"].max()))(rows),
                measured("backpropagation", "jacobians", lambda seed: float(seed["difference"].max()))(rows),
                strict=True,
            )
        ],
        holds=lambda difference: difference < 1e-12,
        tolerance="< 1e-12",
        average=max,
    ),
    Claim(
        id="uml-autodiff-crossover",
        source="Derived in the notes",
        statement="The Jacobian of R^n -> R^m is cheaper in forward mode as soon as m > n (m/n where the costs cross)",
        measure=measured("backpropagation", "jacobians", crossover),
        holds=lambda aspect: abs(aspect - 1) < 0.05,
        tolerance="1 +- 0.05",
        average=farthest_from(1),
    ),
)

STUDY = Study(title="Backpropagation", measure=measure, draw=draw, claims=CLAIMS)
