"""The attention study: what it measures against plain formulas and counting by hand, and what its claims read."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import e, log, sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from papers.attention import attention_study, attention_study_figure, complexity
from papers.attention.attention_study import CHANCE, DEEP, DISTANCES, KEYS, LAYERS, LETTERS, NARROW, NORMS, PARTS, SIZES
from papers.attention.complexity import KINDS, count
from papers.attention.data import BOS, EOS, UNK, Batch, padded
from papers.attention.model import AddAndNorm, Transformer, gradient
from papers.attention.study_claims import CLAIMS, FEED_FORWARD
from shared import plot, tree
from shared.claims import judge
from shared.counting import Counted, Tally, counted
from shared.errors import Stopped
from shared.experiment import Board, Job, Run, Setting
from shared.gradcheck import check
from shared.layers.activation import Softmax
from shared.layers.attention import MultiHeadAttention
from shared.layers.recurrent import Recurrent

SIGNALS, TIMES = attention_study.jobs(SimpleNamespace(scale="smoke"))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def done(job: Job, folder: Path, board: Board | None = None) -> Run:
    run = Run(job, Setting(folder=folder, label="test", named_by=("stage", "study", "seed"), code=""), board, cell=1)
    run.folder.mkdir(parents=True, exist_ok=True)
    attention_study.run(job, run)
    return run


def table(*runs: Run) -> pd.DataFrame:
    """The study's rows among those of other jobs, as the ledger and the figure get them."""
    own = [run.job | row for run in runs for row in run.rows]
    return pd.DataFrame([*own, {"stage": "train", "variant": "base", "seed": 0, "layers": 4, "train_loss": 2.0}])


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The whole study at smoke."""
    return table(*(done(job, tmp_path_factory.mktemp("study")) for job in (SIGNALS, TIMES)))


def part(name: str, seed: int = 0, **changed: int) -> pd.DataFrame:
    """The rows of one part, with a generator of its own."""
    (own,) = (p for p in PARTS if getattr(p, "__name__", "") == name)
    return pd.DataFrame(own(SIGNALS | changed, rng(seed)))


# Softmax and scores


def test_the_jacobians_norm_is_that_of_all_its_entries() -> None:
    x = rng().standard_normal((6, 9)) * [[0.0], [0.3], [1.0], [4.0], [15.0], [60.0]]
    A, pullback = Softmax()({}, x)
    J = np.stack([pullback(np.broadcast_to(unit, x.shape))[0] for unit in np.eye(9)])
    expected = np.sqrt((J**2).sum((0, 2)))
    np.testing.assert_allclose(attention_study.jacobian_norm(A), expected, rtol=1e-10)
    assert expected[-1] < 1e-3
    assert expected[0] == pytest.approx(sqrt(8) / 9)


def test_entropy_of_certainty_and_of_ignorance() -> None:
    A = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]])
    np.testing.assert_allclose(attention_study.entropy(A), [0, log(4), log(2)], atol=1e-15)


def test_temperature_rows_are_entropies_of_plain_softmaxes() -> None:
    r = rng(3)
    q, k = r.standard_normal((attention_study.QUERIES, 64)), r.standard_normal((KEYS, 64))
    found = part("temperature", 3).set_index("temperature")
    for T in (0.25, 1.0, 8.0):
        weights = np.exp(q @ k.T / 8 / T)
        weights /= weights.sum(-1, keepdims=True)
        H = -(weights * np.log(weights)).sum(-1)
        assert found["entropy"][T] == pytest.approx(H.mean(), rel=1e-10)
        assert found["largest"][T] == pytest.approx(weights.max(-1).mean(), rel=1e-10)
    colder, hotter = (attention_study.entropy(Softmax(8 * T)({}, q @ k.T)[0]) for T in (2, 4))
    assert found["rise"][4.0] == pytest.approx((hotter - colder).min(), rel=1e-6)


def test_scores_are_divided_where_the_rows_say_so() -> None:
    r = rng(4)
    found = part("scaling", 4).set_index(["d_k", "scores"])
    for d_k in attention_study.KEY_SIZES[:4]:
        q, k = (r.standard_normal((1, n, d_k), np.float32).astype(float) for n in (attention_study.QUERIES, KEYS))
        for scores, divisor in (("plain", 1), ("divided", sqrt(d_k))):
            s = q[0] @ k[0].T / divisor
            own = found.loc[d_k, scores]
            assert own["variance"] == pytest.approx(s.var(), rel=1e-4)
            A, _ = Softmax()({}, s)
            assert own["median"] == pytest.approx(np.median(attention_study.jacobian_norm(A)), rel=1e-3)
            assert own["saturated"] == pytest.approx((A.max(-1) > 0.99).mean(), abs=0.01)


def test_the_density_of_near_ties_is_that_of_draws() -> None:
    gaps = np.diff(np.sort(rng().standard_normal((100_000, KEYS)))[:, -2:])
    n, width = np.count_nonzero(gaps < 0.02), 0.02
    # A bin of this width has a smaller mean density than at 0: by half its width times the density, some 2.5 %.
    assert n / len(gaps) / width == pytest.approx(attention_study.tie_density(), rel=0.05 + 4 / sqrt(n))


def test_the_asymptotes_of_the_jacobian_are_approached() -> None:
    """At d_k = 4096: the mean as tie density / sqrt(d_k), the logarithm of the median as -log 2 sqrt(d_k) / density."""
    own = part("scaling", draws=8).set_index(["d_k", "scores"]).loc[4096, "plain"]
    density = attention_study.tie_density()
    assert own["mean"] == pytest.approx(density / 64, rel=0.2)
    assert log(own["median"] / 2) == pytest.approx(-log(2) / density * 64, rel=0.15)


def test_divided_scores_of_many_keys_spread_the_weights_as_exponentials_of_normals() -> None:
    """E[exp(2s)] / (n E[exp(s)]^2) = e / n, and the norm of the Jacobian is near the square root of that."""
    scores = rng().standard_normal((400, 20_000))
    A, _ = Softmax()({}, scores)
    np.testing.assert_allclose((A**2).sum(-1).mean(), e / 20_000, rtol=0.01)
    np.testing.assert_allclose(attention_study.jacobian_norm(A).mean(), sqrt(e / 20_000), rtol=0.01)


# Positions, and how far gradients reach


def test_dot_products_of_sinusoids_are_sums_of_cosines() -> None:
    found = part("positions")
    own = found[found["encoding"] == "sinusoidal"].set_index("distance")
    d = attention_study.D_MODEL
    for k in DISTANCES:
        expected = np.mean([np.cos(k / 10_000 ** (2 * i / d)) for i in range(d // 2)])
        np.testing.assert_allclose(own.loc[k, ["dot", "low", "high"]].to_numpy(float), expected, atol=1e-12)
    learned = found[(found["encoding"] == "learned") & (found["distance"] > 0)]
    assert abs(learned["dot"]).max() < 5 / sqrt(d * 128)


def test_a_recurrence_forgets_at_the_derived_rate() -> None:
    """The product of slopes and matrices along a long one, by its logarithm."""
    layer, r = Recurrent(400, 400), rng(5)
    y, pullback = layer(tree.astype(layer.init(r), float), r.standard_normal((1, 60, 400)))
    norms = []
    for t in (19, 59):
        dy = np.zeros_like(y)
        dy[:, t] = r.standard_normal(400)
        dx, _ = pullback(dy)
        norms += [np.linalg.norm(dx[:, t - 15]) / np.linalg.norm(dx[:, t])]
    for ratio in norms:
        assert ratio ** (1 / 15) == pytest.approx(attention_study.recurrent_slope(), rel=0.03)


def test_reach_compares_the_first_with_the_last_input() -> None:
    found = part("reach", draws=4).pivot_table(index="distance", columns="layer_type", values="ratio")
    slope = attention_study.recurrent_slope()
    for n in attention_study.REACHES:
        assert found["recurrent layer"][n] ** (1 / n) == pytest.approx(slope, rel=0.2)
    attention = found["self-attention layer"]
    assert (attention > 0.03).all()
    assert (attention < 1.2).all()
    assert attention[64] > 1e9 * found["recurrent layer"][64]


# LayerNorm


def test_a_transformer_without_layernorm_has_its_gradient_and_no_parameters_for_it() -> None:
    model = Transformer(9, layers=2, d_model=6, d_ff=7, heads=2, dropout=0.0, norm="none")
    p = tree.astype(model.init(rng()), float)
    paths = [path for path, _ in tree.leaves(p)]
    assert not [path for path in paths if "norm" in path]
    assert len(paths) < len(list(tree.leaves(replace(model, norm="post").init(rng()))))
    batch = Batch(
        np.arange(2), *(padded(rows) for rows in ([[4, 5, EOS], [6, EOS]], [[BOS, 7], [BOS]], [[7, EOS], [EOS]]))
    )
    check(lambda p: model.loss(p, batch, 0.1), p, rng=rng(2), directions=2, every_coordinate_up_to=7)


def test_without_layernorm_the_sum_is_all() -> None:
    add, x = AddAndNorm(4, 0.0, "none"), rng().standard_normal((3, 4))
    y, pullback = add({}, x, lambda x: (3 * x, lambda dy: (3 * dy, {"f": dy})))
    np.testing.assert_array_equal(y, 4 * x)
    dx, dp, df = pullback(x)
    np.testing.assert_array_equal(dx, 4 * x)
    assert dp == {}
    np.testing.assert_array_equal(df["f"], x)


def test_the_feed_forward_adds_its_derived_share() -> None:
    model = Transformer(50, layers=1, d_model=64, d_ff=256, heads=4, dropout=0.0)
    x = rng().standard_normal((500, 64))
    added = [
        np.mean(model.encoder_layer.feed_forward(layer, x)[0] ** 2)
        for layer in (model.encoder_layer.feed_forward.init(rng(i)) for i in range(20))
    ]
    assert NARROW["d_ff"] == 256
    assert np.mean(added) == pytest.approx(FEED_FORWARD, rel=0.05)
    assert pytest.approx(0.32) == FEED_FORWARD


def test_depth_rows_follow_the_norm(rows: pd.DataFrame) -> None:
    own = rows[rows["part"] == "depth"].set_index("layer")
    squares = {norm: own.loc[own["norm"] == norm, "square"] for norm in NORMS}
    assert squares["none"][0] == pytest.approx(1.5, rel=0.1)  # an embedding of variance 1, sines of 1/2
    np.testing.assert_allclose(squares["post"].loc[1:], 1, atol=1e-3)
    assert (squares["none"] / squares["none"].shift()).loc[1:].min() > 1.2
    straight = squares["pre"][0] + np.arange(DEEP + 1) / DEEP * (squares["pre"][DEEP] - squares["pre"][0])
    assert abs(squares["pre"] - straight).max() < 0.15 * squares["pre"][DEEP]
    assert (own.loc[DEEP, "gradient"] == 1).all()


def test_gradient_rows_are_norms_of_the_losss_gradients() -> None:
    (own,) = (p for p in PARTS if getattr(p, "keywords", {}) == {"norm": "pre", "layers": 2})
    found = list(own(SIGNALS | {"draws": 2}, rng(8)))
    model, r, squares = (
        Transformer(attention_study.VOCABULARY, layers=2, norm="pre", **NARROW),
        rng(8),
        np.zeros((2, 2)),
    )
    for _ in range(2):
        p = model.init(r)
        batch = attention_study.random_pairs(
            r, attention_study.PAIRS, attention_study.LENGTH, attention_study.VOCABULARY
        )
        _, grads = gradient(model, p, batch, 0.0, r)
        for i, side in enumerate(("encoder", "decoder")):
            for l in range(2):
                squares[i, l] += np.linalg.norm(grads[side]["layers"][str(l)]["feed_forward"]["2"]["W"]) ** 2
    for l, row in enumerate(found):
        assert (row["layers"], row["layer"]) == (2, l + 1)
        np.testing.assert_allclose([row["encoder"], row["decoder"]], np.sqrt(squares[:, l] / 2), rtol=1e-5)


def test_sentences_are_turned_round() -> None:
    batch = attention_study.random_pairs(rng(), 5, 6, UNK + 1 + LETTERS, reverse=True)
    np.testing.assert_array_equal(batch.source[:, :6][:, ::-1], batch.target[:, :6])
    np.testing.assert_array_equal(batch.decoder_input[:, 1:], batch.target[:, :6])
    assert (batch.target[:, 6] == EOS).all()
    assert (batch.decoder_input[:, 0] == BOS).all()
    assert set(range(UNK + 1, UNK + 1 + LETTERS)) >= set(batch.source[:, :6].ravel())
    assert pytest.approx((6 * log(LETTERS) + 0) / 7) == CHANCE


@pytest.mark.parametrize("steps", [1, 5, 20, 30])
def test_readings_end_with_the_last_step(steps: int) -> None:
    """On the smallest of networks: how often is asked here, not what."""
    (own,) = (p for p in PARTS if getattr(p, "keywords", {}) == {"norm": "none"} and p.func.__name__ == "training")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_study, "SMALL", {"layers": 1, "d_model": 4, "d_ff": 4, "heads": 1, "dropout": 0.0})
        iterations = [row["iteration"] for row in own(SIGNALS | {"training_steps": steps}, rng())]
    assert iterations[-1] == steps
    assert len(iterations) == min(steps, attention_study.READINGS)
    assert all(earlier < later for earlier, later in pairwise(iterations))


def test_layernorm_makes_six_layers_learn() -> None:
    """Some fifty steps: the loss falls with it, and stays far above guessing without."""
    losses = {}
    for norm in ("none", "pre"):
        (own,) = (p for p in PARTS if getattr(p, "keywords", {}) == {"norm": norm} and p.func.__name__ == "training")
        readings = list(own(SIGNALS | {"training_steps": 50}, rng(1)))
        assert [row["iteration"] for row in readings][-1] == 50
        assert len(readings) == 20
        losses[norm] = [row["loss"] for row in readings]
    assert losses["pre"][-1] < losses["pre"][0] - 0.5
    assert min(losses["none"]) > 10 * CHANCE


# Table 1


@pytest.mark.parametrize(("n", "d"), [(1, 1), (4, 8), (9, 3), (16, 16)])
def test_products_are_counted(n: int, d: int) -> None:
    assert count("attention", n, d) == Tally(2 * n * n * d, 2)
    assert count("self-attention layer", n, d) == Tally(2 * n * n * d + 4 * n * d * d, 4)
    assert count("recurrent layer", n, d) == Tally(2 * n * d * d, n + 1)


def test_more_heads_do_not_need_more_products() -> None:
    tallies = []
    for heads in (1, 2, 8):
        layer, tally = MultiHeadAttention(16, heads), Tally()
        layer(layer.init(rng()), counted(rng(1).standard_normal((5, 16), np.float32), tally))
        tallies.append(tally)
    assert tallies[0] == tallies[1] == tallies[2]


@pytest.mark.parametrize("kind", KINDS)
def test_counting_changes_no_value(kind: str) -> None:
    layer, x = complexity.made(kind, 7, 5)
    p = layer.init(rng())
    y, _ = layer(p, x)
    z, _ = layer(p, counted(x, Tally()))
    assert isinstance(z, Counted)
    np.testing.assert_array_equal(np.asarray(z), y)


def test_the_shortest_time_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the rounds, and over a stop between them."""
    job = TIMES | {"steps": 3}

    def slowing() -> Iterator[list[float]]:
        for round_number in range(3):
            for i in range(len(complexity.sizes())):
                yield [5.0 + i, (1.0 + i) * (1 + abs(round_number - 1))]

    def record(folder: Path, stop: bool) -> list[dict[str, Any]]:
        times = slowing()
        monkeypatch.setattr(complexity, "timings", lambda *size: next(times))
        board = None
        if stop:
            cells = tmp_path / "board"
            cells.write_bytes(bytes(16))
            board = Board(cells)
            board.stop = 15
            for _ in range(2):
                with pytest.raises(Stopped):
                    done(job, folder, board)
            board.stop = 0
        return done(job, folder, board).rows

    straight, resumed = record(tmp_path / "straight", False), record(tmp_path / "stopped", True)
    assert [row["seconds"] for row in straight] == [1.0 + i for i in range(len(complexity.sizes()))]
    assert resumed == straight


