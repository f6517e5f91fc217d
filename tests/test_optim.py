"""Optimizers, schedules, clipping and the moving average: torch's numbers over 100 steps, and what they mean."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as torch_schedules

from shared import optim, tree
from shared.optim import EMA, SGD, Adagrad, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSProp, clip_by_global_norm
from shared.schedules import Constant, Cosine, InverseSquareRoot, Schedule, Steps, Warmup
from shared.tree import Array, Tree

STEPS = 100
torch_optim = torch.optim


def start() -> Tree:
    rng = np.random.default_rng(0)
    return {"layer": {"W": rng.standard_normal((5, 3)), "b": rng.standard_normal(3)}, "c": rng.standard_normal(4)}


def loss(p: dict, library: object) -> object:
    """Not quadratic, its leaves coupled; the library is numpy or torch, which share these names."""
    W, b, c = p["layer"]["W"], p["layer"]["b"], p["c"]
    return library.sum(library.log(library.cosh(W @ b - 1))) + library.sum(library.exp(c) + c**2 * (1 + b[0] ** 2) / 2)


def gradient(p: Tree) -> Tree:
    W, b, c = p["layer"]["W"], p["layer"]["b"], p["c"]
    d = np.tanh(W @ b - 1)
    db = W.T @ d
    db[0] += b[0] * (c**2).sum()
    return {"layer": {"W": np.outer(d, b), "b": db}, "c": np.exp(c) + c * (1 + b[0] ** 2)}


def ours(optimizer: Optimizer, steps: int = STEPS) -> Tree:
    p = start()
    state = optimizer.init(p)
    for _ in range(steps):
        optimizer.update(p, gradient(p), state)
    return p


def theirs(
    make: Callable[[list[torch.Tensor]], torch.optim.Optimizer],
    schedule: Callable[[torch.optim.Optimizer], torch_schedules.LRScheduler] | None = None,
) -> Tree:
    p = tree.map(lambda a: torch.tensor(a, requires_grad=True), start())
    optimizer = make([leaf for _, leaf in tree.leaves(p)])
    scheduler = schedule(optimizer) if schedule else None
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss(p, torch).backward()
        optimizer.step()
        if scheduler:
            scheduler.step()
    return tree.map(lambda leaf: leaf.detach().numpy(), p)


def assert_same(a: Tree, b: Tree, rtol: float = 1e-11) -> None:
    for (path, mine), (_, other) in zip(tree.leaves(a), tree.leaves(b), strict=True):
        np.testing.assert_allclose(mine, other, rtol=rtol, atol=1e-12, err_msg=path)


def test_the_problems_gradient() -> None:
    p = tree.map(lambda a: torch.tensor(a, requires_grad=True), start())
    loss(p, torch).backward()
    assert_same(gradient(start()), tree.map(lambda leaf: leaf.grad.numpy(), p))


PAIRS = {
    "sgd": (SGD(0.05), lambda p: torch_optim.SGD(p, 0.05)),
    "sgd, decay": (SGD(0.05, 0.1), lambda p: torch_optim.SGD(p, 0.05, weight_decay=0.1)),
    "momentum": (Momentum(0.02, 0.1, 0.8), lambda p: torch_optim.SGD(p, 0.02, 0.8, weight_decay=0.1)),
    "nesterov": (Nesterov(0.02, 0.1), lambda p: torch_optim.SGD(p, 0.02, 0.9, weight_decay=0.1, nesterov=True)),
    "adagrad": (Adagrad(0.1), lambda p: torch_optim.Adagrad(p, 0.1)),
    "adagrad, decay": (Adagrad(0.1, 0.1), lambda p: torch_optim.Adagrad(p, 0.1, weight_decay=0.1)),
    "rmsprop": (RMSProp(0.01), lambda p: torch_optim.RMSprop(p, 0.01)),
    "rmsprop, decay": (
        RMSProp(0.01, 0.1, decay=0.9, epsilon=0.1),
        lambda p: torch_optim.RMSprop(p, 0.01, alpha=0.9, eps=0.1, weight_decay=0.1),
    ),
    "adam": (Adam(0.05), lambda p: torch_optim.Adam(p, 0.05)),
    "adam, decay": (
        Adam(0.05, 0.1, 0.8, 0.98, 1e-3),
        lambda p: torch_optim.Adam(p, 0.05, (0.8, 0.98), 1e-3, weight_decay=0.1),
    ),
    "adamw": (AdamW(0.05, 0.2), lambda p: torch_optim.AdamW(p, 0.05, weight_decay=0.2)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_hundred_steps_are_torchs(name: str) -> None:
    optimizer, make = PAIRS[name]
    assert_same(ours(optimizer), theirs(make))


def test_every_optimizer_is_compared() -> None:
    public = {
        v for v in vars(optim).values() if isinstance(v, type) and issubclass(v, Optimizer) and v is not Optimizer
    }
    assert public == {type(optimizer) for optimizer, _ in PAIRS.values()}


@pytest.mark.parametrize("name", PAIRS)
def test_an_update_writes_the_parameters_and_the_state_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer, _ = PAIRS[name]
    whole = ours(optimizer, 5)
    monkeypatch.setattr(optim, "BLOCK", 4)  # leaves of several blocks, the last one short
    p = start()
    state = optimizer.init(p)
    arrays = [a for _, a in tree.leaves(p)] + [a for _, a in tree.leaves(state)]
    for _ in range(5):
        grads = gradient(p)
        for _, g in tree.leaves(grads):
            g.setflags(write=False)
        optimizer.update(p, grads, state)
    assert_same(p, whole, rtol=1e-14)
    after = [a for _, a in tree.leaves(p)] + [a for _, a in tree.leaves(state)]
    assert all(a is b for a, b in zip(arrays, after, strict=True))


@pytest.mark.parametrize("name", PAIRS)
def test_float32_stays_float32_and_near(name: str) -> None:
    optimizer, _ = PAIRS[name]
    p = tree.astype(start(), np.float32)
    state = optimizer.init(p)
    for _ in range(10):
        optimizer.update(p, tree.astype(gradient(p), np.float32), state)
    assert {a.dtype for _, a in tree.leaves({"p": p, "state": state})} <= {np.dtype(np.float32), np.dtype(np.int64)}
    assert_same(p, ours(optimizer, 10), rtol=1e-3)


def test_a_copied_state_continues_with_the_same_bits() -> None:
    optimizer = AdamW(Warmup(Cosine(0.1, 30), 5))
    p, q = start(), start()
    state = optimizer.init(p)
    for step in range(20):
        if step == 10:
            q, copied = tree.map(np.copy, p), tree.map(np.copy, state)
        optimizer.update(p, gradient(p), state)
    assert state["step"] == 20
    for _ in range(10):
        optimizer.update(q, gradient(q), copied)
    for (_, a), (_, b) in zip(tree.leaves(p), tree.leaves(q), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_state_holds_a_step_only_where_one_is_needed() -> None:
    assert Adagrad(0.1).init(start()).keys() == {"h"}
    assert SGD(0.1).init(start()) == {}
    assert SGD(Constant(0.1)).init(start()).keys() == {"step"}
    assert Adam(0.1).init(start()).keys() == {"m", "v", "step"}


def test_adams_first_step_is_the_learning_rate_whatever_the_scale() -> None:
    for scale in (1e-3, 1.0, 1e3):
        p = {"x": np.zeros(4)}
        Adam(0.01).update(p, {"x": scale * np.array([1.0, -2.0, 3.0, -4.0])}, Adam(0.01).init(p))
        np.testing.assert_allclose(p["x"], 0.01 * np.array([-1, 1, -1, 1]), rtol=1e-4)


def test_adams_mean_of_a_gradient_that_stays_zero_never_turns_subnormal() -> None:
    p = {"x": np.ones(8, np.float32)}
    optimizer = Adam(0.01)
    state = optimizer.init(p)
    smallest = []
    for step in range(1200):
        optimizer.update(p, {"x": np.full(8, 1.0 if step < 10 else 0.0, np.float32)}, state)
        smallest.append(state["m"]["x"].min())
    assert smallest[-1] == 0
    assert min(value for value in smallest if value > 0) > np.finfo(np.float32).tiny


def test_momentum_goes_as_far_as_its_geometric_series() -> None:
    p = {"x": np.zeros(1)}
    optimizer = Momentum(0.1, momentum=0.9)
    state = optimizer.init(p)
    for _ in range(500):
        before = p["x"].copy()
        optimizer.update(p, {"x": np.ones(1)}, state)
    np.testing.assert_allclose(before - p["x"], 0.1 / (1 - 0.9), rtol=1e-10)


def test_adamw_decays_by_the_same_factor_whatever_the_gradients_scale() -> None:
    p = {"x": np.ones(3)}
    optimizer = AdamW(0.1, 0.5)
    optimizer.update(p, {"x": np.zeros(3)}, optimizer.init(p))
    np.testing.assert_allclose(p["x"], 1 - 0.1 * 0.5)


def test_gradients_in_another_order_or_shape_are_refused() -> None:
    p = {"a": np.zeros(3), "b": np.zeros(3)}
    with pytest.raises(ValueError, match="trees differ: a"):
        SGD(0.1).update(p, {"b": np.ones(3), "a": np.ones(3)}, {})
    with pytest.raises(ValueError, match="trees differ: a"):
        SGD(0.1).update(p, {"a": np.ones(1), "b": np.ones(3)}, {})
    with pytest.raises(ValueError, match="a: an update in place needs a contiguous array"):
        SGD(0.1).update({"a": np.zeros((3, 2)).T}, {"a": np.ones((2, 3))}, {})


@pytest.mark.parametrize(
    "make",
    [
        lambda: SGD(0.0),
        lambda: SGD(math.inf),
        lambda: SGD(math.nan),
        lambda: SGD(0.1, -1.0),
        lambda: Momentum(0.1, momentum=1.0),
        lambda: Adagrad(0.1, epsilon=0.0),
        lambda: RMSProp(0.1, decay=1.0),
        lambda: Adam(0.1, beta1=1.0),
        lambda: Adam(0.1, beta2=-0.1),
        lambda: Adam(0.1, epsilon=math.nan),
        lambda: EMA(1.0),
        lambda: Constant(-0.1),
        lambda: Steps(0.1, (30, 20)),
        lambda: Steps(0.1, (0,)),
        lambda: Steps(0.1, (10,), 0.0),
        lambda: Cosine(0.1, 0),
        lambda: Cosine(0.1, 10, final=0.2),
        lambda: InverseSquareRoot(1.0, 0),
        lambda: Warmup(Constant(0.1), 0),
        lambda: clip_by_global_norm({"x": np.ones(2)}, 0.0),
    ],
)
def test_a_hyperparameter_out_of_range_is_refused_in_one_line(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"^\w+: .* must be .*, got ") as error:
        make()
    assert "\n" not in str(error.value)


D_MODEL, WARMUP = 512, 10
SCHEDULES: dict[str, tuple[Schedule, Callable]] = {
    "constant": (Constant(0.1), lambda o: torch_schedules.ConstantLR(o, factor=1.0)),
    "steps": (Steps(0.1, (30, 60), 0.2), lambda o: torch_schedules.MultiStepLR(o, [30, 60], 0.2)),
    "cosine": (Cosine(0.1, STEPS, 0.01), lambda o: torch_schedules.CosineAnnealingLR(o, STEPS, 0.01)),
    "inverse square root": (
        InverseSquareRoot(D_MODEL**-0.5, WARMUP),
        lambda o: torch_schedules.LambdaLR(
            o, lambda t: 10 * D_MODEL**-0.5 * min((t + 1) ** -0.5, (t + 1) * WARMUP**-1.5)
        ),
    ),
    "warm-up, then steps": (
        Warmup(Steps(0.1, (30, 60), 0.2), WARMUP),
        lambda o: torch_schedules.ChainedScheduler(
            [torch_schedules.LinearLR(o, 1 / WARMUP, 1.0, WARMUP - 1), torch_schedules.MultiStepLR(o, [30, 60], 0.2)]
        ),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_torchs(name: str) -> None:
    schedule, make = SCHEDULES[name]
    optimizer = torch_optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)
    scheduler = make(optimizer)
    for step in range(STEPS):
        assert schedule(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        scheduler.step()


def test_a_schedule_drives_an_optimizer() -> None:
    schedule, make = SCHEDULES["warm-up, then steps"]
    assert_same(ours(AdamW(schedule, 0.1)), theirs(lambda p: torch_optim.AdamW(p, 0.1, weight_decay=0.1), make))


def test_cosine_stays_at_its_end() -> None:
    assert Cosine(0.1, 50, 0.02)(50) == Cosine(0.1, 50, 0.02)(500) == 0.02


def test_inverse_square_root_is_largest_when_warm_up_ends() -> None:
    rates = [InverseSquareRoot(1.0, 40)(t) for t in range(200)]
    assert int(np.argmax(rates)) == 39
    assert max(rates) == pytest.approx(1 / math.sqrt(40))


@pytest.mark.parametrize("max_norm", [0.5, 5.0, 1e6])
def test_clipping_is_torchs(max_norm: float) -> None:
    grads = gradient(start())
    tensors = [torch.zeros(a.shape, dtype=torch.float64) for _, a in tree.leaves(grads)]
    for tensor, (_, g) in zip(tensors, tree.leaves(grads), strict=True):
        tensor.grad = torch.tensor(g)
    total = torch.nn.utils.clip_grad_norm_(tensors, max_norm)
    kept = tree.map(np.copy, grads)
    clipped, norm = clip_by_global_norm(grads, max_norm)
    assert norm == pytest.approx(float(total), rel=1e-12)
    for tensor, (_, g) in zip(tensors, tree.leaves(clipped), strict=True):
        np.testing.assert_allclose(g, tensor.grad.numpy(), rtol=1e-5)  # torch divides by norm + 1e-6
    assert_same(grads, kept, rtol=0)


def test_clipping_keeps_the_direction_and_bounds_the_length() -> None:
    grads = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}
    clipped, norm = clip_by_global_norm(grads, 1.0)
    assert norm == 5
    assert_same(clipped, {"a": np.array([0.6, 0.0]), "b": np.array([[0.8]])})
    same, _ = clip_by_global_norm(grads, 5.0)
    assert same is grads


def test_clipping_takes_what_has_squares_beyond_float32() -> None:
    for size in (1e20, 1e-25):
        clipped, norm = clip_by_global_norm({"a": np.full(4, size, np.float32)}, 0.5 * size)
        assert norm == pytest.approx(2 * size, rel=1e-6)
        np.testing.assert_allclose(clipped["a"], np.full(4, 0.25 * size), rtol=1e-6)


def closed_form(decay: float, path: list[Array]) -> Array:
    n = len(path) - 1
    return decay**n * path[0] + (1 - decay) * sum(decay ** (n - i) * path[i] for i in range(1, n + 1))


def test_an_average_of_what_is_not_in_c_order_moves() -> None:
    p = {"x": np.ones((2, 3)).T}
    average = EMA(0.5).init(p)
    EMA(0.5).update(average, {"x": np.zeros((2, 3)).T})
    np.testing.assert_array_equal(average["x"], np.full((3, 2), 0.5))


def test_ema_is_its_closed_form_and_torchs() -> None:
    rng = np.random.default_rng(0)
    path = [rng.standard_normal((3, 2)) for _ in range(30)]
    ema = EMA(0.9)
    p = {"x": path[0].copy()}
    average = ema.init(p)
    averaged = torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    other = [torch.tensor(path[0])]
    for x in path[1:]:
        p["x"][...] = x
        ema.update(average, p)
        averaged(other, [torch.tensor(x)], None)
    np.testing.assert_allclose(average["x"], closed_form(0.9, path), rtol=1e-12)
    np.testing.assert_allclose(average["x"], other[0].numpy(), rtol=1e-12)
    np.testing.assert_array_equal(p["x"], path[-1])
