# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false
"""The interface in the user's language, through Blender's own mechanism. Usable without Blender, where all is English.

A file `LANGUAGE.json` holds the translation of every text a user can see; a test reads the sources and finds what is
missing. Blender itself translates names, descriptions and the literals given to `text=`. Everything composed goes
through `told`:

    told("{name} is ready").format(name=job.name)       a sentence with something in it
    told(error.message)                                 a message composed elsewhere, in the engine too

What a user named (files, objects, jobs) is no text of ours: `label(text=job.name, translate=False)`.
"""

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path

LANGUAGES = ("de", "es", "fr", "ja", "ko", "zh_HANS")
"""As Blender names them; "de" serves "de_DE" too."""
OURS = "Gaussmith"
"""A context of our own. Blender's catalogue comes before ours, and means other things by some words."""
CONTEXTS = ("*", "Operator", OURS)
"""Where Blender looks a text up: "Operator" for buttons, "*" for all else that names no context."""

_PLACEHOLDER = re.compile(r"\{(\w+)[^{}]*\}")


def _unchanged(text: str) -> str:
    return text


_look_up: Callable[[str], str] = _unchanged
_is_foreign: Callable[[], bool] = bool
"""Whether the interface speaks one of our languages; False without Blender."""


def told(text: str) -> str:
    """A text in the user's language, or as it is where nobody translated it.

    A sentence that was composed already is recognised by the template it was made from: `There is no file {path}.`
    """
    found = _look_up(text)
    if found != text or not _is_foreign():
        return found
    template, values = _template_of(text)
    found = _look_up(template)
    return _PLACEHOLDER.sub(lambda place: _told_within(values[place[1]]), found) if found != template else text


def _told_within(value: str) -> str:
    """What was put into a sentence: itself a sentence or part of one, or a name of the user's, which stays."""
    return told(value) if " " in value else value


@functools.cache
def words(language: str) -> dict[str, str]:
    """English to another language: texts, and templates with names in braces."""
    return json.loads((Path(__file__).parent / f"{language}.json").read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=512)
def _template_of(text: str) -> tuple[str, dict[str, str]]:
    """The template a sentence was made from, with what was put in; the sentence itself where there is none."""
    matches = ((template, found) for template, pattern in _templates() if (found := pattern.fullmatch(text)))
    template, found = next(matches, (text, None))
    return template, found.groupdict() if found is not None else {}


@functools.cache
def _templates() -> list[tuple[str, re.Pattern[str]]]:
    """All templates, those that say most first; names in braces become groups."""
    templates = {text for text in words(LANGUAGES[0]) if _PLACEHOLDER.search(text)}
    most = sorted(templates, key=lambda text: (-len(_PLACEHOLDER.sub("", text)), text))
    return [(text, _pattern(text)) for text in most]


def _pattern(template: str) -> re.Pattern[str]:
    pieces, known, end = [], set(), 0
    for place in _PLACEHOLDER.finditer(template):
        pieces.append(re.escape(template[end : place.start()]))
        name, end = place[1], place.end()
        pieces.append(f"(?P={name})" if name in known else f"(?P<{name}>.*?)")
        known.add(name)
    return re.compile("".join([*pieces, re.escape(template[end:])]), re.DOTALL)


def _ours(text: str) -> str:
    import bpy

    return bpy.app.translations.pgettext_iface(text, OURS)


def _speaks_another_language() -> bool:
    import bpy

    return bpy.app.translations.locale.startswith(LANGUAGES)


def register() -> None:
    global _look_up, _is_foreign
    import bpy

    tables = {
        language: {(context, text): word for text, word in words(language).items() for context in CONTEXTS}
        for language in LANGUAGES
    }
    bpy.app.translations.register(__name__, tables)
    _look_up, _is_foreign = _ours, _speaks_another_language


def unregister() -> None:
    global _look_up, _is_foreign
    import bpy

    _look_up, _is_foreign = _unchanged, bool
    bpy.app.translations.unregister(__name__)
