"""The U-Net and the noisy classifier: values and gradients against torch and finite differences."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from papers.diffusion.blocks import ResBlock, SelfAttention, Style
from papers.diffusion.classifier import AttentionPool, Classifier
from papers.diffusion.process import process
from papers.diffusion.sampling import predictor
from papers.diffusion.training import gradient
from papers.diffusion.unet import Plan, UNet, from_patches, to_patches
from shared import gradcheck, threads, tree
from shared.losses import softmax_cross_entropy
from shared.tree import Array, Tree

TINY = Plan(side=8, channels=4, multipliers=(1, 2), attention=(4,), head=4, groups=2)


def double(p: Tree, seed: int = 0) -> Tree:
    """Float64 parameters near the given ones: those that start at zero would hide what they multiply."""
    rng = np.random.default_rng(seed)
    return tree.map(lambda a: a.astype(np.float64) + 0.2 * rng.standard_normal(a.shape), p)


def torch_norm(p: dict, x: Tensor, groups: int) -> Tensor:
    return F.group_norm(x, groups, p["gamma"], p["beta"])


def torch_conv(p: dict, x: Tensor) -> Tensor:
    kernel = p["W"].permute(3, 2, 0, 1)
    return F.conv2d(x, kernel, p["b"], padding=kernel.shape[-1] // 2)


def torch_block(p: dict, x: Tensor, e: Tensor, block: ResBlock) -> Tensor:
    groups, style = block.style.groups, block.style
    resample = {
        "": lambda x: x,
        "down": lambda x: F.avg_pool2d(x, 2),
        "up": lambda x: F.interpolate(x, scale_factor=2),
    }[block.resample]
    h = torch_conv(p["conv1"], resample(F.silu(torch_norm(p["before"]["0"], x, groups))))
    embedded = (e @ p["embed"]["W"] + p["embed"]["b"])[..., None, None]
    if style.adagn:
        s, b = embedded.chunk(2, 1)
        h = torch_norm(p["norm"], h, groups) * (1 + s) + b
    else:
        h = torch_norm(p["norm"], h + embedded, groups)
    h = torch_conv(p["conv2"]["1"], F.silu(h))
    skip = resample(x)
    if block.c_in != block.c_out:
        skip = torch_conv(p["skip"][str(len(block.resampling))], skip)
    return (h + skip) / (2**0.5 if style.rescale else 1)


def torch_attention(p: dict, x: Tensor, layer: SelfAttention) -> Tensor:
    n, channels, height, width = x.shape
    tokens = torch_norm(p["norm"], x, layer.groups).flatten(2).transpose(1, 2)
    q, k, v = (tokens @ p["attention"]["QKV"]["W"] + p["attention"]["QKV"]["b"]).chunk(3, -1)
    heads = max(1, channels // layer.head)
    q, k, v = (a.reshape(n, -1, heads, channels // heads).transpose(1, 2) for a in (q, k, v))
    read = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, -1, channels)
    out = read @ p["attention"]["O"]["W"] + p["attention"]["O"]["b"]
    return x + out.transpose(1, 2).reshape(n, channels, height, width)


def torch_stage(p: dict, x: Tensor, e: Tensor, stage: object) -> Tensor:
    x = torch_block(p["block"], x, e, stage.block)
    return torch_attention(p["attention"], x, stage.attention) if stage.attention else x


def torch_told(p: dict, t: Tensor, y: Tensor | None, channels: int) -> Tensor:
    n = channels // 2
    angle = t[:, None] * 10_000 ** (-torch.arange(n, dtype=t.dtype) / n)
    e = torch.cat([angle.cos(), angle.sin()], -1).to(p["time"]["0"]["W"].dtype)
    e = F.silu(e @ p["time"]["0"]["W"] + p["time"]["0"]["b"]) @ p["time"]["2"]["W"] + p["time"]["2"]["b"]
    return F.silu(e if y is None else e + p["class"]["W"][y])


def torch_unet(p: dict, x: Tensor, t: Tensor, y: Tensor | None, net: UNet) -> Tensor:
    """The whole network again, in torch's functions and NCHW, from the same parameters."""
    plan = net.plan
    e = torch_told(p["told"], t, y, plan.channels)
    h = torch_conv(p["encoder"]["in"], F.pixel_unshuffle(x.permute(0, 3, 1, 2), plan.patch))
    outputs = []
    for i, (stage, _) in enumerate(net.encoder.stages):
        h = torch_stage(p["encoder"][str(i)], h, e, stage)
        outputs.append(h)
    for i, stage in enumerate(net.middle):
        h = torch_stage(p["middle"][str(i)], h, e, stage)
    for i, (stage, skip, _) in enumerate(net.decoder):
        h = torch_stage(p["decoder"][str(i)], h if skip is None else torch.cat([h, outputs[skip]], 1), e, stage)
    head = p["head"]
    h = torch_conv(head["2"], F.silu(torch_norm(head["0"], h, plan.groups)))
    n, _, height, width = h.shape  # pixel by pixel noise and v, where torch would put a channel's pixels together
    h = h.reshape(n, plan.patch, plan.patch, 2, height, width).permute(0, 4, 1, 5, 2, 3)
    return h.reshape(n, height * plan.patch, width * plan.patch, 2)


