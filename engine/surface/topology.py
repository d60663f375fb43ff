# SPDX-License-Identifier: GPL-3.0-or-later
"""Any heap of triangles as a closed, consistently oriented 2-manifold, or the reason why it cannot be one."""

from collections.abc import Callable

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from engine.errors import SurfaceError
from engine.jit import kernel
from engine.surface.cleanup import is_watertight, parts, select_faces, weld
from engine.surface.halfedges import edge_keys, grouped_edges, is_manifold, mates
from engine.surface.holes import Hole, Patch, Surroundings, close_hole, find_holes
from engine.surface.mesh import Mesh, validate_mesh
from engine.surface.repair import separate_sheets
from engine.surface.slivers import is_flat, without_slivers

Array = np.ndarray

CRACK = 1e-4
"""Open borders nearer than this part of the bounding box's diagonal are the same border."""

LARGEST_HOLE = 1 / 3
"""A hole that takes a patch of more than this part of its piece's area is no hole: the piece is an open sheet."""

LOST = 0.5
"""Sheets that cannot be closed are left out, up to this part of the whole area."""

NOTICED = 0.001
"""From this part of the area on it is said that something was left out."""

THINNEST = 1e-7
"""Pieces with less volume than this, in areas to the power of 3/2, enclose nothing."""

PASSES = 6

Warn = Callable[[str], None]


def make_watertight(mesh: Mesh, warn: Warn | None = None) -> Mesh:
    """`mesh` as a closed 2-manifold (edges and vertices) whose faces look outward, without flat or doubled faces.

    Faces are turned to agree, sheets and vertices that touch are separated, holes are closed. Sheets that cannot be
    closed are left out and `warn` is told. Cavities stay. Normals, uvs and texture go: this comes before unwrapping.
    Quads stay quads where they are closed already, else they become triangles and `warn` is told.
    Raises `SurfaceError`, saying what is in the way, where most of the surface cannot be closed.
    """
    validate_mesh(mesh)
    if mesh.quads:
        welded = weld(mesh)
        if len(welded.faces) == len(mesh.faces) and is_watertight(welded) and is_manifold(welded):
            return mesh
        if warn:
            warn("The mesh has triangles instead of quads: as quads it is not watertight.")
    mesh = Mesh(mesh.vertices, mesh.faces)
    if _is_sound(mesh):
        return mesh
    whole = float(_face_areas(mesh).sum())
    mesh = _without_doubles(_without_cracks(weld(mesh)))
    notes: list[str] = []
    for _ in range(PASSES):
        mesh = _closed(separate_sheets(_agreeing(mesh, notes)), notes)
        mesh = _outward(without_slivers(mesh), notes) if len(mesh.faces) else mesh
        if not len(mesh.faces) or _is_sound(mesh):
            break
        mesh = weld(mesh)
    kept = float(_face_areas(mesh).sum())
    if not len(mesh.faces) or kept < (1 - LOST) * whole:
        reason = notes[0] if notes else "its faces enclose no volume"
        raise SurfaceError(
            f"The mesh cannot be made watertight: {reason}.",
            "Leave the option off, or choose another surface method or a higher resolution.",
        )
    if not _is_sound(mesh):
        raise SurfaceError(
            f"The mesh cannot be made watertight: {_what_is_left(mesh)}.",
            "Leave the option off, or choose another resolution or number of faces.",
        )
    lost = 1 - kept / whole
    if warn and notes and lost > NOTICED:
        warn(f"To make the mesh watertight {100 * lost:.1f} % of its area went: {notes[0]}.")
    return mesh


def _is_sound(mesh: Mesh) -> bool:
    """Whether all that `make_watertight` promises holds, also after welding."""
    welded = weld(mesh)
    if len(welded.vertices) != len(mesh.vertices) or len(welded.faces) != len(mesh.faces):
        return False
    if not (is_watertight(mesh) and is_manifold(mesh)) or is_flat(mesh).any():
        return False
    return all(volume > 0 or _is_inside(mesh, piece) for piece, volume, _ in _pieces(mesh))


def _what_is_left(mesh: Mesh) -> str:
    mate = mates(mesh.faces)
    if (mate == -1).any():
        holes = len(find_holes(mesh)) if is_manifold(mesh) else "some"
        return f"{int((mate == -1).sum())} open edges around {holes} holes stay open"
    if (mate == -2).any():
        return f"more than two faces meet at {len(np.unique(edge_keys(mesh.faces)[mate == -2]))} edges"
    return "faces touch or overlap in ways that cannot be parted"


