# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the engine, as `python -m engine ...` or as `python -I -X utf8 -u path/to/engine ...`."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in jit.py; before any library starts its threads
    here = Path(__file__).resolve().parent
    # Run as a folder, Python puts the folder itself first on the path: its modules would then be found twice.
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != here]
    if str(here.parent) not in sys.path:
        sys.path.insert(0, str(here.parent))

    from engine.cli import main

    sys.exit(main())
