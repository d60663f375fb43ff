# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the engine as a user and as Blender would: as a process of its own."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Empty, Queue

import numpy as np
import pytest
from PIL import Image

from engine.protocol import CancelledJob, Error, Message, Result, decode, encode

ROOT = Path(__file__).resolve().parents[2]
BALLOON = Path(__file__).with_name("balloon_engine.py")
FLAGS = ["-I", "-X", "utf8", "-u"]


def run(*arguments, program=BALLOON, cwd=None, timeout=120, **environment):
    """The finished process of one command; its stdout and stderr are pipes."""
    return subprocess.run(
        [sys.executable, *FLAGS, str(program), *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        cwd=cwd,
        timeout=timeout,
        env={**os.environ, **environment},
        check=False,
    )


def draw_picture(path, shape="disc", size=96):
    """A small picture with alpha; returns its path."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size * 2 - 1
    inside = {"disc": x * x + y * y < 0.5, "bar": (np.abs(x) < 0.2) & (np.abs(y) < 0.8)}[shape]
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[inside] = (200, 90, 40, 255)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG")
    return path


class Wire:
    """A running engine and the messages it sends."""

    def __init__(self, program=BALLOON, **environment):
        self.stderr = b""
        self.process = subprocess.Popen(
            [sys.executable, *FLAGS, str(program), "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )
        self.messages: Queue[Message | None] = Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._drainer = threading.Thread(target=self._drain, daemon=True)
        self._drainer.start()

    def _read(self):
        for line in self.process.stdout:
            self.messages.put(decode(line))
        self.messages.put(None)

    def _drain(self):
        self.stderr = self.process.stderr.read()

    def said(self):
        """All it wrote to stderr, once it has ended."""
        self._drainer.join(60)
        return self.stderr

    def send(self, message):
        self.send_raw(encode(message))

    def send_raw(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def next(self, *kinds, timeout=60.0):
        """The next message of one of these types (any when none is named); None when the engine has ended."""
        end = time.monotonic() + timeout
        while True:
            try:
                message = self.messages.get(timeout=max(0.01, end - time.monotonic()))
            except Empty:
                raise AssertionError(f"no {kinds} within {timeout} s") from None
            if message is None or not kinds or isinstance(message, kinds):
                return message

    def end(self, timeout=60.0):
        """The next message that ends a job."""
        return self.next(Result, Error, CancelledJob, timeout=timeout)


@pytest.fixture
def run_engine():
    return run


@pytest.fixture
def draw():
    return draw_picture


@pytest.fixture
def wire():
    """Starts engines that end with the test."""
    wires = []

    def start(**settings):
        wires.append(Wire(**settings))
        return wires[-1]

    yield start
    for started in wires:
        started.process.kill()
        started.process.wait()
