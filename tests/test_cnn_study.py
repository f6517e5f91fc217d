"""The CNN study: derived variances against counting and drawing, gradients against torch, and that runs repeat."""

from itertools import product
from math import cos, pi
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from papers.resnet import cnn_study, cnn_study_figure
from papers.resnet.cnn_study import CLAIMS, CONFIGURATIONS, DEEP, INITIALISATIONS, LAYERS, MAGNITUDES
from papers.resnet.training import Split, images
from shared import plot, tree
from shared.claims import judge
from shared.errors import Stopped
from shared.experiment import Board, Job, Run, Setting
from shared.layers.activation import ACTIVATIONS
from shared.layers.combinators import Sequential
from shared.layers.conv import Conv2d
from shared.tree import Tree


def study(seed: int = 0, study_steps: int = 2, **changed: int) -> Job:
    (job,) = cnn_study.jobs(SimpleNamespace(seeds=[seed], study_steps=study_steps))
    return job | changed


def done(job: Job, folder: Path, board: Board | None = None) -> Run:
    run = Run(job, Setting(folder=folder, label="test", named_by=("kind", "seed"), code=""), board, cell=1)
    run.folder.mkdir(parents=True, exist_ok=True)
    cnn_study.measure(job, run)
    return run


def table(run: Run) -> pd.DataFrame:
    """The study's rows among those of other jobs, as the ledger and the figure get them."""
    own = [run.job | row for row in run.rows]
    return pd.DataFrame([*own, {"kind": "train", "seed": 0, "depth": 20, "iteration": 10, "train_loss": 2.0}])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All configurations, trained on two minibatches each."""
    return done(study(), tmp_path_factory.mktemp("study"))


def few(n: int = 6) -> Split:
    train, _ = images("digits")
    return Split(train.x[:n], train.y[:n])


def start(*configuration: str, draw: int = 0) -> tuple[Sequential, Tree]:
    net = cnn_study.network(*configuration)
    return net, net.init(np.random.default_rng(draw))


# The derivation


def same_size(channels: int, layers: int) -> list[Conv2d]:
    return [Conv2d(channels if l else 1, channels, 3, 1, 1) for l in range(layers)]


@pytest.mark.parametrize("side", [1, 2, 4, 8])
def test_the_border_takes_the_taps_that_lie_outside(side: int) -> None:
    steps = (-1, 0, 1)
    inside = [0 <= i + a < side and 0 <= j + b < side for i, j, a, b in product(range(side), range(side), steps, steps)]
    squares, _ = cnn_study.derivation(same_size(16, 100), "relu", "He", np.ones((1, side, side, 1)))
    assert np.isclose(squares[0], np.mean(inside))
    assert np.isclose(squares[0], (3 - 2 / side) ** 2 / 9)
    assert np.isclose(squares[-1] / squares[-2], ((1 + 2 * cos(pi / (side + 1))) / 3) ** 2)


@pytest.mark.parametrize(("initialisation", "factor"), [("He", 1), ("Glorot", 0.5), ("small", 3 * 128 * 1e-4 / 2)])
def test_without_border_a_relu_layer_multiplies_by_half_of_n_var_w(initialisation: str, factor: float) -> None:
    convs = [Conv2d(128 if l else 1, 128, (1, 3)) for l in range(DEEP)]
    squares, _ = cnn_study.derivation(convs, "relu", initialisation, np.ones((1, 1, 64, 1)))
    np.testing.assert_allclose(squares[1:] / squares[:-1], factor, rtol=1e-6)


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
@pytest.mark.parametrize("c_in", [1, 16])
def test_weight_variance_is_that_of_the_draws(initialisation: str, c_in: int) -> None:
    conv = Conv2d(c_in, 64, 3, weight=INITIALISATIONS[initialisation])
    weights = np.concatenate([conv.init(np.random.default_rng(i))["W"].ravel() for i in range(10)])
    assert np.isclose(
        weights.var(), cnn_study.weight_variance(initialisation, conv), rtol=5 * np.sqrt(2 / weights.size)
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_derivation_is_what_draws_average_to(activation: str) -> None:
    """The first layers forth and the last back: a ReLU layer's standard error is sqrt(5 / 16 / 40) = 9 %."""
    split = few(10)
    drawn = [cnn_study.signals(*start(activation, "He", "off", draw=draw), split) for draw in range(40)]
    squares, gradients = cnn_study.mean_squares(drawn)
    net = cnn_study.network(activation, "He", "off")
    derived_squares, derived_gradients = cnn_study.derivation(cnn_study.convolutions(net), activation, "He", split.x)
    np.testing.assert_allclose(squares[:2], derived_squares[:2], rtol=0.3)
    np.testing.assert_allclose((gradients / gradients[-1])[-3:], derived_gradients[-3:], rtol=0.3)


