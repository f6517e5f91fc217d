"""Settings as typed dataclasses whose fields say what values they take, checked before anything else happens."""

import dataclasses
import difflib
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Union, get_args, get_origin, get_type_hints

from shared.errors import BadRequest


def number(
    *, low: float, high: float, above: bool = False, below: bool = False, empty: bool = False, **default: Any
) -> Any:
    """A field for an int or float in [low, high], above low or below high when so marked, or a list of such ones.

    A list may be without any when so marked.
    """
    return field(metadata={"low": low, "high": high, "above": above, "below": below, "empty": empty}, **default)


def choice(*names: str, empty: bool = False, **default: Any) -> Any:
    """A field for one of these names, or a list of such ones, which may be without any when so marked."""
    return field(metadata={"names": names, "empty": empty}, **default)


@dataclass
class Compute:
    """Where jobs run: ``workers`` processes with ``threads`` BLAS threads each; null shares the cores out."""

    kind: str = choice("local", "submitit_local", "slurm", default="local")
    workers: int | None = number(low=1, high=1024, default=None)
    threads: int | None = number(low=1, high=1024, default=None)
    minutes: int = number(low=1, high=100_000, default=600)
    partition: str | None = None


@dataclass
class Settings:
    """What every paper's entry point takes besides its own settings."""

    scale: str = choice("smoke", "quick", "full")
    checkpoint_every: int = number(low=1, high=10**9)  # steps
    wait: bool = False  # for a run folder that another process holds, instead of exit code 75
    compute: Compute = field(default_factory=Compute)


def fields(schema: type, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """(dotted name, field, type) of every leaf of a dataclass of settings."""
    hints = get_type_hints(schema)
    for item in dataclasses.fields(schema):
        if dataclasses.is_dataclass(hints[item.name]):
            yield from fields(hints[item.name], f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, item, hints[item.name]


def names(schema: type, option: str) -> list[str]:
    """The names that an option takes, none for one that is not a choice."""
    return [name for dotted, item, _ in fields(schema) if dotted == option for name in item.metadata.get("names", ())]


def check_name(schema: type, name: str, others: Sequence[str] = ()) -> None:
    """BadRequest for an option that does not exist, with the nearest one that does."""
    options = sorted({dotted for dotted, _, _ in fields(schema)} | set(others))
    if name not in options:
        near = difflib.get_close_matches(name, options, 1)
        hint = f"Did you mean {near[0]}?" if near else f"Valid: {', '.join(options)}."
        raise BadRequest(f"unknown option {name}. {hint}")


def check_value(schema: type, name: str, value: Any) -> None:
    """BadRequest when the value is not what the field of that (dotted) name takes."""
    for dotted, item, kind in fields(schema):
        if dotted == name and not _fits(value, kind, item.metadata):
            raise BadRequest(f"{name}={value}: must be {_wanted(kind, item.metadata)}")


def check(settings: Any) -> None:
    """BadRequest for the first value of a settings object that its field does not take."""
    for name, _, _ in fields(type(settings)):
        value = settings
        for part in name.split("."):
            value = getattr(value, part)
        check_value(type(settings), name, value)


def _plain(kind: Any) -> tuple[Any, bool]:
    """(the type, whether null is allowed too)."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(k for k in get_args(kind) if k is not type(None)), True
    return kind, False


def _fits(value: Any, kind: Any, limits: Any) -> bool:
    kind, nullable = _plain(kind)
    if value is None:
        return nullable
    if get_origin(kind) is list:
        (element,) = get_args(kind)
        if not isinstance(value, Sequence) or isinstance(value, str) or len(set(map(str, value))) < len(value):
            return False
        return (len(value) > 0 or limits.get("empty", not limits)) and all(
            _fits(item, element, limits) for item in value
        )
    if kind is bool:
        return isinstance(value, bool)
    if kind is str:
        return isinstance(value, str) and value in limits.get("names", (value,))
    if isinstance(value, bool) or not isinstance(value, (int,) if kind is int else (int, float)):
        return False
    low, high = limits["low"], limits["high"]
    at_end = (value == low and limits["above"]) or (value == high and limits["below"])
    return bool(low <= value <= high) and not at_end  # NaN is in no range


def _wanted(kind: Any, limits: Any) -> str:
    kind, nullable = _plain(kind)
    if get_origin(kind) is list:
        return f"a list of different values, each {_wanted(get_args(kind)[0], limits)}"
    if kind is bool:
        wanted = "true or false"
    elif kind is str:
        wanted = f"one of {', '.join(limits['names'])}" if "names" in limits else "a name"
    else:
        article = "an integer" if kind is int else "a number"
        wanted = f"{article} {'>' if limits['above'] else '>='} {limits['low']:g} "
        wanted += f"and {'<' if limits['below'] else '<='} {limits['high']:g}"
    return f"{wanted}, or null" if nullable else wanted
