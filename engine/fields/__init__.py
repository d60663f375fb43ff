# SPDX-License-Identifier: GPL-3.0-or-later
"""What generators make and files hold: Gaussians, and the cameras that look at them."""
