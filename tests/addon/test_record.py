# SPDX-License-Identifier: GPL-3.0-or-later
"""What an object remembers, and what of it the panel shows."""

import json

from addon.results.record import RECORD, make_record, mesh_facts, read_record, write_record
from addon.wire import protocol
from engine.surface.report import MeshReport

RESULT = protocol.Result(
    "1", {"mesh": "a.glb"}, {"engine": "1", "faces": 12, "watertight": True, "seconds": {}, "x": 1}
)


def test_a_picture_and_splats_are_told_apart():
    picture = make_record(protocol.Generate("1", "cat.png", "a.glb", seed=3, options={"faces": 9}), RESULT)
    assert (picture["picture"], picture["seed"], picture["options"]) == ("cat.png", 3, {"faces": 9})
    splats = make_record(protocol.MakeMesh("1", "cat.spz", "a.glb", {"up": "z"}), RESULT)
    assert splats["splats"] == "cat.spz"
    assert "picture" not in splats
    assert splats["mesh"] == {"faces": 12, "watertight": True}
    assert "x" not in splats


def test_a_record_survives_as_text_and_a_spoilt_one_is_none():
    ob = {}
    write_record(ob, {"picture": "/Bilder/gâteau.png"})
    assert read_record(ob) == {"picture": "/Bilder/gâteau.png"}
    for text in ("{", "7", None, 7):
        assert read_record({RECORD: text}) is None


def test_the_facts_of_the_engines_mesh_report_are_shown_and_unknown_ones_left_out():
    report = MeshReport(9, 18, 11, True, True, True, 1, 0, 6.0, 1.0, charts=6, uv_coverage=0.71, uv_stretch=1.234)
    told = {**report.as_dict(), "surface": "tsdf"}
    facts = dict(mesh_facts({"mesh": json.loads(json.dumps(told))}))
    assert facts == {
        "Faces": "9 quads",
        "Vertices": "11",
        "Watertight": "Yes",
        "Manifold": "Yes",
        "Pieces": "1",
        "Genus": "0",
        "UV Charts": "6",
        "UV Coverage": "71%",
        "UV Stretch": "1.23",
        "Surface": "Depth Fusion",
    }
    assert mesh_facts({"mesh": {"faces": 1200, "genus": None}}) == [("Faces", "1,200 triangles")]
    assert mesh_facts({}) == mesh_facts({"mesh": "no"}) == []
