# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface in other languages."""

import pytest

from addon import translations

from .visible_strings import strings_of


@pytest.fixture
def in_a_language(monkeypatch):
    """Makes `told` speak a language made up of these words."""

    def speak(words: dict[str, str]) -> None:
        monkeypatch.setattr(translations, "words", lambda _language: words)
        monkeypatch.setattr(translations, "_look_up", lambda text: words.get(text, text))
        translations._templates.cache_clear()
        translations._template_of.cache_clear()

    yield speak
    translations._templates.cache_clear()
    translations._template_of.cache_clear()


# --- told ------------------------------------------------------------------------------------------------------------


def test_without_blender_all_is_english():
    assert translations.told("There is no file cat.png.") == "There is no file cat.png."


def test_a_text_is_told_in_the_language_and_what_nobody_translated_stays(in_a_language):
    in_a_language({"Ready": "Fertig"})
    assert translations.told("Ready") == "Fertig"
    assert translations.told("Steady") == "Steady"


def test_a_composed_sentence_is_recognised_and_its_values_move_to_where_the_language_wants_them(in_a_language):
    in_a_language({"{python} lacks {packages}.": "Es fehlen {packages} in {python}."})
    assert translations.told("/usr/bin/python lacks numpy, numba.") == "Es fehlen numpy, numba in /usr/bin/python."


def test_the_template_that_says_most_wins(in_a_language):
    in_a_language({"There is no {thing}.": "?", "There is no file {path}.": "Die Datei {path} gibt es nicht."})
    assert translations.told("There is no file a b.png.") == "Die Datei a b.png gibt es nicht."


def test_braces_in_what_the_user_named_do_no_harm(in_a_language):
    in_a_language({"There is no file {path}.": "Die Datei {path} gibt es nicht."})
    assert translations.told("There is no file {0}{x}.") == "Die Datei {0}{x} gibt es nicht."


def test_formats_of_numbers_are_no_part_of_a_template(in_a_language):
    in_a_language({"{count:,} faces": "{count:,} Flächen"})
    assert translations.told("{count:,} faces").format(count=20000) == "20,000 Flächen"
    assert translations.told("20,000 faces") == "20,000 Flächen"


# --- The finder of texts ---------------------------------------------------------------------------------------------

SOURCE = '''
"""No text of the user's."""
from bpy.props import EnumProperty

class X_OT_one(Operator):
    """Make a thing"""
    bl_idname = "x.one"
    bl_label = "One Thing"
    kind: EnumProperty(name="Kind", description="What it is", items=[("a", "Round", "As a ball")], default="a")

    def execute(self, context):
        """Explains the code."""
        self.report({"ERROR"}, f"There is no file {self.path.name}, of {len(files)}")
        layout.operator("x.two", text="Go" if ready else "Wait", icon="MESH_DATA")
        layout.label(text=told("{count:,} left").format(count=3))
        raise ThingError("BAD_THING", "It broke.", hint="Mend it.")

def _title():
    return "Some Title"
'''


def test_the_finder_finds_every_kind_of_text_and_nothing_else():
    found = sorted(shown.text for shown in strings_of(SOURCE))
    words = ["Make a thing", "One Thing", "Kind", "What it is", "Round", "As a ball", "Go", "Wait", "Some Title"]
    assert found == sorted([*words, "There is no file {name}, of {files}", "{count:,} left", "It broke.", "Mend it."])
