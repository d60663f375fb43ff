# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface in other languages."""

import re

import pytest

from addon import translations

from .visible_strings import NOT_SHOWN, all_strings_of, strings_of, visible_strings

PLACE = re.compile(r"\{[^{}]*\}")
SCRIPTS = {"ja": r"[\u3040-\u30ff\u4e00-\u9fff]", "ko": r"[\uac00-\ud7af]", "zh_HANS": r"[\u4e00-\u9fff]"}
ALIKE = re.compile(
    r"(PNG|WebP|xatlas|(Blender|Gaussmith) (\{\w+\})+|\{n\} (MB|GB|min)|\{h\} h \{n\} min|\{minutes\} min)"
)
"""Texts that may read the same everywhere."""
COMPOSED = {f"{side} by {side} pixels" for side in (512, 1024, 2048, 4096)}
"""Items of lists that the source composes; `interface_facts.py` checks them in Blender."""


@pytest.fixture
def in_a_language(monkeypatch):
    """Makes `told` speak a language made up of these words."""

    def speak(words: dict[str, str]) -> None:
        monkeypatch.setattr(translations, "words", lambda _language: words)
        monkeypatch.setattr(translations, "_look_up", lambda text: words.get(text, text))
        monkeypatch.setattr(translations, "_is_foreign", lambda: True)
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


def test_what_was_put_in_may_be_a_sentence_itself_but_a_name_stays(in_a_language):
    in_a_language({"It ended ({how}).": "Zu Ende ({how}).", "exit code {n}": "Code {n}", "Ready": "Fertig"})
    assert translations.told("It ended (exit code 17).") == "Zu Ende (Code 17)."
    assert translations.told("It ended (Ready).") == "Zu Ende (Ready)."


def test_formats_of_numbers_are_no_part_of_a_template(in_a_language):
    in_a_language({"{count:,} faces": "{count:,} Flächen"})
    assert translations.told("{count:,} faces").format(count=20000) == "20,000 Flächen"
    assert translations.told("20,000 faces") == "20,000 Flächen"


# --- The languages ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown():
    """Every text of the add-on, with where it is."""
    return {shown.text: f"{shown.file}:{shown.line}" for shown in visible_strings()}


@pytest.mark.parametrize("language", translations.LANGUAGES)
def test_every_text_of_the_add_on_is_translated(language, shown):
    missing = shown.keys() - translations.words(language).keys()
    assert not missing, "\n".join(f"{shown[text]}: {text!r}" for text in sorted(missing))


@pytest.mark.parametrize("language", translations.LANGUAGES)
def test_every_stage_of_the_engine_is_translated(language, root):
    """The panel shows them while a mesh is made."""
    stages = re.compile(r'(?:\.stage\("\w+", |report\("\w+", [\d.]+, )"([^"]+)"\)')
    sources = ("engine/pipeline.py", "engine/server.py", "engine/generators/agg/generate.py")
    found = {text for source in sources for text in stages.findall((root / source).read_text(encoding="utf-8"))}
    assert len(found) > 10
    assert sorted(found - translations.words(language).keys()) == []


@pytest.mark.slow
def test_nothing_is_translated_that_nobody_says(root, shown):
    """What the add-on does not say itself, the engine does."""
    sources = [path for path in (root / "engine").rglob("*.py") if "training" not in path.parts]
    said = {text for path in sources for text in all_strings_of(path.read_text(encoding="utf-8"))}
    known = set(translations.words(translations.LANGUAGES[0])) - shown.keys() - COMPOSED
    assert sorted(known - said) == []


def test_all_languages_have_the_same_texts():
    first, *others = (set(translations.words(language)) for language in translations.LANGUAGES)
    assert all(other == first for other in others)


@pytest.mark.parametrize("language", translations.LANGUAGES)
def test_translations_keep_what_is_put_in_and_the_shape_of_the_text(language):
    for text, told in translations.words(language).items():
        assert sorted(PLACE.findall(told)) == sorted(PLACE.findall(text)), text
        assert told.strip() == told, text
        assert told, text
        assert ("\n" in told) == ("\n" in text), text


@pytest.mark.parametrize(("language", "script"), SCRIPTS.items())
def test_nothing_was_left_in_english(language, script):
    words = translations.words(language)
    same = [text for text, told in words.items() if not re.search(script, told) and not ALIKE.fullmatch(text)]
    assert same == []


def test_every_template_is_recognised_by_what_is_made_of_it():
    """Whatever two templates have in common, a sentence finds the one it was made of, or one that says the same."""
    for text in translations.words("de"):
        if names := re.findall(r"\{(\w+)[^{}]*\}", text):
            values = {name: f"value {number}" for number, name in enumerate(names)}
            made = re.sub(r"\{(\w+)[^{}]*\}", lambda place, values=values: values[place[1]], text)
            template, _ = translations._template_of(made)
            assert PLACE.sub("{}", template) == PLACE.sub("{}", text)


def test_no_text_is_composed_where_blender_looks_up_the_whole():
    """`text=f"..."` finds no translation: `told` is needed."""
    composed = [
        f"{shown.file}:{shown.line} {shown.text}" for shown in visible_strings() if shown.composed and shown.by_blender
    ]
    assert composed == []


def test_what_is_not_shown_is_still_there(root):
    source = "".join(path.read_text(encoding="utf-8") for path in (root / "addon").rglob("*.py"))
    assert [text for text in NOT_SHOWN if "{" not in text and f'"{text}"' not in source] == []


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
