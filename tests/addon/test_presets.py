# SPDX-License-Identifier: GPL-3.0-or-later
"""Presets are options the engine takes; the panel's generators are the engine's."""

import pytest

from addon.sidebar.generators import DEFAULT, GENERATORS, generator
from addon.sidebar.presets import CUSTOM, DRAFT, FINE, PRESETS, STANDARD, preset_of
from addon.sidebar.remedies import REPAIR_ENGINE, TRY_AGAIN, remedies_for
from engine.errors import GaussmithError
from engine.generators import base
from engine.options import MeshOptions, mesh_options
from engine.protocol import Generate


@pytest.mark.parametrize("name", PRESETS)
def test_the_engine_takes_a_preset_as_it_is(name):
    made = mesh_options(PRESETS[name])
    assert {key: getattr(made, key) for key in PRESETS[name]} == PRESETS[name]
    assert preset_of(vars(made)) == name


def test_standard_is_what_the_engine_does_unasked():
    assert preset_of(vars(MeshOptions())) == "STANDARD"


def test_more_care_is_more_of_everything():
    for name in DRAFT:
        assert DRAFT[name] <= STANDARD[name] <= FINE[name]


def test_one_option_that_differs_makes_it_custom_and_others_do_not_count():
    assert preset_of({**STANDARD, "faces": 20_001}) == CUSTOM
    assert preset_of({**STANDARD, "lods": 3, "seed": 7, "size": 2.0}) == "STANDARD"


def test_the_generators_are_those_of_the_engine():
    assert [known.name for known in GENERATORS] == list(base.GENERATORS)
    assert Generate("", "", "").generator == DEFAULT
    assert generator("one of a later version") == GENERATORS[0]


def _codes(cls: type[GaussmithError]) -> set[str]:
    return {cls.code}.union(*map(_codes, cls.__subclasses__()))


def test_every_error_has_a_way_on():
    for code in _codes(GaussmithError) | {"OUT_OF_MEMORY", "NO_ENGINE", "ENGINE_DIED", "TIMEOUT", "never heard of"}:
        assert remedies_for(code), code
    assert remedies_for("BAD_PICTURE")[0].text == "Choose Another Picture"
    assert remedies_for("OUT_OF_MEMORY")[0].text == "Free Memory and Try Again"
    assert remedies_for("MISSING_PACKAGE") == (REPAIR_ENGINE,)
    assert remedies_for("never heard of") == (TRY_AGAIN,)
