"""The Transformer's run: jobs, training and what is kept of it, tasks and scores, what is read off, claims, figures."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from matplotlib.figure import Figure

from papers import entry
from papers.attention import attention_study_figure, bleu, claims, figure, probes, run, tasks, training
from papers.attention import model as transformer
from papers.attention.data import PAD, UNK, UNKNOWN, Batches
from papers.attention.dates import Pairs
from papers.attention.decoding import translate
from papers.attention.model import Transformer
from papers.attention.tasks import Task
from shared import plot, threads, tree
from shared.datasets import multi30k
from shared.datasets.multi30k import Multi30k, Parallel
from shared.errors import BadRequest, Diverged, RunError, Stopped
from shared.experiment import Job, Run, Setting
from shared.tree import Array, Tree

CFG = {
    "data": "dates",
    "layers": 1,
    "d_model": 8,
    "d_ff": 12,
    "heads": 4,
    "dropout": 0.2,
    "positions": "sinusoidal",
    "label_smoothing": 0.1,
    "tokens": 128,
    "learning_rate": 0.5,
    "warmup": 3,
    "steps": 8,
    "variant_steps": 4,
    "evaluate_every": 2,
    "checkpoints": 2,
    "checkpoint_distance": 2,
    "beam": 3,
    "alpha": 0.6,
    "merges": 20,
    "train_pairs": 60,
    "test_pairs": 6,
    "seeds": [0, 1],
    "raw_seeds": [],
    "variants": ["heads-1", "no-positions"],
    "variant_seeds": [0],
    "mirrors": [],
}
NAMED_BY = ("stage", "variant", "data", "seed")
EN = ("a man", "a woman", "two dogs", "the boy", "a girl", "an old man")
DE = ("ein Mann", "eine Frau", "zwei Hunde", "der Junge", "ein Mädchen", "ein alter Mann")
DOES = (("runs", "läuft"), ("sits", "sitzt"), ("sleeps", "schläft"), ("is cold", "friert"))


def settings(**changed: object) -> SimpleNamespace:
    return SimpleNamespace(**CFG | changed)


def base(**changed: object) -> Job:
    return training.jobs(settings(**changed))[0]


def made(folder: Path, job: Job, kind: type[Run] = Run) -> Run:
    """The job, trained in a folder of its own."""
    run = kind(job, Setting(folder=folder, label="test", named_by=NAMED_BY, code=""))
    run.folder.mkdir(parents=True, exist_ok=True)
    training.train(job, run)
    return run


def curve(run: Run) -> list[dict[str, Any]]:
    return [row for row in run.rows if row["part"] == "curve"]


def parallel(lower: bool) -> Parallel:
    pairs = [(f"{e} {does} .", f"{d} {tut} .") for e, d in zip(EN, DE, strict=True) for does, tut in DOES]
    en, de = (list(side) for side in zip(*pairs, strict=True))
    return Parallel([s.lower() for s in en], [s.lower() for s in de]) if lower else Parallel(en, de)


@pytest.fixture
def captions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Multi30k in 24 sentences; the test's have an ending that training never saw."""

    def load(version: str, mirrors: object = None) -> Multi30k:
        text = parallel(version == "lc.norm.tok")
        test = Parallel([f"{s} ?" for s in text.en[:5]], [f"{s} ?" for s in text.de[:5]])
        return Multi30k(text, Parallel(text.en[:4], text.de[:4]), test, {f"train.{version}": "sha256:0"})

    tasks.load.cache_clear()
    monkeypatch.setattr(multi30k, "load", load)
    yield
    tasks.load.cache_clear()


# Jobs and settings


def test_the_base_models_seeds_come_first_then_raw_text_then_the_variants() -> None:
    jobs = training.jobs(settings(data="multi30k", raw_seeds=[0], variant_seeds=[0, 1]))
    assert [(j["variant"], j["data"], j["seed"]) for j in jobs] == [
        ("base", "multi30k", 0),
        ("base", "multi30k", 1),
        ("base", "multi30k-raw", 0),
        ("heads-1", "multi30k", 0),
        ("no-positions", "multi30k", 0),
        ("heads-1", "multi30k", 1),
        ("no-positions", "multi30k", 1),
    ]


@pytest.mark.parametrize("variant", training.VARIANTS)
def test_a_variant_differs_in_what_its_name_says_and_in_its_budget(variant: str) -> None:
    cfg = settings(variants=[variant], layers=4)
    first, own = training.jobs(cfg)[0], training.jobs(cfg)[-1]
    same = {key for key in own if own[key] == first[key]}
    assert set(own) - same == {"variant", "steps", *training.VARIANTS[variant]}
    assert set(first) - set(own) == {"checkpoints", "checkpoint_distance", "beam", "alpha"}
    assert training.checkpoint_steps(own) == []


