"""What is trained: diffusion models with and without classes, one with additive embedding, the noisy classifier."""

from typing import Any

import numpy as np

from papers.diffusion.classifier import Classifier
from papers.diffusion.images import CLASSES, SIDE, WIDTH, data, subset
from papers.diffusion.process import Process, hybrid, process
from papers.diffusion.unet import Plan, UNet
from shared import tree
from shared.counting import tally
from shared.errors import BadRequest
from shared.experiment import Job, Run, Setting
from shared.losses import softmax_cross_entropy
from shared.minibatch import minibatches
from shared.optim import EMA, Adam, AdamW
from shared.schedules import Cosine, Warmup
from shared.threads import spread
from shared.tree import Array, Tree

EVALUATED = 1_000  # test images at most
WARM_UP = 100  # steps over which the learning rate grows to its value
DECAY = 0.05  # of the classifier's weights (Table 12)


def model_job(cfg: Any, model: str) -> Job:
    """A diffusion model, "conditional", "unconditional" or "additive" (conditional, its embedding added: Table 3).

    All decay over one horizon: where the additive one stops, the conditional one has had the same training.
    """
    steps = cfg.ablation_steps if model == "additive" else cfg.training_steps
    return common(cfg, "model", steps, cfg.channels, cfg.learning_rate) | {
        "model": model,
        "horizon": cfg.training_steps,
        "ema": cfg.ema,
        "evaluate_every": cfg.evaluate_every,
    }


def classifier_job(cfg: Any) -> Job:
    return common(cfg, "classifier", cfg.classifier_steps, cfg.classifier_channels, cfg.classifier_rate)


def common(cfg: Any, kind: str, steps: int, channels: int, rate: float) -> Job:
    """Everything that the numbers of either depend on."""
    return {
        "kind": kind,
        "seed": cfg.seeds[0],
        "data": cfg.data,
        "steps": steps,
        "batch_size": cfg.batch_size,
        "learning_rate": rate,
        "schedule": cfg.schedule,
        "diffusion_steps": cfg.diffusion_steps,
        "channels": channels,
        "levels": cfg.levels,
        "growth": cfg.growth,
        "blocks": cfg.blocks,
        "attention": ",".join(map(str, cfg.attention)),
        "head": cfg.head,
        "patch": cfg.patch,
        "rescale": cfg.rescale,
    }


def check(cfg: Any) -> None:
    """BadRequest for settings that are each in range and do not go together."""
    n = len(data(cfg.data).train)
    if cfg.batch_size > n:
        raise BadRequest(f"batch_size={cfg.batch_size}: must be at most the {n} training images of {cfg.data}")
    for name in ("ancestral_steps", "ddim_steps"):
        if (steps := getattr(cfg, name)) > cfg.diffusion_steps:
            raise BadRequest(f"{name}={steps}: must be at most diffusion_steps={cfg.diffusion_steps}")
    if cfg.evaluate_every > cfg.ablation_steps or cfg.ablation_steps > cfg.training_steps:
        sizes = f"evaluate_every={cfg.evaluate_every}, ablation_steps={cfg.ablation_steps}"
        raise BadRequest(f"{sizes}: must rise, up to training_steps={cfg.training_steps}")
    if cfg.ablation_steps % cfg.evaluate_every or cfg.training_steps % cfg.evaluate_every:
        raise BadRequest(f"evaluate_every={cfg.evaluate_every}: must divide ablation_steps and training_steps")
    for name in ("channels", "classifier_channels"):
        try:
            plan(model_job(cfg, "conditional") | {"channels": getattr(cfg, name)})
        except ValueError as error:
            raise BadRequest(f"{name}={getattr(cfg, name)}: {error}") from None


def plan(job: Job) -> Plan:
    """The sizes of a job's network."""
    return Plan(
        SIDE[job["data"]],
        job["channels"],
        tuple(job["growth"] ** level for level in range(job["levels"])),
        job["blocks"],
        tuple(map(int, filter(None, job["attention"].split(",")))),
        job["head"],
        job["patch"],
        job.get("model") != "additive",
        job["rescale"],
    )


def network(job: Job) -> UNet | Classifier:
    if job["kind"] == "classifier":
        return Classifier(plan(job), CLASSES)
    return UNet(plan(job), 0 if job["model"] == "unconditional" else CLASSES)


def diffusion(job: Job) -> Process:
    return process(job["schedule"], job["diffusion_steps"])


def fresh(job: Job) -> tuple[Array, Tree]:
    """The parameters before the first step: one buffer, and the tree of its parts.

    The optimizer and the average see the buffer: the leaves are many and small.
    """
    return tree.flatten(network(job).init(np.random.default_rng((job["seed"], 1))))


def flat(grads: Tree) -> Tree:
    """The gradients as the optimizer takes them, in the order of the buffer."""
    return {"all": np.concatenate([leaf.ravel() for _, leaf in tree.leaves(grads)])}


def trained(job: Job, setting: Setting) -> Tree:
    """The parameters to sample with: a diffusion model's average, a classifier's last."""
    _, p = fresh(job)
    setting.weights(job, into={"average" if job["kind"] == "model" else "p": p})
    return p


