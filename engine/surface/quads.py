# SPDX-License-Identifier: GPL-3.0-or-later
"""Four-sided faces that follow the surface: by Instant Meshes, by Blender's QuadriFlow, or from pairs of triangles.

A result is taken where it is sound: closed where the surface is, on it and all over it, and all quads. Instant Meshes
takes about a second per 5,000 quads; QuadriFlow, ten times slower and further from the count, serves where that is not
installed and Blender is at hand. Pairs of triangles, each then cut in four, always work; their lines wander more.
"""

import importlib.util
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from engine.blender import BLENDER, blender_command, packages_path, python_command
from engine.errors import OptionError, SurfaceError
from engine.surface.cleanup import is_watertight, weld
from engine.surface.closest import Surface
from engine.surface.halfedges import grouped_edges, is_manifold, mates
from engine.surface.holes import find_holes
from engine.surface.mesh import Mesh, validate_mesh
from engine.surface.repair import part_fans
from engine.surface.simplify import FEWEST, MOST, simplify
from engine.surface.topology import make_watertight

Array = np.ndarray

LIMIT_S = 120.0
"""All attempts together; then come the pairs of triangles, within a second or two."""

DENSITY, FEWEST_TRIANGLES = 4, 30_000
"""Quads are laid over a surface of so many triangles per quad, and of at least so many."""

TOLERANCE = 0.02
"""The count of quads is met within this part."""

ATTEMPTS = {"instant meshes": 6, "quadriflow": 3}
"""Instant Meshes meets the count roughly and is asked for more or fewer again; QuadriFlow fails for some seeds."""

STRAYED = 1.0
"""Vertices lie on the surface; the middle of no quad may lie further from it than so many sides."""

CUTS = 12
"""Pairs of triangles are counted so often, to meet the count."""

LOST = 3.0
"""No place of the surface may lie further from the vertices of the quads than this many sides."""

TURNS = 4
"""Rounds of choosing diagonals."""

RELAXED = 8
"""Rounds in which quads made of triangles become even."""

HOLES = 0.02
"""Part of the edges that may border holes, which are then closed."""


