# SPDX-License-Identifier: GPL-3.0-or-later
"""What is installed, what it runs on, and whether a picture really becomes a mesh here."""

import hashlib
import importlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from engine import __version__
from engine.device import choose_device
from engine.errors import GaussmithError, explain
from engine.options import MeshOptions
from engine.paths import cache_folder, check_writable

REQUIRED = {
    "numpy": "numpy",
    "numba": "numba",
    "onnxruntime": "onnxruntime",
    "scipy": "scipy",
    "scikit-image": "skimage",
    "fast-simplification": "fast_simplification",
    "xatlas": "xatlas",
    "pynanoinstantmeshes": "pynanoinstantmeshes",
    "trimesh": "trimesh",
    "pillow": "PIL",
    "plyfile": "plyfile",
    "zstandard": "zstandard",
    "tqdm": "tqdm",
}
"""Packages every mesh needs: name of the distribution, name of the module."""

OPTIONAL = {"torch": "training", "onnx": "exporting trained networks", "gsplat": "training on NVIDIA cards"}
"""Packages that are looked up but not imported, and what they are for."""

WEIGHTS = Path(__file__).resolve().parent / "weights"


def examine(load: Callable[[str], Any] | None = None) -> dict[str, Any]:
    """All findings; `works` tells whether a picture became a mesh. `load` loads a generator by name."""
    packages = {name: _package(name, module) for name, module in REQUIRED.items()}
    weights = check_weights(WEIGHTS)
    missing = [name for name, found in packages.items() if "error" in found]
    if missing:
        text = f"Packages that cannot be loaded: {', '.join(missing)}."
        test: dict[str, Any] = {"passed": False, "error": text, "hint": "Set the engine's environment up again."}
    else:
        test = self_test(load)
    device = choose_device()
    findings = {
        "works": bool(test["passed"]),
        "engine": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "memory_gb": _memory_gb(),
        "device": str(device),
        "runtime": device.runtime,
        "provider": device.provider,
        "why": device.why,
        "cache": str(cache_folder()),
        "cache_writable": _writable(cache_folder()),
        "packages": packages,
        "optional": {name: _version(name) for name in OPTIONAL},
        "weights": weights,
        "temporary_folder": tempfile.gettempdir(),
        "disk_free_gb": _disk_free_gb(tempfile.gettempdir()),
        "self_test": test,
    }
    findings["lines"] = lines(findings)
    return findings


def check_weights(folder: Path) -> dict[str, dict[str, Any]]:
    """For each card in `folder`: whether the network beside it is there and has the hash the card names."""
    found = {}
    for card in sorted(folder.glob("*.json")):
        entry: dict[str, Any] = {"ok": False}
        found[card.stem] = entry
        try:
            expected = json.loads(card.read_text("utf-8"))["sha256"]
            content = card.with_suffix(".onnx").read_bytes()
        except (OSError, ValueError, KeyError, TypeError) as error:
            entry["error"] = f"{type(error).__name__}: {error}"
            continue
        entry["megabytes"] = round(len(content) / 1e6, 1)
        entry["ok"] = hashlib.sha256(content).hexdigest() == expected
        if not entry["ok"]:
            entry["error"] = "its hash is not the one on its card"
    return found


def self_test(load: Callable[[str], Any] | None = None) -> dict[str, Any]:
    """A drawn ball through the whole road, coarse: seconds per stage, or why it failed."""
    start = time.perf_counter()
    try:
        from PIL import Image

        from engine.generators.base import load_generator
        from engine.pipeline import picture_to_mesh

        generator = (load or load_generator)("agg")
        loaded = time.perf_counter() - start
        with tempfile.TemporaryDirectory(prefix="gaussmith-doctor-") as folder:
            picture, output = Path(folder, "ball.png"), Path(folder, "ball.glb")
            Image.fromarray((ball(256) * 255).astype(np.uint8)).save(picture)
            options = MeshOptions(faces=2000, texture=256, resolution=96)
            report = picture_to_mesh(picture, output, generator, options)
            size = output.stat().st_size
    except Exception as error:
        code, message, hint = explain(error)
        if code == GaussmithError.code:
            hint = f"{type(error).__name__} at {_place(error)}. {hint}"
        return {"passed": False, "code": code, "error": message, "hint": hint}
    seconds = {"load": round(loaded, 3), **report["seconds"]}
    facts = {key: report[key] for key in ("faces", "watertight", "warnings")}
    return {"passed": report["faces"] > 0 and size > 0, "seconds": seconds, "bytes": size, **facts}


def ball(size: int) -> np.ndarray:
    """A picture [size, size, 4] of a shaded orange ball on nothing."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size * 2.6 - 1.3
    inside = x * x + y * y < 1
    z = np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
    light = np.clip(0.35 + 0.65 * (-0.4 * x - 0.6 * y + 0.7 * z), 0, 1)
    color = light[..., None] * np.array([0.95, 0.55, 0.2])
    return np.concatenate([color * inside[..., None], inside[..., None]], -1)


def table(findings: dict[str, Any]) -> str:
    """The findings for people, one line each."""
    width = max(len(name) for name, _ in findings["lines"])
    return "\n".join(f"{name:<{width}}  {text}" for name, text in findings["lines"])


def lines(findings: dict[str, Any]) -> list[tuple[str, str]]:
    """The findings for people: what was looked at, and what was found."""
    test = findings["self_test"]
    told = [
        ("engine", f"Gaussmith {findings['engine']}, Python {findings['python']}, {findings['executable']}"),
        ("platform", f"{findings['platform']}, {findings['memory_gb']} GB of memory"),
        ("device", f"{findings['device']}, {findings['runtime']}. {findings['why']}"),
        ("cache", findings["cache"] + ("" if findings["cache_writable"] else "  NOT WRITABLE: every start is slow")),
        ("temporary files", f"{findings['temporary_folder']}, {findings['disk_free_gb']} GB free"),
    ]
    for name, found in findings["packages"].items():
        told.append((name, found.get("version") or f"MISSING: {found['error']}"))
    for name, version in findings["optional"].items():
        told.append((name, version or f"not installed (only for {OPTIONAL[name]})"))
    for name, found in findings["weights"].items():
        told.append((f"weights {name}", f"{found['megabytes']} MB" if found["ok"] else f"BROKEN: {found['error']}"))
    if not findings["weights"]:
        told.append(("weights", "MISSING"))
    if test["passed"]:
        slowest = max((name for name in test["seconds"] if name != "total"), key=test["seconds"].__getitem__)
        result = f"passed: a picture became {test['faces']:,} faces in {test['seconds']['total']:.2f} s"
        told.append(("self-test", f"{result} (slowest: {slowest} {test['seconds'][slowest]:.2f} s)"))
    else:
        told.append(("self-test", f"FAILED: {test['error']} {test['hint']}".rstrip()))
    return told


def _package(name: str, module: str) -> dict[str, str]:
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken binary may raise anything; that is what is asked here
        return {"error": f"{type(error).__name__}: {error}"}
    return {"version": _version(name) or "?"}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _memory_gb() -> float:
    """The machine's memory in GB, 0 where the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return 0.0


def _disk_free_gb(folder: str) -> float:
    """Free space in GB, 0 where the system does not tell."""
    try:
        return round(shutil.disk_usage(folder).free / 1e9, 1)
    except OSError:
        return 0.0


def _writable(folder: Path) -> bool:
    try:
        check_writable(folder / "probe")
    except GaussmithError:
        return False
    return True


def _place(error: BaseException) -> str:
    """File and line where `error` was raised."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "an unknown place"
