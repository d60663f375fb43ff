# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of `addon.py` that runs in Blender's window: measures, and writes figures.json."""

import gc
import json
import os
import re
import statistics
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path

import addon_utils
import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.blender.inside.harness import Results, Stepper
from tests.blender.inside.windowing import (
    FOLDER,
    MODULE,
    RESULTS,
    SIZE,
    call,
    ended,
    generate,
    jobs,
    part,
    show_sidebar,
    state,
    view,
    window,
)
from tests.fakes.known_glb import write_known_glb

JOBS = int(os.environ["GAUSSMITH_JOBS"])
ONLY = os.environ["GAUSSMITH_ONLY"].split()
"""Words in the names of the facts that are wanted; none for all."""
WARM_UP = 40  # as many as Blender keeps undo steps, and some
REAL_CANCELS = (0.1, 0.4, 0.75)
"""Shares of the real engine's work after which it is cancelled."""
WAIT_SECONDS = 600

figures: dict = {"version": bpy.app.version_string, "notes": {}}


def fact_1_enabling():
    for key in ("enable", "enable_again"):
        begin, own_begin = time.perf_counter(), time.thread_time()
        assert addon_utils.enable(MODULE, default_set=True) is not None
        figures[key] = 1000 * (time.perf_counter() - begin)
        figures["notes"][f"{key}: of the processor's time"] = f"{1000 * (time.thread_time() - own_begin):.1f} ms"
        yield 0.5
        if key == "enable":
            addon_utils.disable(MODULE, default_set=True)
    open_all_panels()
    yield from show_sidebar()
    yield 0.5


# ---------------------------------------------------------------------------
# The main thread during a job


class Calls:
    """How long each call of ours takes: the timer's, and what draws. Imports have a figure of their own."""

    def __init__(self) -> None:
        self.ms: dict[str, list[float]] = {}
        self.own_ms: dict[str, list[float]] = {}  # of the processor, which other programs do not lengthen
        self._undo: list = []

    def __enter__(self) -> "Calls":
        session, bar = part("session"), part("sidebar.status_bar")
        if bpy.app.timers.is_registered(session._tick):
            bpy.app.timers.unregister(session._tick)
        self._patch(session, "_tick")
        session.wake()
        bpy.types.STATUSBAR_HT_header.remove(bar._draw)
        self._patch(bar, "_draw")
        bpy.types.STATUSBAR_HT_header.append(bar._draw)
        for cls in panels():
            self._patch(cls, "draw")
        return self

    def __exit__(self, *_: object) -> None:
        session, bar = part("session"), part("sidebar.status_bar")
        if bpy.app.timers.is_registered(session._tick):
            bpy.app.timers.unregister(session._tick)
        bpy.types.STATUSBAR_HT_header.remove(bar._draw)
        for owner, name, old in reversed(self._undo):
            setattr(owner, name, old)
        bpy.types.STATUSBAR_HT_header.append(bar._draw)
        session.wake()

    def _patch(self, owner, name: str) -> None:
        """Times a function of a module, or the drawing of a panel."""
        real, label = vars(owner)[name], f"{owner.__name__.rpartition('.')[2]}.{name}"
        taken, own = self.ms.setdefault(label, []), self.own_ms.setdefault(label, [])

        def timed(*arguments):
            begin, own_begin = time.perf_counter(), time.thread_time()
            try:
                return real(*arguments)
            finally:
                own.append(1000 * (time.thread_time() - own_begin))
                taken.append(1000 * (time.perf_counter() - begin))

        def draw(self, context):  # Blender looks at how many arguments there are
            timed(self, context)

        self._undo.append((owner, name, real))
        setattr(owner, name, draw if isinstance(owner, type) else timed)

    def most(self) -> tuple[float, str]:
        return max((max(taken), label) for label, taken in self.ms.items() if taken)

    def most_own(self) -> float:
        return max(max(taken) for taken in self.own_ms.values() if taken)


def panels() -> list[type]:
    known = [cls for cls in bpy.types.Panel.__subclasses__() if cls.__module__.startswith(MODULE)]
    return [cls for cls in known if cls.is_registered]


