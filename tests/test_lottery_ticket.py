"""Lottery tickets: what pruning keeps, that masks hold, and that a stack is the same as its networks one by one."""

import signal
from pathlib import Path
from shutil import rmtree
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from papers.lottery_ticket import claims, figure, pruning, training
from papers.lottery_ticket.model import Subnetworks, lenet, member
from papers.lottery_ticket.run import LotterySettings
from shared import gradcheck, plot, tree
from shared.errors import BadRequest, RunError, Stopped
from shared.experiment import Run, Setting
from shared.init import glorot_normal
from shared.layers.activation import ReLU
from shared.layers.combinators import Sequential
from shared.layers.linear import Linear
from shared.losses import softmax_cross_entropy
from shared.minibatch import minibatches
from shared.optim import Adam

RATES = {"0": 0.2, "2": 0.2, "4": 0.1}
WEIGHTS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=4, max_side=9), elements=st.floats(-3, 3, width=32)
)


def tiny(n_x: int = 6) -> Sequential:
    return Sequential(
        (Linear(n_x, 5, glorot_normal, input_is_data=True), ReLU(), Linear(5, 4, glorot_normal), ReLU(), Linear(4, 3))
    )


def test_the_networks_size_is_the_papers() -> None:
    sizes = training.layer_sizes(784)
    assert sizes == {"0": 235_200, "2": 30_000, "4": 1_000}
    assert sum(sizes.values()) == 266_200


def test_the_levels_are_the_papers() -> None:
    percent = [100 * share for share in pruning.levels(training.layer_sizes(784), RATES, 19)]
    assert [round(level, 2) for level in percent[:11]] == [
        *(100, 80.04, 64.06, 51.28, 41.05, 32.87, 26.32, 21.07, 16.88, 13.52, 10.83)
    ]
    assert round(percent[15], 2) == 3.58
    assert percent[19] == pytest.approx(1.5, abs=0.02)


@given(WEIGHTS, st.floats(0.05, 0.6), st.integers(1, 4))
def test_masks_only_shrink_by_the_exact_share_and_lose_the_smallest(
    weights: np.ndarray, rate: float, rounds: int
) -> None:
    mask = np.ones(weights.shape, bool)
    counts = [weights.size]
    for _ in range(rounds):
        if not 0 < round(rate * counts[-1]) < counts[-1]:
            with pytest.raises(ValueError, match="must remove some and leave some"):
                pruning.prune(weights, mask, rate)
            return
        smaller = pruning.prune(weights, mask, rate)
        assert not (smaller & ~mask).any()
        assert smaller.sum() == mask.sum() - round(rate * mask.sum())
        assert np.abs(weights[smaller]).min() >= np.abs(weights[mask & ~smaller]).max()
        mask = smaller
        counts.append(int(mask.sum()))
    assert counts == pruning.schedule(weights.size, rate, rounds)


def test_pruning_is_a_pure_function() -> None:
    weights, mask = np.arange(12.0, dtype=np.float32).reshape(3, 4), np.ones((3, 4), bool)
    weights.flags.writeable = mask.flags.writeable = False
    np.testing.assert_array_equal(pruning.prune(weights, mask, 0.25), weights >= 3)
    np.testing.assert_array_equal(pruning.prune(-weights, weights >= 3, 1 / 3), weights >= 6)


@pytest.mark.parametrize("rate", [0, 1, 1.5, -0.2, float("nan")])
def test_impossible_rate(rate: float) -> None:
    with pytest.raises(ValueError, match="must be above 0 and below 1"):
        pruning.prune(np.ones((3, 3), np.float32), np.ones((3, 3), bool), rate)


