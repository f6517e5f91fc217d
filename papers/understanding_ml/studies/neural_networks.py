"""Study: what five activations and three initialisations do to a network, dead and equal units, and XOR."""

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.understanding_ml.neural_networks import (
    INITIALISATIONS,
    XOR,
    accuracy,
    best_halfspace,
    dead_probability,
    mlp,
    moons,
    predict,
    predicted,
    spirals,
    statistics,
    train,
    weight_variance,
    xor,
    xor_solution,
)
from papers.understanding_ml.study import Rows, Study, farthest_from, measured, repeats
from shared import plot, tree
from shared.claims import Claim
from shared.datasets import load
from shared.experiment import Run
from shared.layers.activation import ACTIVATIONS
from shared.layers.combinators import Sequential
from shared.optim import SGD, Adam
from shared.tree import Array, Tree

NAME = "neural_networks"
RANDOM = INITIALISATIONS[:3]
SETS: dict[str, Callable[[int, np.random.Generator], tuple[Array, Array]]] = {
    "spirals": lambda m, rng: spirals(m, rng, noise=0.04),
    "moons": lambda m, rng: moons(m, rng, noise=0.1),
    "XOR": lambda m, rng: xor(m, rng, noise=0.3),
}
M, UNSEEN = 300, 1000  # points of each set
SHOWN = (0, 0.02, 0.1, 1)  # shares of the steps, after which there is a snapshot
SIDE = 60  # pixels of a picture of decision regions
LAYERS, WIDTH = 10, 100
DEEP = (64, *[WIDTH] * LAYERS, 10)
UNITS = 4096
BIASES = (-0.5, -1.0, -2.0, -3.0, -4.0)
RATES = (0.01, 0.1, 1.0, 10.0, 100.0)
HIDDEN = (2, 3, 4, 8)
MONOTONE = ("relu", "leaky relu", "sigmoid", "tanh")
STARTS = 200
COLOUR = {name: f"C{i}" for i, name in enumerate(ACTIVATIONS)}
LABEL = {"xavier": "Xavier", "he": "He", "gain": "own gain"}
AXIS = {"square": ("Activations", "$E[a_l^2]$"), "gradient": ("Gradients", "$E[\\delta_l^2] / E[\\delta_L^2]$")}


def measure(run: Run, effort: float) -> None:
    """One seed's rows of the parts."""
    plane(run, repeats(effort, 1000, least=100))
    digits(run, repeats(effort, 200, least=20))
    depth(run, repeats(effort, 64, least=4), repeats(effort, 100, least=5))
    dead_at_start(run)
    dead_after_a_step(run, repeats(effort, 20))
    symmetry(run, repeats(effort, 200, least=50))
    halfspaces(run, repeats(effort, STARTS, least=20))
    starts(run, repeats(effort, STARTS, least=20), repeats(effort, 120, least=40))


def seed(run: Run) -> int:
    """A seed for the order of the minibatches."""
    return int(run.rng.integers(2**31))


def draws(net: Sequential, run: Run, n: int) -> Tree:
    """A stack of n draws of the parameters."""
    return tree.stack([net.init(run.rng) for _ in range(n)])


def snapshots(steps: int) -> list[int]:
    """After how many updates."""
    return [round(share * steps) for share in SHOWN]


def plane(run: Run, steps: int) -> None:
    """Training and test accuracy of each activation and initialisation on the three sets in the plane."""
    training, unseen = ([make(m, run.rng) for make in SETS.values()] for m in (M, UNSEEN))
    networks = [(initialisation, data) for initialisation in ("xavier", "he") for data in SETS]
    X, y, X_test, y_test = (np.stack([pair[i] for pair in part * 2]) for part in (training, unseen) for i in (0, 1))
    through = []
    for activation in ACTIVATIONS:
        nets = [mlp((2, 32, 32, 2), activation, initialisation) for initialisation, _ in networks]
        p = tree.stack([net.init(run.rng) for net in nets])
        kept = train(nets[0], p, X, y, Adam(0.03), steps, 50, seed(run), snapshots(steps)).snapshots
        table = [(accuracy(nets[0], q, X, y), accuracy(nets[0], q, X_test, y_test)) for q in kept.values()]
        record_fit(run, activation, networks, *table[-1])
        through.append([test for _, test in table])
        if activation == "relu":
            n = len(SETS)
            reach = 1.15 * np.abs(X).max(axis=(1, 2), keepdims=True)
            ticks = np.linspace(-1, 1, SIDE)
            grid = reach * np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(1, -1, 2)
            regions = [predict(nets[0], q, grid)[n:].astype(np.int8) for q in kept.values()]  # He's
            run.keep(X=X[:n], y=y[:n], reach=reach[:n, 0, 0], steps=np.array(list(kept)), regions=np.array(regions))
    for i, data in enumerate(SETS):
        for step, test in zip(snapshots(steps), np.mean(through, axis=0)[:, i :: len(SETS)].mean(1), strict=True):
            run.record(part="through", data=data, step=step, test=test)