def test_variants_are_those_of_table_3_at_our_size() -> None:
    found = {name: changes for changes in training.VARIANTS.values() for name in changes}
    assert set(found) == {"heads", "layers", "dropout", "label_smoothing", "positions"}
    assert {v["heads"] for v in training.VARIANTS.values() if "heads" in v} == {1, 8}
    assert {v["layers"] for v in training.VARIANTS.values() if "layers" in v} == {1, 2}
    assert {v["dropout"] for v in training.VARIANTS.values() if "dropout" in v} == {0, 0.1}
    assert set(training.VARIANTS) == set(figure.NAMES)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"variant_steps": 10}, "variant_steps=10: must be at most steps=8"),
        ({"evaluate_every": 3}, "evaluate_every=3: must divide steps=8"),
        ({"evaluate_every": 8}, "evaluate_every=8: must divide variant_steps=4"),
        ({"checkpoints": 5}, "checkpoints=5 at checkpoint_distance=2: must begin after the start of steps=8"),
        ({"variant_seeds": [7]}, r"seeds=\[0, 1\]: must include \[7\] too, of raw_seeds or variant_seeds"),
        ({"raw_seeds": [0]}, r"raw_seeds=\[0\]: dates have no raw text beside their own"),
        ({"heads": 1}, r"variants=\['heads-1', 'no-positions'\]: heads-1 is the base model, heads=1"),
        ({"heads": 3}, "variant base: MultiHeadAttention: d_model must be a positive multiple of heads"),
        ({"d_model": 12, "variants": ["heads-8"]}, "variant heads-8: MultiHeadAttention: d_model must be a positive"),
        ({"tokens": 20}, r"tokens=20: must be at least \d\d, the longest sentence"),
    ],
)
def test_settings_that_do_not_go_together(changed: dict[str, Any], message: str) -> None:
    cfg = settings(**changed)
    with pytest.raises(BadRequest, match=message):
        training.check(cfg, training.task(cfg, "dates"))


def test_settings_that_go_together() -> None:
    training.check(settings(), training.task(settings(), "dates"))


def test_a_line_longer_than_the_learned_positions_is_refused() -> None:
    task = training.task(settings(), "dates")
    long = task._replace(val=Pairs(["9" * 600], ["1999-01-01"]))
    training.check(settings(tokens=1000), long)
    with pytest.raises(BadRequest, match="positions=learned: a sentence has 601 tokens, more than 512 positions"):
        training.check(settings(tokens=1000, variants=["learned-positions"]), long)


class Recorder:
    """A session that writes down what it is asked to do."""

    def __init__(self) -> None:
        self.experiment, self.parts = self, list[list[Job]]()

    def run(self, train: object, jobs: list[Job], forecast: bool = False) -> pd.DataFrame:
        self.parts.append(jobs)
        return pd.DataFrame({"seed": [job["seed"] for job in jobs]})

    def finish(self, rows: pd.DataFrame, claims: object, seeds: list[int], draw: object, **facts: object) -> None:
        self.rows, self.seeds = rows, seeds


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command line up to its first job, on a few dates whatever data it asks for."""
    few = tasks.load("dates", train_pairs=60, test_pairs=6)
    monkeypatch.setattr(tasks, "fetch", lambda *given: None)
    monkeypatch.setattr(tasks, "load", lambda *given, **sizes: few)
    ConfigStore.instance().store(name="attention_schema", node=run.AttentionSettings)

    def start(*arguments: str) -> Recorder:
        recorder = Recorder()

        @contextmanager
        def session(*given: object) -> Iterator[Recorder]:
            yield recorder

        monkeypatch.setattr(entry, "session", session)
        entry.check_arguments(arguments, run.AttentionSettings)
        with initialize_config_dir(str(entry.CONF), version_base="1.3"):
            run.main(compose("attention", list(arguments)))
        return recorder

    return start


def test_times_are_measured_alone_and_every_seed_is_reported(command: Any) -> None:
    recorder = command("scale=full")
    others, times = recorder.parts
    assert [job.get("study") for job in times] == ["complexity"]
    assert "complexity" not in {job.get("study") for job in others}
    assert recorder.seeds == [0, 1, 2, 3, 4]
    assert len(recorder.rows) == len(others) + 1


def test_the_commands_of_the_notes_are_taken(command: Any) -> None:
    notes = Path(run.__file__).with_name("notes.md").read_text()
    commands = [shlex.split(found) for found in re.findall(r"`python papers/attention/run.py ([^`]+)`", notes)]
    refused = ["seeds=[0]", "heads=5"]
    assert refused in commands
    assert len(commands) > 7
    for arguments in commands:
        if arguments == refused:
            with pytest.raises(SystemExit, match="2"):
                command(*arguments)
        else:
            assert command(*arguments).parts


# Training


@pytest.mark.timeout(120)
def test_what_a_part_spreads_in_turn_stays_in_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The training step spreads shards, in each of which large activations would be spread."""
    monkeypatch.setattr(threads, "LARGE", 1)
    monkeypatch.setattr(transformer, "SHARD", 8)
    p, batch = small()
    alone = transformer.gradient(MODEL, p, batch, 0.1, np.random.default_rng(0))[0]
    with threads.use(2):
        assert threads.spread(lambda part: threads.spread(lambda inner: inner.stop, 4), 2) == [[4], [4]]
        assert transformer.gradient(MODEL, p, batch, 0.1, np.random.default_rng(0))[0] == pytest.approx(alone)


