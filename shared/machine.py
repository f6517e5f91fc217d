"""The machine under a run: BLAS kernel, allocator, versions. Reported in run.json."""

import ctypes
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
AVX512_KERNELS = ("SkylakeX", "Cooperlake", "SapphireRapids")  # OpenBLAS's names


def keep_heap() -> None:
    """Tell glibc to keep freed memory (a no-op elsewhere): fresh pages cost more than the arithmetic on small machines.

    By default malloc maps every array over 128 KiB anew and gives it back on free, so each temporary is paid for in
    page faults. Blocks up to 32 MiB (glibc's ceiling) now come from the heap, and the heap is not trimmed.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def blas() -> dict[str, Any]:
    """The BLAS that NumPy calls, and not SciPy, which brings its own: library, version, kernel (architecture)."""
    loaded = [library for library in threadpool_info() if library["user_api"] == "blas"]
    numpys = [library for library in loaded if Path(library["filepath"]).parent.name == "numpy.libs"]
    found = (numpys or loaded or [{"internal_api": "unknown"}])[0]
    return {key: found.get(key) for key in ("internal_api", "version", "architecture")}


def warn_if_blas_is_held_back() -> None:
    """One line when OPENBLAS_CORETYPE keeps OpenBLAS from the AVX-512 that the CPU has."""
    chosen, cpuinfo, used = os.environ.get("OPENBLAS_CORETYPE"), Path("/proc/cpuinfo"), blas()
    held = used["internal_api"] == "openblas" and used["architecture"] not in AVX512_KERNELS
    if chosen and held and cpuinfo.exists() and "avx512" in cpuinfo.read_text():
        print(
            f"warning: OPENBLAS_CORETYPE={chosen} keeps NumPy from this CPU's AVX-512; unset it for the full speed",
            file=sys.stderr,
        )


def versions() -> dict[str, str]:
    """Python and the packages that decide the numbers."""
    return {"python": platform.python_version(), "numpy": np.__version__} | {
        name: version(name) for name in ("scikit-learn", "pandas", "matplotlib", "hydra-core", "joblib")
    }


def free_memory() -> int:
    """Bytes that a process can have without swapping: what Linux says is available, elsewhere the physical memory."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
