# SPDX-License-Identifier: GPL-3.0-or-later
"""What a batch tells: a JSON line per mesh in a file, and a sentence per mesh for people. No bpy."""

import errno
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from .plan import UsageError

_BEGIN = b'{"name": '
_LONGEST = 1 << 20
"""Bytes no line is longer than."""


class Report:
    """A file to which each mesh adds a JSON line as soon as it is done, or nothing where `path` is None.

    A file that holds something else is never written to. A line stands there whole or not at all, also where the disk
    is full: `problem` then says so, and the batch goes on.
    """

    def __init__(self, path: Path | None) -> None:
        self.problem = ""
        self._path = path
        self._file: int | None = None
        self._is_stream = False

    def __enter__(self) -> "Report":
        if self._path is None:
            return self
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Not blocking: a pipe nobody reads would hold the batch for ever.
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            self._file = os.open(self._path, flags, 0o666)
            kind = os.fstat(self._file).st_mode
            if not stat.S_ISREG(kind) and not stat.S_ISCHR(kind):
                raise UsageError(f"The report {self._path} is no file. Choose another name.")
            self._is_stream = stat.S_ISCHR(kind)
            if not self._is_stream:
                self._continue()
        except OSError as error:
            self.close()
            raise UsageError(f"Could not write the report {self._path}: {error.strerror or error}.") from error
        except UsageError:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def add(self, record: dict[str, Any]) -> None:
        """Adds a line. Names no encoding knows become escapes of JSON."""
        if self._file is None or self._path is None:
            return
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        end = 0 if self._is_stream else os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if not self._is_stream:
                os.ftruncate(self._file, end)
            self.problem = f"Could not write the report {self._path}: {error.strerror or error}."

    def _continue(self) -> None:
        """Looks whether an existing file is a report, and drops a line that was cut off when a batch was killed."""
        assert self._file is not None
        size = os.fstat(self._file).st_size
        if size and not _is_report(self._read(0)):
            raise UsageError(f"{self._path} exists and is no report of a batch. Choose another name.")
        first = max(size - _LONGEST, 0)
        whole, newline, last = self._read(first).rpartition(b"\n")
        if not last:
            return
        if not _is_object(last):
            os.ftruncate(self._file, first + len(whole + newline))
        else:
            os.write(self._file, b"\n")

    def _read(self, start: int) -> bytes:
        assert self._file is not None
        os.lseek(self._file, start, os.SEEK_SET)
        return os.read(self._file, _LONGEST)


def _is_report(start: bytes) -> bool:
    """Whether a file that begins like this is one of ours: its first line is an object, if perhaps a cut off one."""
    first = start.partition(b"\n")[0]
    return _is_object(first) or (first != b"" and (first.startswith(_BEGIN) or _BEGIN.startswith(first)))


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def sentence(record: dict[str, Any]) -> str:
    """A line of the report for people."""
    source = Path(record["name"]).with_name(Path(record.get("picture") or record["splats"]).name).as_posix()
    if record.get("resumed"):
        return f"{source}: {record['output']} was finished before the batch was interrupted"
    if record.get("changed"):
        return f"{source} has changed since {record['output']} was made (--overwrite makes it anew)"
    if record.get("lacks"):
        return f"{source}: {record['output']} exists, but not {record['lacks'][0]} (--overwrite makes both anew)"
    if record["status"] == "skipped":
        return f"{source}: {record['output']} exists, skipped (--overwrite makes it anew)"
    if record["status"] == "failed":
        return f"{source}: failed: {record['message']} {record['hint']}".rstrip()
    closed = "watertight" if record.get("watertight") else "not watertight"
    warnings = "".join(f"\n    {warning}" for warning in record.get("warnings", ()))
    return f"{source}: {record['faces']:,} faces, {closed}, {record['total_seconds']:.1f} s{warnings}"


def say(text: str) -> None:
    """A line on stdout, whatever the terminal's encoding lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
