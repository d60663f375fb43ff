# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface in other languages."""

import pytest

from addon import translations


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
