"""Checks of `doctor` that look at this machine: Python, packages, model, decoder, disk."""

import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from service.cli.finding import Check, bad, good, last_line, note, run_python
from service.cli.model_registry import bundle_in_use
from service.errors import RefusedMediaError
from service.footage import probe_upload
from service.settings import GIB, Settings

OLDEST_PYTHON = (3, 11)
LOW_DISK_BYTES = 5 * GIB
NOT_A_VIDEO = "not_a_video"
LOW_GPU_BYTES = GIB
LOOK_AT_TORCH = """
import torch
print(torch.__version__, torch.cuda.is_available())
for each in range(torch.cuda.device_count()):
    print(*torch.cuda.mem_get_info(each))
"""
LOAD_BUNDLE = """
import pathlib, sys
from model.bundle import load_bundle
print(load_bundle(pathlib.Path(sys.argv[1])).spec.family)
"""
REINSTALL = "remove .venv and run `make install`."


def check_python(_settings: Settings) -> Check:
    """Is this Python new enough?"""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return bad("Python", version, "install Python 3.11 or newer, then `make run`.")
    return good("Python", version)


def check_packages(_settings: Settings) -> Check:
    """Is everything that the distribution requires installed?"""
    missing = []
    for requirement in importlib.metadata.requires("reelseek") or []:
        if "extra ==" in requirement:
            continue
        name = _name_of(requirement)
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return bad("Packages", f"missing: {', '.join(missing)}", "run `make install`.")
    return good("Packages", "all that are required are installed")


def check_faiss(_settings: Settings) -> Check:
    """Is exactly one of the two distributions of the module faiss installed?"""
    found = [name for name in ("faiss-cpu", "faiss-gpu") if _is_installed(name)]
    if not found:
        return bad("FAISS", "neither faiss-cpu nor faiss-gpu", "run `make install`.")
    if len(found) > 1:
        mend = f"`{sys.executable} -m pip uninstall -y faiss-cpu faiss-gpu`, then `make install`."
        return bad("FAISS", "both faiss-cpu and faiss-gpu, which overwrite each other", mend)
    return _check_import("FAISS", "faiss", found[0])


def check_torch(settings: Settings) -> Check:
    """Does torch work, and does it see the device that is asked for?"""
    answer = run_python(LOOK_AT_TORCH)
    if answer.returncode:
        return bad("torch", last_line(answer.stderr), REINSTALL)
    version, has_cuda, *gpus = answer.stdout.split()
    if settings.device == "cuda" and has_cuda == "False":
        return bad(
            "torch", f"{version}, no GPU usable", "set REELSEEK_DEVICE=auto, or mend the driver."
        )
    if has_cuda != "True":
        return good("torch", f"{version} on the CPU")
    told = ", ".join(
        f"{int(free) / GIB:.1f} of {int(total) / GIB:.1f} GiB free"
        for free, total in zip(gpus[::2], gpus[1::2], strict=True)
    )
    if any(int(free) < LOW_GPU_BYTES for free in gpus[::2]):
        mend = "stop what else uses the GPU, or lower REELSEEK_EMBED_BATCH."
        return note("torch", f"{version} on a GPU, {told}", mend)
    return good("torch", f"{version} on a GPU, {told}")


def check_bundle(settings: Settings) -> Check:
    """Does the model load?"""
    folder = bundle_in_use(settings)
    answer = run_python(LOAD_BUNDLE, str(folder))
    if answer.returncode:
        mend = (
            "choose another one by `reelseek models use NAME`; "
            "if REELSEEK_BUNDLE is set, set it to a bundle folder or unset it."
        )
        return bad("Model", f"{folder}: {last_line(answer.stderr)}", mend)
    return good("Model", f"{answer.stdout.strip()} of {folder.name}")


def check_decoder(settings: Settings) -> Check:
    """Does the sandboxed decoder start, and refuse what is no video?"""
    with tempfile.NamedTemporaryFile(suffix=".mp4") as nonsense:
        nonsense.write(b"no video" * 100)
        nonsense.flush()
        try:
            probe_upload(Path(nonsense.name), settings)
        except RefusedMediaError as error:
            if error.reason == NOT_A_VIDEO:
                return good("Decoder", "the sandboxed process works")
            finding = error.detail
        else:
            finding = "took nonsense for a video"
    return bad("Decoder", finding, REINSTALL)


def check_data_dir(settings: Settings) -> Check:
    """Can the data folder be written?"""
    folder = settings.data_dir.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        mend = "set REELSEEK_DATA_DIR to a folder that you may write."
        return bad("Data folder", f"{folder} is not writable", mend)
    return good("Data folder", f"{folder}{'' if folder.exists() else ' (made at the first start)'}")


def check_disk(settings: Settings) -> Check:
    """Is there room?"""
    folder = settings.data_dir.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    finding = f"{free / GIB:.1f} GiB free"
    if free < settings.disk_reserve_bytes:
        mend = "free some, or set REELSEEK_DATA_DIR to another disk: uploads are refused now."
        return bad("Disk", finding, mend)
    if free < LOW_DISK_BYTES:
        return note("Disk", finding, "uploads are refused when it gets full.")
    return good("Disk", finding)


def _check_import(name: str, module: str, finding: str) -> Check:
    answer = run_python(f"import {module}")
    if answer.returncode:
        return bad(name, last_line(answer.stderr), REINSTALL)
    return good(name, f"{finding} {importlib.metadata.version(finding)}")


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _name_of(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
