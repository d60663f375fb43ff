# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the ablation: what its variants lack, that all are trained and measured alike, and that it goes on."""

import json
from dataclasses import replace

import pytest
import torch

from engine.generators.agg import ablate as ablation
from engine.generators.agg.ablate import FULL, RESULT, compared, main, told, variants
from engine.generators.agg.config import PRESETS
from engine.generators.agg.network import AggNetwork
from engine.generators.agg.train import begin_with

TINY = replace(
    PRESETS["xs"], picture=32, layers=16, patch=16, vit_width=16, vit_depth=1, heads=2, unet=(8, 8), queries=64,
    group=32, width=16, depth=1, plane_tokens=2, plane_channels=4, plane_depth=1, decoder=8, generate=64, superres=1,
    latent=2,
)  # fmt: skip


@pytest.mark.slow
def test_each_variant_lacks_one_part_and_is_a_network_of_its_own():
    found = variants(PRESETS["xs"])
    assert next(iter(found)) == FULL
    assert len(found) == 8
    weights = {name: set(AggNetwork(config).state_dict()) for name, config in found.items()}
    assert not any(name.startswith("texture.") for name in weights["no-texture-field"])
    assert not any(name.startswith("superres.") for name in weights["no-superres"])
    assert "embeddings" in weights["learned-queries"]
    assert not any("latent" in name for name in weights["no-latent"])
    assert all(sum(a != b for a, b in zip(vars(config).values(), vars(found[FULL]).values(), strict=True)) <= 2
               for config in found.values())  # fmt: skip
    assert "no-superres" not in variants(TINY)


def test_differences_are_to_the_full_network_object_by_object():
    def result(shift: float) -> dict:
        rows = [{"object": i, "agg": dict.fromkeys(ablation.FIGURES, i + shift)} for i in range(4)]
        return {"steps": 1, "examples": 8, "parameters": 10, "mean": rows[0]["agg"], "rows": rows}

    table = compared({FULL: result(0.0), "isotropic": result(-0.25)})
    assert table["isotropic"]["difference"]["psnr"] == [-0.25, -0.25, -0.25]
    assert "difference" not in table[FULL]
    assert "-0.250 (-0.250, -0.250)" in told(table)


@pytest.mark.slow
def test_variants_are_trained_measured_kept_and_not_trained_again(pack_index, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    arguments = [
        "--data", str(pack_index), "--pack", str(pack_index), "--minutes", "0.12", "--preset", "tiny", "--batch", "2",
        "--workers", "0", "--threads", "1", "--limit", "2", "--runs", str(tmp_path / "runs"),
        "-o", str(tmp_path / "table.json"), "--variants", "isotropic",
    ]  # fmt: skip
    assert main(arguments) == 0
    table = json.loads((tmp_path / "table.json").read_text())
    assert list(table) == [FULL, "isotropic"]
    assert all(row["examples"] == 2 * row["steps"] for row in table.values())
    assert table["isotropic"]["steps"] > 0
    assert len(table["isotropic"]["difference"]["f_0.1"]) == 3
    assert "isotropic" in capsys.readouterr().out

    monkeypatch.setattr(ablation, "train", None)  # nothing is left to train
    assert main(arguments) == 0
    assert "finished before" in capsys.readouterr().err
    assert json.loads((tmp_path / "table.json").read_text()) == table
    other = ablation.Ablation([pack_index], pack_index, tmp_path / "runs", ablation.TrainSettings(minutes=7))
    assert ablation.finished(tmp_path / "runs" / FULL, other) is None
    (tmp_path / "runs" / FULL / RESULT).write_text("{")
    assert ablation.finished(tmp_path / "runs" / FULL, other) is None


def test_variants_may_begin_with_the_look_of_trained_weights(tmp_path):
    trained, config = AggNetwork(TINY), replace(TINY, texture_field=False)
    state = {name: torch.full_like(value, 0.5) for name, value in trained.state_dict().items()}
    torch.save({"preset": "tiny", "network": state}, tmp_path / "trained.pt")
    network = AggNetwork(config)
    missing = begin_with(network, ablation._look_of(tmp_path / "trained.pt", tmp_path / "look.pt"), "tiny")
    begun = {name.split(".")[0] for name in set(network.state_dict()) - set(missing)}
    assert begun == {"vit", "unet", "unet_context", "layer_head", "camera_head"}
    assert (network.layer_head.weight == 0.5).all()


def test_unknown_variants_are_named(tmp_path, capsys):
    arguments = ["--data", "none.csv", "--pack", "none.csv", "--minutes", "1", "--runs", str(tmp_path)]
    assert main([*arguments, "--variants", "no-wheels"]) == 1
    error = capsys.readouterr().err
    assert "no-wheels" in error
    assert "isotropic" in error
