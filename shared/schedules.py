"""Schedules: frozen dataclasses that map a step (0 for the first update) to its learning rate."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import cos, inf, pi, sqrt

Schedule = Callable[[int], float]


def _positive(owner: object, **values: float) -> None:
    for name, value in values.items():
        if not 0 < value < inf:
            raise ValueError(f"{type(owner).__name__}: {name} must be positive and finite, got {value}")


@dataclass(frozen=True)
class Constant:
    r"""eta(t) = rate."""

    rate: float

    def __post_init__(self) -> None:
        _positive(self, rate=self.rate)

    def __call__(self, step: int) -> float:
        return self.rate


@dataclass(frozen=True)
class Steps:
    r"""eta(t) = rate factor^n, n the number of milestones that are <= t."""

    rate: float
    milestones: tuple[int, ...]
    factor: float = 0.1

    def __post_init__(self) -> None:
        _positive(self, rate=self.rate, factor=self.factor)
        if any(late <= early for early, late in pairwise((0, *self.milestones))):
            raise ValueError(f"Steps: milestones must be positive and rise, got {self.milestones}")

    def __call__(self, step: int) -> float:
        return self.rate * self.factor ** bisect_right(self.milestones, step)


@dataclass(frozen=True)
class Cosine:
    r"""eta(t) = final + (rate - final) (1 + cos(pi t / steps)) / 2 up to t = steps, then final.

    Loshchilov and Hutter 2017 (SGDR), eq. 5, one period.
    """

    rate: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        _positive(self, rate=self.rate, steps=self.steps)
        if not 0 <= self.final <= self.rate:
            raise ValueError(f"Cosine: final must be between 0 and rate={self.rate}, got {self.final}")

    def __call__(self, step: int) -> float:
        return self.final + (self.rate - self.final) * (1 + cos(pi * min(step / self.steps, 1))) / 2


@dataclass(frozen=True)
class InverseSquareRoot:
    r"""eta(t) = scale min(n^-1/2, n warmup^-3/2), n = t + 1: linear up to n = warmup, then the inverse square root.

    Vaswani et al. 2017, eq. 3, with scale = d_model^-1/2. The largest rate, at n = warmup, is scale / sqrt(warmup).
    """

    scale: float
    warmup: int

    def __post_init__(self) -> None:
        _positive(self, scale=self.scale, warmup=self.warmup)

    def __call__(self, step: int) -> float:
        n = step + 1
        return self.scale * min(1 / sqrt(n), n / self.warmup / sqrt(self.warmup))


@dataclass(frozen=True)
class Warmup:
    r"""eta(t) = min(1, (t + 1) / steps) after(t): a linear start for any schedule (Goyal et al. 2017, section 2.2)."""

    after: Schedule
    steps: int

    def __post_init__(self) -> None:
        _positive(self, steps=self.steps)

    def __call__(self, step: int) -> float:
        return self.after(step) * min(1.0, (step + 1) / self.steps)
