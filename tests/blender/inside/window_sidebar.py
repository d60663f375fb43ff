# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the sidebar in a real window, with the fake engine. `test_sidebar.py` runs them."""

import json
import sys
import time
from pathlib import Path
from statistics import median

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.blender.inside.windowing import (
    FOLDER,
    call,
    ended,
    fresh,
    generate,
    jobs,
    objects,
    part,
    run_and_quit,
    screenshot,
    state,
    view,
    window,
)

PANELS = ("GAUSSMITH_PT_main", "GAUSSMITH_PT_queue", "GAUSSMITH_PT_history")
QUEUED, KEPT, REDRAWS = 50, 500, 12
LONGEST_DRAW = 0.002
WAIT_SECONDS = 90
NAMES = ("\U0001fad6 teapot", "猫の写真", "قطة", "e\u0301", "x" * 300, "a\nb", "\udcff")


def settings():
    return window().scene.gaussmith


def sidebar() -> bpy.types.Region:
    return next(region for region in view().regions if region.type == "UI")


def pixels_of(path: str) -> np.ndarray:
    image = bpy.data.images.load(path)
    values = np.array(image.pixels[:]).reshape(image.size[1], image.size[0], 4)[::-1]
    bpy.data.images.remove(image)
    return values


def with_open_history():
    """A new file in which the history is open, as after a click on its header."""
    panel = bpy.types.GAUSSMITH_PT_history
    bpy.utils.unregister_class(panel)
    panel.bl_options = set()
    bpy.utils.register_class(panel)
    yield from fresh()


def history_of(folder: Path, entries: int):
    """Makes a folder with this many entries the history."""
    picture = FOLDER / "cat.png"
    for number in range(entries):
        own = folder / f"{number:032x}"
        own.mkdir(parents=True)
        (own / "thumbnail.png").write_bytes(picture.read_bytes())
        content = {
            "version": 1,
            "id": own.name,
            "name": f"{NAMES[number % len(NAMES)]} {number}" if number % 2 else f"cat {number}",
            "picture": str(picture),
            "files": {"mesh": "mesh.glb"},
            "thumbnail": "thumbnail.png",
            "date": 1.7e9 + number,
            "report": {"faces": 20_000},
            "seconds": 12.5,
        }
        (own / "entry.json").write_text(json.dumps(content))
    history = part("results.keeping").open_history(folder)
    yield lambda: not history.busy
    yield lambda: len(part("sidebar.history_panel").view.entries) == entries


def timed_draws() -> dict[str, list[float]]:
    """Seconds of this thread that each drawing of each panel takes, filled as they are drawn."""
    times: dict[str, list[float]] = {name: [] for name in PANELS}
    for name in PANELS:
        cls = getattr(bpy.types, name)
        cls.draw = _timed(cls.draw, times[name])
    return times


def _timed(plain, taken: list[float]):
    def draw(self, context):  # Blender counts the arguments
        begin = time.thread_time()
        plain(self, context)
        taken.append(time.thread_time() - begin)

    return draw


def fact_a_queue_of_50_and_a_history_of_500_are_drawn_within_two_milliseconds():
    yield from with_open_history()
    yield from history_of(FOLDER / "long history", KEPT)
    view_of_history = part("sidebar.history_panel").view
    view_of_history.selected = view_of_history.shown[0].id
    plain = {name: getattr(bpy.types, name).draw for name in PANELS}
    told = {}
    try:
        generate("hang")
        for _ in range(QUEUED - 1):
            generate("cat")
        yield lambda: jobs().current is not None and state(jobs().current) == "RUNNING"
        times = timed_draws()
        for shown in ("first", "all"):
            call(bpy.ops.gaussmith.show_queue, all=shown == "all")
            for taken in times.values():
                taken.clear()
            for _ in range(REDRAWS):
                sidebar().tag_redraw()
                yield 0.05
            yield lambda: all(len(taken) >= REDRAWS for taken in times.values())
            told[shown] = {name: round(median(taken) * 1000, 3) for name, taken in times.items()}
            screenshot(f"queue-{shown}")
    finally:
        for name, draw in plain.items():
            getattr(bpy.types, name).draw = draw
        call(bpy.ops.gaussmith.show_queue, all=False)
        jobs().cancel_all()
    print("milliseconds to draw", json.dumps(told), flush=True)
    (FOLDER / "draw.json").write_text(json.dumps(told))
    yield lambda: not jobs().busy
    for times_of_panels in told.values():
        assert sum(times_of_panels.values()) < LONGEST_DRAW * 1000, told


