# SPDX-License-Identifier: GPL-3.0-or-later
"""The object of a picture from its background: the user's alpha, else a learned matte or a classical one.

Without alpha a small network (`learned_matte.py`) and the classical matte both look at a small copy of the picture.
The classical one mends holes of the learned one. Measured chances of being good then decide between them: the learned
one is brought to the picture's edges by `edges.py`, the classical one is made anew at full size. Without the network's
weights there is only the classical one. It takes the background to be a smooth colour that can be seen along the border
of the picture:

1. A polynomial of degree 2 in x and y is fitted to the border colours, robustly, because the object may touch it.
2. Pixels near that colour that hang together with the border are background. The background's own local mean then
   refines the model and the region grows again: this follows vignettes, horizons and soft shadows.
3. Regions enclosed by the object that look exactly like the background behind them are holes.
4. In a narrow band along the outline alpha solves the compositing equation I = a F + (1 - a) B, where F and B are
   the colours of the object and of the background beside it; the colour there becomes F, so that no rim remains.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from engine.errors import PictureError, WeightsError
from engine.image.border import border_of, monomials, near_corners, noise_of, robust_fit, some_of
from engine.image.edges import refined, resized
from engine.image.learned_matte import LearnedMatte, bundled_matte
from engine.image.load import Picture

Array = np.ndarray

CONFIDENT = 0.5
"""Confidence from which a matte comes without a warning."""

NOTHING = 0.25
"""Confidence of the network below which a picture of nothing but smooth background shows no object."""

ENCLOSED = 0.03
"""Gaps of the learned matte narrower than twice this share of the picture's longest side count as holes of it."""

SIMILAR = 0.25
"""Area of a separate part, over that of the largest, from which it counts as an object of its own."""

_MODEL_SIDE = 320  # the background is modelled at this longest side,
_REGION_SIDE = 1024  # the object's region found at this one, its edge at full size
_BAND = 3.0  # pixels of that size on each side of the outline whose alpha is estimated
_NEAR = 4.0  # distance from the background, in multiples of its noise, up to which a colour belongs to it
_EDGE = 0.02  # change of colour per pixel of the model that the growing background does not cross
_LOCAL = 9  # width in pixels of the two box filters that make the background's local mean

_WARNING = (
    "The background is not plain, so the object may be cut out wrongly. "
    "A picture with a plain or transparent background works better."
)


@dataclass(frozen=True)
class Matte:
    """A picture whose alpha is its object."""

    rgba: Array  # [H, W, 4] float32, straight alpha
    confidence: float  # 0 to 1; 1 where the user's own alpha is used
    warning: str  # one or two sentences for the user; empty when confident


def matte(picture: Picture) -> Matte:
    """The object of `picture`; the user's own alpha always wins.

    All objects that stand in front are kept; where they are several, the warning says so.
    Raises `PictureError` where a picture without alpha shows nothing but background.
    """
    if picture.has_alpha:
        return Matte(picture.rgba, 1.0, "")
    rgb = np.ascontiguousarray(picture.rgba[..., :3])
    try:
        network, note = bundled_matte(), ""
    except WeightsError as error:
        network, note = None, f"The learned matte could not be used. {error}"
    cut = chosen(rgb, network)
    notes = (note, "" if cut.confidence >= CONFIDENT else _WARNING, _several(cut.rgba[..., 3]))
    return Matte(cut.rgba, cut.confidence, " ".join(filter(None, notes)))


def chosen(rgb: Array, network: LearnedMatte | None) -> Matte:
    """The better of the learned and the classical matte of a picture [H, W, 3]; the latter where there is no network.

    Both are first made at the network's size. What both are sure of, and how far they agree, gives each a chance of
    being good, by the network's card; that is the confidence. The likelier one is then made at full size.
    """
    if network is None:
        return classical_matte(rgb)
    guess = network.look(rgb)
    both = second_look(rgb, guess.alpha)
    learned, classical = network.chances(guess.score, both.confidence, both.agreement)
    if classical_wins(bool((both.alpha > 0.5).any()), bool(both.inside.any()), learned, classical):
        return replace(classical_matte(rgb), confidence=classical)
    if not both.inside.any() and learned < NOTHING:
        raise _nothing()
    return Matte(refined(rgb, both.alpha), learned, "")


def classical_wins(solid: bool, inside: bool, learned: float, classical: float) -> bool:
    """Whether the classical matte is taken: from whether the learned one (`solid`) and it (`inside`) found anything,
    and from the chances that each is good."""
    return not solid or (inside and classical >= learned)


@dataclass(frozen=True)
class SecondLook:
    """Both mattes at the network's size [h, w]."""

    alpha: Array  # float32, the learned one, mended
    inside: Array  # bool, the classical one
    confidence: float  # of the classical one
    agreement: float  # overlap of the two, 0 to 1