def record_fit(run: Run, activation: str, networks: list[tuple[str, str]], training: Array, test: Array) -> None:
    """A row for each network of a stack, given as (initialisation, data)."""
    for (initialisation, data), *both in zip(networks, training, test, strict=True):
        names = {"data": data, "activation": activation, "init": initialisation}
        run.record(part="fit", **names, training=both[0], test=both[1])


def images() -> tuple[Array, Array, Array, Array]:
    """Training and test digits, scaled to mean squares of 1 over the pixels of the training digits."""
    data = load("digits")
    X, X_test = (part.reshape(len(part), -1).astype(np.float32) for part in (data.train_images, data.test_images))
    scale = np.sqrt(np.mean(X**2))
    return X / scale, data.train_labels.astype(int), X_test / scale, data.test_labels.astype(int)


def digits(run: Run, steps: int) -> None:
    """Training and test accuracy with one hidden layer of 64 units on the digits."""
    X, y, X_test, y_test = images()
    networks = [(initialisation, "digits") for initialisation in ("xavier", "he")]
    for activation in ACTIVATIONS:
        nets = [mlp((64, 64, 10), activation, initialisation) for initialisation, _ in networks]
        p = train(nets[0], tree.stack([net.init(run.rng) for net in nets]), X, y, Adam(0.01), steps, 64, seed(run)).p
        record_fit(run, activation, networks, accuracy(nets[0], p, X, y), accuracy(nets[0], p, X_test, y_test))


def depth(run: Run, n: int, steps: int) -> None:
    """Activations and gradients by layer: means over n draws, the prediction, and of one network when trained."""
    X, y, *_ = images()
    few = run.rng.choice(len(X), 32, replace=False)
    for activation in ACTIVATIONS:
        nets = [mlp(DEEP, activation, initialisation) for initialisation in RANDOM]
        stacks = [draws(net, run, n) for net in nets]
        first = tree.stack([tree.map(lambda array: array[0], p) for p in stacks])
        p = train(nets[0], first, X, y, SGD(0.05), steps, 32, seed(run)).p
        trained, reached = statistics(nets[0], p, X[few], y[few]), accuracy(nets[0], p, X, y)
        for i, initialisation in enumerate(RANDOM):
            start = statistics(nets[i], stacks[i], X[few], y[few])
            squares, gradients = predicted(DEEP, activation, initialisation, X[few])
            for l in range(LAYERS):
                run.record(
                    part="depth",
                    activation=activation,
                    init=initialisation,
                    layer=l + 1,
                    **{name: value[l].mean() for name, value in start._asdict().items()},
                    **{f"trained_{name}": value[l, i] for name, value in trained._asdict().items()},
                    predicted_square=squares[l],
                    predicted_gradient=gradients[l],
                    training=reached[i],
                )


def dead_at_start(run: Run) -> None:
    """The share of He's ReLU units that are 0 on all points of the spirals, by the bias they start with."""
    X, y = SETS["spirals"](M, run.rng)
    net = mlp((2, UNITS, 2))
    for bias in BIASES:
        p = net.init(run.rng)
        p["0"]["b"][:] = bias
        (share,), theory = statistics(net, p, X, y).dead, dead_probability(X, bias)
        error = abs(share - theory) / np.sqrt(theory * (1 - theory) / UNITS)
        run.record(part="dead-bias", bias=bias, share=share, theory=theory, error=error)


