# SPDX-License-Identifier: GPL-3.0-or-later
"""The wire between Blender and the engine: one UTF-8 JSON object per line on the child's stdin and stdout.

    Blender                                  engine
       |  <- hello      {protocol, engine, devices, card}      once, at start
       |  -> generate   {id, picture, output, generator, seed, options}
       |  -> mesh       {id, splats, output, options}
       |  <- progress   {id, stage, fraction, text}             any number
       |  <- notice     {id, text}                              a warning worth showing
       |  <- result     {id, files, report}    \
       |  <- error      {id, code, message, hint, detail}  }    exactly one ends a job
       |  <- cancelled  {id}                   /
       |  -> cancel     {id}
       |  -> ask        {}
       |  <- facts      {memory, card_memory, networks}         at once, whatever the engine is doing
       |  -> unload     {}                                      give memory back, stay alive
       |  -> shutdown   {}                                      or end of stdin: exit at once

`fraction` is of the whole job, from 0 to 1, and never falls. A line that is no message is answered by an `error` with
the id of the job it asks for or "", and the engine goes on. Jobs wait for one another; each can be cancelled, waiting
or running.
A `hello` of another version may have other fields than ours: it is read all the same, to say which side is older.
Big data goes by file path. `options` holds `MeshOptions` fields by name.
Standard library only: Blender imports this file.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_args, get_origin

PROTOCOL = 2
"""Number of this wire. A message of another number is refused: one side is older than the other."""


@dataclass(frozen=True)
class Generate:
    id: str
    picture: str
    output: str
    generator: str = "agg"
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    kind = "generate"


@dataclass(frozen=True)
class MakeMesh:
    id: str
    splats: str
    output: str
    options: dict[str, Any] = field(default_factory=dict)
    kind = "mesh"


@dataclass(frozen=True)
class Cancel:
    id: str
    kind = "cancel"


@dataclass(frozen=True)
class Unload:
    kind = "unload"


@dataclass(frozen=True)
class Ask:
    kind = "ask"


@dataclass(frozen=True)
class Shutdown:
    kind = "shutdown"


@dataclass(frozen=True)
class Hello:
    protocol: int
    engine: str
    devices: list[str]
    card: str = ""  # names the graphics card it works on, empty on the processor
    kind = "hello"


@dataclass(frozen=True)
class Facts:
    memory: float  # in bytes, of the engine's process; 0 where the system does not tell
    card_memory: float = 0.0  # in bytes, of the graphics card
    networks: list[str] = field(default_factory=list)  # that are loaded
    kind = "facts"


@dataclass(frozen=True)
class Progress:
    id: str
    stage: str
    fraction: float
    text: str
    kind = "progress"


@dataclass(frozen=True)
class Notice:
    id: str
    text: str
    kind = "notice"


@dataclass(frozen=True)
class Result:
    id: str
    files: dict[str, str]
    report: dict[str, Any]
    kind = "result"


@dataclass(frozen=True)
class Error:
    id: str
    code: str
    message: str
    hint: str = ""
    detail: str = ""
    kind = "error"


@dataclass(frozen=True)
class CancelledJob:
    id: str
    kind = "cancelled"


Request = Generate | MakeMesh | Cancel | Ask | Unload | Shutdown
Reply = Hello | Facts | Progress | Notice | Result | Error | CancelledJob
Message = Request | Reply

_KINDS: dict[str, type] = {cls.kind: cls for cls in (*get_args(Request), *get_args(Reply))}
_JSON_TYPES: dict[Any, tuple[type, ...]] = {str: (str,), int: (int,), float: (int, float)}


class BadMessage(ValueError):
    """A line that is no message of this protocol; its text is one sentence, `id` the job it asks for, if any."""

    def __init__(self, text: str, id: str = "") -> None:
        super().__init__(text)
        self.id = id


class OtherProtocol(BadMessage):
    """A hello of another version of the wire."""


def encode(message: Message) -> bytes:
    """One message as one line of JSON, newline included; in ASCII, so that file names of any kind survive."""
    return (json.dumps({"kind": message.kind, **asdict(message)}) + "\n").encode("ascii")


def decode(line: bytes) -> Message:
    """The message in one line. Raises `BadMessage` with one sentence that says what was found."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        raise BadMessage(f"Expected one JSON object per line, found {line[:60]!r}.") from None
    if not isinstance(content, dict):
        raise BadMessage(f"Expected a JSON object, found {type(content).__name__}.")
    try:
        return _message(content)
    except BadMessage as error:
        asked = content.get("id") if content.get("kind") in (Generate.kind, MakeMesh.kind) else ""
        raise BadMessage(str(error), asked if isinstance(asked, str) else "") from None


def _message(content: dict[str, Any]) -> Message:
    """The message with this content; checks kind, names and types."""
    content = dict(content)
    kind = content.pop("kind", None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise BadMessage(f"Unknown message kind {kind!r}; known are {', '.join(_KINDS)}.")
    cls = _KINDS[kind]
    known = {f.name: f for f in fields(cls)}
    if cls is Hello and (number := content.get("protocol")) != PROTOCOL and type(number) is int:
        return Hello(number, str(content.get("engine", "")), [])  # of its other fields we know nothing
    unknown = sorted(set(content) - set(known))
    if unknown:
        raise BadMessage(f"Message {kind!r} has no field {unknown[0]!r}.")
    for name, value in content.items():
        wanted = known[name].type
        expected = _JSON_TYPES.get(wanted) or (get_origin(wanted) or object,)
        if not isinstance(value, expected) or isinstance(value, bool):
            raise BadMessage(f"Field {name!r} of message {kind!r} has the wrong type {type(value).__name__}.")
    try:
        return cls(**content)
    except TypeError:
        raise BadMessage(f"Message {kind!r} lacks one of its fields {', '.join(known)}.") from None


def check_hello(hello: Hello) -> None:
    """Raises `OtherProtocol` when the two sides speak different versions, saying which one to update."""
    if hello.protocol == PROTOCOL:
        return
    older = "engine" if hello.protocol < PROTOCOL else "add-on"
    raise OtherProtocol(
        f"The engine speaks protocol {hello.protocol}, the add-on {PROTOCOL}: update the {older} so that both match."
    )