def test_timings_are_of_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 13.0, 20.0, 21.0, 30.0, 32.0])
    monkeypatch.setattr(complexity, "perf_counter", lambda: next(clock))
    assert complexity.timings("attention", 3, 2) == [3.0, 1.0, 2.0]


# Runs, claims and figures


@pytest.mark.parametrize("scale", SIZES)
def test_jobs_say_what_they_depend_on(scale: str) -> None:
    *signals, times = attention_study.jobs(SimpleNamespace(scale=scale))
    assert [job["seed"] for job in signals] == list(range(SIZES[scale]["seeds"]))
    assert all({"stage", "draws", "training_steps", "steps"} <= job.keys() for job in signals)
    assert times["steps"] == SIZES[scale]["rounds"]


def test_same_seed_same_rows_and_another_seed_others(tmp_path: Path, rows: pd.DataFrame) -> None:
    again, other = (done(SIGNALS | {"seed": seed}, tmp_path).rows for seed in (0, 1))
    there = rows[rows["study"] == "signals"]
    pd.testing.assert_frame_equal(pd.DataFrame(again), there[pd.DataFrame(again).columns].reset_index(drop=True))
    assert again != other


def test_a_stopped_run_goes_on_to_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_study, "PARTS", PARTS[:4])
    job = SIGNALS | {"steps": 4}
    straight = done(job, tmp_path / "straight")
    cells = tmp_path / "board"
    cells.write_bytes(bytes(16))
    board = Board(cells)
    board.stop = 15
    with pytest.raises(Stopped):
        done(job, tmp_path / "stopped", board)
    board.stop = 0
    assert done(job, tmp_path / "stopped", board).rows == straight.rows


