"""The jobs of Tables 2 and 3 at our size: which models there are, and how each is trained and evaluated."""

from typing import Any

import numpy as np

from papers.attention import tasks
from papers.attention.data import Batch, Batches
from papers.attention.decoding import average, translate
from papers.attention.model import SHARD, Transformer, gradient
from papers.attention.probes import leak, maps
from papers.attention.tasks import RAW, Task
from shared import tree
from shared.errors import BadRequest
from shared.experiment import Job, Run
from shared.optim import Adam
from shared.schedules import InverseSquareRoot
from shared.threads import spread
from shared.tree import Tree

# Table 3: what differs from the base model.
VARIANTS: dict[str, dict[str, Any]] = {
    "heads-1": {"heads": 1},
    "no-positions": {"positions": "none"},
    "dropout-0": {"dropout": 0.0},
    "layers-1": {"layers": 1},
    "smoothing-0": {"label_smoothing": 0.0},
    "learned-positions": {"positions": "learned"},
    "layers-2": {"layers": 2},
    "heads-8": {"heads": 8},
    "dropout-0.1": {"dropout": 0.1},
}
MODEL = ("layers", "d_model", "d_ff", "heads", "dropout", "positions")
TRAINING = ("label_smoothing", "tokens", "learning_rate", "warmup", "evaluate_every")
GREEDY = 1  # beam
DECODINGS = [f"{weights}_{search}" for weights in ("last", "averaged") for search in ("greedy", "beam")]


def jobs(cfg: Any) -> list[Job]:
    """The base model's seeds, those on raw text, then Table 3's variants: one seed of all before the next."""
    found = [job(cfg, "base", seed) for seed in cfg.seeds]
    found += [job(cfg, "base", seed, RAW) for seed in cfg.raw_seeds]
    return found + [job(cfg, variant, seed) for seed in cfg.variant_seeds for variant in cfg.variants]


def job(cfg: Any, variant: str, seed: int, version: str = "") -> Job:
    """One training: everything that its numbers depend on.

    Only the base model's checkpoints are averaged and searched with a beam, as in Table 3.
    """
    own: Job = {name: getattr(cfg, name) for name in (*MODEL, *TRAINING, *sizes(cfg))}
    base = variant == "base"
    averaging = ("checkpoints", "checkpoint_distance", "beam", "alpha")
    return {
        "stage": "train",
        "variant": variant,
        "seed": seed,
        "data": cfg.data + version,
        "steps": cfg.steps if base else cfg.variant_steps,
        **own,
        **({name: getattr(cfg, name) for name in averaging} if base else VARIANTS[variant]),
    }


def check(cfg: Any, task: Task) -> None:
    """BadRequest for settings that are each in range and do not go together."""
    if cfg.variant_steps > cfg.steps:
        raise BadRequest(f"variant_steps={cfg.variant_steps}: must be at most steps={cfg.steps}")
    for name in ("steps", "variant_steps"):
        if getattr(cfg, name) % cfg.evaluate_every:
            raise BadRequest(f"evaluate_every={cfg.evaluate_every}: must divide {name}={getattr(cfg, name)}")
    if (cfg.checkpoints - 1) * cfg.checkpoint_distance >= cfg.steps:
        span = f"checkpoints={cfg.checkpoints} at checkpoint_distance={cfg.checkpoint_distance}"
        raise BadRequest(f"{span}: must begin after the start of steps={cfg.steps}")
    if cfg.raw_seeds and cfg.data == "dates":
        raise BadRequest(f"raw_seeds={cfg.raw_seeds}: dates have no raw text beside their own")
    if strays := sorted({own["seed"] for own in jobs(cfg)} - set(cfg.seeds)):
        raise BadRequest(
            f"seeds={cfg.seeds}: must include {strays} too, of raw_seeds or variant_seeds, to compare with"
        )
    for variant in cfg.variants:
        for name, value in VARIANTS[variant].items():
            if getattr(cfg, name) == value:
                raise BadRequest(f"variants={cfg.variants}: {variant} is the base model, {name}={value}")
    longest = 0
    for pairs in (task.train, task.val, task.test):
        longest = max(longest, int(task.batches(pairs, cfg.tokens).lengths.max()))
    for own in jobs(cfg):
        try:
            model = network(own, task)
        except ValueError as error:
            raise BadRequest(f"variant {own['variant']}: {error}") from None
        if model.positions == "learned" and longest > model.longest:
            raise BadRequest(f"positions=learned: a sentence has {longest} tokens, more than {model.longest} positions")


def data(cfg: Any) -> list[str]:
    """The names of the data that the jobs need, the headline's first."""
    return [cfg.data, *([cfg.data + RAW] if cfg.raw_seeds else [])]


def task(cfg: Any, name: str) -> Task:
    """With the data fetched from the given mirrors, if it has to be."""
    tasks.fetch(name, cfg.mirrors)
    return tasks.load(name, **{size: getattr(cfg, size) for size in sizes(cfg)})


def sizes(cfg: Any) -> tuple[str, ...]:
    return ("train_pairs", "test_pairs") if cfg.data == "dates" else ("merges",)


def network(job: Job, task: Task) -> Transformer:
    return Transformer(len(task.vocabulary.pieces), **{name: job[name] for name in MODEL})


def schedule(job: Job) -> InverseSquareRoot:
    """``learning_rate`` times equation 3."""
    return InverseSquareRoot(job["learning_rate"] * job["d_model"] ** -0.5, job["warmup"])