def to_quads(
    mesh: Mesh,
    faces: int,
    *,
    limit_s: float = LIMIT_S,
    check: Callable[[], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> Mesh:
    """About `faces` four-sided faces (within `TOLERANCE` if they fit) on the surface, as 2 * `faces` triangles.

    Faces 2 k and 2 k + 1 are the halves of a quad (see `Mesh`). The denser `mesh` is, the better: give the surface
    before it is simplified. A surface that can be closed is closed. `check` is called about twenty times a second and
    may raise to stop; `warn` gets a sentence where the quads come from pairs of triangles, or are more or fewer than
    asked for. Raises `OptionError` for a count out of range.
    """
    validate_mesh(mesh)
    if not FEWEST <= faces <= MOST:
        raise OptionError(f"Found {faces} quads, expected {FEWEST} to {MOST}.", "Try 10000.")
    low, high = mesh.bounds()
    center, half = (low + high) / 2, max(float((high - low).max()) / 2, 1e-30)
    base = _base(Mesh((mesh.vertices - center) / half, mesh.faces), faces)
    area = float(np.linalg.norm(_crossed(base), axis=1).sum() / 2)
    task = _Task(base, faces, float(np.sqrt(area / faces)), time.monotonic() + limit_s, check)
    methods = _methods()
    failures: list[str] = []
    quads = next(filter(None, (_made(task, *method, failures) for method in methods)), None)
    if quads is None:
        if warn:
            reason = f"remeshing failed on this surface ({'; '.join(dict.fromkeys(failures)) or 'no time was left'})"
            reason += "; a higher resolution, or fewer faces, may help"
            if not methods:
                reason = f"for better ones install pynanoinstantmeshes, or set {BLENDER} to a Blender program"
            warn(f"The quads are made of pairs of triangles, whose lines wander: {reason}.")
        quads = _from_pairs(task)
    made = len(quads.faces) // 2
    if warn and abs(made - faces) > TOLERANCE * faces:
        warn(f"The mesh has {made} quads, {faces} were asked for: their rows fit this surface no closer.")
    return Mesh((quads.vertices * half + center).astype(np.float32), quads.faces, quads=True)


@dataclass(frozen=True)
class _Task:
    base: Mesh  # in [-1, 1]
    count: int
    side: float  # of a quad
    deadline: float  # of time.monotonic
    check: Callable[[], None] | None

    def surface(self) -> Surface:
        return Surface(self.base, 0.5 * self.side)


def _base(mesh: Mesh, count: int) -> Mesh:
    """The surface that quads are laid over: closed where it can be, no denser than of use."""
    base = simplify(weld(mesh), min(max(DENSITY * count, FEWEST_TRIANGLES), MOST))
    try:
        return make_watertight(base)
    except SurfaceError:
        return base


def _methods() -> list[tuple[str, list[str]]]:
    """The best method at hand, with the command that runs `quads_child.py` but for its last argument; none or one.

    Where Instant Meshes finds no sound quads, QuadriFlow finds none either: tried on the surfaces of captured statues.
    """
    script = Path(__file__).with_name("quads_child.py")
    if importlib.util.find_spec("pynanoinstantmeshes"):
        return [("instant meshes", python_command(script))]
    command = blender_command(script)
    return [("quadriflow", command)] if command else []


def _made(task: _Task, method: str, command: list[str], failures: list[str]) -> Mesh | None:
    """Sound quads by one method, as near to the wanted count as it gets; None, and why in `failures`, if none."""
    asked, best = task.count, None
    surface = task.surface()
    for seed in range(ATTEMPTS[method]):
        result = _run(task, method, command, asked, seed)
        mesh = None
        if isinstance(result, str):
            failures.append(f"{method}: {result}")
        else:
            mesh = _sound(task, surface, *result)
            if mesh is None:
                failures.append(f"{method}: unsound quads")
        if mesh is None and method == "quadriflow":
            continue  # another seed
        if mesh is None:
            break
        if best is None or abs(len(mesh.faces) // 2 - task.count) < abs(len(best.faces) // 2 - task.count):
            best = mesh
        if abs(len(best.faces) // 2 - task.count) <= TOLERANCE * task.count:
            break
        asked = max(FEWEST, round(asked * task.count / (len(mesh.faces) // 2)))
    return best


def _run(task: _Task, method: str, command: list[str], count: int, seed: int) -> tuple[Array, Array] | str:
    """Points [P, 3] and quads [Q, 4] of one attempt; a few words where it fails or the time is over."""
    with tempfile.TemporaryDirectory(prefix="gaussmith-quads-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        job = {"method": method, "count": count, "seed": seed, "path": packages_path()}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        np.save(folder / "vertices.npy", task.base.vertices)
        np.save(folder / "faces.npy", task.base.faces)
        try:
            with open(folder / "log.txt", "wb") as log:
                process = subprocess.Popen(
                    [*command, name],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        except OSError as problem:
            return problem.strerror or "it does not start"
        try:
            while process.poll() is None and time.monotonic() < task.deadline:
                time.sleep(0.02)
                if task.check:
                    task.check()
        finally:
            process.kill()
            process.wait()
        try:
            return np.load(folder / "points.npy"), np.load(folder / "quads.npy").astype(np.int64)
        except (ValueError, EOFError, FileNotFoundError):  # none, or cut off while it was written
            if time.monotonic() >= task.deadline:
                return "the time was over"
            lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").split("\n")
            said = [line.strip() for line in lines if line.strip()]
            said = [line for line in said if "Error" in line] or said
            return said[-1] if said else f"ended with {process.returncode}"


def _sound(task: _Task, surface: Surface, points: Array, quads: Array) -> Mesh | None:
    """The quads as a mesh on the surface, small holes closed; None where something is wrong with them."""
    if len(quads) < 6 or quads.min() < 0 or quads.max() >= len(points) or not np.isfinite(points).all():
        return None
    if any((quads[:, i] == quads[:, j]).any() for i in range(4) for j in range(i)):
        return None
    closed = is_watertight(task.base)
    mesh = part_fans(_as_mesh(points, quads))
    mesh = _with_holes_closed(mesh) if closed else mesh
    if mesh is None or not is_manifold(mesh) or (closed and not is_watertight(mesh)):
        return None
    mesh = _pulled(mesh, surface)
    if not is_manifold(weld(mesh)) or (closed and _volume(mesh) <= 0):
        return None
    corners = _quads(mesh)
    middles = mesh.vertices[corners].mean(1)
    strayed = np.linalg.norm(surface.closest(middles)[0] - middles, axis=1)
    if strayed.max() > STRAYED * task.side:
        return None
    everywhere = surface.samples[:: max(1, len(surface.samples) // 20_000)]
    lost = KDTree(np.concatenate([mesh.vertices, middles])).query(everywhere, workers=-1)[0]
    return None if lost.max() > LOST * task.side else mesh


def _as_mesh(points: Array, quads: Array) -> Mesh:
    """Each quad cut along its shorter diagonal, or the other one where there is an edge between its ends already."""
    corners = points[quads].astype(np.float64)
    one, other = (np.linalg.norm(corners[:, i] - corners[:, i + 2], axis=1) for i in (0, 1))
    turned = other < one
    for _ in range(TURNS):
        cut = np.where(turned[:, None], np.roll(quads, -1, axis=1), quads)
        faces = cut[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
        order, starts = grouped_edges(faces)
        crowded = order[np.repeat(np.diff(starts) > 2, np.diff(starts))]
        crowded = crowded[crowded % 6 == 2] // 6  # the first half's side from its last corner to its first
        if not len(crowded):
            break
        turned[crowded] = ~turned[crowded]
    used, faces = np.unique(faces, return_inverse=True)
    return Mesh(points[used].astype(np.float32), faces.reshape(-1, 3).astype(np.int32), quads=True)


def _quads(mesh: Mesh) -> Array:
    """Corners of the quads of a mesh, [Q, 4]."""
    return np.concatenate([mesh.faces[::2], mesh.faces[1::2, 2:]], axis=1)


def _with_holes_closed(mesh: Mesh) -> Mesh | None:
    """Holes filled with quads around a new vertex; None where they are large, odd or touch."""
    edges = np.count_nonzero(mates(mesh.faces, oriented=True) == -1)
    if not edges:
        return mesh
    if edges > HOLES * len(mesh.faces) or not is_manifold(mesh):
        return None
    points, quads = [mesh.vertices], [_quads(mesh)]
    for hole in find_holes(mesh):
        loop = hole.loop
        if len(loop) % 2 or len(loop) < 4:
            return None
        if len(loop) == 4:
            quads.append(loop[None])
            continue
        places = mesh.vertices[loop]
        spokes = np.linalg.norm(places - places.mean(0), axis=1)
        loop = np.roll(loop, -int(spokes[1::2].sum() < spokes[::2].sum()))  # the nearer ones get an edge to the middle
        middle = np.full(len(loop) // 2, sum(map(len, points)))
        quads.append(np.stack([loop[::2], loop[1::2], np.roll(loop, -2)[::2], middle], 1))
        points.append(places.mean(0, keepdims=True))
    return _as_mesh(np.concatenate(points), np.concatenate(quads))


def _pulled(mesh: Mesh, surface: Surface) -> Mesh:
    """With its vertices on the surface."""
    places = surface.closest(mesh.vertices, _normals(mesh))[0]
    return _as_mesh(places.astype(np.float32), _quads(mesh))


def _normals(mesh: Mesh) -> Array:
    """Area-weighted unit normals of the vertices, [V, 3] float64."""
    crossed = np.repeat(_crossed(mesh), 3, axis=0)
    normals = np.stack([np.bincount(mesh.faces.ravel(), crossed[:, i], len(mesh.vertices)) for i in range(3)], 1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)


def _crossed(mesh: Mesh) -> Array:
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    return np.cross(b - a, c - a)


def _volume(mesh: Mesh) -> float:
    return float(np.einsum("fi,fi->", mesh.vertices[mesh.faces[:, 0]].astype(np.float64), _crossed(mesh)) / 6)


# --- Pairs of triangles ----------------------------------------------------------------------------------------------


def _from_pairs(task: _Task) -> Mesh:
    """Quads that always work: triangles in pairs, each pair cut in four quads and each triangle left over in three."""
    wanted, best = task.count / 2.1, None
    for _ in range(CUTS):
        triangles = simplify(task.base, max(100, round(wanted)))
        polygons = _paired(triangles)
        count = 4 * len(polygons[0]) + 3 * len(polygons[1])
        if best is None or abs(count - task.count) < abs(best[0] - task.count):
            best = count, triangles, polygons
        if abs(count - task.count) <= 0.5 * TOLERANCE * task.count:
            break
        wanted *= task.count / count
    assert best is not None
    _, triangles, (pairs, single) = best
    mesh = _cut(triangles, pairs, single)
    return _relaxed(mesh, task.surface())


def _paired(mesh: Mesh) -> tuple[Array, Array]:
    """Quads [P, 4] of two faces each, and the faces [R, 3] left over; the flattest and squarest pairs come first."""
    mate = mates(mesh.faces, oriented=True)
    sides = np.flatnonzero(mate > np.arange(len(mate)))
    others = mate[sides]
    flat = mesh.faces.ravel()

    def corner(side: Array, turn: int) -> Array:
        return flat[side // 3 * 3 + (side + turn) % 3]

    quads = np.stack([corner(sides, 2), corner(sides, 0), corner(others, 2), corner(sides, 1)], 1)
    places = mesh.vertices[quads].astype(np.float64)
    edges = np.roll(places, -1, axis=1) - places
    edges /= np.maximum(np.linalg.norm(edges, axis=2, keepdims=True), 1e-30)
    skew = np.abs(np.einsum("qki,qki->qk", edges, np.roll(edges, -1, axis=1))).max(1)
    normals = _crossed(mesh)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    bend = 1 - np.einsum("qi,qi->q", normals[sides // 3], normals[others // 3])
    turns = np.cross(np.roll(edges, 1, axis=1), edges)
    hollow = (np.einsum("qki,qi->qk", turns, normals[sides // 3] + normals[others // 3]) <= 0).any(1)
    free = np.ones(len(mesh.faces), bool)
    chosen = []
    for i in np.argsort(skew + bend + 2 * hollow, kind="stable"):
        one, other = sides[i] // 3, others[i] // 3
        if free[one] and free[other]:
            free[one] = free[other] = False
            chosen.append(i)
    return quads[chosen], mesh.faces[free]


def _cut(mesh: Mesh, pairs: Array, single: Array) -> Mesh:
    """Each polygon cut into as many quads as it has corners, by its middle and those of its sides."""
    points, quads = [mesh.vertices], []
    starts = np.concatenate([pairs.ravel(), single.ravel()]).astype(np.int64)
    ends = np.concatenate([np.roll(pairs, -1, axis=1).ravel(), np.roll(single, -1, axis=1).ravel()]).astype(np.int64)
    size = len(mesh.vertices)
    keys, edge = np.unique(np.minimum(starts, ends) * size + np.maximum(starts, ends), return_inverse=True)
    points.append((mesh.vertices[keys // size] + mesh.vertices[keys % size]) / 2)
    middles = size + edge.reshape(-1)
    for polygons in (pairs, single):
        corners = polygons.shape[1]
        own, middles = middles[: polygons.size].reshape(-1, corners), middles[polygons.size :]
        center = sum(map(len, points)) + np.repeat(np.arange(len(polygons)), corners)
        before = np.roll(own, 1, axis=1)
        quads.append(np.stack([polygons.ravel(), own.ravel(), center, before.ravel()], 1))
        points.append(mesh.vertices[polygons].mean(1))
    return _as_mesh(np.concatenate(points), np.concatenate(quads))


def _relaxed(mesh: Mesh, surface: Surface) -> Mesh:
    """Vertices moved along the surface towards the middle of their neighbours, so that quads become even."""
    quads = _quads(mesh)
    rows, columns = quads.ravel(), np.roll(quads, -1, axis=1).ravel()
    border = mesh.faces.ravel()[mates(mesh.faces) == -1]
    start = mesh.vertices
    points = start.astype(np.float64)
    counts = np.bincount(rows, minlength=len(points)) + np.bincount(columns, minlength=len(points))
    for _ in range(RELAXED):
        normals = _normals(mesh)
        sums = np.empty_like(points)
        for axis in range(3):
            sums[:, axis] = np.bincount(rows, points[columns, axis], len(points))
            sums[:, axis] += np.bincount(columns, points[rows, axis], len(points))
        steps = 0.5 * (sums / counts[:, None] - points)
        steps -= np.einsum("pi,pi->p", steps, normals)[:, None] * normals
        steps[border] = 0
        points = surface.closest(points + steps, normals)[0]
        mesh = Mesh(points.astype(np.float32), mesh.faces, quads=True)
    places, index, counts = np.unique(mesh.vertices, axis=0, return_inverse=True, return_counts=True)
    met = counts[index.reshape(-1)] > 1  # vertices that came to lie in one place go back
    return _as_mesh(np.where(met[:, None], start, mesh.vertices) if len(places) < len(start) else mesh.vertices, quads)