def second_look(rgb: Array, alpha: Array) -> SecondLook:
    """What the classical matte makes of a picture [H, W, 3] whose learned one is `alpha` [h, w]."""
    quick = _region(resized(rgb, alpha.shape[1], alpha.shape[0]))
    alpha = mended(alpha, quick.inside)
    solid = alpha > 0.5
    either = int((solid | quick.inside).sum())
    agreement = float((solid & quick.inside).sum()) / either if either else 0.0
    return SecondLook(alpha, quick.inside, quick.confidence, agreement)


def mended(alpha: Array, inside: Array) -> Array:
    """The learned matte [h, w] with its holes filled where the classical one, `inside` [h, w] bool, sees none.

    The network leaves holes that no picture rendered for training has: white letters, a pale face. The classical matte
    has none of them, but takes shadows for the object: it is believed only in what the learned one encloses.
    """
    radius = max(1, round(ENCLOSED * max(alpha.shape)))
    solid = np.pad(alpha > 0.5, radius)
    near = np.asarray(ndimage.distance_transform_edt(~solid)) <= radius
    closed = np.asarray(ndimage.distance_transform_edt(near)) > radius
    enclosed = np.asarray(ndimage.binary_fill_holes(closed | solid))[radius:-radius, radius:-radius]
    return np.where(enclosed & inside, np.float32(1), alpha)


def classical_matte(rgb: Array) -> Matte:
    """The object before a smooth background; picture [H, W, 3]. Raises `PictureError` where there is none."""
    region = _region(_within(rgb, _REGION_SIDE))
    if not region.inside.any():
        raise _nothing()
    return Matte(_soft_edges(rgb, region), region.confidence, "")


def _nothing() -> PictureError:
    return PictureError(
        "There is no object in the picture: it shows nothing but background.",
        "Choose a picture with one object that differs from what is behind it.",
    )


@dataclass(frozen=True)
class _Region:
    """Where the object is, and what is behind it, at a reduced size."""

    inside: Array  # [H, W] bool; nowhere, where there is no object
    distance: Array  # [H, W] of the picture's colours from the background's, in multiples of its noise
    nearest: Array  # [H, W, 3] the background's colour
    noise: float
    confidence: float


def _region(rgb: Array) -> _Region:
    """The object in a picture [H, W, 3] before a smooth background."""
    behind = _background(_within(rgb, _MODEL_SIDE))
    view = ndimage.gaussian_filter(rgb, (0.5, 0.5, 0))  # grain is no structure
    background = [resized(candidate, *view.shape[1::-1]) for candidate in behind.candidates]
    distance, nearest = _distance(view, background, behind.noise)
    inside = _tidy(~_connected_to_border(distance < _NEAR))
    inside &= ~_holes(view - nearest, behind.noise, inside)
    confidence = _confidence(distance, inside, behind) if inside.any() else 0.0
    return _Region(inside, distance, nearest, behind.noise, confidence)


def _several(alpha: Array) -> str:
    """A sentence about the objects in a matte [H, W], where they are several: parts that hardly differ in size."""
    solid = _within(alpha, 256) > 0.5
    labels, _ = _label(np.asarray(ndimage.binary_dilation(solid, np.ones((3, 3)))), corners=True)
    areas = np.bincount(labels[solid])
    count = int((areas > SIMILAR * areas.max()).sum()) if solid.any() else 1
    if count < 2:
        return ""
    return (
        f"The picture shows {count} separate objects or parts; all were kept, as one object. "
        "Crop the picture to one of them where only that is wanted."
    )


def _within(image: Array, longest: int) -> Array:
    """`image` [H, W, C] reduced to a longest side of at most `longest` pixels."""
    scale = min(1.0, longest / max(image.shape[:2]))
    return resized(image, max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))


# ---- the background's colour ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Background:
    """What is behind the object, at a small size: it is smooth."""

    candidates: list[Array]  # [H, W, 3] each: the local colour here, and on each side of here
    noise: float  # typical distance of the background's pixels from it
    explained: float  # share of the border that the first polynomial explains