def train(job: Job, run: Run) -> None:
    """A row an evaluation; at the end, for the base model, a row a decoding of the test set, and its translations."""
    task = tasks.of(job)
    model, rate = network(job, task), schedule(job)
    parameters, p = tree.flatten(model.init(np.random.default_rng((job["seed"], 1))))
    optimizer = Adam(rate, 0.0, 0.9, 0.98, 1e-9)
    state = optimizer.init(p)
    kept = {str(step): np.zeros_like(parameters) for step in checkpoint_steps(job)}
    sums = np.zeros(2)  # of the losses since the last evaluation, and how many
    run.restore({"p": p, "optimizer": state, "kept": kept, "sums": sums})
    batches = task.batches(task.train, job["tokens"]).stream(job["seed"], start=run.step)
    for step in run.steps():
        loss, grads = gradient(model, p, next(batches), job["label_smoothing"], run.rng)
        run.check(loss)
        optimizer.update(p, grads, state)
        sums += loss, 1
        if str(step + 1) in kept:
            kept[str(step + 1)][:] = parameters
        if (step + 1) % job["evaluate_every"] == 0:
            run.record(
                part="curve",
                iteration=step + 1,
                rate=rate(step),
                train_loss=sums[0] / sums[1],
                **evaluation(model, p, task, run),
            )
            sums[:] = 0
    if kept:
        mean = average([tree.views(p, checkpoint) for checkpoint in kept.values()])
        finish(model, {"last": p, "averaged": mean}, job, task, run)


def checkpoint_steps(job: Job) -> list[int]:
    """After which steps the parameters enter the average: the last ones, at equal distances."""
    return [job["steps"] - i * job["checkpoint_distance"] for i in reversed(range(job.get("checkpoints", 0)))]


def evaluation(model: Transformer, p: Tree, task: Task, run: Run) -> dict[str, float]:
    """Perplexity and greedy score on the validation pairs; on the test pairs too for the base model's curve."""
    found: dict[str, float] = {}
    for split in ("val", "test") if run.job["variant"] == "base" else ("val",):
        pairs = getattr(task, split)
        found[f"{split}_perplexity"] = perplexity(model, p, task.batches(pairs, SHARD))
        run.check(found[f"{split}_perplexity"])
        hypotheses = task.decode(translate(model, p, task.encode(pairs.sources), GREEDY))
        found[f"{split}_score"] = tasks.score(run.job["data"], hypotheses, pairs.targets)["score"]
    return found


def perplexity(model: Transformer, p: Tree, batches: Batches) -> float:
    """exp of the mean of -log p over all target tokens, EOS among them, without smoothing."""
    every = list(batches)

    def of(part: slice) -> list[tuple[float, int]]:
        return [total(model, p, batch) for batch in every[part]]

    nats, tokens = np.sum([found for part in spread(of, len(every)) for found in part], axis=0)
    return float(np.exp(nats / tokens))


def total(model: Transformer, p: Tree, batch: Batch) -> tuple[float, int]:
    """(-log p of all target tokens in nats, how many)."""
    loss, _ = model.loss(p, batch)
    return float(loss.sum(dtype=np.float64)), loss.size


def finish(model: Transformer, parameters: dict[str, Tree], job: Job, task: Task, run: Run) -> None:
    """Decode the test pairs greedily and with a beam, by the last parameters and the averaged ones."""
    sources = task.encode(task.test.sources)
    for weights, p in parameters.items():
        for search, beam in (("greedy", GREEDY), ("beam", job["beam"])):
            hypotheses = task.decode(translate(model, p, sources, beam, job["alpha"]))
            found = tasks.score(job["data"], hypotheses, task.test.targets)
            run.record(part="final", weights=weights, search=search, **found)
            run.keep(**{f"{weights}_{search}": as_bytes(hypotheses)})
    *_, batch = task.batches(task.test, SHARD)  # that of the longest targets
    run.record(
        part="probe",
        parameters=tree.size(parameters["last"]),
        vocabulary=model.vocabulary,
        leak=leak(model, parameters["last"], batch),
        peak=max(map(schedule(job), range(job["steps"]))),
    )
    run.keep(**pictured(model, parameters["averaged"], task))


def pictured(model: Transformer, p: Tree, task: Task) -> dict[str, np.ndarray]:
    """What every head attends to in one test pair, translated greedily, and its tokens' names.

    The first one with a source longer than three quarters of the others'.
    """
    lengths = [len(source) for source in task.encode(task.test.sources)]
    source = task.encode([task.test.sources[lengths.index(sorted(lengths)[3 * len(lengths) // 4])]])
    translation = translate(model, p, source, GREEDY)
    batch = next(iter(Batches(source, translation, max(map(len, [*source, *translation])) + 1)))
    names = {"source": batch.source, "input": batch.decoder_input}
    pieces = {name: as_bytes([task.vocabulary.pieces[i] for i in tokens[0]]) for name, tokens in names.items()}
    return maps(model, p, batch) | pieces


def as_bytes(lines: list[str]) -> np.ndarray:
    """Lines of text as an array, for ``Run.keep``."""
    return np.frombuffer("".join(f"{line}\n" for line in lines).encode(), np.uint8)


def as_lines(array: np.ndarray) -> list[str]:
    return array.tobytes().decode().removesuffix("\n").split("\n")
