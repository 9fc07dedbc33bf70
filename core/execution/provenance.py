"""What a run was made with: versions, machine, device, code revision."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from nichenas.core.errors import ConfigError
from nichenas.core.execution.executors import cpu_count

PACKAGES = ("torch", "torch-geometric", "torchvision", "numpy", "scipy", "scikit-learn", "optuna")


def choose_device(name: str) -> torch.device:
    """Returns the device of a name; ``auto`` is the accelerator if there is one, else the CPU.

    Raises:
        ConfigError: for an unknown name, or a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"run.device: unknown device '{name}'; allowed: auto, cpu, cuda, cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"run.device: '{name}' is not supported; allowed: auto, cpu, cuda, cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("run.device: 'cuda' is not available on this machine; allowed here: auto, cpu")
    return device


def device_name(device: torch.device) -> str:
    """Returns what the device is, in words."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({processor()}, {cpu_count()} cores)"


def processor() -> str:
    """Returns the model of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def provenance(seed: int, device: torch.device) -> dict[str, Any]:
    """Returns the record of versions, machine and revision that is kept beside every run."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "nichenas": importlib.metadata.version("nichenas"),
        "python": platform.python_version(),
        "packages": versions,
        "platform": platform.platform(),
        "processor": processor(),
        "cores": cpu_count(),
        "memory_gb": _memory_gb(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "seed": seed,
        "git_revision": _git_revision(),
    }


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _git_revision() -> str | None:
    """Returns the revision of the checkout that this code runs from; none outside of one."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        return revision + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603
        ["git", "-C", str(folder), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.strip()
