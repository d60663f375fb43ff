# SPDX-License-Identifier: GPL-3.0-or-later
"""From 3D Gaussians to ellipses in the picture, and gradients back: the float64 part of the CPU rasteriser.

The equations stand in `engine.render.splat_reference`. An ellipse is kept in the form that the inner loops read. With
(dx, dy) a pixel's offset from the centre and the conic Sigma'^-1 = [A, B; B, C], completing the square in x gives

    sigma = h (dx + slope dy)^2 + q dy^2,   h = A / 2,  slope = B / A,  q = 1 / (2 Sigma'_yy)

which needs one multiply-add per pixel, never cancels and is never negative. The determinant is the sum of the squared
2 x 2 minors of J R Q S plus the blur's terms (Cauchy-Binet), so that needle-shaped Gaussians keep a positive one.
"""

import numpy as np

from engine.jit import kernel, parallel_kernel, prange

NEAR = 0.01
BLUR = 0.3
CLAMP_MARGIN = 0.3
MIN_ALPHA = 1 / 255
MAX_VARIANCE = 1e30  # px^2; wider Gaussians (or NaN) are left out: float32 could not hold their conic

RECORD = 16
"""Floats per projected Gaussian, one cache line. The centre is split in a whole number of pixels and the rest."""
X, X_REST, Y, Y_REST, H, SLOPE, Q, OPACITY, RED, GREEN, BLUE, DEPTH, RADIUS_X, RADIUS_Y, Y_OF_RIGHT, CUT = range(RECORD)
# RADIUS_X, RADIUS_Y: half extents in px where alpha falls to MIN_ALPHA; Y_OF_RIGHT: dy of the ellipse's rightmost
# point; CUT: sigma there, log(opacity / MIN_ALPHA).

CULLED = np.float32(np.inf)
_SLACK = 1e-4  # of CUT, so that no pixel of the exact test is lost to rounding


@kernel
def _clamp(slope, focal, center, size):
    """The slope x / z (or y / z) at which the Jacobian is taken: at most a margin outside the picture."""
    margin = CLAMP_MARGIN * 0.5 * size / focal
    return min(max(slope, -center / focal - margin), (size - center) / focal + margin)


@kernel
def _norm_and_unit(quats, n):
    w, x, y, z = np.float64(quats[n, 0]), np.float64(quats[n, 1]), np.float64(quats[n, 2]), np.float64(quats[n, 3])
    norm = max(np.sqrt(w * w + x * x + y * y + z * z), 1e-30)
    return norm, w / norm, x / norm, y / norm, z / norm


@kernel
def _column(w, x, y, z, j):
    """Column j of the rotation matrix of a unit quaternion: a principal axis of the Gaussian."""
    if j == 0:
        return 1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)
    if j == 1:
        return 2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)
    return 2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)


@parallel_kernel
def project(means, quats, scales, opacities, colors, viewmats, Ks, width, height, records, depths):
    """Fills records [C, N, RECORD] and depths [C, N] (camera z, CULLED where a Gaussian touches no pixel)."""
    C, N = depths.shape
    for index in prange(C * N):
        c = index // N
        n = index - c * N
        depths[c, n] = CULLED
        view = viewmats[c]
        mean_x, mean_y, mean_z = np.float64(means[n, 0]), np.float64(means[n, 1]), np.float64(means[n, 2])
        tz = view[2, 0] * mean_x + view[2, 1] * mean_y + view[2, 2] * mean_z + view[2, 3]
        opacity = np.float64(opacities[n])
        if not (tz > NEAR and opacity >= MIN_ALPHA):
            continue
        iz = 1 / tz
        slope_x = (view[0, 0] * mean_x + view[0, 1] * mean_y + view[0, 2] * mean_z + view[0, 3]) * iz
        slope_y = (view[1, 0] * mean_x + view[1, 1] * mean_y + view[1, 2] * mean_z + view[1, 3]) * iz
        fx, fy, cx, cy = Ks[c, 0, 0], Ks[c, 1, 1], Ks[c, 0, 2], Ks[c, 1, 2]
        clamped_x = _clamp(slope_x, fx, cx, width)
        clamped_y = _clamp(slope_y, fy, cy, height)

        _, w, x, y, z = _norm_and_unit(quats, n)
        xx = yy = xy = det = 0.0
        last_a = last_b = first_a = first_b = 0.0
        for j in range(3):
            q0, q1, q2 = _column(w, x, y, z, j)
            v0 = view[0, 0] * q0 + view[0, 1] * q1 + view[0, 2] * q2
            v1 = view[1, 0] * q0 + view[1, 1] * q1 + view[1, 2] * q2
            v2 = view[2, 0] * q0 + view[2, 1] * q1 + view[2, 2] * q2
            scale = np.float64(scales[n, j])
            a = fx * iz * (v0 - clamped_x * v2) * scale
            b = fy * iz * (v1 - clamped_y * v2) * scale
            xx += a * a
            yy += b * b
            xy += a * b
            if j == 0:
                first_a, first_b = a, b
            else:
                det += (last_a * b - a * last_b) ** 2
            last_a, last_b = a, b
        det += (first_a * last_b - last_a * first_b) ** 2
        det += BLUR * (xx + yy) + BLUR * BLUR
        xx += BLUR
        yy += BLUR
        if not (xx < MAX_VARIANCE and yy < MAX_VARIANCE):
            continue

        center_x, center_y = fx * slope_x + cx, fy * slope_y + cy
        cut = np.log(opacity / MIN_ALPHA) * (1 + _SLACK) + 1e-9
        radius_x, radius_y = np.sqrt(2 * cut * xx), np.sqrt(2 * cut * yy)
        outside = (
            center_x + radius_x < 0.5
            or center_x - radius_x > width - 0.5
            or center_y + radius_y < 0.5
            or center_y - radius_y > height - 0.5
        )
        if outside or not (abs(center_x) < MAX_VARIANCE and abs(center_y) < MAX_VARIANCE):
            continue
        depths[c, n] = tz
        record = records[c, n]
        record[X] = np.floor(center_x)
        record[X_REST] = center_x - np.float64(record[X])
        record[Y] = np.floor(center_y)
        record[Y_REST] = center_y - np.float64(record[Y])
        record[H] = 0.5 * yy / det
        record[SLOPE] = -xy / yy
        record[Q] = 0.5 / yy
        record[OPACITY] = opacity
        record[RED] = colors[n, 0]
        record[GREEN] = colors[n, 1]
        record[BLUE] = colors[n, 2]
        record[DEPTH] = tz
        record[RADIUS_X] = radius_x
        record[RADIUS_Y] = radius_y
        record[Y_OF_RIGHT] = xy * radius_x / xx
        record[CUT] = cut