def dead_after_a_step(run: Run, n: int) -> None:
    """The share of dead units in two hidden layers after one step of gradient descent, by its learning rate."""
    X, y = SETS["spirals"](M, run.rng)
    for activation in ("relu", "leaky relu"):
        net = mlp((2, 64, 64, 2), activation)
        p = draws(net, run, n)
        for rate in (0.0, *RATES):
            after = train(net, p, X, y, SGD(rate), 1, M).p if rate else p
            share = statistics(net, after, X, y).dead.mean()
            run.record(part="dead-rate", activation=activation, rate=rate, share=share)


def symmetry(run: Run, steps: int) -> None:
    """Eight hidden units on noisy XOR that start equal, or at random: their largest difference, and what they learn.

    On the four points themselves equal units of an odd f have no gradient: noise lets them move. ``training`` is the
    accuracy on the four points.
    """
    kinds = ("equal", "he")
    X, y = SETS["XOR"](M, run.rng)
    for activation in ACTIVATIONS:
        nets = [mlp((2, 8, 2), activation, initialisation) for initialisation in kinds]
        start = tree.stack([net.init(run.rng) for net in nets])
        p = train(nets[0], start, X, y, Adam(0.05), steps, 50, seed(run)).p
        units = np.concatenate([p["0"]["W"], p["0"]["b"][:, None], p["2"]["W"].swapaxes(1, 2)], axis=1)  # a column each
        spread, moved = np.ptp(units, axis=2).max(1), np.abs(p["0"]["W"] - start["0"]["W"]).max((1, 2))
        reached = accuracy(nets[0], p, *XOR)
        for i, initialisation in enumerate(kinds):
            names = {"activation": activation, "init": initialisation}
            run.record(part="symmetry", **names, spread=spread[i], moved=moved[i], training=reached[i])


def halfspaces(run: Run, n: int) -> None:
    """The fewest errors on XOR of all halfspaces, and of those that n trainings without a hidden layer come by.

    The difference of the scores is taken in float64, where it is linear: near its minimum, 0, the scores in float32
    differ by nothing but rounding errors, which may well solve XOR.
    """
    net, (X, y) = mlp((2, 2), initialisation="xavier"), XOR
    steps = 100
    kept = train(net, draws(net, run, n), X, y, Adam(0.05), steps, 4, seed(run), range(steps + 1)).snapshots
    fewest = 1.0
    for p in kept.values():
        W, b = p["0"]["W"].astype(float), p["0"]["b"].astype(float)
        score = X @ (W[..., 1] - W[..., 0]).T + (b[:, 1] - b[:, 0])
        fewest = min(fewest, float(np.mean((score > 0) != y[:, None], axis=0).min()))
    solved = min(accuracy(mlp((2, 2, 2), activation), xor_solution(activation), X, y) for activation in ACTIVATIONS)
    run.record(part="halfspaces", best=best_halfspace(X, y), logistic=fewest, solved=solved)


