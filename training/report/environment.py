"""The machine, its devices and the versions of packages, for reports."""

import os
import platform
import shutil
import subprocess
from importlib import metadata

PACKAGES = ("keras", "tensorflow", "jax", "jaxlib", "torch", "torchvision", "timm", "ai-edge-litert", "numpy")


def machine() -> dict:
    """GPUs, CPU, backend and versions that figures were measured with."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    host = {"cpu": _cpu(), "cores": os.cpu_count(), "python": platform.python_version(), "backend": backend}
    return _gpus() | host | versions


def _gpus() -> dict:
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    if shutil.which(query[0]) is None:
        return {}
    answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    return {"gpu": answer.replace("\n", "; ")} if answer else {}


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