def _background(rgb: Array) -> _Background:
    """Fits a polynomial to the border, then grows from the border inwards with the background's own local mean."""
    height, width = rgb.shape[:2]
    flat, every = rgb.reshape(-1, 3), monomials(height, width)
    index = some_of(border_of(height, width))
    terms, colors = every[index], flat[index]
    coefficients, noise = robust_fit(terms, colors, near_corners(terms, colors))
    explained = float((np.linalg.norm(colors - terms @ coefficients, axis=1) < _NEAR * noise).mean())

    steepness, border = _steepness(rgb), border_of(height, width)
    edges = steepness > max(_EDGE, 3 * float(np.median(steepness[border])))
    candidates, area = [(every @ coefficients).reshape(rgb.shape)], 0
    for _ in range(12):
        distance, nearest = _distance(rgb, candidates, noise)
        outside = _connected_to_border((distance < _NEAR) & ~edges)
        if outside.sum() < 1.002 * area:
            break
        if area:
            noise = noise_of(float(np.median(np.linalg.norm((rgb - nearest)[outside], axis=1))))
        area = int(outside.sum())
        index = some_of(outside)
        coefficients, _ = robust_fit(every[index], flat[index], np.ones(len(index)))
        candidates = _local_means(rgb, outside, (every @ coefficients).reshape(rgb.shape))
    return _Background(candidates, noise, explained)


def _steepness(rgb: Array) -> Array:
    """How much the colour changes per pixel, [H, W]."""
    smooth = ndimage.gaussian_filter(rgb, (1, 1, 0))
    squares = [(ndimage.sobel(smooth, axis) / 8) ** 2 for axis in (0, 1)]
    return np.sqrt((squares[0] + squares[1]).sum(-1))


def _local_means(rgb: Array, mask: Array, coarse: Array) -> list[Array]:
    """Mean of `rgb` over the neighbours in `mask`, falling back to `coarse` where there are none: around each pixel,
    and around the places beside it. At a horizon the mean here is neither wall nor floor; that beside it is."""
    weighted = np.concatenate([(rgb - coarse) * mask[..., None], mask[..., None]], -1).astype(np.float32)
    for _ in range(2):
        for axis in (0, 1):
            weighted = ndimage.uniform_filter1d(weighted, _LOCAL, axis)
    mean = coarse + weighted[..., :3] / (np.maximum(weighted[..., 3:], 0) + 0.02)
    padded = np.pad(mean, ((_LOCAL, _LOCAL), (_LOCAL, _LOCAL), (0, 0)), "edge")
    height, width = mask.shape
    shifts = ((0, 0), (-_LOCAL, 0), (_LOCAL, 0), (0, -_LOCAL), (0, _LOCAL))
    return [padded[_LOCAL + y : _LOCAL + y + height, _LOCAL + x : _LOCAL + x + width] for y, x in shifts]


def _distance(rgb: Array, candidates: list[Array], noise: float) -> tuple[Array, Array]:
    """Distance of each colour from the nearest of the background's, in multiples of its noise [H, W], and that one."""
    nearest, least = candidates[0], None
    for candidate in candidates:
        difference = rgb - candidate
        square = np.einsum("hwc,hwc->hw", difference, difference)
        if least is None:
            least = square
        else:
            closer = square < least
            least = np.where(closer, square, least)
            nearest = np.where(closer[..., None], candidate, nearest)
    assert least is not None
    return np.sqrt(least) / noise, nearest


# ---- the object's region --------------------------------------------------------------------------------------------


def _label(mask: Array, corners: bool = False) -> tuple[Array, int]:
    """Connected parts of `mask` numbered from 1, and how many; with `corners`, pixels that touch there connect."""
    labels = np.empty(mask.shape, np.int32)
    count = ndimage.label(mask, np.ones((3, 3)) if corners else None, output=labels)
    return labels, int(count)  # type: ignore[arg-type]


