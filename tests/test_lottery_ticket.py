"""Lottery tickets: what pruning keeps, that masks hold, and that a stack is the same as its networks one by one."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from papers.lottery_ticket import claims, pruning, training
from papers.lottery_ticket.model import Subnetworks, lenet, member
from papers.lottery_ticket.run import LotterySettings
from shared import gradcheck, tree
from shared.errors import BadRequest
from shared.experiment import Run, Setting
from shared.init import glorot_normal
from shared.layers.activation import ReLU
from shared.layers.combinators import Sequential
from shared.layers.linear import Linear
from shared.losses import softmax_cross_entropy
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
    percent = [100 * share for share in pruning.weights_left(training.layer_sizes(784), RATES, 19)]
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
    masks = pruning.dense(p, RATES)
    for _ in range(3):
        masks = pruning.iterative(p, masks, RATES)
    # With the same weights in every round, three rounds are one shot.
    for name, mask in pruning.one_shot(p, RATES, 3).items():
        np.testing.assert_array_equal(mask, masks[name])


def test_a_random_network_has_as_many_weights_in_each_layer_elsewhere() -> None:
    p = lenet(64).init(np.random.default_rng(0))
    masks = pruning.iterative(p, pruning.dense(p, RATES), RATES)
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
    ticket = pruning.iterative(networks[0], pruning.dense(networks[0], RATES | {"4": 0.25}), RATES | {"4": 0.25})
    return net, networks, [ticket, pruning.shuffled(ticket, rng)]


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
    data="digits", iterations=20, batch_size=60, learning_rate=1.2e-3, rate=0.2, output_rate=0.1, evaluate_every=10
)


def a_run(tmp_path: Path, kind: str, level: int, reinits: int = 2) -> Run:
    cfg = SimpleNamespace(**vars(CFG), reinits=reinits, seeds=[0])
    setting = Setting(folder=tmp_path, label="test", named_by=("kind", "level", "seed"), code="")
    return Run(training.job(cfg, kind, level, 0), setting)


def finish(run: Run) -> Run:
    """Train it here and leave its last checkpoint."""
    run.folder.mkdir(parents=True)
    training.train(run.job, run)
    run.save()
    return run


def test_a_ticket_starts_from_theta_0_and_its_reinitialisations_do_not(tmp_path: Path) -> None:
    finish(a_run(tmp_path, "dense", 0))
    run = finish(a_run(tmp_path, "iterative", 1))
    theta_0 = training.initial(run.job)
    networks, masks = training.stack(run.job, run)
    assert len(networks) == 3
    for (_, a), (_, b) in zip(tree.leaves(networks[0]), tree.leaves(theta_0), strict=True):
        np.testing.assert_array_equal(a, b)
    for reinit in networks[1:]:
        assert (reinit["0"]["W"] != theta_0["0"]["W"]).mean() > 0.99
    assert (networks[1]["0"]["W"] != networks[2]["0"]["W"]).mean() > 0.99
    assert all(mask is masks[0] for mask in masks)
    # The next round prunes what is left, by the weights that training ended with.
    _, next_masks = training.stack(a_run(tmp_path, "iterative", 2).job, run)
    for name, mask in next_masks[0].items():
        assert not (mask & ~masks[0][name]).any()


def test_the_first_round_is_the_same_at_once_or_step_by_step(tmp_path: Path) -> None:
    run = finish(a_run(tmp_path, "dense", 0))
    _, iterative = training.stack(a_run(tmp_path, "iterative", 1).job, run)
    _, controls = training.stack(a_run(tmp_path, "controls", 1).job, run)
    for name, mask in iterative[0].items():
        np.testing.assert_array_equal(mask, controls[0][name])


def test_early_stop_is_read_at_the_smallest_validation_loss(tmp_path: Path) -> None:
    run = finish(a_run(tmp_path, "dense", 0))
    (row,) = run.rows
    assert row["early_stop"] in (10, 20)
    assert row["weights_left"] == 1
    net, (_, validation, test) = lenet(64), training.data("digits", 0)
    p, _ = training.trained(run.job, run)
    loss, _ = training.evaluate(net, p, validation)
    if row["early_stop"] == 20:
        assert row["validation_loss"] == pytest.approx(float(loss))
        assert row["test"] == row["final_test"] == pytest.approx(float(training.evaluate(net, p, test)[1]))
    else:
        assert row["validation_loss"] <= float(loss)


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
    shares = pruning.weights_left(training.layer_sizes(784), RATES, 18)
    for seed in (0, 1, 2):
        for level, share in enumerate(shares):
            for network in ("dense",) if level == 0 else ("ticket", "reinit", "reinit", "one-shot", "random"):
                better = {"dense": 0, "ticket": 0.4 if share > 0.03 else -0.4, "one-shot": -0.1}.get(network, -0.4)
                slower = {"dense": 1, "ticket": 0.5, "one-shot": 0.9}.get(network, 2)
                rows.append(
                    {"seed": seed, "level": level, "network": network, "weights_left": share}
                    | {"early_stop": 1000 * slower * (1 + 0.1 * seed), "test": 98 + better, "final_test": 98 + better}
                    | {"final_train": 100.0}
                )
    return pd.DataFrame(rows)


def test_claims_measure_what_they_say() -> None:
    rows = made_up_rows()
    values = {claim.id: claim.measure(rows) for claim in claims.CLAIMS}
    assert values["lt-fig4a-21-earlier"] == pytest.approx([0.5 / 1.1, 0.5, 0.6 / 1.1])
    assert values["lt-fig4a-21-reinit-slower"] == pytest.approx([4 / 1.1, 4, 4.8 / 1.1])
    assert values["lt-fig4a-13-accuracy"] == pytest.approx([0.4] * 3)
    assert values["lt-fig4a-21-reinit-worse"] == pytest.approx([-0.8] * 3)
    assert values["lt-sec2-reinit-below"] == pytest.approx([80.04] * 3, abs=0.01)
    assert values["lt-sec2-ticket-below"] == pytest.approx([2.87] * 3, abs=0.01)
    assert values["lt-fig4b-best-gain"] == pytest.approx([0.4] * 3)
    assert values["lt-fig4c-iterative-better"][0] == pytest.approx(np.mean([0.5] * 5 + [-0.3] * 3))
    assert values["lt-fig4c-one-shot-faster"] == pytest.approx([0.9] * 3)
    assert values["lt-fig4c-one-shot-accuracy"] == pytest.approx([-0.1] * 3)
    assert all(values.values())


def test_a_claim_about_levels_that_were_not_reached_is_not_tested() -> None:
    rows = made_up_rows()
    few = rows[rows["level"] <= 3]
    assert [claim.id for claim in claims.CLAIMS if claim.measure(few)] == []
