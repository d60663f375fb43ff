# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with files that hold something else than expected. Apart from what reads them: numpy. No bpy."""


class GlbError(ValueError):
    """A file that is not the GLB expected; its text is one sentence."""


class SplatPointsError(ValueError):
    """A file that cannot be shown as points; its text is one sentence."""
