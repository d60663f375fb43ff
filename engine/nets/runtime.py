# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs an exported network with onnxruntime, after checking that its file is the one its card describes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from engine.device import choose_device
from engine.errors import WeightsError

Array = np.ndarray

REPAIR = "Install the extension again, or restore the file from its release."


class OnnxNetwork:
    """A network in a `.onnx` file beside its card, a `.json` file of the same name."""

    def __init__(self, path: str | Path) -> None:
        """Raises `WeightsError` where the file or its card is missing, damaged, or not the one the card describes."""
        self.path = Path(path)
        self.card = read_card(self.path)
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise WeightsError(f"The weights {self.path.name} could not be read: {error.strerror}.", REPAIR) from error
        found = hashlib.sha256(content).hexdigest()
        if found != self.card["sha256"]:
            raise WeightsError(
                f"The weights {self.path.name} are not the ones expected: their checksum is {found[:12]}…, "
                f"not {self.card['sha256'][:12]}….",
                REPAIR,
            )
        self._session = open_session(content)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Outputs by name; inputs are arrays by name."""
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))  # type: ignore[arg-type]


def open_session(content: bytes) -> onnxruntime.InferenceSession:
    """A network, given as the content of its `.onnx` file, ready to run on this process's device."""
    device = choose_device()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = device.threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as `engine.jit` wants of threads
    return onnxruntime.InferenceSession(content, options, providers=[device.provider])


def read_card(path: str | Path) -> dict[str, Any]:
    """The card beside the weights `path`: data, licences, metrics, settings and checksum."""
    card = Path(path).with_suffix(".json")
    try:
        content = json.loads(card.read_text(encoding="utf-8"))
        if not isinstance(content["sha256"], str):
            raise TypeError("sha256 is no text")
        return content
    except FileNotFoundError as error:
        raise WeightsError(f"The weights {Path(path).name} are missing: there is no {card.name}.", REPAIR) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"The card {card.name} of the weights cannot be read: {error}.", REPAIR) from error
