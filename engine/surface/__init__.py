# SPDX-License-Identifier: GPL-3.0-or-later
"""From a density to a clean, closed surface of the wanted number of faces."""
