# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the interface that hold in every Blender, without a window. `test_facts.py` runs them in each of them."""

import ast
import re
import sys
from itertools import chain
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import addon
from addon import options, text, translations
from addon.jobs import Job, State
from addon.results import result_options
from addon.sidebar import keymap, status_bar
from addon.wire import protocol
from tests.blender.inside.belongings import Timers, belongings, differences
from tests.blender.inside.harness import Results, run_all
from tests.blender.inside.known import RESULTS, enabled, fresh

ROOT = Path(__file__).resolve().parents[3]
ICON = re.compile(r"[A-Z][A-Z0-9_]{2,}")
LABEL, LABEL_OF_A_BOX = 87, 115
"""Unscaled pixels for the label of a setting, and of one that is ticked."""


def classes() -> list[type]:
    """Operators, panels and groups of properties of ours that Blender knows now."""
    bases = (bpy.types.Operator, bpy.types.Panel, bpy.types.Menu, bpy.types.PropertyGroup, bpy.types.AddonPreferences)
    known = [cls for base in bases for cls in base.__subclasses__()]
    return [cls for cls in known if cls.__module__.startswith("addon.") and cls.is_registered]


def rna(cls: type) -> bpy.types.Struct:
    """A class as the interface sees it."""
    if not issubclass(cls, bpy.types.Operator):
        return cls.bl_rna
    group, name = cls.bl_idname.split(".")
    return getattr(getattr(bpy.ops, group), name).get_rna_type()


def own_properties(cls: type) -> list[bpy.types.Property]:
    """Properties a user can see: declared by us, and not hidden."""
    inherited = {"rna_type", "name", *(cls.bl_rna.base.properties.keys() if cls.bl_rna.base else ())}
    return [each for each in rna(cls).properties if each.identifier not in inherited and not each.is_hidden]


def item_names(each: bpy.types.Property) -> list[str]:
    return [item.name for item in each.enum_items_static] if each.type == "ENUM" else []


def fact_enabling_and_disabling_three_times_leaves_nothing():
    with Timers() as timers:
        addon.register()  # what Blender makes once for all, at the first use, is no belonging of ours
        addon.unregister()
        before = belongings()
        for _ in range(3):
            addon.register()
            assert hasattr(bpy.types.Scene, "gaussmith")
            assert differences(before, belongings())
            addon.unregister()
        left = differences(before, belongings())
        assert not left, left
        assert timers.left() == []
    assert not hasattr(bpy.types.Scene, "gaussmith")