def test_twenty_layers_do_as_derived() -> None:
    train, _ = images("digits")
    for initialisation, padding in (("He", "none"), ("Glorot", "none"), ("He", "zeros")):
        found = cnn_study.deep_stack(train.x, initialisation, padding, study(study_steps=20), np.random.default_rng(0))
        measured, derived = np.array(list(found)).T
        assert measured.shape == (DEEP + 1,)
        assert measured[0] == 1
        # The logarithm's standard deviation is at most sqrt(20 * 5 / 48 / 10) = 0.46 over ten draws.
        assert abs(np.log(measured[-1] / derived[-1])) < 3 * 0.46


# Networks


@pytest.mark.parametrize("batch_norm", ["off", "on"])
def test_signals_are_torchs(batch_norm: str) -> None:
    net, p = start("tanh", "He", batch_norm)
    p = tree.astype(p, float)
    split = Split(few().x.astype(float), few().y)
    activations, deltas = cnn_study.signals(net, p, split)
    x = torch.tensor(split.x).permute(0, 3, 1, 2)
    inner, outer = [], []
    for l in range(LAYERS):
        own = p[str(2 * l)]
        conv = own["0"] if batch_norm == "on" else own
        bias = None if batch_norm == "on" else torch.tensor(conv["b"])
        kernel = torch.tensor(conv["W"]).permute(3, 2, 0, 1)
        x = torch.nn.functional.conv2d(x, kernel, bias, stride=1 if l else 2, padding=1)
        if batch_norm == "on":
            x = torch.nn.functional.batch_norm(x, None, None, training=True, eps=1e-5)
        inner.append(x.requires_grad_() if l == 0 else x)
        inner[-1].retain_grad()
        x = torch.tanh(x)
        outer.append(x)
    last = p[str(2 * LAYERS + 1)]
    logits = x.mean((2, 3)) @ torch.tensor(last["W"]) + torch.tensor(last["b"])
    torch.nn.functional.cross_entropy(logits, torch.tensor(split.y), reduction="sum").backward()
    assert len(activations) == len(deltas) == LAYERS
    for l in range(LAYERS):
        np.testing.assert_allclose(activations[l], outer[l].detach().permute(0, 2, 3, 1), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(deltas[l], inner[l].grad.permute(0, 2, 3, 1), rtol=1e-7, atol=1e-12)


def test_batch_norm_hides_the_scale_of_the_weights() -> None:
    """All start from the same normal numbers, so with BN (and inputs beside which its epsilon is nothing) as one."""
    x = 1e3 * few(20).x
    logits = {}
    for initialisation, batch_norm in product(INITIALISATIONS, ("off", "on")):
        net, p = start("gelu", initialisation, batch_norm)
        logits[initialisation, batch_norm], _ = net(p, x, cnn_study.TRAIN)
    for initialisation in ("small", "Glorot"):
        np.testing.assert_allclose(logits[initialisation, "on"], logits["He", "on"], rtol=0.05, atol=0.02)
        assert abs(logits[initialisation, "off"] - logits["He", "off"]).max() > 1


def test_magnitudes_are_shares_without_zeros() -> None:
    x = np.array([0, 0, 3.0, -0.3, 1e-30, 1e30], np.float32)
    shares = cnn_study.magnitudes(x)
    assert np.isclose(shares.sum(), 4 / 6)
    found = {round(float(MAGNITUDES[i]), 2) for i in np.flatnonzero(shares)}
    assert found == {0.25, -0.75, -15.0, 0.75}


# Runs


def test_every_configuration_trains(whole: Run) -> None:
    rows = table(whole)
    curves = rows[rows["part"] == "curve"]
    assert set(zip(curves["activation"], curves["init"], curves["batch_norm"], strict=True)) == set(CONFIGURATIONS)
    assert np.isfinite(curves["loss"]).all()
    assert list(curves["iteration"].unique()) == [1, 2]
    depth = rows[rows["part"] == "depth"]
    assert len(depth) == len(CONFIGURATIONS) * LAYERS
    assert np.isfinite(depth[["square", "gradient"]]).all(axis=None)
    assert (depth[["square", "gradient"]] > 0).all(axis=None)
    assert (depth["derived_gradient"].isna() == (depth["batch_norm"] == "on")).all()
    assert whole.arrays["histograms"].shape[:3] == (len(CONFIGURATIONS), 2, LAYERS)


@pytest.mark.parametrize("steps", [1, 7, 20, 50])
def test_readings_end_with_the_last_step(steps: int) -> None:
    rows = []

    class Untrained(Run):
        def check(self, loss: float) -> None:
            rows.append(loss)

    job = study(study_steps=steps)
    run = Untrained(job, Setting(folder=Path("unused"), label="test", named_by=("kind",), code=""))
    net, p = start("relu", "He", "off")
    readings = list(cnn_study.curve(net, p, few(50), 0.03, job, run))
    iterations = [iteration for iteration, _ in readings]
    assert iterations[-1] == steps
    assert len(iterations) == min(steps, 20)
    lengths = np.diff([0, *iterations])
    assert np.isclose(np.dot(lengths, [loss for _, loss in readings]) / steps, np.mean(rows))
    assert len(rows) == steps


def test_same_seed_same_rows_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = (done(study(seed, steps=1), tmp_path).rows for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_a_stopped_run_goes_on_to_the_same_rows(tmp_path: Path) -> None:
    job = study(steps=3)
    straight = done(job, tmp_path / "straight")
    cells = tmp_path / "board"
    cells.write_bytes(bytes(16))
    board = Board(cells)
    board.stop = 15
    with pytest.raises(Stopped):
        done(job, tmp_path / "stopped", board)
    board.stop = 0
    resumed = done(job, tmp_path / "stopped", board)
    assert resumed.rows == straight.rows
    np.testing.assert_array_equal(resumed.arrays["histograms"], straight.arrays["histograms"])
    assert resumed.arrays["histograms"][:3].any(axis=(1, 2, 3)).all()


# Claims and figure


def test_every_claim_has_something_to_measure(whole: Run) -> None:
    ledger = judge(CLAIMS, table(whole), "digits")
    assert (ledger["n"] == 1).all()
    assert ledger["id"].str.startswith("resnet-cnn-").all()


def test_a_seed_that_did_not_get_through_measures_nothing(whole: Run) -> None:
    rows = table(whole)
    assert (judge(CLAIMS, rows[:-2], "digits")["n"] == 0).all()
    assert (judge(CLAIMS, rows[rows["kind"] == "train"], "digits")["n"] == 0).all()


def test_claims_read_the_rows_that_they_name(whole: Run) -> None:
    """Rows whose every number is made up: what each claim then measures follows by hand."""
    rows = table(whole)
    on = (rows["batch_norm"] == "on").to_numpy()
    small, glorot = ((rows["init"] == name).to_numpy() for name in ("small", "Glorot"))
    rows["square"] = np.where(glorot, 0.5, np.where(small, 0.02, 1.0)) ** rows["layer"]
    rows.loc[rows["padding"] == "zeros", "square"] = 0.9 ** rows["layer"]
    rows["derived_square"] = 0.95 ** rows["layer"]
    rows["gradient"] = np.where(on, 0.8, 0.2) ** (2 * (LAYERS - rows["layer"]))
    rows["derived_gradient"] = 0.16 ** (2 * (LAYERS - rows["layer"]))
    rows["loss"] = np.where(on, 1.0, 2.0) + np.where(small, 0.3, np.where(glorot, 0.2, 0.1)) / np.where(on, 2, 1)
    rows.loc[on & small & (rows["activation"] == "sigmoid").to_numpy(), "loss"] = 1.35
    measured = judge(CLAIMS, rows, "digits").set_index("id")["measured"]
    expected = {
        "he-relu": 1,
        "glorot-relu": 0.5,
        "small-relu": 0.02,
        "padding": 0.9 / 0.95,
        "sigmoid-vanishes": 0.2,
        "sigmoid-derived": 0.25,
        "sigmoid-bn": 0.8,
        "he-learns": 0.1,
        "bn-learns": 1.35,
        "bn-insensitive": 0.1 / (np.log(10) - 1.05),
        "bn-insensitive-all": 0.3 / (np.log(10) - 1.05),
    }
    for name, value in expected.items():
        assert np.isclose(measured[f"resnet-cnn-{name}"], value, rtol=1e-5), name
    assert len(measured) == len(expected)
    rows["loss"] = 2.4  # nothing learns: no insensitivity either
    verdicts = judge(CLAIMS, rows, "digits").set_index("id")["verdict"]
    assert verdicts[["resnet-cnn-bn-insensitive", "resnet-cnn-bn-insensitive-all"]].eq("not reproduced").all()


def test_the_figure_is_drawn_from_rows_among_others(whole: Run) -> None:
    figure = cnn_study_figure.draw(table(whole), whole.arrays)
    assert isinstance(figure, Figure)
    assert plot.png(figure).startswith(b"\x89PNG")