@parallel_kernel
def project_backward(
    means, quats, scales, viewmats, Ks, width, height, records, depths, moments, slots, slot_starts,
    grad_means, grad_quats, grad_scales, grad_opacities, grad_colors,
):  # fmt: skip
    """Sums each Gaussian's moments over the tiles and cameras it touches and carries them to the five inputs.

    moments [I, MOMENTS] per (tile, Gaussian) pair as written by `splat_cpu.composite_backward`; slots [I] lists the
    pairs of a Gaussian, from slot_starts[c, n, 0] to slot_starts[c, n, 1]. Every order of summation is fixed, so the
    result does not depend on the number of threads.
    """
    C = viewmats.shape[0]
    for n in prange(means.shape[0]):
        norm, w, x, y, z = _norm_and_unit(quats, n)
        mean_x, mean_y, mean_z = np.float64(means[n, 0]), np.float64(means[n, 1]), np.float64(means[n, 2])
        gm_x = gm_y = gm_z = g_opacity = g_red = g_green = g_blue = 0.0
        gs = (0.0, 0.0, 0.0)
        gw = gx = gy = gz = 0.0
        for c in range(C):
            if depths[c, n] == CULLED:
                continue
            m0 = mx = my = mxx = mxy = myy = red = green = blue = g_depth = 0.0
            for k in range(slot_starts[c, n, 0], slot_starts[c, n, 1]):
                moment = moments[slots[k]]
                m0 += moment[0]
                mx += moment[1]
                my += moment[2]
                mxx += moment[3]
                mxy += moment[4]
                myy += moment[5]
                red += moment[6]
                green += moment[7]
                blue += moment[8]
                g_depth += moment[9]
            g_opacity -= m0 / np.float64(records[c, n, OPACITY])
            g_red += red
            g_green += green
            g_blue += blue

            # forward again, in float64
            view = viewmats[c]
            tx = view[0, 0] * mean_x + view[0, 1] * mean_y + view[0, 2] * mean_z + view[0, 3]
            ty = view[1, 0] * mean_x + view[1, 1] * mean_y + view[1, 2] * mean_z + view[1, 3]
            iz = 1 / (view[2, 0] * mean_x + view[2, 1] * mean_y + view[2, 2] * mean_z + view[2, 3])
            fx, fy, cx, cy = Ks[c, 0, 0], Ks[c, 1, 1], Ks[c, 0, 2], Ks[c, 1, 2]
            slope_x, slope_y = tx * iz, ty * iz
            clamped_x = _clamp(slope_x, fx, cx, width)
            clamped_y = _clamp(slope_y, fy, cy, height)
            u0 = fx * iz * (view[0, 0] - clamped_x * view[2, 0])
            u1 = fx * iz * (view[0, 1] - clamped_x * view[2, 1])
            u2 = fx * iz * (view[0, 2] - clamped_x * view[2, 2])
            v0 = fy * iz * (view[1, 0] - clamped_y * view[2, 0])
            v1 = fy * iz * (view[1, 1] - clamped_y * view[2, 1])
            v2 = fy * iz * (view[1, 2] - clamped_y * view[2, 2])
            # the conic [A, B; B, C] as the forward pass rounded it
            A = 2 * np.float64(records[c, n, H])
            B = A * np.float64(records[c, n, SLOPE])
            D = 2 * np.float64(records[c, n, Q]) + B * np.float64(records[c, n, SLOPE])

            g_center_x = -(A * mx + B * my)
            g_center_y = -(B * mx + D * my)
            # dL/dSigma' = -Sigma'^-1 dL/d(conic) Sigma'^-1, with dL/d(conic) = [mxx, mxy; mxy, myy] / 2
            left_xx, left_xy = A * mxx + B * mxy, A * mxy + B * myy
            left_yx, left_yy = B * mxx + D * mxy, B * mxy + D * myy
            h_xx = -0.5 * (left_xx * A + left_xy * B)
            h_xy = -0.5 * (left_xx * B + left_xy * D)
            h_yy = -0.5 * (left_yx * B + left_yy * D)

            # through the rows of M = J R Q S: dL/dM = 2 dL/dSigma' M
            gu0 = gu1 = gu2 = gv0 = gv1 = gv2 = 0.0
            r0 = (0.0, 0.0, 0.0)  # dL/dQ, column by column
            r1 = (0.0, 0.0, 0.0)
            r2 = (0.0, 0.0, 0.0)
            for j in range(3):
                q0, q1, q2 = _column(w, x, y, z, j)
                scale = np.float64(scales[n, j])
                unscaled_a = u0 * q0 + u1 * q1 + u2 * q2
                unscaled_b = v0 * q0 + v1 * q1 + v2 * q2
                ga = 2 * scale * (h_xx * unscaled_a + h_xy * unscaled_b)
                gb = 2 * scale * (h_xy * unscaled_a + h_yy * unscaled_b)
                g_scale = ga * unscaled_a + gb * unscaled_b
                ga *= scale
                gb *= scale
                column = (ga * u0 + gb * v0, ga * u1 + gb * v1, ga * u2 + gb * v2)
                if j == 0:
                    r0, gs = column, (gs[0] + g_scale, gs[1], gs[2])
                elif j == 1:
                    r1, gs = column, (gs[0], gs[1] + g_scale, gs[2])
                else:
                    r2, gs = column, (gs[0], gs[1], gs[2] + g_scale)
                gu0 += ga * q0
                gu1 += ga * q1
                gu2 += ga * q2
                gv0 += gb * q0
                gv1 += gb * q1
                gv2 += gb * q2

            # rotation matrix to unit quaternion: r<column>[row]
            gw += 2 * (x * (r1[2] - r2[1]) + y * (r2[0] - r0[2]) + z * (r0[1] - r1[0]))
            gx += 2 * (-2 * x * (r1[1] + r2[2]) + y * (r1[0] + r0[1]) + z * (r2[0] + r0[2]) + w * (r1[2] - r2[1]))
            gy += 2 * (-2 * y * (r0[0] + r2[2]) + x * (r1[0] + r0[1]) + z * (r2[1] + r1[2]) + w * (r2[0] - r0[2]))
            gz += 2 * (-2 * z * (r0[0] + r1[1]) + x * (r2[0] + r0[2]) + y * (r2[1] + r1[2]) + w * (r0[1] - r1[0]))

            # through the Jacobian and the centre to t, then to the mean
            g_iz = (gu0 * u0 + gu1 * u1 + gu2 * u2 + gv0 * v0 + gv1 * v1 + gv2 * v2) / iz
            g_slope_x, g_slope_y = fx * g_center_x, fy * g_center_y
            if clamped_x == slope_x:
                g_slope_x -= fx * iz * (gu0 * view[2, 0] + gu1 * view[2, 1] + gu2 * view[2, 2])
            if clamped_y == slope_y:
                g_slope_y -= fy * iz * (gv0 * view[2, 0] + gv1 * view[2, 1] + gv2 * view[2, 2])
            gtx, gty = g_slope_x * iz, g_slope_y * iz
            gtz = g_depth - iz * iz * (g_iz + g_slope_x * tx + g_slope_y * ty)
            gm_x += view[0, 0] * gtx + view[1, 0] * gty + view[2, 0] * gtz
            gm_y += view[0, 1] * gtx + view[1, 1] * gty + view[2, 1] * gtz
            gm_z += view[0, 2] * gtx + view[1, 2] * gty + view[2, 2] * gtz

        along = w * gw + x * gx + y * gy + z * gz  # the length of a quaternion has no effect
        grad_means[n, 0], grad_means[n, 1], grad_means[n, 2] = gm_x, gm_y, gm_z
        grad_quats[n, 0], grad_quats[n, 1] = (gw - along * w) / norm, (gx - along * x) / norm
        grad_quats[n, 2], grad_quats[n, 3] = (gy - along * y) / norm, (gz - along * z) / norm
        grad_scales[n, 0], grad_scales[n, 1], grad_scales[n, 2] = gs
        grad_opacities[n] = g_opacity
        grad_colors[n, 0], grad_colors[n, 1], grad_colors[n, 2] = g_red, g_green, g_blue