class Pauses:
    """Gaps between ticks of a timer that wants to run every 2 ms: how long the main thread was not free."""

    def __init__(self) -> None:
        self.ms: list[float] = []

    def __enter__(self) -> "Pauses":
        last = time.perf_counter()

        def tick() -> float:
            nonlocal last
            now = time.perf_counter()
            self.ms.append(1000 * (now - last))
            last = now
            return 0.002

        self._tick = tick
        bpy.app.timers.register(tick, persistent=True)
        return self

    def __exit__(self, *_: object) -> None:
        bpy.app.timers.unregister(self._tick)

    def most(self) -> float:
        return max(self.ms[1:])  # the first is the time until it began


def fact_2_the_main_thread_during_a_job():
    session = part("session")
    job = generate("slow")  # the engine starts and is warm afterwards
    yield ended(job)
    set_mode("EDIT")  # results wait: imports have a figure of their own
    yield 3.0  # until Blender has drawn the mode's view in all its samples
    with Pauses() as idle:  # the same redraws, and no job
        for _ in range(30):
            session.redraw()
            yield 0.1
    made = [generate("slow") for _ in range(3)]
    yield lambda: made[0].fraction > 0
    yield 1.5  # clicks make Blender draw the view anew, again in all its samples
    with Calls() as calls, Pauses() as busy:
        yield lambda: made[-1].fraction >= 0.9
    set_mode("OBJECT")
    yield ended(made[-1])
    figures["call"], label = calls.most()
    figures["pause"] = max(busy.most() - idle.most(), 0.0)
    notes = figures["notes"]
    notes["longest call"] = (
        f"{label}, {figures['call']:.2f} ms; of the processor's time at most {calls.most_own():.2f} ms"
    )
    notes["longest pause with a job, and without"] = f"{busy.most():.1f} ms, {idle.most():.1f} ms"
    notes["95th percentile of pauses with a job, and without"] = (
        f"{percentile(busy.ms, 95):.1f} ms, {percentile(idle.ms, 95):.1f} ms"
    )


def set_mode(mode: str) -> None:
    window().view_layer.objects.active = bpy.data.objects["Cube"]
    with bpy.context.temp_override(window=window()):
        bpy.ops.object.mode_set(mode=mode)


def percentile(values: list[float], share: int) -> float:
    return statistics.quantiles(values, n=100)[share - 1]


# ---------------------------------------------------------------------------
# Drawing


def fact_3_drawing_with_a_long_queue_and_a_long_history():
    session, history = part("session"), part("results.keeping").history()
    fill_history(500)
    yield lambda: not history.busy
    current = generate("hang")
    for _ in range(50):
        generate("quick")
    yield lambda: state(current) == "RUNNING"
    yield from show_sidebar()
    assert len(jobs().waiting) == 50
    assert len(history.entries) >= 500
    sums, own_sums = [], []
    with Calls() as calls:
        for _ in range(60):
            before = {label: len(taken) for label, taken in calls.ms.items()}
            session.redraw()
            yield 0.05
            for times, kept in ((calls.ms, sums), (calls.own_ms, own_sums)):
                drawn = {label: taken[before[label] :] for label, taken in times.items() if "_PT_" in label}
                if redraws := len(drawn["GAUSSMITH_PT_main.draw"]):
                    kept.append(sum(sum(taken) for taken in drawn.values()) / redraws)
        slowest = {label: statistics.median(taken) for label, taken in calls.ms.items() if taken and "_PT_" in label}
    figures["notes"]["drawing: of the processor's time"] = f"{statistics.median(own_sums):.2f} ms (median)"
    figures["draw"], figures["draw_most"] = statistics.median(sums), percentile(sums, 95)
    ranked = sorted(slowest.items(), key=lambda pair: -pair[1])[:4]
    figures["notes"]["panels that take longest"] = ", ".join(f"{label} {ms:.2f} ms" for label, ms in ranked)
    for job in list(jobs().jobs):
        jobs().cancel(job)
    yield ended(current)


# ---------------------------------------------------------------------------
# Import


