"""Our step or fit against a peer's, interleaved in one process, both with their heap kept and the same threads."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pytest
import torch
from threadpoolctl import threadpool_limits

from shared import machine
from shared.files import write_files
from shared.threads import use

BLOCKS, STEPS, WARM_UP = 15, 12, 3  # the two take turns in blocks; the first steps of a block are not counted


class Comparison:
    """Times pairs of steps and notes them in ``results/<folder>/bench.json``, beside those of other CPUs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.entries: dict[str, list[dict[str, object]]] = {}

    def __call__(
        self,
        folder: str,
        name: str,
        ours: Callable[[], object],
        theirs: Callable[[], object],
        threads: int = 2,
        peer: str = "torch",
        blocks: int = BLOCKS,
        steps: int = STEPS,
    ) -> float:
        """The ratio of the median times, ours over theirs; noted for ``results/<folder>/bench.json``.

        What takes seconds is timed with fewer blocks of a single step, which then counts.
        """
        times: dict[Callable[[], object], list[float]] = {ours: [], theirs: []}
        torch.set_num_threads(threads)
        with threadpool_limits(threads), use(threads):  # BLAS, the OpenMP of scikit-learn, our own
            for _ in range(blocks):
                for step, record in times.items():
                    for i in range(steps):
                        start = time.perf_counter()
                        step()
                        if i >= min(WARM_UP, steps - 1):
                            record.append(1000 * (time.perf_counter() - start))
        numpy_ms, peer_ms = (median(times[step]) for step in (ours, theirs))
        entry = {
            "name": name,
            "numpy_ms": round(numpy_ms, 3),
            f"{peer}_ms": round(peer_ms, 3),
            "ratio": round(numpy_ms / peer_ms, 3),
            "threads": threads,
            "runs": len(times[ours]),
            "cpu": machine.cpu_name(),
        }
        print(entry)
        self.entries.setdefault(folder, []).append(entry)
        return numpy_ms / peer_ms


@pytest.fixture(scope="session")
def compare(root: Path) -> Iterator[Comparison]:
    machine.keep_heap()
    comparison = Comparison(root)
    yield comparison
    for folder, entries in comparison.entries.items():
        path = root / "results" / folder / "bench.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        measured = {same_step(entry) for entry in entries}
        older = json.loads(path.read_text()) if path.exists() else []
        kept = [entry for entry in older if same_step(entry) not in measured]
        write_files({path: (json.dumps(kept + entries, indent=1) + "\n").encode()})


def same_step(entry: dict[str, object]) -> tuple[object, ...]:
    """What two entries share when one replaces the other."""
    return entry["name"], entry["threads"], entry["cpu"]