def fact_the_history_is_searched_and_paged():
    view_of_history = part("sidebar.history_panel").view
    yield from history_of(FOLDER / "searched", 20)
    assert view_of_history.pages == 4
    assert [entry.name for entry in view_of_history.shown][1::2] == ["cat 18", "cat 16", "cat 14"]
    call(bpy.ops.gaussmith.turn_page, pages=3)
    assert len(view_of_history.shown) == 2
    call(bpy.ops.gaussmith.turn_page, pages=3)
    assert view_of_history.page == 3
    bpy.context.window_manager.gaussmith_search = "CAT 1"
    assert view_of_history.page == 0
    assert {entry.name for entry in view_of_history.entries} == {f"cat {n}" for n in (10, 12, 14, 16, 18)}
    bpy.context.window_manager.gaussmith_search = "nowhere"
    assert view_of_history.shown == ()
    yield 0.5
    bpy.context.window_manager.gaussmith_search = ""
    assert len(view_of_history.entries) == 20


def fact_a_mesh_is_kept_with_a_picture_of_itself_and_its_import_is_one_undo_step():
    yield from with_open_history()
    yield from history_of(FOLDER / "short history", 0)
    job = generate("cat")
    yield ended(job)
    history = part("results.keeping").history()
    yield lambda: not history.busy
    (entry,) = history.entries
    assert entry.id == job.id
    seen = pixels_of(entry.thumbnail)
    assert seen.shape == (256, 256, 4)
    cover = seen[..., 3] > 0.5
    assert 0.1 < cover.mean() < 0.9  # the known object stands in the middle, and nothing around it
    assert not cover[0].any()
    assert not cover[:, 0].any()
    colors = {tuple(color) for color in np.round(seen[cover][:, :3] * 4).astype(int)}
    assert len(colors) > 2  # its sides have colours of their own
    yield lambda: part("sidebar.history_panel").view.shown == (entry,)
    call(bpy.ops.gaussmith.select_entry, entry=entry.id)
    before = objects()
    call(bpy.ops.gaussmith.import_entry, entry=entry.id)
    assert objects() - before == {"cat.001"}
    yield 1.0
    screenshot("panel-history")
    with bpy.context.temp_override(window=window()):
        bpy.ops.ed.undo()
    yield 0.2
    assert objects() == before
    assert history.entries == (entry,)


def fact_waiting_jobs_can_be_moved_and_cancelled():
    assert not jobs().busy
    running = generate("hang")
    first, second, third = (generate(name) for name in ("cat", "dog", "slow"))
    yield lambda: state(running) == "RUNNING"
    call(bpy.ops.gaussmith.move_job, job=third.id, steps=-1)
    assert jobs().waiting == [first, third, second]
    call(bpy.ops.gaussmith.move_job, job=first.id, steps=1)
    assert jobs().waiting == [third, first, second]
    call(bpy.ops.gaussmith.cancel, job=first.id)
    assert jobs().waiting == [third, second]
    yield 0.3
    screenshot("panel-queue")
    call(bpy.ops.gaussmith.cancel_all)
    yield lambda: not jobs().busy
    assert {state(job) for job in (running, first, second, third)} == {"CANCELLED"}
    assert not {"slow", "cat", "dog"} & objects()