def fact_4_importing():
    delivery = part("results.delivery")
    taken, alone, own, whole_own = [], [], [], []
    inner = part("scene").import_meshes

    def timed(*arguments, **options):
        begin, own_begin = time.perf_counter(), time.process_time()
        try:
            return inner(*arguments, **options)
        finally:
            own.append(1000 * (time.process_time() - own_begin))
            alone.append(1000 * (time.perf_counter() - begin))

    part("scene").import_meshes = timed
    try:
        clear()
        for number in range(8):
            job = ready(FOLDER / "torus.glb")
            begin, own_begin = time.perf_counter(), time.process_time()
            assert delivery.deliver(job)
            taken.append(1000 * (time.perf_counter() - begin))
            whole_own.append(1000 * (time.process_time() - own_begin))
            assert state(job) == "DONE", job.error
            assert [len(mesh.polygons) for mesh in bpy.data.meshes if mesh.users] == [20_000]
            if number == 0:
                figures["notes"]["first import"] = f"{taken[0]:.0f} ms"
            clear()
            yield 0.3
    finally:
        part("scene").import_meshes = inner
    figures["import"] = statistics.median(alone)
    figures["notes"]["import: of the processor's time"] = f"{statistics.median(own):.0f} ms (median)"
    figures["notes"]["import with undo step, history and previews"] = (
        f"{statistics.median(taken):.0f} ms, {statistics.median(whole_own):.0f} ms of the processor's time (medians)"
    )


def ready(glb: Path):
    """A job whose mesh is a copy of `glb`, waiting to be imported."""
    job = generate("quick")
    folder = Path(job.request.output).parent
    folder.mkdir(parents=True, exist_ok=True)
    copied = folder / glb.name
    copied.write_bytes(glb.read_bytes())
    jobs().cancel(job)
    job.state = part("jobs").State.READY
    job.result = part("wire").protocol.Result(job.id, {"mesh": str(copied)}, {"faces": 20_000})
    return job


def clear() -> None:
    """Removes all objects and what belonged to them."""
    for ob in list(bpy.data.objects):
        bpy.data.objects.remove(ob)
    bpy.data.orphans_purge(do_recursive=True)


# ---------------------------------------------------------------------------
# Cancelling


def fact_5_cancelling_the_real_engine():
    jobs().stop()
    fake = os.environ["GAUSSMITH_ENGINE_PYTHON"]
    os.environ["GAUSSMITH_ENGINE_PYTHON"] = os.environ["GAUSSMITH_REAL_PYTHON"]
    try:
        begin = time.perf_counter()
        job = generate("teapot")
        yield lambda: job.fraction > 0
        figures["notes"]["first stage of the real engine after a cold start"] = f"{time.perf_counter() - begin:.1f} s"
        yield ended(job)
        begin = time.perf_counter()
        job = generate("teapot")  # once more: the first may have compiled kernels
        yield ended(job)
        whole = time.perf_counter() - begin
        assert state(job) == "DONE", job.error
        seen, idle, stages = [], [], []
        for share in REAL_CANCELS:
            job = generate("teapot")
            yield lambda job=job: state(job) == "RUNNING" and job.fraction > 0
            yield share * whole
            if state(job) != "RUNNING":
                yield ended(job)
                continue
            stages.append(job.stage)
            begin = time.perf_counter()
            with Calls() as calls:
                call(bpy.ops.gaussmith.cancel, job=job.id)
                yield lambda calls=calls: bool(calls.ms["GAUSSMITH_PT_main.draw"])
                seen.append(1000 * (time.perf_counter() - begin))
            yield ended(job)
            idle.append(1000 * (time.perf_counter() - begin))
            assert state(job) == "CANCELLED", (state(job), job.error)
        figures["cancel_seen"], figures["cancel_idle"] = max(seen), max(idle)
        figures["notes"]["cancelled while it was at"] = ", ".join(
            f"{stage} ({ms:.0f} ms)" for stage, ms in zip(stages, idle, strict=True)
        )
        figures["notes"]["a whole job of the real engine"] = f"{whole:.1f} s"
    finally:
        jobs().stop()
        os.environ["GAUSSMITH_ENGINE_PYTHON"] = fake


# ---------------------------------------------------------------------------
# Memory


