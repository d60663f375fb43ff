# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a finished mesh: placed, replaced, kept, marked as an asset, shown as splats."""
