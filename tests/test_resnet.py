"""Residual networks: their sizes, their gradients against torch's, what is read off them, the claims."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from papers.resnet import claims, probes, training
from papers.resnet.model import Block, ZeroPadShortcut, resnet
from shared import gradcheck, tree
from shared.errors import BadRequest
from shared.experiment import Run, Setting
from shared.layers.base import EVAL, Mode, Pullback
from shared.losses import softmax_cross_entropy
from shared.tree import Array, Tree

TRAIN = Mode(train=True)


@pytest.mark.parametrize(("depth", "millions"), claims.MILLIONS.items())
def test_sizes_are_the_papers(depth: int, millions: float) -> None:
    plain, residual = claims.parameters(depth, "none"), claims.parameters(depth, "A")
    assert plain == residual
    assert round(residual / 1e6, 2 if millions < 1 else 1) == millions


def test_a_projection_adds_its_kernels_and_norms() -> None:
    assert claims.parameters(20, "B") - claims.parameters(20, "A") == 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64


@pytest.mark.parametrize("depth", [2, 7, 9, 18, 34, 51])
def test_a_depth_that_is_not_6n_plus_2_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=r"^resnet: depth must be 6n \+ 2 .*, got \d+$"):
        resnet(depth)


def test_an_unknown_shortcut_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Block: shortcut must be one of none, A, B, got C$"):
        resnet(8, "C")


def double(p: Tree, seed: int = 0) -> Tree:
    """Float64 parameters near the given ones, the affine and the running ones too."""
    rng = np.random.default_rng(seed)
    return tree.map(lambda a: a.astype(np.float64) + 0.1 * rng.random(a.shape), p)


def norm(p: dict, x: Tensor, train: bool) -> Tensor:
    running = p["running"]["mean"].detach().clone(), p["running"]["var"].detach().clone()
    return F.batch_norm(x, *running, p["gamma"], p["beta"], train)


def layer(p: dict, x: Tensor, train: bool, stride: int = 1) -> Tensor:
    kernel = p["0"]["W"].permute(3, 2, 0, 1)
    return norm(p["1"], F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2), train)


def torch_resnet(p: dict, x: Tensor, depth: int, shortcut: str, train: bool) -> Tensor:
    """Section 4.2 again, in torch's functions and NCHW, from the same parameters."""
    n = (depth - 2) // 6
    x = F.relu(layer(p["0"], x.permute(0, 3, 1, 2), train))
    for i in range(3 * n):
        own, stride = p[str(i + 2)], 2 if i in (n, 2 * n) else 1
        f = layer(own["branch"]["2"], F.relu(layer(own["branch"]["0"], x, train, stride)), train)
        if shortcut == "none":
            x = F.relu(f)
        elif stride == 1:
            x = F.relu(f + x)
        elif shortcut == "A":
            x = F.relu(f + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, f.shape[1] - x.shape[1])))
        else:
            x = F.relu(f + layer(own["projection"], x, train, stride))
    last = p[str(3 * n + 3)]
    return x.mean((2, 3)) @ last["W"] + last["b"]


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("shortcut", ["none", "A", "B"])
def test_logits_and_gradients_equal_torchs(shortcut: str, train: bool) -> None:
    rng = np.random.default_rng(0)
    net, x, y = resnet(14, shortcut), rng.standard_normal((4, 12, 12, 3)), rng.integers(0, 10, 4)
    p = double(net.init(rng))
    q = tree.map(lambda a: torch.tensor(a, requires_grad=True), p)
    logits, pullback = net(p, x, TRAIN if train else EVAL)
    theirs = torch_resnet(q, torch.tensor(x), 14, shortcut, train)
    np.testing.assert_allclose(logits, theirs.detach().numpy(), rtol=1e-8, atol=1e-9)
    loss, loss_pullback = softmax_cross_entropy(logits, y)
    dx, grads = pullback(loss_pullback(np.full_like(loss, 1 / len(y))))
    F.cross_entropy(theirs, torch.tensor(y)).backward()
    assert dx is None
    for (path, ours), (name, leaf) in zip(tree.leaves(grads), tree.leaves(tree.trainable(q)), strict=True):
        assert path == name
        scale = float(leaf.grad.abs().max())
        np.testing.assert_allclose(ours, leaf.grad.numpy(), rtol=1e-7, atol=1e-8 * scale, err_msg=path)


@pytest.mark.parametrize(
    "block",
    [Block(3, 3, 1, "none"), Block(3, 3, 1, "A"), Block(2, 4, 2, "none"), Block(2, 4, 2, "A"), Block(2, 4, 2, "B")],
)
def test_gradient_of_a_block(block: Block) -> None:
    rng = np.random.default_rng(0)
    p, x = double(block.init(rng)), rng.standard_normal((3, 4, 5, block.c_in))

    def f(x: Array, trainable: Tree) -> tuple[Array, Pullback]:
        return block(merged(trainable, p), x, TRAIN)

    gradcheck.check(f, x, tree.trainable(p), rng=rng, rtol=1e-5)