def _without_doubles(mesh: Mesh) -> Mesh:
    """One face where several have the same corners; none where they are a wall between solids or a fin.

    That is a patch of faces with both orientations, at whose edges an even number of simple faces goes on without it.
    """
    order = np.sort(mesh.faces, axis=1)
    _, first, group = np.unique(order, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(order):
        return mesh
    a, b, c = mesh.faces.T
    turns = np.where(((a < b).astype(int) + (b < c) + (a < c)) % 2 == 1, 1, -1)
    doubled = np.bincount(group.reshape(-1), turns) == 0
    faces = mesh.faces[first]
    edges, edge = np.unique(edge_keys(faces), return_inverse=True)
    edge, owner = edge.reshape(-1), np.arange(3 * len(faces)) // 3
    simple = np.bincount(edge, ~doubled[owner], len(edges)).astype(int)
    inner = doubled[owner]
    nodes = len(faces) + len(edges)  # doubled faces and their edges hang together
    graph = coo_matrix((np.ones(inner.sum()), (owner[inner], len(faces) + edge[inner])), shape=(nodes, nodes))
    patch = connected_components(graph, directed=False)[1][: len(faces)]
    touches = np.bincount(patch[owner[inner]], simple[edge[inner]], nodes)
    odd = np.bincount(patch[owner[inner]], simple[edge[inner]] % 2, nodes)
    gone = doubled & (touches[patch] > 0) & (odd[patch] == 0)
    return Mesh(mesh.vertices, faces[~gone])


def _without_cracks(mesh: Mesh) -> Mesh:
    """Vertices of open borders that lie together, though not exactly, become one."""
    open_sides = np.flatnonzero(mates(mesh.faces) == -1)
    if not len(open_sides):
        return mesh
    ends = np.roll(mesh.faces, -1, axis=1).ravel()[open_sides]
    border = np.unique(np.concatenate([mesh.faces.ravel()[open_sides], ends]))
    low, high = mesh.bounds()
    reach = CRACK * float(np.linalg.norm(high - low))
    near = KDTree(mesh.vertices[border]).query_pairs(reach, output_type="ndarray")
    if not len(near):
        return mesh
    graph = coo_matrix((np.ones(len(near)), near.T), shape=(len(border),) * 2)
    labels = connected_components(graph, directed=False)[1]
    vertices = mesh.vertices.copy()
    vertices[border] = mesh.vertices[border[np.unique(labels, return_index=True)[1]]][labels]
    return weld(Mesh(vertices, mesh.faces))


def _agreeing(mesh: Mesh, notes: list[str]) -> Mesh:
    """Faces turned so that neighbours agree; pieces with only one side go.

    Patches that meet others at crowded edges are turned outward each by itself, where they do not agree as they are.
    """
    mate = mates(mesh.faces)
    patch, turned, one_sided = _orient(mesh.faces.astype(np.int64), mate)
    if one_sided.any():
        lost = one_sided[patch]
        notes.append(f"{int(lost.sum())} of {len(lost)} faces have only one side, as a Moebius strip has")
        return _agreeing(select_faces(mesh, ~lost), notes) if not lost.all() else Mesh(mesh.vertices, mesh.faces[:0])
    if not turned.any() and _balanced(mesh.faces):
        return mesh
    areas = _face_areas(mesh)
    turned ^= (np.bincount(patch, areas * turned) > np.bincount(patch, areas * ~turned))[patch]
    faces = np.where(turned[:, None], mesh.faces[:, ::-1], mesh.faces)
    corners = mesh.vertices[faces].astype(np.float64)
    centers = np.stack([np.bincount(patch, areas * corners[:, :, i].mean(1)) for i in range(3)], 1)
    centers /= np.maximum(np.bincount(patch, areas), 1e-30)[:, None]
    a, b, c = np.moveaxis(corners - centers[patch][:, None], 1, 0)
    inward = np.bincount(patch, np.einsum("fi,fi->f", a, np.cross(b, c))) < 0
    faces = np.where(inward[patch][:, None], faces[:, ::-1], faces)
    return Mesh(mesh.vertices, np.ascontiguousarray(faces, np.int32))


def _balanced(faces: Array) -> bool:
    """Whether as many faces run along each edge of more than one face as run back along it."""
    order, starts = grouped_edges(faces)
    forward = np.where(faces.ravel() < np.roll(faces, -1, axis=1).ravel(), 1, -1)[order]
    counts = np.diff(starts)
    return not np.add.reduceat(forward, starts[:-1])[counts > 1].any()


@kernel
def _orient(faces, mate):
    """Patch of each face [F], whether it must be turned to agree with its patch's first face, which patches cannot.

    Union-find over mated edges that keeps each face's parity to its root.
    """
    flat = faces.ravel()
    count = len(faces)
    parent, parity = np.arange(count), np.zeros(count, np.bool_)
    broken = np.zeros(count, np.bool_)
    for h in range(len(flat)):
        m = mate[h]
        if m < h:
            continue
        one, other = h // 3, m // 3
        differ = flat[h] == flat[m]  # both run along the edge in one direction
        while parent[one] != one:
            differ ^= parity[one]
            one = parent[one]
        while parent[other] != other:
            differ ^= parity[other]
            other = parent[other]
        if one == other:
            broken[one] |= differ
        else:
            root, child = min(one, other), max(one, other)
            parent[child], parity[child] = root, differ
            broken[root] |= broken[child]
        for start in (h // 3, m // 3):  # shorten the path, keeping parities
            face = start
            while parent[face] != face and parent[parent[face]] != parent[face]:
                above = parent[face]
                parity[face] ^= parity[above]
                parent[face] = parent[above]
    patch, turned = np.empty(count, np.int64), np.zeros(count, np.bool_)
    one_sided = np.zeros(count, np.bool_)
    patches = 0
    for face in range(count):
        root, odd = face, False
        while parent[root] != root:
            odd ^= parity[root]
            root = parent[root]
        if root == face:
            patch[face] = patches
            one_sided[patches] = broken[face]
            patches += 1
        else:
            patch[face] = patch[root]
        turned[face] = odd
    return patch, turned, one_sided[:patches]


def _closed(mesh: Mesh, notes: list[str]) -> Mesh:
    """Holes closed, pieces that are open sheets left out; expects one fan per vertex."""
    if not len(mesh.faces) or not (mates(mesh.faces) == -1).any():
        return mesh
    holes = find_holes(mesh)
    piece_of_vertex = parts(mesh)
    areas = np.bincount(piece_of_vertex[mesh.faces[:, 0]], _face_areas(mesh), piece_of_vertex.max() + 1)
    around = Surroundings(mesh)
    patches: list[tuple[int, Patch]] = []
    sheets: dict[int, list[Hole]] = {}
    for hole in holes:
        piece = int(piece_of_vertex[hole.loop[0]])
        patch = close_hole(around, hole)
        if patch is None or patch.area > LARGEST_HOLE * areas[piece]:
            sheets.setdefault(piece, []).append(hole)
        else:
            patches.append((piece, patch))
    vertices, faces = [mesh.vertices], [mesh.faces]
    count = len(mesh.vertices)
    for piece, patch in patches:
        if piece not in sheets:
            own = patch.faces >= len(mesh.vertices)
            faces.append(patch.faces + own * np.int32(count - len(mesh.vertices)))
            vertices.append(patch.vertices)
            count += len(patch.vertices)
    if sheets:
        notes.append(_sheets_in_words(mesh, sheets))
        faces[0] = mesh.faces[~np.isin(piece_of_vertex[mesh.faces[:, 0]], list(sheets))]
    return _used(Mesh(np.concatenate(vertices), np.concatenate(faces).astype(np.int32)))


def _used(mesh: Mesh) -> Mesh:
    """Without vertices that no face uses."""
    used, faces = np.unique(mesh.faces, return_inverse=True)
    return Mesh(mesh.vertices[used], faces.reshape(-1, 3).astype(np.int32))


def _sheets_in_words(mesh: Mesh, sheets: dict[int, list[Hole]]) -> str:
    low, high = mesh.bounds()
    holes = [hole for found in sheets.values() for hole in found]
    edges = sum(len(hole.loop) for hole in holes)
    span = max(float(np.ptp(mesh.vertices[hole.loop], axis=0).max()) for hole in holes)
    share = 100 * span / max(float((high - low).max()), 1e-30)
    return (
        f"it has {edges} open edges around {len(holes)} hole{'s' * (len(holes) > 1)} too wide to close, "
        f"the largest spanning {share:.0f} % of its size"
    )


def _outward(mesh: Mesh, notes: list[str]) -> Mesh:
    """Closed pieces with their faces outward, but for those within another (cavities); those without volume go."""
    faces = mesh.faces.copy()
    keep = np.ones(len(faces), bool)
    for piece, volume, area in _pieces(mesh):
        if abs(volume) <= THINNEST * area**1.5:
            keep[piece] = False
            notes.append("some of its sheets lie flat on each other and enclose nothing")
        elif volume < 0 and not _is_inside(mesh, piece):
            faces[piece] = faces[piece][:, ::-1]
    return _used(Mesh(mesh.vertices, faces[keep]))


def _pieces(mesh: Mesh) -> list[tuple[Array, float, float]]:
    """Faces, signed volume and area of each piece."""
    labels = parts(mesh)[mesh.faces[:, 0]]
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    volumes, areas = np.einsum("fi,fi->f", a, np.cross(b, c)) / 6, _face_areas(mesh)
    return [(group, float(volumes[group].sum()), float(areas[group].sum())) for group in groups]


def _is_inside(mesh: Mesh, piece: Array) -> bool:
    """Whether the faces `piece` lie within the rest: its winding number is the sum of solid angles over 4 pi.

    Van Oosterom and Strackee 1983 for the solid angle of a triangle.
    """
    others = np.ones(len(mesh.faces), bool)
    others[piece] = False
    point = mesh.vertices[mesh.faces[piece[0], 0]].astype(np.float64)
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces[others]] - point, 1, 0)
    la, lb, lc = (np.linalg.norm(side, axis=1) for side in (a, b, c))
    top = np.einsum("fi,fi->f", a, np.cross(b, c))
    dots = [np.einsum("fi,fi->f", one, other) for one, other in ((a, b), (b, c), (c, a))]
    angles = 2 * np.arctan2(top, la * lb * lc + dots[0] * lc + dots[1] * la + dots[2] * lb)
    return bool(abs(angles.sum()) > 2 * np.pi)


def _face_areas(mesh: Mesh) -> Array:
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