def test_the_rate_is_equation_3_and_its_peak_is_exact() -> None:
    rate = training.schedule(base(learning_rate=1.0, d_model=512, warmup=4000))
    steps = np.arange(1, 20_001)
    np.testing.assert_allclose(
        list(map(rate, steps - 1)), 512**-0.5 * np.minimum(steps**-0.5, steps * 4000**-1.5), rtol=1e-12
    )
    assert max(map(rate, steps - 1)) == rate(3999) == pytest.approx((512 * 4000) ** -0.5, rel=1e-14)
    assert training.schedule(base(learning_rate=2.0))(5) == 4 * training.schedule(base(learning_rate=0.5))(5)


def test_recorded_rates_are_those_of_the_updates(tmp_path: Path) -> None:
    rows = curve(made(tmp_path, base()))
    expected = [training.schedule(base())(row["iteration"] - 1) for row in rows]
    assert [row["rate"] for row in rows] == expected
    assert [row["iteration"] for row in rows] == [2, 4, 6, 8]


class Interrupted(Run):
    """Ends with a checkpoint in the middle."""

    def steps(self) -> Iterator[int]:
        for step in super().steps():
            yield step
            if step + 1 == 7:  # between the two checkpoints that are averaged, and between two evaluations
                self.step = step + 1
                self.save()
                raise Stopped("stopped", 2)


def test_a_resumed_training_is_bit_equal(tmp_path: Path) -> None:
    whole = made(tmp_path / "whole", base())
    with pytest.raises(Stopped):
        made(tmp_path / "parts", base(), Interrupted)
    resumed = made(tmp_path / "parts", base())
    assert resumed.rows == whole.rows
    assert {part: len([row for row in whole.rows if row["part"] == part]) for part in ("curve", "final", "probe")} == {
        "curve": 4,
        "final": 4,
        "probe": 1,
    }
    assert whole.arrays.keys() == resumed.arrays.keys()
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(array, resumed.arrays[name], err_msg=name)


def parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: Job) -> dict[str, Tree]:
    """The last ones and the averaged ones of a training."""
    found: dict[str, Tree] = {}

    def finish(model: Transformer, given: dict[str, Tree], *rest: object) -> None:
        found.update(tree.map(np.copy, given))

    monkeypatch.setattr(training, "finish", finish)
    made(tmp_path / str(job["steps"]), job)
    return found