@pytest.mark.parametrize("mask", [np.ones((3, 2), bool), np.ones(6, bool), np.ones((2, 3), np.float32)])
def test_mask_of_another_shape_or_type(mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"a mask must be boolean \(2, 3\) like its weights, got"):
        pruning.prune(np.ones((2, 3), np.float32), mask, 0.5)


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_weights_that_are_not_finite_have_no_order(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        pruning.prune(np.array([[bad, 1, 2, 3]]), np.ones((1, 4), bool), 0.5)


def test_a_negative_number_of_rounds() -> None:
    with pytest.raises(ValueError, match="rounds=-1: must be 0 or more"):
        pruning.schedule(10, 0.2, -1)


def test_more_rounds_than_weights_is_refused_before_the_run() -> None:
    settings = LotterySettings(scale="smoke", checkpoint_every=10, rounds=200)
    with pytest.raises(
        BadRequest, match=r"^rounds=200: only 51 rounds are possible: a round at rate=0.2 removes 0 of 2"
    ):
        training.check(settings, 55_000, 784)
    with pytest.raises(BadRequest, match="evaluate_every=300: must divide iterations=50000"):
        training.check(LotterySettings(scale="smoke", checkpoint_every=10, evaluate_every=300), 55_000, 784)


def test_one_shot_reaches_the_same_size_from_the_dense_weights_alone() -> None:
    p = lenet(64).init(np.random.default_rng(0))
    masks = pruning.unpruned(p)
    for _ in range(3):
        masks = pruning.iterative(p, masks, RATES)
    # With the same weights in every round, three rounds are one shot.
    for name, mask in pruning.one_shot(p, RATES, 3).items():
        np.testing.assert_array_equal(mask, masks[name])


def test_a_random_network_has_as_many_weights_in_each_layer_elsewhere() -> None:
    p = lenet(64).init(np.random.default_rng(0))
    masks = pruning.iterative(p, pruning.unpruned(p), RATES)
    moved = pruning.shuffled(masks, np.random.default_rng(1))
    for name, mask in masks.items():
        assert moved[name].sum() == mask.sum()
        assert (moved[name] != mask).any()


def test_gradient_of_a_stack_of_subnetworks() -> None:
    rng = np.random.default_rng(0)
    net, x, y = tiny(), rng.standard_normal((7, 6)), rng.integers(0, 3, 7)
    at_zero_bias = tree.stack([net.init(rng) for _ in range(3)])  # where units may sit on the kink of the ReLU
    p = tree.map(lambda array: array + 0.3 * rng.standard_normal(array.shape), at_zero_bias)

    def loss(p: tree.Tree) -> tuple[np.ndarray, object]:
        logits, pullback = net(p, x)
        value, loss_pullback = softmax_cross_entropy(logits, np.broadcast_to(y, (3, 7)))
        return value, lambda dloss: pullback(loss_pullback(dloss))[1]

    gradcheck.check(loss, p, rng=rng)


def batches(steps: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(3)
    return [(rng.standard_normal((8, 6)).astype(np.float32), rng.integers(0, 3, 8)) for _ in range(steps)]


def subnetworks() -> tuple[Sequential, list[tree.Tree], list[pruning.Masks]]:
    net, rng = tiny(), np.random.default_rng(0)
    networks = [net.init(rng) for _ in range(2)]
    ticket = pruning.iterative(networks[0], pruning.unpruned(networks[0]), RATES | {"4": 0.25})
    return net, networks, [ticket, pruning.shuffled(ticket, rng)]


@pytest.mark.parametrize("mask", [np.ones((6, 1), bool), np.ones((6, 5), np.float32)])
def test_subnetworks_refuse_a_mask_that_does_not_fit(mask: np.ndarray) -> None:
    _, networks, masks = subnetworks()
    with pytest.raises(ValueError, match=r"a mask must be boolean \(6, 5\)"):
        Subnetworks(networks, [masks[0], masks[1] | {"0": mask}], Adam(0.01))
    with pytest.raises(ValueError, match="2 networks need as many sets of masks, got 1"):
        Subnetworks(networks, masks[:1], Adam(0.01))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_vector_of_survivors_keeps_the_precision(dtype: type) -> None:
    _, networks, masks = subnetworks()
    nets = Subnetworks([tree.astype(p, dtype) for p in networks], masks, Adam(0.01))
    assert {leaf.dtype for _, leaf in tree.leaves({"p": nets.p, "theta": nets.theta})} == {np.dtype(dtype)}


def test_training_a_stack_is_training_each_with_its_mask_in_torch() -> None:
    """Adam on all weights with the mask put back after each step, in torch, against our vector of survivors."""
    net, networks, masks = subnetworks()
    nets = Subnetworks(networks, masks, Adam(0.01))
    for x, y in batches(40):
        logits, pullback = net(nets.p, x)
        loss, loss_pullback = softmax_cross_entropy(logits, np.broadcast_to(y, logits.shape[:-1]))
        nets.update(pullback(loss_pullback(np.full_like(loss, 1 / len(y))))[1])
    for i, (p, mask) in enumerate(zip(networks, masks, strict=True)):
        t = tree.map(lambda array: torch.tensor(array, requires_grad=True), p)
        held = {name: torch.tensor(m) for name, m in mask.items()}
        for name, m in held.items():
            t[name]["W"].data *= m
        optimizer = torch.optim.Adam([leaf for _, leaf in tree.leaves(t)], lr=0.01)
        for x, y in batches(40):
            hidden = torch.relu(torch.tensor(x) @ t["0"]["W"] + t["0"]["b"])
            hidden = torch.relu(hidden @ t["2"]["W"] + t["2"]["b"])
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(hidden @ t["4"]["W"] + t["4"]["b"], torch.tensor(y)).backward()
            for name, m in held.items():
                t[name]["W"].grad *= m
            optimizer.step()
            for name, m in held.items():
                t[name]["W"].data *= m
        for (path, ours), (_, theirs) in zip(tree.leaves(member(nets.p, i)), tree.leaves(t), strict=True):
            np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-3, atol=1e-5, err_msg=path)


def test_pruned_weights_stay_zero_and_biases_move() -> None:
    net, networks, masks = subnetworks()
    nets = Subnetworks(networks, masks, Adam(0.01))
    assert len(nets.theta) == sum(int(mask.sum()) for one in masks for mask in one.values()) + 2 * (5 + 4 + 3)
    for x, y in batches(5):
        logits, pullback = net(nets.p, x)
        loss, loss_pullback = softmax_cross_entropy(logits, np.broadcast_to(y, logits.shape[:-1]))
        nets.update(pullback(loss_pullback(np.full_like(loss, 1 / len(y))))[1])
    for name, mask in nets.masks.items():
        assert (nets.p[name]["W"][~mask] == 0).all()
        assert (nets.p[name]["W"][mask] != 0).mean() > 0.9
        assert (nets.p[name]["b"] != 0).any()
    np.testing.assert_allclose(nets.weights_left(), [(24 + 16 + 9) / (30 + 20 + 12)] * 2)


CFG = SimpleNamespace(
    data="digits",
    iterations=20,
    batch_size=60,
    learning_rate=1.2e-3,
    rate=0.2,
    output_rate=0.1,
    evaluate_every=10,
    reinits=2,
)


def a_run(folder: Path, kind: str, level: int, **changes: object) -> Run:
    setting = Setting(folder=folder, label="test", named_by=("kind", "level", "seed"), code="")
    return Run(training.job(SimpleNamespace(**vars(CFG) | changes), kind, level, 0), setting)


def finish(run: Run) -> Run:
    """Train it here and leave its last checkpoint."""
    run.folder.mkdir(parents=True)
    training.train(run.job, run)
    run.save()
    return run


def stack_of(run: Run) -> tuple[list[tree.Tree], list[pruning.Masks]]:
    """The networks of a run at iteration 0, and their masks."""
    return training.stack(run.job, *training.trained(training.parent(run.job), run.setting))


class StopAt:
    """A board that asks for the end of the run after so many steps."""

    def __init__(self, step: int) -> None:
        self.step, self.cells = step, np.zeros(1, np.int64)

    @property
    def stop(self) -> int:
        return signal.SIGINT if self.cells[0] == self.step else 0


def test_a_ticket_starts_from_theta_0_and_its_reinitialisations_do_not(tmp_path: Path) -> None:
    finish(a_run(tmp_path, "dense", 0))
    run = finish(a_run(tmp_path, "iterative", 1))
    theta_0 = training.initial(run.job)
    networks, masks = stack_of(run)
    assert len(networks) == 3
    for (_, a), (_, b) in zip(tree.leaves(networks[0]), tree.leaves(theta_0), strict=True):
        np.testing.assert_array_equal(a, b)
    for reinit in networks[1:]:
        assert (reinit["0"]["W"] != theta_0["0"]["W"]).mean() > 0.99
    assert (networks[1]["0"]["W"] != networks[2]["0"]["W"]).mean() > 0.99
    assert all(mask is masks[0] for mask in masks)
    # The next round prunes what is left, by the weights that training ended with.
    _, next_masks = stack_of(a_run(tmp_path, "iterative", 2))
    for name, mask in next_masks[0].items():
        assert not (mask & ~masks[0][name]).any()


def test_the_first_round_is_the_same_at_once_or_step_by_step(tmp_path: Path) -> None:
    finish(a_run(tmp_path, "dense", 0))
    _, iterative = stack_of(a_run(tmp_path, "iterative", 1))
    _, controls = stack_of(a_run(tmp_path, "controls", 1))
    for name, mask in iterative[0].items():
        np.testing.assert_array_equal(mask, controls[0][name])


def test_a_job_names_what_its_numbers_depend_on_and_no_more() -> None:
    pruning_keys = {"rate", "output_rate", "reinits"}
    jobs = {kind: training.job(CFG, kind, int(kind != "dense"), 0) for kind in ("dense", "iterative", "controls")}
    assert {kind: pruning_keys & job.keys() for kind, job in jobs.items()} == {
        "dense": set(),
        "iterative": pruning_keys,
        "controls": pruning_keys - {"reinits"},
    }
    assert training.parent(jobs["iterative"]) == training.parent(jobs["controls"]) == jobs["dense"]


def test_no_two_streams_of_random_numbers_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(a_run(tmp_path, "dense", 0))
    runs = [a_run(tmp_path, kind, 1) for kind in ("iterative", "controls")]
    drawn, default_rng = {}, np.random.default_rng

    def noted(seed: tuple[int, ...]) -> np.random.Generator:
        drawn[seed] = tuple(np.random.SeedSequence(seed).generate_state(4))
        return default_rng(seed)

    monkeypatch.setattr(np.random, "default_rng", noted)
    training.data.__wrapped__("digits", 0)
    for run in runs:
        stack_of(run)
    for epoch in range(5):
        next(minibatches(1200, 60, seed=0, start=20 * epoch))
    assert len(drawn) == 1 + 1 + CFG.reinits + 1 + 5  # split, theta_0, reinitialisations, random network, epochs
    assert len(set(drawn.values())) == len(drawn)


def test_stopped_in_the_middle_and_resumed_it_ends_with_the_same_rows(tmp_path: Path) -> None:
    finish(a_run(tmp_path, "dense", 0))
    straight, stopped, resumed = (a_run(tmp_path, "iterative", 1) for _ in range(3))
    training.train(straight.job, straight)
    stopped.folder.mkdir()
    stopped.board = StopAt(13)
    with pytest.raises(Stopped):
        training.train(stopped.job, stopped)
    training.train(resumed.job, resumed)
    assert resumed.history
    assert resumed.rows == straight.rows
    np.testing.assert_equal(resumed.arrays, straight.arrays)


def test_a_run_begun_with_other_masks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dense = finish(a_run(tmp_path, "dense", 0))
    folder = finish(a_run(tmp_path, "iterative", 1)).folder
    rmtree(dense.folder)
    with monkeypatch.context() as changed:
        changed.setattr(training, "minibatches", lambda n, size, seed, start: minibatches(n, size, seed + 1, start))
        finish(a_run(tmp_path, "dense", 0))
    again = a_run(tmp_path, "iterative", 1)
    with pytest.raises(RunError, match=rf"^{folder} was begun with other masks.*Delete {folder} to start over\.$"):
        training.train(again.job, again)


def test_early_stop_is_the_smallest_validation_loss_and_the_test_accuracy_there() -> None:
    loss, test = np.array([[3.0, 1, 2, 4], [3, 2, 1, 1]]), np.array([[10.0, 96, 97, 98], [10, 95, 94, 99]])
    assert [part.tolist() for part in training.early_stop(loss, test)] == [[1, 2], [1, 1], [96, 94]]


def test_a_network_that_overfits_is_read_where_training_had_better_ended(tmp_path: Path) -> None:
    long = finish(a_run(tmp_path, "dense", 0, iterations=40, evaluate_every=1, learning_rate=0.05))
    (row,) = long.rows
    assert 0 < row["early_stop"] < 40
    there = {"iterations": row["early_stop"], "evaluate_every": row["early_stop"], "learning_rate": 0.05}
    (ended,) = finish(a_run(tmp_path, "dense", 0, **there)).rows
    assert row["test"] == ended["final_test"] != row["final_test"]
    assert row["validation_loss"] == ended["validation_loss"]


def test_the_reading_at_iteration_0_is_of_the_network_before_training(tmp_path: Path) -> None:
    run = finish(a_run(tmp_path, "dense", 0))
    (row,) = run.rows
    _, accuracy = training.evaluate(lenet(64), training.initial(run.job), training.data("digits", 0).test)
    assert row["initial_test"] == pytest.approx(float(accuracy))


@pytest.mark.parametrize(("kind", "level"), [("dense", 0), ("iterative", 3), ("controls", 3)])
def test_a_rehearsal_trains_networks_of_the_same_sizes_without_any_before(
    tmp_path: Path, kind: str, level: int
) -> None:
    run = a_run(tmp_path, kind, level)
    training.rehearsal(run.job, run)
    share = pruning.levels(training.layer_sizes(64), RATES, level)[-1]
    assert [row["weights_left"] for row in run.rows] == pytest.approx([share] * len(training.names(run.job)))


def test_a_split_holds_every_training_image_once() -> None:
    train, validation, test = training.data("digits", 3)
    official, official_test = training.images("digits")
    assert (len(train.y), len(validation.y)) == (1200, 300)
    together = np.concatenate([train.x, validation.x])
    np.testing.assert_array_equal(together[np.lexsort(together.T)], official.x[np.lexsort(official.x.T)])
    assert test is official_test


def made_up_rows() -> pd.DataFrame:
    """Three trials: the ticket stops at half and gains 0.4 points, a reinitialisation takes double and loses 0.4."""
    rows = []
    shares = pruning.levels(training.layer_sizes(784), RATES, 18)
    for seed in (0, 1, 2):
        for level, share in enumerate(shares):
            for network in ("dense",) if level == 0 else ("ticket", "reinit", "reinit", "one-shot", "random"):
                better = {"dense": 0, "ticket": 0.4 if share > 0.03 else -0.4, "one-shot": -0.1}.get(network, -0.4)
                slower = {"dense": 1, "ticket": 0.5, "one-shot": 0.9}.get(network, 2)
                rows.append(
                    {"seed": seed, "level": level, "network": network, "weights_left": share}
                    | {"early_stop": 1000 * slower * (1 + 0.1 * seed)}
                    | {"test": 97 + seed + better, "final_test": 97 + seed + better}
                    | {"final_train": 100.0}
                )
    return pd.DataFrame(rows)


def test_claims_measure_what_they_say() -> None:
    """All networks of a trial are slower by the same factor and better by the same points: nothing of it is left."""
    rows = made_up_rows()
    values = {claim.id: claim.measure(rows) for claim in claims.CLAIMS}
    whole = {claim.id: claim.whole(rows) for claim in claims.CLAIMS if claim.whole}
    expected = {
        "lt-fig4a-21-earlier": 0.5,
        "lt-fig4a-21-reinit-slower": 4,
        "lt-fig4a-13-accuracy": 0.4,
        "lt-fig4a-21-reinit-worse": -0.8,
        "lt-sec2-reinit-below": 80.04,
        "lt-sec2-ticket-below": 2.87,
        "lt-fig4b-best-gain": 0.4,
        "lt-fig4c-iterative-better": -0.3,
        "lt-fig4c-iterative-better-mean": np.mean([0.5] * 5 + [-0.3] * 3),
        "lt-fig4c-one-shot-faster": 0.9,
        "lt-fig4c-one-shot-accuracy": -0.1,
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx([value] * 3, abs=0.01), name
        assert whole[name] == pytest.approx(value, abs=0.01), name
    assert values["lt-fig4b-train-accuracy"] == [100] * 3
    assert all(values.values())
    alone = rows[rows["seed"] == 1]
    assert claims.CLAIMS[0].measure(alone) == [claims.CLAIMS[0].whole(alone)]


def test_shares_of_a_mean_are_the_trials_own_values_and_those_of_a_maximum_are_not() -> None:
    """Two trials, two tickets: the best ticket gains 2 in the mean, though each trial's best gains 3."""
    rows = pd.DataFrame(
        [
            {
                "seed": seed,
                "level": level,
                "network": network,
                "weights_left": 0.8**level,
                "final_test": 10 * seed + gain,
            }
            for seed, gains in ((0, (3, 1)), (1, (1, 3)))
            for level, network, gain in ((0, "dense", 0), *((i + 1, "ticket", g) for i, g in enumerate(gains)))
        ]
    )
    assert claims.best_gain_at_the_end(rows) == 2
    assert claims.shares(claims.best_gain_at_the_end)(rows) == [2 * 2 - 3] * 2
    at_level_1 = claims.compared("final_test", "ticket", 80, "dense", lambda own, other: own - other)
    assert claims.shares(at_level_1)(rows) == claims.own_values(at_level_1)(rows) == [3, 1]


def test_means_of_the_same_numbers_in_another_order_are_equal() -> None:
    accuracies = {"dense": (98.1, 97.3, 99.7), "ticket": (99.7, 98.1, 97.3)}
    assert sum(accuracies["dense"]) != sum(accuracies["ticket"])
    rows = pd.DataFrame(
        [
            {"seed": seed, "level": level, "network": network, "weights_left": 0.8**level, "test": test}
            for level, (network, tests) in enumerate(accuracies.items())
            for seed, test in enumerate(tests)
        ]
    )
    assert claims.falls_below("ticket")(rows) == 0


def test_a_claim_about_levels_that_were_not_reached_is_not_tested() -> None:
    rows = made_up_rows()
    few = rows[rows["level"] <= 3]
    assert [claim.id for claim in claims.CLAIMS if claim.measure(few)] == []


@pytest.mark.parametrize(
    ("p_m", "name"),
    [
        (1.85, "lt-fig4c-iterative-better"),
        (1.85, "lt-fig4c-iterative-better-mean"),
        (21.07, "lt-fig4c-one-shot-faster"),
        (6.95, "lt-fig4c-one-shot-accuracy"),
    ],
)
def test_a_trial_that_lost_a_level_counts_for_no_claim_on_every_level(p_m: float, name: str) -> None:
    rows = made_up_rows()
    at_level = (100 * rows["weights_left"] / p_m - 1).abs() < 0.01
    lost = at_level & rows["network"].isin(["one-shot", "random"])
    (claim,) = (claim for claim in claims.CLAIMS if claim.id == name)
    assert lost.any()
    assert len(claim.measure(rows[~(lost & (rows["seed"] == 0))])) == 2
    assert claim.measure(rows[~lost]) == []


def made_up_curves(levels: int, n_x: int) -> dict[str, np.ndarray]:
    return {"iteration": np.array([10, 20]), "dense 100": np.ones((3, 2)), "pixels": np.ones((levels, n_x))}


def test_figures_of_a_single_round() -> None:
    rows = made_up_rows()
    few, curves = rows[rows["level"] <= 1], made_up_curves(1, 64)
    names = ("headline", "random_networks", "end_of_training", "one_shot")
    drawn = [getattr(figure, name)(few, "digits") for name in names]
    drawn += [figure.training_curves(curves, "digits"), figure.pixels(curves, [100.0], "digits")]
    for picture in drawn:
        assert plot.png(picture)


@pytest.mark.parametrize(("levels", "n_x"), [(1, 64), (2, 64), (5, 64), (6, 784)])
def test_titles_of_pixels_are_inside_of_the_picture(levels: int, n_x: int) -> None:
    picture = figure.pixels(made_up_curves(levels, n_x), [100.0] * levels, "digits")
    plot.png(picture)
    panels = [axes for axes in picture.axes if axes.get_title()]
    assert len(panels) == levels
    for axes in panels:
        box = axes.title.get_window_extent()
        assert box.y1 <= picture.bbox.y1
        assert box.y0 >= axes.get_window_extent().y1


def test_only_captions_of_figures_with_reinitialisations_count_them() -> None:
    rows = made_up_rows()
    for draw in (figure.headline, figure.end_of_training):
        assert "(reinitialisations in each: 2)" in draw(rows, "digits").get_supxlabel()
    for draw in (figure.random_networks, figure.one_shot):
        assert "reinit" not in draw(rows, "digits").get_supxlabel()