def test_every_claim_has_something_to_measure(rows: pd.DataFrame) -> None:
    ledger = judge(CLAIMS, rows, "random")
    assert (ledger["n"] == 1).all()
    assert np.isfinite(ledger["measured"]).all()
    assert ledger["id"].str.startswith("attention-study-").all()
    exact = ledger.set_index("id").filter(regex="count|chain|positions|layernorm", axis=0)
    assert (exact["verdict"] == "reproduced").all()


def test_without_the_study_nothing_is_measured(rows: pd.DataFrame) -> None:
    ledger = judge(CLAIMS, rows[rows["stage"] == "train"], "random")
    assert (ledger["verdict"] == "not tested at this scale").all()


def made_up(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows whose every number is invented."""
    rows = rows.copy()

    def put(column: str, value: Any, **chosen: object) -> None:
        here = np.ones(len(rows), bool)
        for name, wanted in chosen.items():
            here &= (rows[name] == wanted).to_numpy()
        rows.loc[here, column] = value(rows[here]) if callable(value) else value

    put("rise", lambda r: 0.2 + 0.1 / r["temperature"], part="temperature")
    put("entropy", lambda r: log(KEYS) - 0.3 / r["temperature"] ** 2, part="temperature")
    put("variance", lambda r: 3 * r["d_k"] ** 0.9, scores="plain")
    put("variance", lambda r: 1 + 0.3 / r["d_k"], scores="divided")
    put("median", lambda r: 10 / r["d_k"], scores="plain")
    put("median", lambda r: 0.2 - 0.1 * (r["d_k"] == 64) + 5.0 * (r["d_k"] == 4), scores="divided")
    put("mean", lambda r: 7 * r["d_k"] ** -0.4, scores="plain")
    put("high", lambda r: r["low"] + 1e-3 * (r["distance"] == 7), encoding="sinusoidal")
    put("dot", lambda r: 1 - 0.2 * np.log(np.maximum(r["distance"], 1)), encoding="sinusoidal")
    for norm, square in (
        ("none", lambda l: 2 * 1.7**l),
        ("post", lambda l: 1 + l / 1000),
        ("pre", lambda l: 2 + 0.6 * l),
    ):
        put("square", lambda r, square=square: square(r["layer"]), part="depth", norm=norm)
    for norm, loss in (("none", 9.0), ("post", 2.0), ("pre", 1.2)):
        put("loss", lambda r, loss=loss: loss + 5 * (r["iteration"] < 3), part="training", norm=norm)
    for norm, power, first in (("post", 0.1, 0.3), ("pre", -0.6, 1.8)):
        put(
            "decoder",
            lambda r, power=power, first=first: r["layers"] ** power * np.where(r["layer"] < r["layers"], first, 1),
            part="gradients",
            norm=norm,
        )
    put("encoder", lambda r: np.where(r["layer"] < r["layers"], 0.9, 1), part="gradients", norm="post")
    put("ratio", lambda r: 0.5 ** r["distance"], layer_type="recurrent layer", part="reach")
    put("ratio", lambda r: 1 / r["distance"], layer_type="self-attention layer", part="reach")
    for i, (kind, of_n, of_d) in enumerate(zip(KINDS, (2.2, 2.0, 1.1), (0.8, 1.0, 1.9), strict=True)):
        here = {"part": "complexity", "layer_type": kind}
        put("multiplications", lambda r, i=i: r["multiplications"] + i, **here)
        put("chain", lambda r, i=i: 5 + i * r["n"], **here)
        put("seconds", lambda r, i=i, b=of_n: (i + 1) * r["n"] ** b, varied="n", **here)
        put("seconds", lambda r, i=i, b=of_d: (i + 1) * r["d"] ** b, varied="d", **here)
    return rows


def test_claims_read_the_rows_that_they_name(rows: pd.DataFrame) -> None:
    measured = judge(CLAIMS, made_up(rows), "random").set_index("id")["measured"]
    expected = {
        "temperature": 0.2 + 0.1 / 32,
        "hot": 0.6 * 64 / 63,
        "variance": 0.9,
        "variance-divided": 0.3 / 4,
        "jacobian": 10 / 1024 / 0.2,
        "jacobian-divided": 2,
        "jacobian-mean": -0.4,
        "positions": 1e-3,
        "positions-logarithm": -0.2 * log(10_000),
        "no-layernorm": 1.7,
        "post-layernorm": DEEP / 1000,
        "pre-layernorm": 0.6,
        "training-none": 9,
        "training-post": 2,
        "training-pre": 0.8,
        "post-depth": 0.1,
        "pre-depth": -0.6,
        "post-layers": 0.3,
        "post-layers-encoder": 0.9,
        "pre-layers": 1.8,
        "count-attention": 0,
        "count-layer": 1,
        "count-recurrent": 2,
        "chain-attention": 1,
        "chain-recurrent": 2,
        "time-n": 2.2,
        "time-n-recurrent": 1.1,
        "time-d": 1.9 - 0.8,
        "faster": 3 * 128**1.1,
        "faster-layer": 1.5 * 128**0.9,
        "reach-recurrent": 0.5 / attention_study.recurrent_slope(),
        "reach-attention": 1 / 64,
    }
    assert measured.index.tolist() == [f"attention-study-{name}" for name in expected]
    np.testing.assert_allclose(measured, list(expected.values()), rtol=1e-5)
    assert LAYERS in attention_study.DEPTHS


def test_a_claim_is_not_reproduced_by_rows_that_contradict_it(rows: pd.DataFrame) -> None:
    verdicts = judge(CLAIMS, made_up(rows), "random").set_index("id")["verdict"]
    wrong = ("hot", "variance", "jacobian-divided", "positions", "positions-logarithm", "post-layernorm", "count-layer")
    wrong += ("count-recurrent", "chain-attention", "chain-recurrent", "reach-recurrent")
    for name in wrong:
        assert verdicts[f"attention-study-{name}"] == "not reproduced", name


@pytest.mark.parametrize("draw", [attention_study_figure.figure, attention_study_figure.complexity])
def test_the_figures_are_drawn_from_rows_among_others(rows: pd.DataFrame, draw: Any) -> None:
    figure = draw(rows)
    assert isinstance(figure, Figure)
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes if axes.get_title())
    assert plot.png(figure).startswith(b"\x89PNG")