def test_the_last_checkpoints_are_averaged_at_equal_distances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equation 3 does not know the last step: the parameters after 6 steps of 8 are those of a run of 6."""
    assert training.checkpoint_steps({"steps": 8, "checkpoints": 3, "checkpoint_distance": 2}) == [4, 6, 8]
    one, other = (parameters(tmp_path, monkeypatch, base(steps=steps)) for steps in (6, 8))
    for (path, mean), (_, first), (_, second) in zip(
        *(tree.leaves(p) for p in (other["averaged"], one["last"], other["last"])), strict=True
    ):
        np.testing.assert_array_equal(mean, (first.astype(np.float64) / 2 + second / 2.0).astype(np.float32), path)
        assert (first != second).any() or path.endswith("/b")


def test_the_base_model_on_its_way_is_one_with_a_smaller_budget(tmp_path: Path) -> None:
    short, long = (curve(made(tmp_path / str(steps), base(steps=steps))) for steps in (4, 8))
    assert short == long[:2]


def test_training_on_dates_learns(tmp_path: Path) -> None:
    run = made(tmp_path, base(steps=120, evaluate_every=60, warmup=40, d_model=16, d_ff=32, tokens=256, dropout=0.0))
    first, last = curve(run)
    assert last["train_loss"] < first["train_loss"]
    assert last["val_perplexity"] < first["val_perplexity"] < 20
    assert len(training.as_lines(run.arrays["averaged_greedy"])) == 6


def test_a_training_that_diverges_says_so(tmp_path: Path) -> None:
    with np.errstate(all="ignore"), pytest.raises(Diverged, match="Lower learning_rate"):
        made(tmp_path, base(learning_rate=1e25))


def test_only_the_base_model_is_searched_with_a_beam(tmp_path: Path) -> None:
    run = made(tmp_path, training.jobs(settings())[2])
    assert {row["part"] for row in run.rows} == {"curve"}
    assert "test_score" not in run.rows[0]
    assert run.arrays == {}


def uniform(model: Transformer) -> Tree:
    """Parameters that give every token the same probability."""
    p = model.init(np.random.default_rng(0))
    p["embedding"]["W"][:] = 0
    return p


def test_perplexity_is_a_mean_over_tokens_not_over_sentences_and_ends_count() -> None:
    model = Transformer(11, layers=1, d_model=8, d_ff=8, heads=2, dropout=0.5)
    batches = Batches([[4], [5, 6, 7], [8, 9]], [[5], [4, 4, 6, 7, 8], []], 12)
    assert training.perplexity(model, uniform(model), batches) == pytest.approx(11, rel=1e-6)
    p = model.init(np.random.default_rng(1))
    losses = [model.loss(p, batch)[0] for batch in Batches([[4], [5, 6, 7], [8, 9]], [[5], [4, 4, 6, 7, 8], []], 6)]
    assert sum(map(len, losses)) == 2 + 6 + 1
    expected = np.exp(np.concatenate(losses).mean(dtype=np.float64))
    assert training.perplexity(model, p, batches) == pytest.approx(expected, rel=1e-5)


# Tasks and scores


def test_dates_of_validation_and_test_are_not_those_of_training() -> None:
    task = tasks.load("dates", train_pairs=300, test_pairs=40)
    assert [len(pairs.sources) for pairs in (task.train, task.val, task.test)] == [300, 40, 40]
    assert not set(task.train.targets) & {*task.val.targets, *task.test.targets}
    assert task.val.sources != task.test.sources
    assert task.train == tasks.load("dates", train_pairs=300, test_pairs=40).train
    assert task.decode(task.encode(task.train.sources)) == task.train.sources


@pytest.mark.usefixtures("captions")
def test_each_version_of_multi30k_has_its_text_vocabulary_and_metric() -> None:
    lower, raw = (tasks.load(data, merges=20) for data in ("multi30k", "multi30k-raw"))
    assert lower.train.targets[0] == "ein mann läuft ."
    assert raw.train.targets[0] == "ein Mann läuft ."
    assert list(lower.checksums) == ["train.lc.norm.tok", "vocabulary (lc.norm.tok)"]
    assert lower.checksums["vocabulary (lc.norm.tok)"] != raw.checksums["vocabulary (raw)"]
    wrong_case = ["ein mann läuft ."]
    assert tasks.score("multi30k", wrong_case, ["ein Mann läuft ."])["score"] == pytest.approx(100)
    assert tasks.score("multi30k-raw", wrong_case, ["ein Mann läuft ."])["score"] < 60
    assert "tok:none" in tasks.score("multi30k", wrong_case, wrong_case)["signature"]
    assert "tok:13a" in tasks.score("multi30k-raw", wrong_case, wrong_case)["signature"]


@pytest.mark.usefixtures("captions")
def test_subwords_are_learned_from_training_text_alone() -> None:
    task = tasks.load("multi30k", merges=20)
    (encoded,) = task.encode(["a man runs . ?"])
    assert encoded[-1] == UNK  # only the test's sentences have a question mark
    assert task.decode([encoded]) == [f"a man runs . {UNKNOWN}"]


def test_the_score_of_dates_is_the_share_that_is_right() -> None:
    right = ["1987-03-03", "1999-12-31", "2001-01-01", "2010-10-10"]
    found = tasks.score("dates", ["1987-03-03", "1999-12-3", "2001-01-02", "2010-10-10"], right)
    assert found == {"score": 50, "signature": "exact match"}
    with pytest.raises(ValueError, match="zip"):
        tasks.score("dates", right[:2], right)


@pytest.mark.parametrize("beam", [1, 3])
def test_an_empty_sentence_and_unknown_characters_are_translated_too(beam: int) -> None:
    job = base()
    task = tasks.of(job)
    model = training.network(job, task)
    sources = task.encode(["", "\N{SNOWMAN}" * 3, task.test.sources[0]])
    assert sources[:2] == [[], [UNK] * 3]
    found = task.decode(translate(model, model.init(np.random.default_rng(0)), sources, beam))
    assert len(found) == 3
    assert all(isinstance(line, str) for line in found)


def test_sources_and_targets_of_different_lengths_are_refused() -> None:
    with pytest.raises(RunError, match="train: 2 English and 1 German sentences do not pair"):
        multi30k.parallel("train", ["a", "b"], ["c"])
    task = tasks.load("dates", train_pairs=60, test_pairs=6)
    with pytest.raises(ValueError, match="2 sources for 1 targets"):
        task.batches(Pairs(["3 May 1999", "4 May 1999"], ["1999-05-03"]), 100)


@pytest.mark.usefixtures("captions")
def test_translations_that_are_kept_have_the_score_that_is_recorded(tmp_path: Path) -> None:
    cfg = settings(data="multi30k", raw_seeds=[0], seeds=[0], variants=[], steps=120, evaluate_every=60, d_model=16)
    for job, metric in zip(training.jobs(cfg), (bleu.tokenised_lowercased, bleu.cased_detokenised), strict=True):
        run, task = made(tmp_path, job), tasks.of(job)
        finals = [row for row in run.rows if row["part"] == "final"]
        assert [f"{row['weights']}_{row['search']}" for row in finals] == training.DECODINGS
        for row in finals:
            lines = training.as_lines(run.arrays[f"{row['weights']}_{row['search']}"])
            again = metric(lines, task.test.targets)
            assert (row["score"], row["signature"]) == (again.bleu, again.signature)
            assert row["reference_length"] == again.reference_length


def test_the_decoder_is_probed_on_the_longest_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of batches of a pair or two."""
    job = base()
    task = tasks.of(job)
    longer = task._replace(test=Pairs(task.test.sources, [f"{'1' * i}-01-01" for i in range(6)]))
    seen = []
    monkeypatch.setattr(tasks, "of", lambda job: longer)
    monkeypatch.setattr(training, "SHARD", 40)
    monkeypatch.setattr(training, "leak", lambda model, p, batch: seen.append(batch.target.shape[1]) or 0.0)
    made(tmp_path, job)
    assert seen == [len("11111-01-01") + 1]


