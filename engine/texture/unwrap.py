# SPDX-License-Identifier: GPL-3.0-or-later
"""Texture coordinates: by our own charts, or by xatlas in a helper process with a time limit.

Measured on surfaces of 20,000 faces our charts are fewer by a third to two thirds, cover up to twice as much of the
texture and take a third of the time; xatlas is there to compare, and for whoever prefers its charts.
"""

import atexit
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.errors import OptionError
from engine.render.mesh_cpu import vertex_normals
from engine.surface.mesh import Mesh, validate_mesh
from engine.texture.charts import flat_charts

Array = np.ndarray

METHODS = ("charts", "xatlas")

LIMIT_S = 60.0
"""xatlas is given this long; 20,000 faces take about half a second, 200,000 about ten."""

MARGIN = 8 / 1024
"""What each chart keeps to itself all around, as a part of the texture's side: 8 texels at 1024."""

MANY_CHARTS = 400
"""With more charts of xatlas half the margin is kept: it would take more of the texture than the charts."""

FACES_PER_PART = 1250
"""xatlas takes more than linear time: meshes are cut in parts of about this size first, at the cost of a few charts."""


def unwrap(
    mesh: Mesh,
    *,
    method: str = "charts",
    limit_s: float = LIMIT_S,
    check: Callable[[], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> Mesh:
    """`mesh` with uvs in [0, 1] that do not overlap, cut at seams, and with the smooth normals of the uncut mesh.

    `method` is "charts" or "xatlas"; meshes of quads, which xatlas would cut across, get our charts in any case, and
    stay quads. `check` is called now and then and may raise to stop. `warn` gets a sentence where xatlas failed or took
    longer than `limit_s` seconds and our charts were taken instead. Raises `OptionError` for another method.
    """
    validate_mesh(mesh)
    if method not in METHODS:
        raise OptionError(f"Found {method!r} as a way to unwrap, expected one of {', '.join(METHODS)}.")
    result = None
    if method == "xatlas" and not mesh.quads:
        try:
            result = _helper().run(mesh, limit_s, check)
        except HelperFailed as failure:
            if warn:
                warn(f"Unwrapping with xatlas {failure}; the engine's own charts are used instead.")
    origins, faces, uvs = result or flat_charts(mesh, MARGIN, check)
    normals = vertex_normals(mesh.vertices, mesh.faces)
    return Mesh(mesh.vertices[origins], faces, normals=normals[origins], uvs=np.clip(uvs, 0, 1), quads=mesh.quads)


def warm_up() -> None:
    """Starts the process xatlas runs in, so that it is ready when a mesh is: it takes a third of a second."""
    _helper()


class HelperFailed(Exception):
    """The helper process gave no result; the text completes a sentence that begins with "Unwrapping"."""


class Helper:
    """One helper process, used for one mesh at a time. It ends when this process does."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("unwrap_child.py")
        self.process = subprocess.Popen(
            [sys.executable, "-X", "utf8", "-I", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._send(json.dumps(sys.path).encode() + b"\n")

    def run(self, mesh: Mesh, limit_s: float, check: Callable[[], None] | None) -> tuple[Array, Array, Array]:
        """Original vertex [W], faces [F, 3] and uvs [W, 2] of the unwrapped mesh. Raises `HelperFailed`."""
        answer: list[tuple[Array, Array, Array]] = []
        exchange = threading.Thread(target=self._exchange, args=(mesh, limit_s, answer), daemon=True)
        deadline = time.monotonic() + limit_s
        exchange.start()
        try:
            while exchange.is_alive() and time.monotonic() < deadline:
                exchange.join(0.05)
                if check:
                    check()
        except BaseException:
            self.stop()
            raise
        if not answer:
            late = exchange.is_alive()
            self.stop()
            raise HelperFailed(f"took longer than {limit_s:g} seconds" if late else "stopped unexpectedly")
        return answer[0]

    def stop(self) -> None:
        """Ends the process at once."""
        self.process.kill()
        self.process.wait()

    def _exchange(self, mesh: Mesh, limit_s: float, answer: list) -> None:
        """Sends one mesh and waits for its uvs; leaves `answer` empty where the process ends meanwhile."""
        job = {
            "vertices": len(mesh.vertices),
            "faces": len(mesh.faces),
            "limit_s": max(limit_s, 0.1) + 5,
            "margin": MARGIN,
            "many_charts": MANY_CHARTS,
        }
        low, high = mesh.bounds()  # xatlas takes faces of very small meshes for empty ones
        vertices = (mesh.vertices - (low + high) / 2) / max(float((high - low).max()), 1e-30)
        arrays = (vertices.astype(np.float32), mesh.faces.astype(np.int32), cut_in_parts(mesh))
        self._send(json.dumps(job).encode() + b"\n" + b"".join(array.tobytes() for array in arrays))
        source = self.process.stdout
        assert source is not None
        header = source.readline()
        if not header.endswith(b"\n"):
            return
        counts = json.loads(header)
        sizes = (4 * counts["vertices"], 12 * counts["faces"], 8 * counts["vertices"])
        data = [source.read(size) for size in sizes]
        if [len(block) for block in data] != list(sizes):
            return
        uvs = np.frombuffer(data[2], np.float32).reshape(-1, 2).copy()
        uvs[:, 1] = 1 - uvs[:, 1]  # xatlas counts v upwards
        answer.append((np.frombuffer(data[0], np.int32), np.frombuffer(data[1], np.int32).reshape(-1, 3), uvs))

    def _send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except OSError:
            pass  # the process has ended: its empty answer says so


def cut_in_parts(mesh: Mesh) -> Array:
    """Number of the part each face belongs to, [F] int32: halved across the longest side down to `FACES_PER_PART`."""
    centers = mesh.vertices[mesh.faces].mean(1)
    parts = np.zeros(len(centers), np.int32)
    pending, count = [np.arange(len(centers))], 0
    while pending:
        faces = pending.pop()
        if len(faces) <= 1.5 * FACES_PER_PART:
            parts[faces] = count
            count += 1
            continue
        axis = int(np.ptp(centers[faces], axis=0).argmax())
        order = faces[np.argsort(centers[faces, axis], kind="stable")]
        pending += [order[: len(order) // 2], order[len(order) // 2 :]]
    return parts


_current: list[Helper] = []


def _helper() -> Helper:
    """The running helper process, started if need be."""
    if not _current or _current[0].process.poll() is not None:
        _current[:] = [Helper()]
    return _current[0]


@atexit.register
def stop_helper() -> None:
    """Ends the helper process, whatever it is doing; the next mesh starts another."""
    for helper in _current:
        helper.stop()