def fact_6_memory_during_many_jobs():
    begin, notes = time.perf_counter(), figures["notes"]
    bpy.context.preferences.view.show_statusbar_memory = True
    seen = yield from watched(by_our_job)
    figures["growth"] = seen[-1][0] - seen[0][0]
    notes["memory of the process"] = told(seen, 0)
    notes["of that, what Blender counts itself"] = told(seen, 1)
    notes["seconds for a quick job, with its import"] = f"{(time.perf_counter() - begin) / (WARM_UP + JOBS):.2f}"
    addon_utils.disable(MODULE)
    write_known_glb(FOLDER / "known.glb", SIZE)
    seen = yield from watched(by_blender)
    notes["without the add-on, the same mesh by Blender's importer"] = told(seen, 0)
    notes["of that, what Blender counts"] = told(seen, 1)


def watched(bring_in):
    """The memory, as `memory` gives it, after the warm-up, half of the jobs and all of them."""
    seen = []
    for number in range(WARM_UP + JOBS + 1):
        if number in (WARM_UP, WARM_UP + JOBS // 2, WARM_UP + JOBS):
            seen.append(memory())
        if number < WARM_UP + JOBS:
            yield from bring_in()
            clear()
    return seen


def by_our_job():
    job = generate("quick")
    yield ended(job)
    assert state(job) == "DONE", job.error


def by_blender():
    """An import with its undo step, a view drawn anew, and time to breathe."""
    with bpy.context.temp_override(window=window(), area=view()):
        bpy.ops.import_scene.gltf("EXEC_DEFAULT", True, filepath=str(FOLDER / "known.glb"))
    for area in window().screen.areas:
        area.tag_redraw()
    yield 0.1


def told(seen: list[tuple[float, float]], which: int) -> str:
    counts = (WARM_UP, WARM_UP + JOBS // 2, WARM_UP + JOBS)
    steps = ", ".join(f"{pair[which]:.1f} MB after {count}" for pair, count in zip(seen, counts, strict=True))
    return f"{steps}: {seen[-1][which] - seen[0][which]:+.1f} MB"


def memory() -> tuple[float, float]:
    """What this process holds, and what Blender says that it has asked for itself, both in MB. Linux only."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
    counted = re.search(r"Memory: ([\d.,]+) MiB", window().scene.statistics(window().view_layer))
    assert counted is not None
    return resident, float(counted[1].replace(",", ""))


# ---------------------------------------------------------------------------
# Set-up


def fill_history(count: int) -> None:
    """Entries as a long life leaves them, each with a mesh and a thumbnail; the add-on reads them as it would."""
    history, module = part("results.keeping").history(), part("history_entry")
    for number in range(count):
        entry = module.new_entry(uuid.uuid4().hex, f"picture {number}", seconds=2.0)
        entry = replace(entry, files={"mesh": "mesh.glb"}, thumbnail="thumbnail.png", picture=str(FOLDER / "quick.png"))
        folder = history.folder / entry.id
        folder.mkdir(parents=True)
        (folder / "mesh.glb").write_bytes(b"glTF")
        (folder / "thumbnail.png").write_bytes((FOLDER / "quick.png").read_bytes())
        (folder / "entry.json").write_text(module.text_of(entry))
    history.load()


def open_all_panels() -> None:
    """Registers our panels anew without DEFAULT_CLOSED, before Blender has drawn them."""
    known = panels()
    for cls in reversed(known):
        bpy.utils.unregister_class(cls)
    for cls in known:
        cls.bl_options = set(getattr(cls, "bl_options", ())) - {"DEFAULT_CLOSED"}
        bpy.utils.register_class(cls)


def run() -> None:
    """All facts in one window, and then its end."""
    named = [(name, value) for name, value in sorted(globals().items()) if name.startswith("fact_")]
    facts = [fact for name, fact in named if not ONLY or any(word in name for word in ("enabling", *ONLY))]
    stepper = Stepper(facts, Results(RESULTS), lambda: iter(()), WAIT_SECONDS)

    def step() -> float | None:
        wanted = stepper.step()
        (FOLDER / "figures.json").write_text(json.dumps(figures))
        if wanted is None:
            bpy.ops.wm.quit_blender()
        return wanted

    bpy.app.timers.register(step, first_interval=1.0, persistent=True)


run()