def merged(trainable: Tree, p: Tree) -> Tree:
    """p with its trainable leaves replaced; the running statistics are copies."""
    return {
        name: (merged(trainable[name], value) if name != "running" else tree.map(np.copy, value))
        if isinstance(value, dict)
        else trainable[name]
        for name, value in p.items()
    }


def test_option_a_keeps_pixels_and_appends_zeros() -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 4, 3))
    shortcut = ZeroPadShortcut(3, 7, 2)
    y, pullback = shortcut({}, x)
    np.testing.assert_array_equal(y[..., :3], x[:, ::2, ::2])
    assert not y[..., 3:].any()
    gradcheck.check(
        lambda x: (y := shortcut({}, x), (y[0], lambda dy: y[1](dy)[0]))[1], x, rng=np.random.default_rng(0)
    )
    assert pullback(np.ones_like(y))[0].sum() == y[..., :3].size


def test_with_a_zero_branch_a_residual_block_passes_its_input_on() -> None:
    block = Block(4, 4, 1, "A")
    p = block.init(np.random.default_rng(0))
    p["branch"]["2"]["1"]["gamma"][:] = 0
    x = np.abs(np.random.default_rng(1).standard_normal((2, 4, 4, 4))).astype(np.float32)
    np.testing.assert_array_equal(block(p, x)[0], x)


def test_responses_are_what_comes_out_of_the_norms() -> None:
    net, rng = resnet(8), np.random.default_rng(0)
    p, x = net.init(rng), rng.standard_normal((50, 8, 8, 3)).astype(np.float32)
    for _ in range(200):  # running statistics near the batch's own
        net(p, x, TRAIN)
    found = probes.responses(net, p, x)
    assert found.shape == (7,)
    np.testing.assert_allclose(found, 1, atol=0.02)  # gamma is 1
    p["3"]["branch"]["2"]["1"]["gamma"] *= 3
    np.testing.assert_allclose(probes.responses(net, p, x)[4] / found[4], 3, rtol=1e-5)


def test_kernel_norms_are_those_of_the_3x3_kernels_in_order() -> None:
    net = resnet(8, "B")
    p = net.init(np.random.default_rng(0))
    for i, (path, leaf) in enumerate(tree.leaves(tree.trainable(p))):
        leaf[...] = i if path.endswith("/W") else 0
    norms = probes.kernel_norms(tree.trainable(p))
    assert norms.shape == (7,)
    assert (np.diff(norms) > 0).all()


def test_a_kernels_scale_does_not_change_its_norm_times_its_gradients() -> None:
    rng, net = np.random.default_rng(0), resnet(8, "none")
    p, x, y = net.init(rng), rng.standard_normal((8, 8, 8, 3)).astype(np.float32), np.arange(8)
    found = []
    for scale in (1, 7):
        p["0"]["0"]["W"] *= scale
        found.append((probes.kernel_norms(training.gradient(net, p, x, y)[2]), probes.kernel_norms(p)))
    (gradients, kernels), (smaller, larger) = found
    np.testing.assert_allclose(smaller[0], gradients[0] / 7, rtol=1e-3)
    np.testing.assert_allclose(smaller * larger, gradients * kernels, rtol=1e-3)


def test_the_first_layer_is_compared_with_the_median_one() -> None:
    found = training.first_layer("x", np.array([[1.0, 2, 4], [9, 3, 1]]))
    assert found == {"first_x_at_start": 0.5, "first_x_at_end": 3}


CFG = {
    "data": "digits",
    "depths": [8, 14],
    "shortcuts": ["none", "A"],
    "seeds": [0],
    "shallow_seeds": [1],
    "iterations": 8,
    "batch_size": 16,
    "learning_rate": 0.1,
    "weight_decay": 1e-4,
    "evaluate_every": 2,
    "warm_up_from": 110,
}


def settings(**changed: object) -> SimpleNamespace:
    return SimpleNamespace(**CFG | changed)


def trained(tmp_path: Path, job: dict) -> Run:
    run = Run(job, Setting(folder=tmp_path, label="test", named_by=("kind", "depth", "shortcut", "seed"), code=""))
    training.train(job, run)
    return run


def test_the_grid_holds_each_network_once_and_the_longest_first() -> None:
    jobs = training.jobs(settings())
    assert [(j["depth"], j["shortcut"], j["seed"]) for j in jobs] == [
        *((14, "none", 0), (14, "A", 0), (8, "none", 0), (8, "A", 0), (8, "none", 1), (8, "A", 1))
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 2000}, "batch_size=2000: must be at most the 1500 training images of digits"),
        ({"evaluate_every": 3}, "evaluate_every=3: must divide iterations=8"),
        ({"depths": [8, 18]}, r"depths=\[8, 18\]: resnet: depth must be 6n \+ 2"),
        ({"shallow_seeds": [0]}, r"shallow_seeds=\[0\]: 0 is among seeds=\[0\] already"),
    ],
)
def test_settings_that_do_not_go_together(changed: dict, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        training.check(settings(**changed), 1500)


def test_the_rate_drops_at_a_half_and_three_quarters(tmp_path: Path) -> None:
    (job, *_) = training.jobs(settings())
    rows = pd.DataFrame(trained(tmp_path, job).rows)
    rates = rows.loc[rows["part"] == "curve", "learning_rate"]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 0.001])  # of the last step before iterations 2, 4, 6, 8