def starts(run: Run, n: int, steps: int) -> None:
    """How many of n random starts end with all four points of XOR on their sides, by the number of hidden units."""
    for activation in ACTIVATIONS:
        for hidden in HIDDEN:
            net = mlp((2, hidden, 2), activation, "xavier")
            p = train(net, draws(net, run, n), *XOR, Adam(0.05), steps, 4, seed(run)).p
            run.record(part="starts", activation=activation, hidden=hidden, share=np.mean(accuracy(net, p, *XOR) == 1))


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Decision regions through training, XOR, dead units; below them activations and gradients by layer."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(14.5, 7.6), layout="constrained")
        grid = figure.add_gridspec(2, 1)
        regions, found, bias, rate = grid[0].subgridspec(1, 4).subplots(squeeze=False)[0]
        show_regions(regions, arrays)

        own = rows[rows["part"] == "starts"]
        for activation, colour in COLOUR.items():
            of_one = own[own["activation"] == activation]
            plot.band(found, of_one, "hidden", "share", marker="o", color=colour, label=activation)
        solved = np.mean(equal_monotone(rows[rows["part"] == "symmetry"])["training"] == 1)
        found.plot(8, solved, "kx", ms=7, clip_on=False, zorder=5, label="8 equal units (not gelu)")
        found.set_xticks(HIDDEN)
        found.set(xlabel="hidden units", ylabel="share of the starts", ylim=(0, 1.04), title="XOR is found")
        found.legend(loc="lower center", bbox_to_anchor=(0.58, 0.03))

        own = rows[rows["part"] == "dead-bias"]
        plot.band(bias, own, "bias", "share", marker="o", color=COLOUR["relu"], label="relu, He")
        theory = own.groupby("bias")["theory"].median()
        bias.plot(theory.index, theory, "k.", zorder=5, label="$E[1 - \\exp(-(b/h(u))^2/2)]$")
        bias.set(
            xlabel="bias $b$ at the start", ylabel="share of dead units", ylim=(0, 1.04), title="Dead at the start"
        )
        bias.legend(loc="lower left")

        own = rows[(rows["part"] == "dead-rate") & (rows["rate"] > 0)]
        for activation in ("relu", "leaky relu"):
            of_one = own[own["activation"] == activation]
            plot.band(rate, of_one, "rate", "share", marker="o", color=COLOUR[activation], label=activation)
        rate.set(
            xscale="log", xlabel="learning rate", ylabel="share of dead units", title="Dead after one step of descent"
        )
        rate.legend()

        halves = grid[1].subgridspec(1, 2)
        for i, (column, (name, label)) in enumerate(AXIS.items()):
            panels = halves[i].subgridspec(1, len(RANDOM)).subplots(sharey=True, squeeze=False)[0]
            panels[0].set_ylabel(label)
            for axes, initialisation in zip(panels, RANDOM, strict=True):
                own = rows[(rows["part"] == "depth") & (rows["init"] == initialisation)]
                show_depth(axes, own, column)
                axes.set(xlabel="hidden layer $l$", title=f"{name}, {LABEL[initialisation]}")
        plot.caption(
            figure,
            [
                f"Regions: relu, He, widths 2-32-32-2. Below: {LAYERS} layers of {WIDTH} units on digits, colours as "
                "for XOR. Solid: at the start, mean over the draws; black dots: the recursion for wide layers; dashed: "
                "one network after training. Gradients: relative to the last hidden layer. Lines: medians, bands: "
                f"range over {rows['seed'].nunique()} seeds."
            ],
        )
    return figure


def show_regions(host: Axes, arrays: Mapping[str, Array]) -> None:
    """A row of small pictures for each data set, a column for each snapshot."""
    host.set_axis_off()
    steps, n = arrays["steps"], len(SETS)
    for i, name in enumerate(SETS):
        reach = arrays["reach"][i]
        for j, step in enumerate(steps):
            axes = host.inset_axes((j / len(steps), 1 - (i + 1) / n, 0.97 / len(steps), 0.97 / n))
            axes.imshow(
                arrays["regions"][j, i].reshape(SIDE, SIDE),
                origin="lower",
                extent=(-reach, reach, -reach, reach),
                cmap="coolwarm",
                alpha=0.4,
                vmin=0,
                vmax=1,
                aspect="auto",
            )
            for label, colour in ((0, "C0"), (1, "C3")):
                axes.plot(*arrays["X"][i][arrays["y"][i] == label].T, ".", color=colour, ms=1.5)
            axes.set(xticks=[], yticks=[], xlim=(-reach, reach), ylim=(-reach, reach))
            axes.spines[:].set_visible(True)
            if i == 0:
                axes.set_title(f"step {step}")
            if j == 0:
                axes.set_ylabel(name)


def show_depth(axes: Axes, rows: Rows, column: str) -> None:
    """One line an activation by layer: at the start, in theory, and after training."""
    if column == "gradient":
        last = rows.groupby(["seed", "activation"])[["gradient", "trained_gradient"]].transform("last")
        rows = rows.assign(gradient=rows["gradient"] / last["gradient"])
        rows = rows.assign(trained_gradient=rows["trained_gradient"] / last["trained_gradient"])
    for activation, colour in COLOUR.items():
        own = rows[rows["activation"] == activation]
        plot.band(axes, own, "layer", column, color=colour)
        medians = own.groupby("layer")[[f"predicted_{column}", f"trained_{column}"]].median()
        axes.plot(medians.index, medians[f"trained_{column}"], "--", color=colour, lw=1)
        axes.plot(medians.index, medians[f"predicted_{column}"], "k.", ms=3, zorder=5)
    axes.set_yscale("log")
    axes.set_xticks([1, 4, 7, LAYERS])


