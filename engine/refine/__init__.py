# SPDX-License-Identifier: GPL-3.0-or-later
"""Fitting a finished mesh closer to what it was made from."""