def test_lines_survive_as_arrays() -> None:
    lines = ["Zwei Männer .", "", "\u2581a b", "ein\u2028Wort"]
    assert training.as_lines(training.as_bytes(lines)) == lines
    assert training.as_bytes(lines).tobytes().decode().split("\n") == [*lines, ""]  # a line a sentence for `sacrebleu`


# Probes


MODEL = Transformer(9, layers=2, d_model=8, d_ff=6, heads=2, dropout=0.3)


def small() -> tuple[Tree, Any]:
    return MODEL.init(np.random.default_rng(0)), next(iter(Batches([[4, 5], [6]], [[5, 7, 8], [4]], 16)))


def test_a_causal_decoder_leaks_nothing_and_one_that_is_not_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    p, batch = small()
    assert probes.leak(MODEL, p, batch) == 0
    monkeypatch.setattr(transformer, "causal", lambda length: np.tri(length, k=1, dtype=bool))
    assert probes.leak(MODEL, p, batch) > 1e-3


def test_an_output_of_nan_is_not_called_causal_and_a_lone_token_is_no_test() -> None:
    p, batch = small()
    assert np.isnan(probes.leak(MODEL, tree.map(lambda a: a * np.nan, p), batch))
    with pytest.raises(ValueError, match=r"^a decoder input of length 1: must have at least 2 positions$"):
        probes.leak(MODEL, p, batch._replace(decoder_input=batch.decoder_input[:, :1]))


def test_a_leak_is_looked_for_with_other_tokens_at_every_later_place() -> None:
    tokens = np.array([[1, 4, 8, 0], [1, 2, 3, 7]], np.int32)
    for start in (1, 2, 3):
        changed = probes.others(tokens, start, 9)
        np.testing.assert_array_equal(changed[:, :start], tokens[:, :start])
        assert (changed[:, start:] != tokens[:, start:]).all()
        assert changed.min() >= 0
        assert changed.max() < 9
        assert PAD not in changed[:, start:]


