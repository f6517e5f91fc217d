"""Settings: every field says what it takes, and files are held to it like the command line."""

from dataclasses import dataclass, field

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from papers import entry
from papers.vae.run import VAESettings
from shared.errors import BadRequest
from shared.settings import Settings, check, check_value, choice, fields, number


@dataclass
class Small(Settings):
    scale: str = choice("smoke", default="smoke")
    checkpoint_every: int = number(low=1, high=9, default=3)
    shape: list[int] = number(low=1, high=5, default_factory=lambda: [2])
    words: list[str] = field(default_factory=list)
    rate: float | None = number(low=0, high=1, above=True, default=None)


def test_fields_are_dotted_and_typed() -> None:
    found = {name: kind for name, _, kind in fields(Small)}
    assert found["compute.workers"] == int | None
    assert found["shape"] == list[int]
    assert found["wait"] is bool


def test_what_fits() -> None:
    check(Small())
    for name, value in [("rate", 1), ("rate", 0.5), ("rate", None), ("shape", [1, 5]), ("words", []), ("wait", True)]:
        check_value(Small, name, value)
    for name, value in [
        ("rate", 0),
        ("rate", True),
        ("shape", "12"),
        ("shape", [6]),
        ("words", ["a", "a"]),
        ("wait", 1),
    ]:
        with pytest.raises(BadRequest, match=f"^{name}="):
            check_value(Small, name, value)


@pytest.mark.faults(12)
def test_values_in_an_object_are_checked_too() -> None:
    with pytest.raises(BadRequest, match=r"^checkpoint_every=10: must be an integer >= 1 and <= 9$"):
        check(Small(checkpoint_every=10))
    settings = Small()
    settings.compute.workers = 0
    with pytest.raises(BadRequest, match=r"^compute.workers=0: must be an integer >= 1 and <= 1024, or null$"):
        check(settings)


@pytest.mark.parametrize("scale", ["smoke", "quick", "full"])
def test_every_scale_and_compute_composes(scale: str) -> None:
    ConfigStore.instance().store(name="vae_schema", node=VAESettings)
    for compute in ("local", "submitit_local", "slurm"):
        with initialize_config_dir(str(entry.CONF), version_base="1.3"):
            config = entry.checked(compose("vae", [f"scale={scale}", f"compute={compute}"]), VAESettings)
        assert (config.scale, config.compute.kind) == (scale, compute)
