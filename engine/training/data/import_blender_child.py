# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false
"""The process that reads what only Blender reads and writes each as GLB, one file after the other.

Started by `engine.training.data.import_blender` with a folder as its last argument, by Python (with bpy) or by
`blender --background`. The folder holds job.json: the files, and the path where packages are found. File k becomes
k.glb; k.txt says why one does not.
"""

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    folder = Path(sys.argv[-1])
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    if "bpy" not in sys.modules:  # not in Blender, which has all that is needed
        sys.path[:] = job["path"]

import bpy


def main() -> None:
    for k, name in job["files"]:
        (folder / f"{k}.txt").write_text("Blender ended while it read the file.", encoding="utf-8")
        try:
            bring_in(name)
            bpy.ops.export_scene.gltf(
                filepath=str(folder / f"{k}.part.glb"),
                export_format="GLB",
                export_yup=True,
                export_apply=True,
                export_animations=False,
                export_skins=False,
            )
            (folder / f"{k}.part.glb").rename(folder / f"{k}.glb")
            (folder / f"{k}.txt").unlink()
        except Exception as error:  # operators raise RuntimeError, importers what they like: the next file may do
            reason = str(error).strip().splitlines()
            (folder / f"{k}.txt").write_text(reason[-1] if reason else type(error).__name__, encoding="utf-8")


def bring_in(name: str) -> None:
    """An empty scene, then the file's objects in it."""
    suffix = Path(name).suffix.lower()
    if suffix == ".blend":
        bpy.ops.wm.open_mainfile(filepath=name, load_ui=False)
        return
    bpy.ops.wm.read_factory_settings(use_empty=True)
    if suffix == ".fbx":
        if hasattr(bpy.types, "WM_OT_fbx_import"):
            bpy.ops.wm.fbx_import(filepath=name)
        else:
            bpy.ops.import_scene.fbx(filepath=name, use_anim=False)
    elif suffix in (".glb", ".gltf"):
        bpy.ops.import_scene.gltf(filepath=name)
    elif suffix == ".obj":
        bpy.ops.wm.obj_import(filepath=name)
    elif suffix == ".dae":
        if not hasattr(bpy.types, "WM_OT_collada_import"):
            raise RuntimeError("This Blender reads no Collada files; one before 5.0 does.")
        bpy.ops.wm.collada_import(filepath=name)
    elif suffix in (".usd", ".usdc", ".usda", ".usdz"):
        bpy.ops.wm.usd_import(filepath=name)
    elif suffix == ".abc":
        bpy.ops.wm.alembic_import(filepath=name)
    else:
        raise RuntimeError(f"Blender has no reader for {suffix} files here.")


if __name__ == "__main__":
    main()