def test_flop_are_six_for_each_weight_and_token() -> None:
    matrices = sum(a.size for path, a in tree.leaves(MODEL.init(np.random.default_rng(0))) if path.endswith("/W"))
    assert probes.training_flop(MODEL, 1000, 1000) == 6 * 1000 * matrices
    encoder_alone = probes.training_flop(MODEL, 1, 0) / 6
    assert encoder_alone == 2 * (4 * 64 + 2 * 48) + 2 * 2 * 64  # and the decoder's keys and values of the memory


def test_maps_belong_to_one_pair_and_its_tokens(tmp_path: Path) -> None:
    arrays = made(tmp_path, base()).arrays
    source, given = training.as_lines(arrays["source"]), training.as_lines(arrays["input"])
    task = tasks.of(base())
    assert "".join(source[:-1]) in task.test.sources
    assert (source[-1], given[0]) == ("</s>", "<s>")
    s, t = len(source), len(given)
    shapes = {"encoder": (1, 4, s, s), "decoder": (1, 4, t, t), "cross": (1, 4, t, s)}
    for name, shape in shapes.items():
        assert arrays[name].shape == shape
        np.testing.assert_allclose(arrays[name].sum(-1), 1, rtol=1e-5)
    assert not arrays["decoder"][..., ~np.tri(t, dtype=bool)].any()


# Claims and figures


def test_numbers_of_table_3_are_the_referenced_ones() -> None:
    facts = pd.read_csv(Path(claims.__file__).with_name("reference.csv"), dtype=str).set_index("claim_id")["value"]
    rows = {"heads-1": "A-h1", "layers-2": "C-N2", "dropout-0": "D-do0", "smoothing-0": "D-ls0"}
    rows["learned-positions"] = "E-learnedpos"
    for variant, row in rows.items():
        own = tuple(float(facts[f"AIAYN-T3-{row}-{what}"]) for what in ("ppl", "bleu"))
        assert claims.PAPER[variant][0] == own
    base_row = tuple(float(facts[f"AIAYN-T3-base-{what}"]) for what in ("ppl", "bleu"))
    assert {claims.PAPER[v][1] for v in ("dropout-0", "smoothing-0", "learned-positions")} == {base_row}
    four_heads = tuple(float(facts[f"AIAYN-T3-A-h4-{what}"]) for what in ("ppl", "bleu"))
    four_layers = tuple(float(facts[f"AIAYN-T3-C-N4-{what}"]) for what in ("ppl", "bleu"))
    assert claims.PAPER["heads-1"][1] == claims.PAPER["heads-8"][1] == four_heads
    assert claims.PAPER["heads-8"][0] == base_row
    assert claims.PAPER["layers-2"][1] == four_layers
    assert float(facts["M30K-tiny-test2016"]) == claims.REFERENCE_BLEU
    assert [float(facts[f"AIAYN-T2-{size}-ende"]) for size in ("base", "big")] == [27.3, 28.4]


def made_up_rows(data: str = "multi30k") -> pd.DataFrame:
    """Two seeds of the base model for 20 steps and one of each variant for 10, each a point and 0.1 nat below it.

    The variants' evaluations jump about, but for the mean of the last five; one before has the lowest perplexity.
    """
    rows: list[dict[str, Any]] = []
    own = {"stage": "train", "data": data, "learning_rate": 2.0, "warmup": 4, "d_model": 16, "layers": 4, "d_ff": 32}
    own |= {"heads": 4, "dropout": 0.3, "tokens": 100, "beam": 5, "positions": "sinusoidal", "checkpoints": 5}
    for seed in (0, 1):
        common = own | {"variant": "base", "seed": seed, "steps": 20}
        for iteration in range(1, 21):
            score, perplexity = 30 + seed + iteration / 2, 7 - iteration / 10
            both = {
                f"{split}_{what}": v
                for split in ("val", "test")
                for what, v in (("score", score), ("perplexity", perplexity))
            }
            rows.append(common | {"part": "curve", "iteration": iteration, "rate": 0.1} | both)
        for weights, search, score in (
            ("last", "greedy", 39.0),
            ("last", "beam", 39.5),
            ("averaged", "greedy", 40.0),
            ("averaged", "beam", 41.0 + seed),
        ):
            rows.append(common | {"part": "final", "weights": weights, "search": search, "score": score})
            raw = common | {"data": "multi30k-raw", "part": "final", "weights": weights, "search": search}
            if seed == 0 and data != "dates":
                rows += [raw | {"score": score - 4}, raw | {"part": "curve", "iteration": 20, "test_score": 35.0}]
        rows.append(common | {"part": "probe", "leak": 0.0, "peak": 2 * 16**-0.5 * 4**-0.5})
    jumps = {5: -90.0, 9: -5.0, 10: 5.0}
    for i, variant in enumerate(training.VARIANTS, 1):
        for iteration in range(1, 11):
            score = 30 + iteration / 2 - i + jumps.get(iteration, 0.0)
            perplexity = (2 if iteration == 3 else 7 - iteration / 10) + i / 10
            common = own | {"variant": variant, "seed": 0, "steps": 10, "part": "curve", "iteration": iteration}
            rows.append(common | {"val_score": score, "val_perplexity": perplexity})
    return pd.DataFrame([*rows, {"stage": "study", "seed": 0, "data": "random", "variant": np.nan}])