def pair(rows: Rows, activation: str, initialisation: str) -> Rows:
    """The rows of one activation and initialisation."""
    return rows[(rows["activation"] == activation) & (rows["init"] == initialisation)]


def lowest(data: str, column: str) -> Callable[[Rows], float]:
    """The lowest accuracy over activations and initialisations."""
    return lambda rows: float(rows[rows["data"] == data][column].min())


def smallest_rise(rows: Rows) -> float:
    """Of the accuracy on unseen points of the spirals, a mean over the networks, from one snapshot to the next."""
    return float(rows[rows["data"] == "spirals"].sort_values("step")["test"].diff().min())


def deviation(activation: str, initialisation: str) -> Callable[[Rows], float]:
    """The largest share by which a layer's second moment differs from the prediction."""

    def value(rows: Rows) -> float:
        own = pair(rows, activation, initialisation)
        return float(abs(own["square"] / own["predicted_square"] - 1).max())

    return value


def factor(rows: Rows, activation: str, initialisation: str, first: int = 1) -> float:
    """What a layer makes of the second moment, the geometric mean from the layer ``first`` to the last."""
    square = pair(rows, activation, initialisation).set_index("layer")["square"]
    return float((square[LAYERS] / square[first]) ** (1 / (LAYERS - first)))


def worst_factor(column: str) -> Callable[[Rows], float]:
    """The largest share by which a pair's mean factor a layer differs from the predicted one."""

    def value(rows: Rows) -> float:
        errors = []
        for _, own in rows.groupby(["activation", "init"]):
            ends = own.set_index("layer").loc[[1, LAYERS]]
            ratio = (ends[column] / ends[f"predicted_{column}"]).to_numpy()
            errors.append(abs((ratio[0] / ratio[1]) ** (1 / (LAYERS - 1)) - 1))
        return float(np.max(errors))

    return value


def sigmoid_excess(rows: Rows) -> float:
    """The largest factor by which a layer of sigmoids changes the gradients, over sqrt(n Var[w]) / 4."""
    factors = []
    for initialisation in RANDOM:
        gradient = pair(rows, "sigmoid", initialisation)["gradient"].to_numpy()
        bound = np.sqrt(WIDTH * weight_variance(initialisation, "sigmoid", WIDTH, WIDTH)) / 4
        factors.append(np.sqrt(gradient[:-1] / gradient[1:]).max() / bound)
    return float(np.max(factors))


def gelu_error(rows: Rows) -> float:
    """The largest share by which the first layer's E[gelu(z)^2] differs from the quadrature."""
    own = rows[(rows["activation"] == "gelu") & (rows["layer"] == 1)]
    return float(abs(own["square"] / own["predicted_square"] - 1).max())


def reached(rows: Rows, activation: str, initialisation: str) -> float:
    """The training accuracy of a deep network."""
    return float(pair(rows, activation, initialisation)["training"].iloc[0])


def killed(rows: Rows) -> float:
    """By how much one step with the largest rate raises the share of dead ReLU units."""
    share = rows[rows["activation"] == "relu"].set_index("rate")["share"]
    return float(share[max(RATES)] - share[0.0])


def equal_monotone(rows: Rows) -> Rows:
    """The networks of equal units whose activation is monotone."""
    return rows[(rows["init"] == "equal") & rows["activation"].isin(MONOTONE)]


def found_more_often(rows: Rows) -> float:
    """The smallest rise of the share of starts that find XOR, a mean over the activations, from a size to the next."""
    return float(rows.groupby("hidden")["share"].mean().diff().min())


