"""Training the GAN, and sampling from it with truncated latents."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from papers.diffusion.gan import GAN, TRAIN, discriminator_gradient, generator_gradient, of_generator
from papers.diffusion.images import CLASSES, data
from papers.diffusion.training import averaging
from shared import tree
from shared.counting import tally
from shared.experiment import Job, Run, Setting
from shared.minibatch import minibatches
from shared.optim import Adam
from shared.tree import Array, Tree

CURVE = 20  # rows of losses
MOMENTS = 5  # of the training, evenly spaced, whose averaged generators are kept: a GAN may get worse
STANDING = 50  # batches on which the averaged generator's BatchNorm takes its statistics
CHUNK = 500  # images a forward pass in sampling


def gan_job(cfg: Any) -> Job:
    """The one training that the truncation curve needs."""
    return {
        "kind": "gan",
        "seed": cfg.seeds[0],
        "data": cfg.data,
        "steps": cfg.gan_steps,
        "channels": cfg.gan_channels,
        "latent": 64,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "beta1": 0.5,
        "ema": 0.999,
    }


@dataclass(frozen=True)
class Learner:
    """The two networks, the optimizer that each has for itself, and the decay of the generator's average."""

    gan: GAN
    optimizer: Adam
    decay: float

    def init(self, p: Tree) -> Tree:
        """The optimizers' states before the first step."""
        return {name: self.optimizer.init(tree.trainable(p[name])) for name in ("generator", "discriminator")}

    def step(self, p: Tree, state: Tree, x: Array, y: Array, rng: np.random.Generator) -> tuple[float, float]:
        """D learns from this batch and as many fakes, then G from the new D on the same fakes; their losses before."""
        step = int(state["generator"]["step"])
        generator, discriminator = tree.trainable(p["generator"]), p["discriminator"]
        z, y_fake = latents(self.gan, len(x), rng)
        fake, pullback = self.gan.generate(p["generator"], z, y_fake, TRAIN)
        d_loss, grads = discriminator_gradient(self.gan, discriminator, x, y, fake, y_fake)
        self.optimizer.update(discriminator, grads, state["discriminator"])
        g_loss, grads = generator_gradient(self.gan, discriminator, fake, y_fake, pullback)
        self.optimizer.update(generator, grads, state["generator"])
        averaging(self.decay, step).update(tree.trainable(p["average"]), generator)
        return d_loss, g_loss


def learner(job: Job) -> Learner:
    gan = GAN(data(job["data"]).train.shape[1], job["latent"], job["channels"])
    return Learner(gan, Adam(job["learning_rate"], beta1=job["beta1"]), job["ema"])


def fresh(job: Job) -> Tree:
    """The parameters before the first step, the generator's average among them."""
    p = learner(job).gan.init(np.random.default_rng((job["seed"], 3)))
    return p | {"average": tree.map(np.copy, p["generator"])}


def trained(job: Job, setting: Setting, moment: int = MOMENTS) -> Tree:
    """The averaged generator's parameters that a finished job had at a moment (1 .. MOMENTS): what ``sample`` takes."""
    average: Tree = fresh(job)["average"]
    setting.weights(job, into={"past": {str(moment): average}})
    return average


def train(job: Job, run: Run) -> None:
    """Rows of both losses in nats (2 log 2 and log 2 where D cannot tell), and one with the multiply-adds of it all."""
    images, learn, p = data(job["data"]), learner(job), fresh(job)
    state, past = learn.init(p), {str(moment): tree.map(np.copy, p["average"]) for moment in range(1, MOMENTS + 1)}
    sums = np.zeros(3)  # since the last row: the losses, steps
    run.restore({"p": p, "past": past, "optimizer": state, "sums": sums})
    batches = minibatches(len(images.train), job["batch_size"], job["seed"], start=run.step)
    every = -(-job["steps"] // CURVE)
    for step in run.steps():
        index = next(batches)
        losses = learn.step(p, state, images.train[index], images.train_labels[index], run.rng)
        run.check(sum(losses))
        sums += *losses, 1
        if (step + 1) % every == 0 or step + 1 == job["steps"]:
            run.record(part="curve", step=step + 1, discriminator=sums[0] / sums[2], generator=sums[1] / sums[2])
            sums[:] = 0
        for moment in past:
            if step + 1 == -(-int(moment) * job["steps"] // MOMENTS):
                past[moment] = tree.map(np.copy, p["average"])
                stand(learn.gan, past[moment], job["batch_size"], run.rng)
    run.record(part="cost", multiply_adds=job["steps"] * step_cost(job))


def step_cost(job: Job) -> int:
    """Multiply-adds of one training step that something comes of.

    Pullbacks give all gradients, and G's part of the step drops those of D's weights. They take as many products as
    judging the fakes does, and are not charged.
    """
    images, learn, p = data(job["data"]), learner(job), fresh(job)
    batch, y = {"x": images.train[: job["batch_size"]]}, images.train_labels[: job["batch_size"]]
    rng = np.random.default_rng(0)
    made = tally(lambda p, batch: learn.step(p, learn.init(p), batch["x"], y, rng), p, batch)
    dropped = tally(lambda p, batch: learn.gan.judge(p, batch["x"], y), p["discriminator"], batch)
    return made.multiplications - dropped.multiplications


def stand(gan: GAN, p: Tree, batch_size: int, rng: np.random.Generator) -> None:
    """Give the averaged generator p, in place, the BatchNorm statistics of its own activations.

    Those of the last trained one belong to other weights ("standing statistics", Brock et al. 2019).
    """
    for _ in range(STANDING):
        gan.generate(p, *latents(gan, batch_size, rng), TRAIN)


def latents(gan: GAN, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """z ~ N(0, I) (n, latent), and classes y (n,), each as likely as another."""
    return rng.standard_normal((n, gan.latent), dtype=np.float32), rng.integers(CLASSES, size=n)


def sample(p: Tree, y: Array, truncation: float, rng: np.random.Generator) -> Array:
    """Images (n, H, W, 1) of the classes y (n,) from a trained generator p, at z ~ N(0, truncation^2 I).

    At 1 latents are those of training; towards 0 a class is one image, G(0, y). Brock et al. 2019, section 3.1, draw
    again what lies beyond a threshold; to scale is the same in spirit, and continuous.
    """
    if not 0 <= truncation < np.inf:
        raise ValueError(f"sample: truncation must be finite and not negative, got {truncation}")
    gan = of_generator(p)
    z = truncation * rng.standard_normal((len(y), gan.latent), dtype=np.float32)
    starts = range(0, len(y), CHUNK)
    return np.concatenate([gan.generate(p, z[i : i + CHUNK], y[i : i + CHUNK])[0] for i in starts])