def measured(rows: pd.DataFrame) -> dict[str, list[float]]:
    return {claim.id: [float(v) for v in claim.measure(rows)] for claim in claims.CLAIMS}


def test_claims_measure_what_they_say() -> None:
    values = measured(made_up_rows())
    place = {variant: i for i, variant in enumerate(training.VARIANTS, 1)}
    assert values["attention-bleu"] == [41, 42]
    assert values["attention-bleu-raw"] == [37]
    assert values["attention-bleu-definition"] == [-4]
    assert values["attention-dates"] == []
    assert values["attention-beam"] == [1, 2]
    assert values["attention-averaging"] == [1.5, 2.5]
    assert values["attention-heads"] == pytest.approx([-place["heads-1"]])
    assert values["attention-heads-perplexity"] == pytest.approx([place["heads-1"] / 10])
    assert values["attention-layers-1"] == pytest.approx([place["layers-2"] - place["layers-1"]])
    assert values["attention-dropout"] == pytest.approx([(place["dropout-0"] - place["dropout-0.1"]) / 10])
    assert values["attention-dropout-base"] == pytest.approx([2 + place["dropout-0"] / 10 - 6])
    assert values["attention-smoothing"] == pytest.approx([-place["smoothing-0"]])
    assert values["attention-no-positions"] == pytest.approx([-place["no-positions"]])
    assert values["attention-schedule"] == pytest.approx([0, 0], abs=1e-15)
    assert values["attention-causal"] == [0, 0]
    assert values["attention-wmt-base"] == values["attention-wmt-big"] == []


@pytest.mark.parametrize(("setting", "name"), [("beam", "beam"), ("checkpoints", "averaging")])
def test_a_decoding_is_not_compared_with_itself(setting: str, name: str) -> None:
    values, same = measured(made_up_rows()), measured(made_up_rows().assign(**{setting: 1}))
    assert [claim for claim in values if values[claim] != same[claim]] == [f"attention-{name}"]
    assert same[f"attention-{name}"] == []


def test_one_head_has_to_cost_half_of_the_papers_perplexity() -> None:
    (claim,) = (claim for claim in claims.CLAIMS if claim.id == "attention-heads-perplexity")
    assert claim.same_direction is not None
    assert [claim.holds(v) for v in (-0.1, 0.1, 0.2)] == [False, False, True]
    assert [claim.same_direction(v) for v in (-0.1, 0.1)] == [False, True]


def test_claims_about_dates_are_not_about_bleu() -> None:
    values = measured(made_up_rows("dates"))
    assert values["attention-dates"] == [40, 40]
    assert values["attention-bleu"] == values["attention-bleu-raw"] == []


def test_a_variant_that_was_not_trained_leaves_its_claim_untested() -> None:
    rows = made_up_rows()
    without = rows[~rows["variant"].isin(["layers-2", "heads-1"])]
    values = measured(without)
    assert values["attention-heads"] == values["attention-layers-1"] == values["attention-layers-2"] == []
    assert values["attention-learned-positions"]


def test_a_variant_that_ended_before_its_last_step_leaves_its_claim_untested() -> None:
    rows = made_up_rows()
    ended = rows[(rows["variant"] != "heads-1") | (rows["iteration"] < 10)]
    assert measured(ended)["attention-heads"] == []


