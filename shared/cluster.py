"""Jobs on a cluster through submitit; needs the extra ``cluster``."""

import shutil
from pathlib import Path
from typing import Any

from shared.errors import BadRequest
from shared.settings import Compute


def executor(compute: Compute, threads: int, folder: Path) -> Any:
    """A submitit executor for ``compute=slurm`` or ``submitit_local``; None for local workers.

    Its logs and job files go under ``runs/submitit`` of the scale's folder. BadRequest when submitit or Slurm is not
    there.
    """
    if compute.kind == "local":
        return None
    try:
        import submitit
    except ImportError:
        raise BadRequest(f"compute={compute.kind} needs submitit: pip install -e '.[cluster]'") from None
    if compute.kind == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise BadRequest("compute=slurm needs sbatch and srun on the PATH, as on a cluster's login node")
    logs = folder / "runs" / "submitit"
    chosen = submitit.AutoExecutor(folder=logs, cluster="local" if compute.kind == "submitit_local" else "slurm")
    chosen.update_parameters(timeout_min=compute.minutes, cpus_per_task=threads, name="ml-foundations")
    if compute.kind == "slurm":
        chosen.update_parameters(slurm_array_parallelism=compute.workers or 64, slurm_signal_delay_s=120)
        if compute.partition:
            chosen.update_parameters(slurm_partition=compute.partition)
    return chosen
