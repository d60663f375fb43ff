# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar's parts: sources, queue, history, presets, and what their buttons do."""
