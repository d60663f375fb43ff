# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading, writing and naming files. No bpy."""