def test_a_claim_about_four_is_not_measured_on_six() -> None:
    rows = made_up_rows()
    other = {"heads": 6, "layers": 6, "dropout": 0.1, "positions": "none"}
    rows.loc[rows["variant"] == "base", list(other)] = list(other.values())
    values = measured(rows)
    names = ("heads", "heads-perplexity", "heads-8", "layers-2", "layers-perplexity", "dropout-base")
    for name in (*names, "learned-positions"):
        assert values[f"attention-{name}"] == [], name
    assert values["attention-layers-1"]
    assert values["attention-smoothing"]


def test_statements_name_the_definition_of_bleu_and_why_something_is_not_tested() -> None:
    statements = {claim.id: claim.statement for claim in claims.CLAIMS}
    assert "case:lc|eff:no|tok:none" in statements["attention-bleu"]
    assert "case:mixed|eff:no|tok:13a" in statements["attention-bleu-raw"]
    assert "9.4e+17 FLOP by count, 109 days at 100 GFLOP/s" in statements["attention-wmt-base"]
    assert claims.FLOP["base"] == 1e5 * probes.training_flop(Transformer(37_000), 25_000, 25_000)


@pytest.mark.parametrize(("data", "line"), [("multi30k", 41.02), ("dates", 95)])
def test_the_headline_shows_the_level_to_reach(data: str, line: float) -> None:
    drawn = figure.headline(made_up_rows(data).query("stage == 'train'"), "the data")
    levels = [float(artist.get_ydata()[0]) for artist in drawn.axes[0].lines if artist.get_linestyle() == ":"]
    assert levels == [line]
    texts = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert "end, averaged, beam 5: 41.5" in texts
    assert ("raw text, cased, detokenised;\nend: 37.0" in texts) == (data == "multi30k")
    assert plot.png(drawn)
    assert not hidden(drawn)


def hidden(drawn: Figure) -> bool:
    """Whether a legend lies on a panel."""
    return any(legend.get_window_extent().overlaps(panel.bbox) for legend in drawn.legends for panel in drawn.axes)


def test_perplexities_from_guessing_to_the_end_have_few_ticks() -> None:
    rows = made_up_rows()
    first = (rows["variant"] == "base") & (rows["iteration"] == 1)
    rows.loc[first, ["val_perplexity", "test_perplexity"]] = 575.0
    axis = figure.headline(rows.query("stage == 'train'"), "the data").axes[1].yaxis
    assert [label.get_text() for label in axis.get_ticklabels()] == ["5", "10", "20", "50", "100", "200", "500"]
    assert not len(axis.get_minorticklocs())


def test_table_3s_counterpart_shows_every_variant_and_the_papers_difference() -> None:
    drawn = figure.variants(made_up_rows().query("stage == 'train'"), "the data")
    labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert labels == [*(figure.NAMES[variant] for variant in training.VARIANTS), "another seed"]
    (seeds,) = (artist for artist in drawn.axes[1].lines if artist.get_label() == "the base model's second")
    assert seeds.get_xdata() == pytest.approx([1])
    paper = [artist for artist in drawn.axes[1].lines if artist.get_marker() == "D"]
    assert sorted(float(artist.get_xdata()[0]) for artist in paper) == sorted(
        claims.printed(variant, claims.BLEU) for variant in claims.PAPER
    )
    assert plot.png(drawn)
    assert not hidden(drawn)


def test_without_variants_there_is_no_figure_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("figure", "complexity"):
        monkeypatch.setattr(attention_study_figure, name, lambda rows: Figure())
    rows = made_up_rows("dates")
    experiment: Any = SimpleNamespace(arrays=lambda job: arrays)
    arrays = made(tmp_path, base()).arrays
    for variants, there in ((["heads-1"], True), ([], False)):
        jobs = training.jobs(settings(variants=variants))
        assert ("variants.png" in run.draw(experiment, rows, jobs, "the data")) == there


def test_maps_name_their_tokens(tmp_path: Path) -> None:
    arrays: dict[str, Array] = made(tmp_path, base()).arrays
    figures = figure.maps(arrays, "the data")
    assert set(figures) == {"attention_encoder", "attention_decoder", "attention_cross"}
    assert not re.search(r"\. [a-z]", figures["attention_cross"].get_supxlabel())
    panel = figures["attention_cross"].axes[0]
    keys = [label.get_text() for label in panel.get_xticklabels()]
    assert keys == [piece.replace(" ", "\N{OPEN BOX}") for piece in training.as_lines(arrays["source"])]


def test_a_task_is_found_from_its_job_alone() -> None:
    task = tasks.of(base())
    assert isinstance(task, Task)
    assert task is tasks.of(base()) is training.task(settings(), "dates")
    assert task.title == "generated dates, 60 training and 6 test pairs"