def fact_every_icon_exists():
    known = bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items.keys()
    unknown = []
    for path in sorted((ROOT / "addon").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            given = [word.value for word in getattr(node, "keywords", []) if word.arg == "icon"]
            for each in (each for value in given for each in ast.walk(value)):
                if isinstance(each, ast.Constant) and isinstance(each.value, str) and ICON.fullmatch(each.value):
                    unknown += [f"{path.name}:{each.lineno} {each.value}"] * (each.value not in known)
    assert not unknown, unknown


@enabled
def fact_everything_that_can_be_clicked_or_set_says_what_it_does():
    silent = []
    for cls in classes():
        if issubclass(cls, bpy.types.Operator) and not rna(cls).description.strip():
            silent.append(cls.__name__)
        for each in own_properties(cls):
            if each.type not in ("POINTER", "COLLECTION") and not each.description.strip():
                silent.append(f"{cls.__name__}.{each.identifier}")
    assert not silent, silent


@enabled
def fact_descriptions_follow_blenders_style():
    odd = []
    for cls in classes():
        told = [rna(cls).description] if issubclass(cls, bpy.types.Operator) else []
        told += [each.description for each in own_properties(cls)]
        odd += [text for text in told if text.endswith(".") or "\n" in text]
    assert not odd, odd


@enabled
def fact_the_shortcut_is_off_and_clashes_with_nothing():
    keyconfigs = bpy.context.window_manager.keyconfigs
    ours = keyconfigs.addon.keymaps[keymap.KEYMAP[0]].keymap_items
    (item,) = (each for each in ours if each.idname == keymap.OPERATOR)
    assert not item.active
    keys = ("type", "ctrl", "shift", "alt")
    clashes = [
        f"{each.name}: {other.idname}"
        for each in keyconfigs.default.keymaps
        if each.name in ("3D View", "3D View Generic", "Object Mode", "Object Non-modal", "Window", "Screen")
        for other in each.keymap_items
        if all(getattr(other, key) == getattr(item, key) for key in keys)
    ]
    assert not clashes, clashes


@enabled
def fact_every_text_blender_looks_up_is_translated():
    """Also those that the source composes, as the items of a list."""
    shown = set()
    for cls in classes():
        texts = [rna(cls).name, rna(cls).description] if issubclass(cls, bpy.types.Operator) else []
        for each in own_properties(cls):
            texts += [each.name, each.description]
            if each.type == "ENUM":
                texts += [text for item in each.enum_items_static for text in (item.name, item.description)]
        shown |= {text for text in texts if re.search("[a-z]{3}", text)}
    for language in translations.LANGUAGES:
        left = sorted(shown - translations.words(language).keys())
        assert not left, (language, left)


@enabled
def fact_our_translations_win_over_those_of_blender():
    """Where Blender has a catalogue, its words come first: German "History" reads "Protokol" in it."""
    view, look_up = bpy.context.preferences.view, bpy.app.translations.pgettext_iface
    names = {(cls.bl_label, rna(cls).translation_context) for cls in classes() if hasattr(cls, "bl_label")}
    for each in [
        *chain(*map(own_properties, classes())),
        bpy.types.WindowManager.bl_rna.properties["gaussmith_search"],
    ]:
        names |= {(name, each.translation_context) for name in (each.name, *item_names(each))}
    languages = {
        locale: language
        for locale in bpy.app.translations.locales
        for language in translations.LANGUAGES
        if locale.startswith(language)
    }
    assert len(languages) == (len(translations.LANGUAGES) if bpy.app.translations.locales else 0)  # bpy has none
    before = view.language, view.use_translate_interface
    wrong = []
    try:
        view.use_translate_interface = True
        for locale, language in languages.items():
            view.language, words = locale, translations.words(language)
            wrong += [
                (locale, text, "told", told) for text in words if (told := translations.told(text)) != words[text]
            ]
            wrong += [
                (locale, *name, look_up(*name)) for name in names if look_up(*name) != words.get(name[0], name[0])
            ]
    finally:
        view.language, view.use_translate_interface = before
    assert not wrong, sorted(wrong)


def fact_labels_of_the_settings_fit_their_column_in_every_language():
    """At the sidebar's usual width, where longer ones are cut."""
    owners = (options.properties(options.PictureOptions), result_options.ResultOptions.__annotations__)
    labels = {each.keywords["name"]: each.function for owner in owners for each in owner.values()}
    assert len(labels) > 30
    cut = []
    for language in ("en", *translations.LANGUAGES):
        for label, kind in labels.items():
            shown = label if language == "en" else translations.words(language)[label]
            if text.measure(shown, 1.0) > (LABEL_OF_A_BOX if kind is bpy.props.BoolProperty else LABEL):
                cut.append((language, shown))
    assert not cut, cut


def fact_translations_are_told_while_enabled_and_no_longer():
    addon.register()
    assert translations._look_up is translations._ours
    addon.unregister()
    assert translations._look_up is translations._unchanged


def fact_the_status_bar_says_on_one_line_what_the_sidebar_says():
    job = Job(protocol.Generate("1", "a.png", "out"), "two\nlines", state=State.HELD, text="Rendering", fraction=0.25)
    assert status_bar.text_of(job, 2) == f"two lines: {State.HELD.value} 25% (+2)"
    job.state = State.RUNNING
    assert status_bar.text_of(job, 0) == "two lines: Rendering 25%"


if __name__ == "__main__":
    run_all([value for name, value in list(globals().items()) if name.startswith("fact_")], Results(RESULTS), fresh)
