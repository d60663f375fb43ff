# SPDX-License-Identifier: GPL-3.0-or-later
"""The wire: every message survives the way there and back, and every line that is none is one clear sentence."""

import ast
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_origin

import pytest

from engine import protocol
from engine.protocol import (
    PROTOCOL,
    Ask,
    BadMessage,
    Cancel,
    CancelledJob,
    Error,
    Facts,
    Generate,
    Hello,
    MakeMesh,
    Notice,
    OtherProtocol,
    Progress,
    Result,
    Shutdown,
    Unload,
    check_hello,
    decode,
    encode,
)

MESSAGES = [
    Generate("1", "/pictures/cat.png", "/out/cat.glb"),
    Generate("2", "C:\\Bilder\\Käse 猫.png", 'a "quoted" name\n.glb', "agg", 7, {"faces": 5000, "size": 0.25}),
    MakeMesh("3", "statue.ply", "statue.glb", {"texture": 2048}),
    Cancel("4"),
    Unload(),
    Shutdown(),
    Ask(),
    Hello(PROTOCOL, "0.1.0", ["CPU, 2 threads"]),
    Facts(350e6, 2e9, ["agg"]),
    Progress("5", "density", 0.25, "Filling the density grid"),
    Progress("5", "done", 1, "Done"),
    Notice("6", "The background is not plain."),
    Result("7", {"mesh": "cat.glb"}, {"faces": 19998, "watertight": True, "seconds": {"total": 3.5}, "warnings": []}),
    Error("8", "BAD_PICTURE", "cat.png is cut off.", "Copy it again.", "Traceback:\n  line\n"),
    Error("", "BAD_MESSAGE", "No message."),
    CancelledJob("9"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.kind)
def test_a_message_survives_the_wire(message):
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == message
    assert type(decode(line)) is type(message)


def test_every_kind_is_tried_above():
    assert {type(message) for message in MESSAGES} == set(protocol._KINDS.values())


def test_a_line_is_plain_json_that_others_can_read():
    content = json.loads(encode(MESSAGES[1]).decode("utf-8"))
    assert content["kind"] == "generate"
    assert content["picture"] == "C:\\Bilder\\Käse 猫.png"


def test_a_file_name_that_is_no_text_survives():
    """Linux allows any bytes in a name; Python holds them as lone surrogates."""
    name = b"cat\xff.png".decode("utf-8", "surrogateescape")
    assert decode(encode(MakeMesh("1", name, name))) == MakeMesh("1", name, name)


def test_defaults_may_be_left_out():
    message = decode(b'{"kind": "generate", "id": "a", "picture": "p", "output": "o"}')
    assert message == Generate("a", "p", "o", "agg", 0, {})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "JSON"),
        (b"\n", "JSON"),
        (b"hello", "JSON"),
        (b"{", "JSON"),
        (b'{"kind": "cancel", "id": "1"} trailing', "JSON"),
        (b"\xff\xfe\x00", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"[1, 2]", "list"),
        (b"null", "NoneType"),
        (b"3", "int"),
        (b"{}", "kind"),
        (b'{"kind": 3}', "kind"),
        (b'{"kind": ["generate"]}', "kind"),
        (b'{"kind": "explode"}', "explode"),
        (b'{"kind": "cancel"}', "lacks"),
        (b'{"kind": "generate", "id": "1", "picture": "p"}', "lacks"),
        (b'{"kind": "cancel", "id": 1}', "int"),
        (b'{"kind": "cancel", "id": null}', "NoneType"),
        (b'{"kind": "cancel", "id": "1", "now": true}', "now"),
        (b'{"kind": "generate", "id": "1", "picture": "p", "output": "o", "seed": "7"}', "seed"),
        (b'{"kind": "generate", "id": "1", "picture": "p", "output": "o", "seed": true}', "seed"),
        (b'{"kind": "generate", "id": "1", "picture": "p", "output": "o", "seed": 1.5}', "seed"),
        (b'{"kind": "generate", "id": "1", "picture": "p", "output": "o", "options": 3}', "options"),
        (b'{"kind": "generate", "id": "1", "picture": "p", "output": "o", "options": [1]}', "options"),
        (b'{"kind": "hello", "protocol": true, "engine": "0.1.0", "devices": []}', "protocol"),
        (b'{"kind": "hello", "protocol": "2", "engine": "0.1.0", "devices": []}', "protocol"),
        (encode(Hello(PROTOCOL, "0.1.0", {})), "devices"),
        (b'{"kind": "progress", "id": "1", "stage": "s", "fraction": "half", "text": ""}', "fraction"),
    ],
)
def test_a_line_that_is_no_message_is_one_sentence(line, said):
    with pytest.raises(BadMessage, match=said) as caught:
        decode(line)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 400


def test_a_broken_request_for_a_job_names_its_job():
    """Else the side that asked would wait for ever."""
    with pytest.raises(BadMessage) as caught:
        decode(b'{"kind": "generate", "id": "job 7", "picture": "p", "output": "o", "new_field": 1}')
    assert caught.value.id == "job 7"
    with pytest.raises(BadMessage) as caught:
        decode(b'{"kind": "cancel", "id": "job 7", "new_field": 1}')
    assert caught.value.id == ""


def test_another_version_is_refused_and_the_older_side_named():
    check_hello(Hello(PROTOCOL, "0.1.0", []))
    with pytest.raises(OtherProtocol, match="update the add-on"):
        check_hello(Hello(PROTOCOL + 1, "9.0.0", []))
    with pytest.raises(OtherProtocol, match="update the engine"):
        check_hello(Hello(PROTOCOL - 1, "0.0.1", []))


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind": "hello", "protocol": 1, "engine": "0.1.0", "devices": ["CPU"]}',
        b'{"kind": "hello", "protocol": 99, "engine": "9.0", "cards": {"a": 1}, "mood": null}',
        b'{"kind": "hello", "protocol": 99}',
    ],
)
def test_a_hello_of_another_version_is_read_whatever_its_fields_are(line):
    """Else it would be told as a damaged message, and nobody would know what to update."""
    hello = decode(line)
    assert isinstance(hello, Hello)
    assert hello.protocol == json.loads(line)["protocol"]


def test_every_field_has_a_type_that_is_checked():
    """A new field of another type would make every message of its kind fail."""
    for cls in protocol._KINDS.values():
        assert all(field.type in protocol._JSON_TYPES or get_origin(field.type) for field in fields(cls))


def test_blender_needs_nothing_but_the_standard_library_to_import_it():
    tree = ast.parse(Path(protocol.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert names
    assert all(name.split(".")[0] in sys.stdlib_module_names for name in names)