def test_warm_up_ends_when_the_training_error_is_below_80_percent(tmp_path: Path) -> None:
    job = training.jobs(settings(warm_up_from=8, depths=[8], iterations=60, evaluate_every=10))[0]
    warm, cold = (
        pd.DataFrame(trained(tmp_path / name, job | {"warm_up": name == "warm"}).rows).query("part == 'curve'")
        for name in ("warm", "cold")
    )
    below = list(warm["train_error"] < 80).index(True)
    np.testing.assert_allclose(cold["learning_rate"], [0.1, 0.1, 0.1, 0.01, 0.001, 0.001])
    factors = [0.1] * (below + 1) + [1] * (5 - below)
    np.testing.assert_allclose(warm["learning_rate"], factors * cold["learning_rate"])


def test_training_data_has_no_mean_and_is_augmented_by_class() -> None:
    train, _ = training.images("digits")
    np.testing.assert_allclose(train.x.mean(0), 0, atol=1e-5)
    x = training.augmented(train.x[:200], "digits", np.random.default_rng(0))
    found = 0
    for image, original in zip(x[..., 0], train.x[:200, ..., 0], strict=True):
        padded = np.pad(original, 1)
        found += any((padded[a : a + 8, b : b + 8] == image).all() for a in range(3) for b in range(3))
    assert found == 200  # shifted by a pixel, never mirrored


def made_up_rows() -> pd.DataFrame:
    """Two seeds of four networks at three evaluations: the deep plain one is worst, the deep residual one is best."""
    final = {("none", 20): 4.0, ("none", 56): 9.0, ("A", 20): 3.0, ("A", 56): 1.0}
    rows = []
    for seed in (0, 1):
        for (shortcut, depth), error in final.items():
            own = {"kind": "train", "seed": seed, "shortcut": shortcut, "depth": depth, "data": "cifar10", "steps": 30}
            for i in (1, 2, 3):
                errors = {"train_error": error + 10 * (3 - i) + seed, "test_error": 2 * error}
                rows.append(own | {"part": "curve", "iteration": 10 * i} | errors)
            gradients = {"first_gradient_at_start": 0.5, "first_gradient_at_end": 0.2 + seed}
            gradients |= {"first_scaled_gradient_at_start": 2.0, "first_scaled_gradient_at_end": 0.3 + seed}
            rows.append(own | {"part": "probe", "response": error} | gradients)
    return pd.DataFrame([*rows, {"kind": "study", "seed": 0, "part": "curve"}])


def test_claims_measure_what_they_say() -> None:
    values = {claim.id: claim.measure(made_up_rows()) for claim in claims.CLAIMS}
    assert values["resnet-degradation"] == pytest.approx([5, 5])
    assert values["resnet-degradation-test"] == pytest.approx([10, 10])
    assert values["resnet-reversed"] == pytest.approx([2, 2])
    assert values["resnet-reversed-test"] == pytest.approx([4, 4])
    assert values["resnet-against-plain"] == pytest.approx([8, 8])
    assert values["resnet-faster"] == pytest.approx([1, 1])
    assert values["resnet-responses-depth"] == pytest.approx([1 / 3, 1 / 3])
    assert values["resnet-responses-plain"] == pytest.approx([3 / 4, 3 / 4])
    assert values["resnet-gradients"] == pytest.approx([0.2, 0.5])
    assert values["resnet-gradients-scaled"] == pytest.approx([0.3, 1.3])
    assert values["resnet-equal-parameters"] == [0]
    assert values["resnet-parameters-56"] == [pytest.approx(0.853, abs=1e-3)]
    untested = {"resnet-table6-20", "resnet-plain-110", "resnet-imagenet-34"}
    assert not any(values[claim] for claim in untested)


def test_a_network_that_was_not_trained_leaves_claims_untested() -> None:
    rows = made_up_rows()
    without = rows[rows["shortcut"] != "none"]
    values = {claim.id: claim.measure(without) for claim in claims.CLAIMS}
    assert values["resnet-degradation"] == values["resnet-faster"] == values["resnet-gradients"] == []
    assert values["resnet-reversed"] == pytest.approx([2, 2])


def test_claims_of_table_6_need_the_papers_iterations_on_cifar10() -> None:
    rows = made_up_rows()
    rows["iteration"] = 64_000 * rows["iteration"] / 30
    rows["steps"] = 64_000
    values = {claim.id: claim.measure(rows) for claim in claims.CLAIMS}
    assert values["resnet-table6-20"] == pytest.approx([6, 6])
    assert values["resnet-table6-56"] == pytest.approx([2, 2])
    rows["data"] = "digits"
    assert not [claim.id for claim in claims.CLAIMS if "table6" in claim.id and claim.measure(rows)]
