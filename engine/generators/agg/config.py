# SPDX-License-Identifier: GPL-3.0-or-later
"""AGG's sizes: one dataclass, one table of presets (Xu et al. 2024; sizes are ours but for `paper`)."""

from dataclasses import dataclass, field

from engine.generators.agg.superres_config import SUPERRES_PRESETS, SuperResConfig


@dataclass(frozen=True)
class AggConfig:
    """The coarse hybrid generator and its super-resolution. Sizes in pixels, tokens or channels."""

    picture: int = 128  # side of the picture the network sees
    layers: int = 64  # side of the depth layers
    patch: int = 16
    vit_width: int = 192
    vit_depth: int = 4
    heads: int = 4
    unet: tuple[int, ...] = (48, 96, 160, 256)
    unet_blocks: int = 1
    queries: int = 1024  # Gaussians while training; more may be asked for when generating
    group: int = 128  # tokens that attend to each other
    width: int = 128
    depth: int = 2
    plane_tokens: int = 8
    plane_channels: int = 16
    plane_depth: int = 2
    decoder: int = 96
    extent: float = 1.6  # the triplane covers [-extent, extent]^3 of the view frame
    scale: float = 0.6  # standard deviation of a Gaussian over the spacing of its neighbours
    generate: int = 16384  # Gaussians when generating, after super-resolution
    warmup: bool = True  # depth layers and points are learned before anything is rendered
    superres: int = 4  # Gaussians per query after super-resolution: 1 (no such stage), 2, 4 or 8
    superres_sizes: SuperResConfig = field(default_factory=SuperResConfig)
    latent: int = 8  # numbers that choose among backs; 0 for one back only
    start: str = (
        "layers"  # of the queries: depth "layers" of the picture, or "learned" embeddings (then always `queries`)
    )
    texture_field: bool = True  # else colour and opacity come from the query's own features
    projected: bool = True  # picture features where a Gaussian projects; else the tokens alone speak of the picture
    anisotropic: bool = True  # scales and rotations are released late in training; else canonical for ever


PRESETS: dict[str, AggConfig] = {
    "xs": AggConfig(),
    "s": AggConfig(
        vit_width=256, vit_depth=6, unet=(64, 128, 192, 320), unet_blocks=2, queries=2048, group=256, width=192,
        depth=3, plane_tokens=12, plane_channels=24, plane_depth=3, decoder=128, superres_sizes=SUPERRES_PRESETS["s"],
    ),
    "m": AggConfig(
        picture=256, layers=128, vit_width=384, vit_depth=8, heads=6, unet=(64, 128, 256, 384, 384), unet_blocks=2,
        queries=4096, group=512, width=384, depth=6, plane_tokens=16, plane_channels=32, plane_depth=6, decoder=128,
        generate=32768, superres_sizes=SUPERRES_PRESETS["m"],
    ),
    "paper": AggConfig(
        picture=256, layers=128, vit_width=768, vit_depth=12, heads=8, unet=(96, 192, 384, 512, 512), unet_blocks=2,
        queries=4096, group=4096, width=512, depth=10, plane_tokens=32, plane_channels=80, plane_depth=10,
        decoder=128, superres_sizes=SUPERRES_PRESETS["paper"],
    ),
}  # fmt: skip
"""`xs` trains on two processor cores in an hour and a half; `paper` has the sizes of the published system's family."""