def compare_with_torch(net: UNet, x: Array, t: Array, y: Array | None) -> None:
    p = double(net.init(np.random.default_rng(0)))
    q = tree.map(lambda a: torch.tensor(a, requires_grad=True), p)
    output, pullback = net(p, x, t, y)
    x_torch = torch.tensor(x, requires_grad=True)
    theirs = torch_unet(q, x_torch, torch.tensor(t), None if y is None else torch.tensor(y), net)
    np.testing.assert_allclose(output, theirs.detach().numpy(), rtol=1e-8, atol=1e-10)
    doutput = np.random.default_rng(1).standard_normal(output.shape)
    dx, dp = pullback(doutput)
    theirs.backward(torch.tensor(doutput))
    np.testing.assert_allclose(dx, x_torch.grad.numpy(), rtol=1e-7, atol=1e-9)
    for (path, ours), (name, leaf) in zip(tree.leaves(dp), tree.leaves(q), strict=True):
        assert path == name
        scale = float(leaf.grad.abs().max())
        np.testing.assert_allclose(ours, leaf.grad.numpy(), rtol=1e-7, atol=1e-9 * max(scale, 1), err_msg=path)


@pytest.mark.parametrize(
    ("plan", "classes"),
    [
        (TINY, 3),
        (TINY, 0),
        (Plan(8, 4, (1, 2), blocks=2, attention=(8, 4), head=2, groups=2, adagn=False), 3),
        (Plan(8, 4, (1, 1), attention=(2,), head=4, groups=2, patch=2, rescale=True), 3),
    ],
    ids=["AdaGN", "no classes", "addition, two blocks", "patches, rescaled"],
)
def test_unet_equals_torchs_in_value_and_gradient(plan: Plan, classes: int) -> None:
    rng = np.random.default_rng(2)
    x, t = rng.standard_normal((2, 8, 8, 1)), np.array([3.0, 700.0])
    compare_with_torch(UNet(plan, classes), x, t, rng.integers(0, classes, 2) if classes else None)


def test_gradient_of_the_whole_unet() -> None:
    rng, net = np.random.default_rng(0), UNet(TINY, 3)
    t, y = np.array([5.0, 400.0]), np.array([2, 0])
    x, p = rng.standard_normal((2, 8, 8, 1)), double(net.init(rng))
    gradcheck.check(lambda x, p: net(p, x, t, y), x, p, rng=rng, rtol=1e-5, directions=1, every_coordinate_up_to=0)


def test_gradient_of_the_classifier_and_of_log_p() -> None:
    rng, net = np.random.default_rng(0), Classifier(TINY, 3)
    t, y = np.array([5.0, 400.0]), np.array([2, 0])
    x, p = rng.standard_normal((2, 8, 8, 1)), double(net.init(rng))
    gradcheck.check(lambda x, p: net(p, x, t), x, p, rng=rng, rtol=1e-5, directions=1, every_coordinate_up_to=0)

    def log_p(x: Array) -> tuple[Array, Callable[[Array], Array]]:
        return -softmax_cross_entropy(net(p, x, t)[0], y)[0], lambda dy: dy[:, None, None, None] * gradient(x, t)

    gradient = net.log_gradient(p, y)
    gradcheck.check(log_p, x, rng=rng, rtol=1e-5)


def test_an_images_gradient_does_not_depend_on_its_batch() -> None:
    rng, net = np.random.default_rng(0), Classifier(TINY, 3)
    p, x, t, y = double(net.init(rng)), rng.standard_normal((4, 8, 8, 1)), np.full(4, 30.0), np.array([0, 1, 2, 0])
    together = net.log_gradient(p, y)(x, t)
    alone = np.concatenate([net.log_gradient(p, y[i : i + 1])(x[i : i + 1], t[i : i + 1]) for i in range(4)])
    np.testing.assert_allclose(together, alone, rtol=1e-9, atol=1e-12)