def fact_the_cameras_view_becomes_the_picture_and_the_view_stays_as_it_is():
    space = view().spaces.active
    space.overlay.show_overlays = True
    before = objects(), len(bpy.data.images), space.region_3d.view_perspective
    assert call(bpy.ops.gaussmith.use_camera) == {"FINISHED"}
    assert (objects(), len(bpy.data.images), space.region_3d.view_perspective) == before
    assert space.overlay.show_overlays
    seen = pixels_of(settings().picture)
    assert seen.shape == (576, 1024, 4)  # full HD, scaled down
    cover = seen[..., 3] > 0.5
    assert 0.02 < cover.mean() < 0.5  # the default cube, and no background
    rows, columns = np.nonzero(cover)
    assert abs(rows.mean() - 288) < 80
    assert abs(columns.mean() - 512) < 80
    assert Path(settings().picture).name == "camera.png"
    yield lambda: part("sidebar.thumbnails").icon(settings().picture) > 0
    yield 0.5
    screenshot("panel-camera")


def fact_a_path_on_the_clipboard_is_pasted_and_an_empty_one_is_told():
    manager = bpy.context.window_manager
    manager.clipboard = f'"{FOLDER / "cat.png"}"'
    assert call(bpy.ops.gaussmith.paste_picture) == {"FINISHED"}
    assert settings().picture == str(FOLDER / "cat.png")
    manager.clipboard = "no picture"
    told = ""
    try:
        call(bpy.ops.gaussmith.paste_picture)
    except RuntimeError as error:
        told = str(error)
    assert "no picture on the clipboard" in told
    assert settings().picture == str(FOLDER / "cat.png")
    call(bpy.ops.gaussmith.clear_picture)
    assert settings().picture == ""
    yield 0.1


def fact_a_picture_dropped_on_the_sidebar_fills_the_well_and_nothing_begins():
    for region, taken in ((sidebar(), "well"), (view().regions[-1], "picture")):
        with bpy.context.temp_override(window=window(), area=view(), region=region):
            handlers = {"well": bpy.types.GAUSSMITH_FH_well, "picture": bpy.types.GAUSSMITH_FH_picture}
            assert [name for name, handler in handlers.items() if handler.poll_drop(bpy.context)] == [taken]
    call(bpy.ops.gaussmith.choose_picture, directory=str(FOLDER), files=[{"name": "dog.png"}])
    assert settings().picture == str(FOLDER / "dog.png")
    assert not jobs().busy
    yield 0.1


def fact_thumbnails_in_use_stay_and_others_make_room():
    thumbnails = part("sidebar.thumbnails")

    def prepared(word: str) -> list[str]:
        """Those of many new pictures that have a thumbnail after all were prepared."""
        paths = [str(FOLDER / f"{word} {number}.png") for number in range(4 * thumbnails.SPARE)]
        for path in paths:
            Path(path).write_bytes((FOLDER / "dog.png").read_bytes())
            thumbnails.prepare(path)
        assert [path for path in paths if thumbnails.icon(path)] == paths[-thumbnails.SPARE - 1 :]
        return paths

    yield from with_open_history()
    yield from history_of(FOLDER / "history of three", 3)
    first, behind = generate("slow"), generate("dog")
    settings().picture = str(FOLDER / "cat.png")
    prepared("many")
    in_use = [settings().picture, first.request.picture, behind.request.picture]
    in_use += [entry.thumbnail for entry in part("sidebar.history_panel").view.shown]
    assert len(in_use) == 6
    assert all(thumbnails.icon(path) for path in in_use)
    call(bpy.ops.gaussmith.cancel_all)
    yield lambda: not jobs().busy
    prepared("more")
    assert not thumbnails.icon(behind.request.picture)


def fact_names_of_any_kind_are_drawn():
    for name in NAMES[:4]:
        (FOLDER / f"{name}.png").write_bytes((FOLDER / "cat.png").read_bytes())
    made = [generate(name) for name in NAMES[:4]]
    yield 0.5
    screenshot("panel-names")
    yield lambda: all(ended(job)() for job in made)
    assert {state(job) for job in made} == {"DONE"}
    for name in NAMES:
        settings().picture = f"/nowhere/{name}.png".encode("utf-8", "replace").decode()
        yield 0.2


run_and_quit([value for name, value in list(globals().items()) if name.startswith("fact_")], WAIT_SECONDS)
