# SPDX-License-Identifier: GPL-3.0-or-later
"""Axes, units, camera model, colour spaces and shape letters: each defined once, here.

Frame       Right-handed, y up. The picture's camera stands on +z and looks along -z, so the side seen in the
            picture faces +z (glTF's front). Blender's importer turns y up into z up: the front then faces -y.
Objects     Live in [-1, 1]^3 with the longest side of their bounding box OBJECT_EXTENT. Export scales to metres.
Cameras     `viewmats` [C, 4, 4] world to camera, OpenCV axes (x right, y down, z forward); `Ks` [C, 3, 3] in pixels.
            The centre of pixel (row r, column c) is (c + 0.5, r + 0.5). Azimuth 0, elevation 0 is the camera on +z;
            azimuth grows towards +x, elevation towards +y; degrees where the name ends in `_deg`, else radians.
Quaternions wxyz, unit length.
Colours     sRGB in [0, 1] in pictures, fields and textures; linear light only where a name ends in `_linear`.
Gaussians   `scales` are standard deviations and `opacities` lie in [0, 1]: both after activation.
UVs         Origin at the top left of the texture (glTF's): u to the right, v down, row 0 of the image at v = 0.
Pictures    float32 RGBA [H, W, 4], straight (not premultiplied) alpha, row 0 at the top.

Shape letters: N Gaussians, C cameras, H W picture rows and columns, V vertices, F faces, T texture side,
X Y Z grid cells along each axis, B batch, D width of a network, K anchors, P points.
"""

OBJECT_EXTENT = 1.8
"""Longest side of a generated object's bounding box, inside [-1, 1]^3."""

SH_C0 = 0.28209479177387814
"""Value of the spherical harmonic of degree 0: colour = 0.5 + SH_C0 * f_dc (Kerbl et al. 2023)."""

OPAQUE_ALPHA = 250 / 255
"""Alpha from which a pixel counts as solid: matting tools leave 254 inside objects."""
