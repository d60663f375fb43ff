# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussmith's engine: a picture becomes Gaussians, Gaussians become a textured mesh.

Importing this package loads nothing else: Blender imports `engine.protocol` through it.
"""

__version__ = "0.1.0"
