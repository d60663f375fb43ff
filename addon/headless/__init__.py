# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of pictures without a window: what `batch.py` is made of."""