def noised(process: Process, x0: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """(x_t, t (N,) uniform, the noise in x_t) for a minibatch."""
    t = rng.integers(len(process.beta), size=len(x0))
    noise = rng.standard_normal(x0.shape, dtype=np.float32)
    return process.q_sample(x0, t, noise), t, noise


def train(job: Job, run: Run) -> None:
    """A diffusion model: rows of the losses on training minibatches and, of the averaged weights, on test images."""
    images, diffusing, net = data(job["data"]), diffusion(job), network(job)
    assert isinstance(net, UNet)
    buffer, p = fresh(job)
    optimizer = Adam(Warmup(Cosine(job["learning_rate"], job["horizon"], 0.1 * job["learning_rate"]), WARM_UP))
    averaged = buffer.copy()
    average, state, sums = tree.views(p, averaged), optimizer.init({"all": buffer}), np.zeros(2)
    run.restore({"p": p, "average": average, "optimizer": state, "sums": sums})
    batches = minibatches(len(images.train), job["batch_size"], job["seed"], start=run.step)
    for step in run.steps():
        index = next(batches)
        loss, grads = gradient(net, p, diffusing, images.train[index], images.train_labels[index], job, run.rng)
        run.check(loss)
        optimizer.update({"all": buffer}, flat(grads), state)
        averaging(job["ema"], step).update({"all": averaged}, {"all": buffer})
        sums += loss, 1
        if (step + 1) % job["evaluate_every"] == 0:
            simple, bits = evaluate(net, average, diffusing, images.test, images.test_labels, job)
            run.record(part="curve", step=step + 1, train_loss=sums[0] / sums[1], test_loss=simple, test_bits=bits)
            sums[:] = 0
    run.record(part="cost", multiply_adds=job["steps"] * step_cost(job))


def averaging(decay: float, step: int) -> EMA:
    """The average of the weights forgets its start: its decay grows with the step, up to its value."""
    return EMA(min(decay, (1 + step) / (10 + step)))


def gradient(
    net: UNet | Classifier, p: Tree, diffusing: Process, x0: Array, y: Array, job: Job, rng: np.random.Generator
) -> tuple[float, Tree]:
    """The loss on a minibatch, and a gradient: each thread takes a part of it through the network.

    A diffusion model's are L_simple and the gradient of L_hybrid; a classifier's the cross-entropy on x_t, in nats.
    """
    x, t, noise = noised(diffusing, x0, rng)
    times = diffusing.times[t]

    def of(part: slice) -> tuple[float, Tree]:
        if isinstance(net, Classifier):
            output, pullback = net(p, x[part], times[part])
            loss, loss_pullback = softmax_cross_entropy(output, y[part])
        else:
            output, pullback = net(p, x[part], times[part], y[part] if net.classes else None)
            width = WIDTH[job["data"]]
            loss, _, loss_pullback = hybrid(diffusing, output, x0[part], x[part], t[part], noise[part], width)
        _, grads = pullback(loss_pullback(np.full_like(loss, 1 / len(x0))))
        return float(loss.sum()) / len(x0), grads

    return tree.added(spread(of, len(x0)))


def evaluate(net: UNet, p: Tree, diffusing: Process, x0: Array, y: Array, job: Job) -> tuple[float, float]:
    """(L_simple, L_vlb in bits a pixel) on test images, at times spread evenly and noise that is always the same."""
    index = subset(x0, EVALUATED)
    x0, y = x0[index], y[index]
    rng = np.random.default_rng(0)
    t = rng.permutation(np.arange(len(x0)) * len(diffusing.beta) // len(x0))
    noise = rng.standard_normal(x0.shape, dtype=np.float32)
    sums = np.zeros(2)
    for start in range(0, len(x0), 250):
        part = slice(start, start + 250)
        x = diffusing.q_sample(x0[part], t[part], noise[part])
        output, _ = net(p, x, diffusing.times[t[part]], y[part] if net.classes else None)
        loss = hybrid(diffusing, output, x0[part], x, t[part], noise[part], WIDTH[job["data"]])
        sums += loss.simple.sum(), loss.bits.sum()
    simple, bits = sums / len(x0)
    return float(simple), float(bits * len(diffusing.beta) + diffusing.prior_bits(x0).mean())


def step_cost(job: Job) -> int:
    """Multiply-adds of one training step, counted on two images."""
    images, net = data(job["data"]), network(job)
    x0, y, rng = images.train[:2], images.train_labels[:2], np.random.default_rng(0)
    found = tally(lambda p: gradient(net, p, diffusion(job), x0, y, job, rng), fresh(job)[1])
    return found.multiplications * job["batch_size"] // 2


def train_classifier(job: Job, run: Run) -> None:
    """Cross-entropy on x_t at uniform t; rows of the accuracy on test images at five times."""
    images, diffusing, net = data(job["data"]), diffusion(job), network(job)
    assert isinstance(net, Classifier)
    buffer, p = fresh(job)
    optimizer = AdamW(Warmup(Cosine(job["learning_rate"], job["steps"]), WARM_UP), DECAY)
    state = optimizer.init({"all": buffer})
    run.restore({"p": p, "optimizer": state})
    batches = minibatches(len(images.train), job["batch_size"], job["seed"], start=run.step)
    for _ in run.steps():
        index = next(batches)
        loss, grads = gradient(net, p, diffusing, images.train[index], images.train_labels[index], job, run.rng)
        run.check(loss)
        optimizer.update({"all": buffer}, flat(grads), state)

    run.record(part="cost", multiply_adds=job["steps"] * step_cost(job))
    chosen = subset(images.test, EVALUATED)
    x0, y = images.test[chosen], images.test_labels[chosen]
    rng = np.random.default_rng(0)
    for time in np.linspace(0, job["diffusion_steps"] - 1, 5).astype(int):
        t = np.full(len(x0), time)
        x = diffusing.q_sample(x0, t, rng.standard_normal(x0.shape, dtype=np.float32))
        logits, _ = net(p, x, diffusing.times[t])
        run.record(part="noisy", time=int(time), accuracy=float((logits.argmax(1) == y).mean()))
