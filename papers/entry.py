"""The Hydra side of every entry point: the one error boundary, checked settings, the session that a run works in."""

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, NoReturn, TypeVar

import pandas as pd
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from shared import cluster, machine, results, settings
from shared.claims import Claim, judge, ledger_text
from shared.errors import BadRequest, Diverged, RunError, Stopped
from shared.experiment import Experiment, Setting, digest
from shared.settings import Settings

S = TypeVar("S", bound=Settings)
CONF = results.ROOT / "conf"
FULL_TRACE = os.environ.get("HYDRA_FULL_ERROR") == "1"
GROUPS = ("scale", "compute")
TAKES_VALUE = {"--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"}
FLAGS = {"--help", "-h", "--hydra-help", "--version", "--resolve", "--info", "-i", *TAKES_VALUE}
# These say how a run is done and not what: with them alone the results are those of the scale.
WITHOUT_EFFECT = {"scale", "compute", "wait", "checkpoint_every", "study"}


Check = Callable[[str], None]


def start(
    name: str, schema: type[Settings], main: Callable[[], None], texts: Mapping[str, Check] = MappingProxyType({})
) -> None:
    """Register the paper's schema, check the command line and hand over to Hydra, all inside the error boundary.

    ``texts`` are the options that take free text, which Hydra's grammar would read in ways of its own, each with the
    check that refuses what it does not take (BadRequest).
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing a report of its own
    argparse.ArgumentParser.error = refuse  # type: ignore[method-assign, assignment]  # nor its parser a usage
    signal.signal(signal.SIGTERM, interrupt)
    with error_boundary():
        ConfigStore.instance().store(name=f"{name}_schema", node=schema)
        sys.argv[1:] = [quoted(argument, texts) for argument in sys.argv[1:]]
        check_arguments(sys.argv[1:], schema)
        main()


def quoted(argument: str, texts: Mapping[str, Check]) -> str:
    """``name=value`` with the value in the quotes of Hydra's grammar, where the option takes free text.

    Quotes that the value has already go. A check must let no quote, backslash or dollar sign pass: those mean something
    between the quotes as well.
    """
    name, equals, value = argument.partition("=")
    if name.lstrip("+") not in texts or not equals:
        return argument
    value = re.sub(r"""\A(['"])(.*)\1\Z""", r"\2", value.strip(), flags=re.DOTALL)
    texts[name.lstrip("+")](value)
    return f"{name}='{value}'"


def refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """A flag without its value, or with a wrong one."""
    raise BadRequest(f"{message}. --help lists the options.")


def interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM is to SIGINT what another word is to the same."""
    raise KeyboardInterrupt(number)


@contextmanager
def error_boundary() -> Iterator[None]:
    """Turn every failure that concerns the user into one line on stderr and an exit code; also a decorator.

    It stands around Hydra for what goes wrong in composing, and around the task inside, since Hydra would print a line
    of its own about a task that raises. With HYDRA_FULL_ERROR=1 the full trace follows.
    """
    try:
        yield
    except (RunError, HydraException, OmegaConfBaseException, OSError, KeyboardInterrupt) as error:
        if FULL_TRACE:
            raise
        line, code = f"error: {' '.join(str(error).split())}", getattr(error, "exit_code", BadRequest.exit_code)
        if isinstance(error, Stopped):
            line = str(error)
        elif isinstance(error, KeyboardInterrupt):
            line, code = "stopped before the run began", 128 + (error.args or (signal.SIGINT,))[0]
        elif isinstance(error, OSError) and not isinstance(error, HydraException):
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            line, code = f"error: {what}. Run the same command again.", RunError.exit_code
        print(line, file=sys.stderr)
        sys.exit(code)


def check_arguments(arguments: Sequence[str], schema: type[Settings]) -> None:
    """BadRequest for an unknown flag, option or name, or a value out of range, before Hydra and before any file."""
    expects_value = False
    for argument in arguments:
        if expects_value:
            expects_value = False
        elif argument.startswith("-"):
            flag = argument.split("=")[0]
            if flag not in FLAGS:
                raise BadRequest(f"unknown flag {flag}. Options are written name=value; --help lists them.")
            expects_value = flag in TAKES_VALUE and "=" not in argument
        else:
            check_override(argument, schema)


def check_override(argument: str, schema: type[Settings]) -> None:
    """BadRequest when ``name=value`` names no option of the schema or a value that it does not take."""
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        raise BadRequest(f"cannot read {argument!r}: options are written name=value; --help lists them") from None
    name = override.key_or_group
    if name.split(".")[0] == "hydra" or name.startswith("hydra/"):
        return
    settings.check_name(schema, name, GROUPS)
    if override.is_delete():
        raise BadRequest(f"cannot read {argument!r}: {name} cannot be left out")
    if override.is_sweep_override():
        raise BadRequest(f"cannot read {argument!r}: a list is written {name}=[...]")
    value = override.value()
    if name in GROUPS:
        valid = sorted(settings.names(schema, name) or (path.stem for path in (CONF / name).glob("*.yaml")))
        if value not in valid:
            raise BadRequest(f"unknown {name} {value}. Valid: {', '.join(valid)}.")
    else:
        settings.check_value(schema, name, _unquoted(value))


def _unquoted(value: Any) -> Any:
    """Hydra keeps the quotes of a quoted string in an object of its own; ours are plain."""
    if isinstance(value, list):
        return [_unquoted(item) for item in value]
    return getattr(value, "text", value)


def checked(cfg: DictConfig, schema: type[S]) -> S:
    """The composed configuration as an object of the schema, its values checked (files may have set them too)."""
    config = OmegaConf.to_object(cfg)
    assert isinstance(config, schema)
    settings.check(config)
    return config


@dataclass
class Session:
    """One command: its experiment, the folder where its results go, and the commit of the sources it began with."""

    paper: str
    config: Settings
    folder: Path
    experiment: Experiment
    yaml: str
    commit: str

    def finish(
        self,
        rows: pd.DataFrame,
        claims: Sequence[Claim],
        seeds: Sequence[int],
        draw: Callable[[], dict[str, bytes]],
        final: bool = True,
        **provenance: Any,
    ) -> None:
        """Judge the claims, publish everything and print the ledger.

        ``draw`` gives the figures and other files by name; it is not called when nothing changed, nor when a job
        diverged: old figures then stay, and Diverged is raised in the end. When it is not ``final``, for more jobs
        follow, the ledger is not printed and nothing raised.
        """
        failures = self.experiment.failures
        ledger = judge(claims, rows, provenance["data"], [outcome.job for outcome in failures])
        facts = {
            "paper": self.paper,
            "command": command(self.paper, self.config),
            "commit": self.commit,
            "seeds": list(seeds),
            **provenance,
        }
        files = {"claims.csv": ledger.to_csv(index=False).encode(), "config.yaml": self.yaml.encode()}
        written = results.publish(self.folder, self.experiment, rows, files, draw, facts)
        if not final:
            print(f"results so far: {self.folder}")
            return
        print(ledger_text(ledger))
        print(f"results: {self.folder}")
        for picture in sorted(self.folder.glob("*.png")):
            print(f"figure:  {picture}")
        for page in sorted(self.folder.glob("*.html")):
            print(f"page:    {page}")
        if not written:
            print("already done: every file is up to date, none was touched", file=sys.stderr)
        if failures:
            raise Diverged(f"{self.experiment.setting.name(failures[0].job)}: {failures[0].error}")


@contextmanager
def session(
    paper: str, cfg: DictConfig, config: Settings, named_by: tuple[str, ...], part: str = ""
) -> Iterator[Session]:
    """Open the results folder of a paper and scale; what is done inside is stopped and resumed by the engine.

    A ``part`` of a paper publishes into a folder of that name inside of it. A command that overrides more than how it
    is run publishes into a folder of its own, ``custom-<digest>``: the committed results of a scale only ever come from
    its declared settings. Runs are shared, since a job names them.
    """
    machine.keep_heap()
    machine.warn_if_blas_is_held_back()
    scale = results.results_root() / paper / config.scale
    text = OmegaConf.to_yaml(cfg, resolve=True)
    overridden = {override.lstrip("+").split("=")[0].split(".")[0] for override in HydraConfig.get().overrides.task}
    folder = scale / part
    if overridden - WITHOUT_EFFECT:
        container = OmegaConf.to_container(cfg)
        assert isinstance(container, dict)
        what = {key: value for key, value in container.items() if key not in WITHOUT_EFFECT}
        folder = scale / part / f"custom-{digest(what)}"
    workers = config.compute.workers or machine.cores()
    threads = config.compute.threads or max(1, machine.cores() // workers)
    commit = results.commit()
    setting = Setting(
        folder=scale,
        label=f"{paper}/{config.scale}",
        named_by=named_by,
        code=results.code_digest(paper),
        threads=threads,
        checkpoint_every=config.checkpoint_every,
        wait=config.wait,
    )
    with results.opened(folder, setting, workers, cluster.executor(config.compute, threads, scale)) as experiment:
        yield Session(paper, config, folder, experiment, text, commit)


def command(paper: str, config: Settings) -> str:
    """What to type to get these results again."""
    task = [override for override in HydraConfig.get().overrides.task if not override.startswith("scale=")]
    return " ".join([f"python papers/{paper}/run.py", f"scale={config.scale}", *task])