def test_two_threads_share_the_images_and_find_what_one_finds() -> None:
    rng, net, guide = np.random.default_rng(0), UNet(TINY, 3), Classifier(TINY, 3)
    p, q, diffusing, job = double(net.init(rng)), double(guide.init(rng)), process("cosine", 1000), {"data": "digits"}
    x, t, y = rng.standard_normal((5, 8, 8, 1)), np.arange(100, 600, 100), np.array([0, 1, 2, 0, 1])

    def found(count: int) -> list[Array]:
        with threads.use(count):
            losses, grads = zip(
                gradient(net, p, diffusing, x, y, job, np.random.default_rng(1)),
                gradient(guide, q, diffusing, x, y, job, np.random.default_rng(1)),
                strict=True,
            )
            images = [*predictor(net, p, diffusing, y)(x, t), guide.log_gradient(q, y)(x, t)]
        return [np.array(losses), *(leaf for own in grads for _, leaf in tree.leaves(own)), *images]

    for one, two in zip(found(1), found(2), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


def test_attention_pool_reads_all_places_and_knows_where_they_are() -> None:
    rng, pool = np.random.default_rng(0), AttentionPool(4, 4, 2, 3)
    p, x = double(pool.init(rng)), rng.standard_normal((2, 2, 2, 4))
    gradcheck.check(lambda x, p: pool(p, x), x, p, rng=rng, rtol=1e-5)
    assert not np.allclose(pool(p, x)[0], pool(p, x[:, ::-1])[0])


@pytest.mark.parametrize("resample", ["", "down", "up"])
def test_a_fresh_block_is_its_shortcut_and_a_fresh_net_predicts_nothing(resample: str) -> None:
    rng = np.random.default_rng(0)
    block = ResBlock(4, 4, Style(8, groups=2), resample)
    x, e = rng.standard_normal((2, 4, 4, 4)).astype(np.float32), rng.standard_normal((2, 8)).astype(np.float32)
    y, _ = block(block.init(rng), x, e)
    expected = {"": x, "up": x.repeat(2, 1).repeat(2, 2), "down": x.reshape(2, 2, 2, 2, 2, 4).mean((2, 4))}[resample]
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
    net = UNet(TINY)
    assert not net(net.init(rng), x.reshape(2, 8, 8, 1), np.zeros(2))[0].any()


def test_patches_are_cut_and_put_back() -> None:
    x = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    cut = to_patches(x, 2)
    assert cut.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(cut[1, 1, 2].reshape(2, 2, 3), x[1, 2:, 4:])
    np.testing.assert_array_equal(from_patches(cut, 2), x)


def test_float32_stays_float32() -> None:
    rng, net, guide = np.random.default_rng(0), UNet(TINY, 3), Classifier(TINY, 3)
    x, t, y = rng.standard_normal((2, 8, 8, 1)).astype(np.float32), np.array([1.0, 2.0]), np.array([0, 2])
    output, pullback = net(net.init(rng), x, t, y)
    dx, dp = pullback(output)
    assert {output.dtype, dx.dtype, *(leaf.dtype for _, leaf in tree.leaves(dp))} == {np.dtype(np.float32)}
    assert guide.log_gradient(guide.init(rng), y)(x, t).dtype == np.float32


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"side": 9}, "side must be a multiple of patch times"),
        ({"attention": (3,)}, r"attention must be at sides among \(8, 4\), got \(3,\)"),
        ({"channels": 5}, "channels must be a multiple of groups=2 and 2, got 5"),
        ({"channels": 10, "head": 3}, "head=3 does not split 20 channels into equal heads"),  # in the middle
        ({"channels": 10, "head": 3, "attention": (8,)}, "head=3 does not split 10 channels into equal heads"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changed: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plan(**{"side": 8, "channels": 4, "multipliers": (1, 2), "groups": 2} | changed)


def test_a_class_that_does_not_exist_and_one_that_is_not_asked_for_are_refused() -> None:
    rng, net = np.random.default_rng(0), UNet(TINY, 3)
    p, x, t = net.init(rng), np.zeros((1, 8, 8, 1), np.float32), np.zeros(1)
    with pytest.raises(ValueError, match=r"tokens must be in 0\.\.2, found 3\.\.3"):
        net(p, x, t, np.array([3]))
    with pytest.raises(ValueError, match="told one of 3 classes, got none"):
        net(p, x, t)
    with pytest.raises(ValueError, match="told no class, got labels"):
        UNet(TINY)(UNet(TINY).init(rng), x, t, np.array([0]))