CLAIMS = (
    *(
        Claim(
            id=f"uml-nn-{data.lower()}",
            source="Chapter 20",
            statement=f"Every activation, with Xavier and He, learns the {data} (lowest training accuracy)",
            measure=measured(NAME, "fit", lowest(data, "training")),
            holds=lambda share: share >= 0.98,
            tolerance=">= 0.98",
            average=min,
        )
        for data in SETS
    ),
    Claim(
        id="uml-nn-digits",
        source="Chapter 20",
        statement="Every activation, with Xavier and He, reads the digits with 64 hidden units (lowest test accuracy)",
        measure=measured(NAME, "fit", lowest("digits", "test")),
        holds=lambda share: share >= 0.95,
        tolerance=">= 0.95",
        average=min,
    ),
    Claim(
        id="uml-nn-regions",
        source="Chapter 20",
        statement="Decision regions of the spirals come nearer to the truth (smallest rise of the accuracy on unseen "
        "points from one of four snapshots to the next, mean over the networks)",
        measure=measured(NAME, "through", smallest_rise),
        holds=lambda rise: rise > 0,
        tolerance="> 0",
    ),
    Claim(
        id="uml-nn-he-relu",
        source="He et al. 2015, eq. 10",
        statement="He's initialisation keeps E[a^2] over 10 ReLU layers (largest relative change)",
        measure=measured(NAME, "depth", deviation("relu", "he")),
        holds=lambda change: change <= 0.2,
        tolerance="<= 0.2",
        average=max,
    ),
    Claim(
        id="uml-nn-xavier-relu",
        source="Derived: n Var[w] = 1, E[relu(z)^2] = Var[z] / 2",
        statement="With Xavier's a ReLU layer halves E[a^2] (factor a layer)",
        measure=measured(NAME, "depth", lambda rows: factor(rows, "relu", "xavier")),
        holds=lambda ratio: abs(ratio - 0.5) <= 0.025,
        tolerance="0.5 +- 0.025",
    ),
    Claim(
        id="uml-nn-leaky-gain",
        source="He et al. 2015, eq. 15",
        statement="With its own gain, 2 / (1 + slope^2), leaky ReLU keeps E[a^2] over 10 layers (largest relative "
        "change)",
        measure=measured(NAME, "depth", deviation("leaky relu", "gain")),
        holds=lambda change: change <= 0.2,
        tolerance="<= 0.2",
        average=max,
    ),
    Claim(
        id="uml-nn-tanh-xavier",
        source="Derived: E[tanh(z)^2] = q - 2 q^2 + ..., so E[a_l^2] is about 1 / 2l",
        statement="With Xavier's tanh decays like 1 / l: E[a_10^2] / E[a_5^2] (the recursion gives 0.514, ReLU 0.031)",
        measure=measured(NAME, "depth", lambda rows: factor(rows, "tanh", "xavier", 5) ** 5),
        holds=lambda ratio: abs(ratio - 0.514) <= 0.1,
        tolerance="0.514 +- 0.1",
    ),
    Claim(
        id="uml-nn-sigmoid",
        source="Derived: sigmoid' <= 1/4",
        statement="Sigmoid gradients vanish: a layer leaves at most sqrt(n Var[w]) / 4 of them (largest ratio to it)",
        measure=measured(NAME, "depth", sigmoid_excess),
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
        average=max,
    ),
    Claim(
        id="uml-nn-gelu",
        source="Quadrature",
        statement="E[gelu(z)^2] in the first layer is that of the quadrature (largest relative difference over the "
        "initialisations; 3 standard errors of 6,400 units, whose squares have relative variance 5 at most)",
        measure=measured(NAME, "depth", gelu_error),
        holds=lambda error: error <= 0.084,
        tolerance="<= 0.084",
    ),
    Claim(
        id="uml-nn-forward",
        source="Derived for wide layers",
        statement="The recursion gives what a layer makes of E[a^2], for all 15 pairs (largest relative difference of "
        "the factor a layer; 5/n is what ReLU's variance is changed by, n = 100)",
        measure=measured(NAME, "depth", worst_factor("square")),
        holds=lambda error: error <= 0.05,
        tolerance="<= 5/n = 0.05",
        average=max,
    ),
    Claim(
        id="uml-nn-backward",
        source="Derived for wide layers",
        statement="And of E[delta^2] on the way back (5/n for each way)",
        measure=measured(NAME, "depth", worst_factor("gradient")),
        holds=lambda error: error <= 0.1,
        tolerance="<= 10/n = 0.1",
        average=max,
    ),
    Claim(
        id="uml-nn-deep-relu",
        source="He et al. 2015, section 2.2",
        statement="10 ReLU layers reach a higher training accuracy from He's start than from Xavier's (difference)",
        measure=measured(NAME, "depth", lambda rows: reached(rows, "relu", "he") - reached(rows, "relu", "xavier")),
        holds=lambda gain: gain > 0,
        tolerance="> 0",
    ),
    Claim(
        id="uml-nn-deep-sigmoid",
        source="Derived: sigmoid' <= 1/4",
        statement="10 layers of sigmoids do not learn from any start (largest training accuracy; chance is 0.1)",
        measure=measured(
            NAME, "depth", lambda rows: max(reached(rows, "sigmoid", initialisation) for initialisation in RANDOM)
        ),
        holds=lambda share: share < 0.2,
        tolerance="< 0.2",
        average=max,
    ),
    Claim(
        id="uml-nn-dead-bias",
        source="Derived for two features",
        statement="Share of ReLU units dead at the start by their bias is the derived one (largest difference, in "
        "standard errors)",
        measure=measured(NAME, "dead-bias", lambda rows: float(rows["error"].max())),
        holds=lambda errors: errors < 3,
        tolerance="< 3",
    ),
    Claim(
        id="uml-nn-dead-rate",
        source="Derived: the sign",
        statement="One step with learning rate 100 kills ReLU units (rise of the dead share; 3 standard errors of "
        "2,560 units are at most 0.03)",
        measure=measured(NAME, "dead-rate", killed),
        holds=lambda rise: rise > 0.05,
        tolerance="> 0.05",
    ),
    Claim(
        id="uml-nn-dead-leaky",
        source="Derived: its slope is never 0",
        statement="And no leaky ReLU unit, at any learning rate (largest dead share)",
        measure=measured(
            NAME, "dead-rate", lambda rows: float(rows[rows["activation"] == "leaky relu"]["share"].max())
        ),
        holds=lambda share: share == 0,
        tolerance="= 0",
        average=max,
    ),
    Claim(
        id="uml-nn-symmetry",
        source="Section 20.6",
        statement="Hidden units that start equal stay equal (largest difference of their weights after training)",
        measure=measured(NAME, "symmetry", lambda rows: float(rows[rows["init"] == "equal"]["spread"].max())),
        holds=lambda spread: spread <= 1e-6,
        tolerance="<= 1e-6",
        average=max,
    ),
    Claim(
        id="uml-nn-symmetry-xor",
        source="Derived: one monotone unit is a halfspace",
        statement="Eight equal units are one: XOR is not learned with a monotone activation (largest accuracy)",
        measure=measured(NAME, "symmetry", lambda rows: float(equal_monotone(rows)["training"].max())),
        holds=lambda share: share <= 0.75,
        tolerance="<= 0.75",
        average=max,
    ),
    Claim(
        id="uml-nn-symmetry-broken",
        source="Section 20.6",
        statement="Eight units with random weights learn it (lowest share of the starts over the activations)",
        measure=measured(NAME, "starts", lambda rows: float(rows[rows["hidden"] == 8]["share"].min())),
        holds=lambda share: share >= 0.9,
        tolerance=">= 0.9",
    ),
    Claim(
        id="uml-nn-xor-halfspace",
        source="Derived: the sum of the inequalities",
        statement="The best of all halfspaces has three of the four points of XOR",
        measure=measured(NAME, "halfspaces", lambda rows: float(rows["best"].iloc[0])),
        holds=lambda share: share == 0.75,
        tolerance="= 0.75",
        average=farthest_from(0.75),
    ),
    Claim(
        id="uml-nn-xor-logistic",
        source="Derived: the sum of the inequalities",
        statement="Logistic regression never errs on fewer than one (smallest error in any step from any start)",
        measure=measured(NAME, "halfspaces", lambda rows: float(rows["logistic"].iloc[0])),
        holds=lambda error: error >= 0.25,
        tolerance=">= 0.25",
        average=min,
    ),
    Claim(
        id="uml-nn-xor-two-units",
        source="Chapter 20",
        statement="Two hidden units with given weights solve XOR (lowest accuracy over the activations)",
        measure=measured(NAME, "halfspaces", lambda rows: float(rows["solved"].iloc[0])),
        holds=lambda share: share == 1,
        tolerance="= 1",
        average=min,
    ),
    Claim(
        id="uml-nn-xor-found",
        source="Chapter 20",
        statement="The more hidden units, the more often training finds XOR (smallest rise of the share of the starts "
        "from 2 to 3 to 4 to 8 units, mean over the activations)",
        measure=measured(NAME, "starts", found_more_often),
        holds=lambda rise: rise > 0,
        tolerance="> 0",
    ),
)

STUDY = Study(title="Neural networks", measure=measure, draw=draw, claims=CLAIMS)
