"""What every paper's folder promises: its settings are those of its files, its smoke run works, its help helps."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from papers.entry import check_arguments
from shared.errors import BadRequest
from shared.settings import Settings, check

ROOT = Path(__file__).parents[1]
PAPERS = sorted(path.parent.name for path in (ROOT / "papers").glob("*/run.py"))
FILES = ("__init__.py", "run.py", "claims.py", "reference.csv", "notes.md")

each_paper = pytest.mark.parametrize("paper", PAPERS)


def schema(paper: str) -> type[Settings]:
    """The settings class of its entry point."""
    module = importlib.import_module(f"papers.{paper}.run")
    (found,) = (v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Settings) and v != Settings)
    return found


def command(paper: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, f"papers/{paper}/run.py", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@each_paper
def test_has_its_files(paper: str) -> None:
    folder = ROOT / "papers" / paper
    assert not [name for name in FILES if not (folder / name).exists()]


@pytest.mark.parametrize(
    ("paper", "scale"), [(paper, path.stem) for paper in PAPERS for path in sorted((ROOT / "conf" / paper).glob("*"))]
)
def test_what_a_scale_sets_is_what_runs(paper: str, scale: str) -> None:
    """The files of a scale come after the paper's common settings, name the seeds, and pass the paper's checks."""
    own = OmegaConf.load(ROOT / "conf" / paper / f"{scale}.yaml")
    ConfigStore.instance().store(name=f"{paper}_schema", node=schema(paper))
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = compose(paper, [f"scale={scale}"])
    assert {key: composed[key] for key in own} == dict(own)
    assert composed.seeds
    check(OmegaConf.to_object(composed))


@each_paper
def test_smoke_run_fills_its_folder_and_is_done_once(paper: str, results_home: Path) -> None:
    done = command(paper, "scale=smoke")
    assert done.returncode == 0, done.stderr
    folder = results_home / paper / "smoke"
    record = json.loads((folder / "run.json").read_text())
    assert {"headline.png", "rows.csv", "claims.csv", "config.yaml"} <= set(record["files"])
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
    again = command(paper, "scale=smoke")
    assert again.returncode == 0, again.stderr
    assert "already done" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()} == before


@each_paper
def test_help_lists_the_settings_and_a_typo_is_refused(paper: str) -> None:
    shown = command(paper, "--help")
    assert shown.returncode == 0
    assert "checkpoint_every:" in shown.stdout
    with pytest.raises(BadRequest, match=r"unknown option checkpoint_evry\. Did you mean checkpoint_every\?"):
        check_arguments(["checkpoint_evry=3"], schema(paper))