def _connected_to_border(mask: Array) -> Array:
    """The parts of `mask` that reach the border of the picture."""
    labels, count = _label(mask)
    touching = np.zeros(count + 1, bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        touching[edge] = True
    touching[0] = False
    return touching[labels]


def _tidy(inside: Array) -> Array:
    """Without threads of one pixel, and without parts that are specks beside the largest one or thin all over."""
    opened = ndimage.binary_opening(inside, np.ones((3, 3)))
    opened = np.asarray(ndimage.binary_dilation(opened, np.ones((3, 3)), iterations=2, mask=inside), bool)
    labels, count = _label(opened, corners=True)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    solid = np.zeros(count + 1, bool)
    solid[labels[_eroded(opened, max(2, round(0.005 * max(inside.shape))))]] = True
    return (solid & (areas >= max(12, 0.002 * areas.max())))[labels]


def _holes(difference: Array, noise: float, inside: Array) -> Array:
    """Regions inside the object through which the background is seen: of its very colour, even, and with a sharp rim.

    `difference` [H, W, 3] is that of the picture from the background. Where the object's own shading passes through
    the background's colour the rim is soft; what is painted on it in exactly that colour cannot be told from a hole.
    """
    distance = np.linalg.norm(difference, axis=-1)
    labels, count = _label((distance < _NEAR * noise) & inside)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    cores = np.where(_eroded(labels > 0, 2), labels, 0)  # along its rim a hole shows the object's blur
    ring = np.where(labels == 0, ndimage.maximum_filter(labels, 7), 0)
    means, spreads = _statistics(difference, cores, count)
    rims, _ = _statistics(distance[..., None], ring, count)
    is_hole = (areas > max(20, 0.0005 * inside.sum())) & (np.bincount(cores.ravel(), minlength=count + 1)[1:] > 0)
    is_hole &= (np.linalg.norm(means, axis=1) < 2.5 * noise) & (np.linalg.norm(spreads, axis=1) < 1.4 * noise)
    is_hole &= rims[:, 0] > 2.5 * _NEAR * noise
    return np.asarray(ndimage.binary_dilation(np.append(False, is_hole)[labels], iterations=1, mask=inside), bool)


def _statistics(values: Array, labels: Array, count: int) -> tuple[Array, Array]:
    """Mean and standard deviation [count, C] of `values` [H, W, C] over the parts 1 to `count`; 0 for an empty part."""
    flat = labels.ravel()
    number = np.maximum(np.bincount(flat, minlength=count + 1)[1:, None], 1)
    sums, squares = (
        np.stack([np.bincount(flat, v[..., c].ravel(), count + 1)[1:] for c in range(v.shape[2])], -1) / number
        for v in (values, values**2)
    )
    return sums, np.sqrt(np.maximum(squares - sums**2, 0))


def _confidence(distance: Array, inside: Array, behind: _Background) -> float:
    """How far the matte can be trusted, from 0 to 1: the least of what speaks against it.

    That is a border of many colours, an object that hardly differs from what is beside it (its shadow, or a background
    that was not understood), and an object that fills all or nothing.
    """
    share = float(inside.mean())
    outline = inside & ~_eroded(inside, 3)
    contrast = float(np.percentile(distance[outline], 30)) / _NEAR if outline.any() else 0.0
    doubts = ((behind.explained - 0.5) / 0.3, (contrast - 0.95) / 0.5, share / 0.01, (0.95 - share) / 0.2)
    return float(np.clip(min(doubts), 0, 1))


# ---- its edge -------------------------------------------------------------------------------------------------------


def _soft_edges(rgb: Array, region: _Region) -> Array:
    """RGBA [H, W, 4] at full size: alpha and colours along the outline from the compositing equation.

    Unknown are a narrow band on both sides of the outline, and the pixels a little further in that are hardly
    different from the background: compression leaves such crumbs around objects.
    """
    size = rgb.shape[1::-1]
    scale = max(size) / max(region.inside.shape)
    mask = resized(region.inside.astype(np.float32), *size) > 0.5
    behind = resized(region.nearest, *size)
    band = max(1, round(_BAND * scale))
    crumbs = resized((region.distance < 3 * _NEAR).astype(np.float32), *size) > 0.5
    core = _eroded(mask, band) & ~(crumbs & ~_eroded(mask, 3 * band))
    core = core if core.any() else mask
    unknown = _dilated(mask, band) & ~core
    front = np.concatenate([rgb * core[..., None], core[..., None]], -1, dtype=np.float32)
    for _ in range(2):
        for axis in (0, 1):
            front = ndimage.uniform_filter1d(front, 2 * band + 3, axis)

    known = unknown & (front[..., 3] > 1e-3)
    seen, back = rgb[known], behind[known]
    span = front[known][:, :3] / front[known][:, 3:] - back
    length = np.einsum("pc,pc->p", span, span)
    solved = np.clip(np.einsum("pc,pc->p", seen - back, span) / np.maximum(length, 1e-6), 0, 1)
    off = np.linalg.norm(seen - back - solved[:, None] * span, axis=-1)  # not on the line: another colour of the object
    solved = np.clip((solved - 0.1) / 0.85, 0, 1)  # noise on either side is not transparency
    solved = np.where((length > 0.05**2) & (off < 0.2 + 3 * region.noise), solved, mask[known])

    rgba = np.concatenate([rgb, mask[..., None]], -1, dtype=np.float32)
    colors = np.where(solved[:, None] < 0.95, np.clip(back + span, 0, 1), seen)
    rgba[known] = np.concatenate([colors, solved[:, None]], -1)
    return rgba


def _eroded(mask: Array, pixels: int) -> Array:
    """`mask` without the pixels within `pixels` of its outline; the border of the picture is none."""
    return ndimage.minimum_filter(mask.view(np.uint8), 2 * pixels + 1, mode="constant", cval=1).astype(bool)


def _dilated(mask: Array, pixels: int) -> Array:
    """`mask` and the pixels within `pixels` of it."""
    return ndimage.maximum_filter(mask.view(np.uint8), 2 * pixels + 1, mode="constant", cval=0).astype(bool)
