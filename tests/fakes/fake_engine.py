# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine with the real wire and no networks: it makes the known GLB, and every fault on demand.

A word in the name of the picture or splat file chooses what happens to its job:

    slow     takes 3 s, in small steps            quick    takes no time
    crash    ends without a word after the stage "density"; `killed`: as the system ends it when memory runs out
    hang     stops answering, even to cancel; `frozen`: as a process that was stopped
    garbage  writes a line that is no message     noise    prints to stdout as a careless library would
    fail     answers with an error and a hint     notice   gives a warning on the way
    memory   says that the memory is full         disk     says that the disk is full
    damaged  makes a file that is no GLB          lost     names a file that is not there
    fleeting says so where the picture is gone; all others only look at its name

GAUSSMITH_FAKE chooses what happens at the start: `protocol` (another version), `die`, `silent` (no hello),
`rude` (speaks before its hello), `helper` (starts a child that holds the pipe open, and writes its pid to the log),
`card` (says that it works on a graphics card).
Called with `doctor --json` it is well, or as ill as `die` makes it.
Standard library only.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine import protocol
from tests.fakes.known_glb import FACES, POLYGONS, WELDED_VERTICES, write_known_glb
from tests.fakes.known_splats import write_known_splats

STAGES = (("picture", 0.1), ("generate", 0.3), ("density", 0.5), ("surface", 0.7), ("texture", 0.9), ("export", 1.0))
REFUSALS = (  # of splats and of pictures
    ("BAD_SPLATS", "a file of splats", "Export it again."),
    ("BAD_PICTURE", "a picture", "Choose a PNG or JPEG."),
)
FULL = {  # as `engine.errors.explain` says it
    "memory": (
        "OUT_OF_MEMORY",
        "The memory is full.",
        "Close other programs, or choose a lower resolution or texture.",
    ),
    "disk": ("CANNOT_WRITE", "The disk is full.", "Free some space and try again."),
}
CARD = "Fake Graphics 1"
FAKE_MEMORY = 123e6
OWN_PLACE = (3.0, (10.0, 20.0, -5.0))
"""Scale and place of the object in every splat file, in glTF's frame."""


def serve() -> None:
    wire = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    start = os.environ.get("GAUSSMITH_FAKE", "")
    print("fake engine starts", start, file=sys.stderr, flush=True)
    if start == "die":
        print("ModuleNotFoundError: No module named 'numba'", file=sys.stderr, flush=True)
        sys.exit(1)
    if start == "helper":
        os.set_inheritable(wire.fileno(), True)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
        print("helper", child.pid, file=sys.stderr, flush=True)
    requests: queue.SimpleQueue = queue.SimpleQueue()
    cancelled: set[str] = set()
    threading.Thread(target=_listen, args=(requests, cancelled, wire), daemon=True).start()
    if start == "silent":
        time.sleep(600)
    if start == "rude":
        wire.write(protocol.encode(protocol.Notice("", "No time for a hello")))
    number = 99 if start == "protocol" else protocol.PROTOCOL
    card = CARD if start == "card" else ""
    wire.write(protocol.encode(protocol.Hello(number, "fake", [card or "cpu"], card)))
    while True:
        request = requests.get()
        if isinstance(request, protocol.Unload):
            print("unloaded", file=sys.stderr, flush=True)
            continue
        for reply in _work(request, cancelled, wire):
            wire.write(protocol.encode(reply))


def _listen(requests: queue.SimpleQueue, cancelled: set[str], wire) -> None:
    for line in sys.stdin.buffer:
        message = protocol.decode(line)
        if isinstance(message, protocol.Cancel):
            cancelled.add(message.id)
        elif isinstance(message, protocol.Ask):
            wire.write(protocol.encode(protocol.Facts(FAKE_MEMORY, networks=["agg"])))
        elif isinstance(message, protocol.Shutdown):
            break
        else:
            requests.put(message)
    os._exit(0)


def _work(request: protocol.Generate | protocol.MakeMesh, cancelled: set[str], wire):
    is_picture = isinstance(request, protocol.Generate)
    name = Path(request.picture if is_picture else request.splats).stem
    stages = STAGES if is_picture else (("splats", 0.2), *STAGES[2:])
    step_seconds = 0.5 if "slow" in name else 0.0 if "quick" in name else 0.02
    begin = time.monotonic()
    if "fleeting" in name and not Path(request.picture).exists():
        yield protocol.Error(
            request.id, "BAD_PICTURE", f"There is no file {request.picture}.", "Choose another picture."
        )
        return
    if "noise" in name:
        print("a library says hello on stdout", flush=True)
    for stage, fraction in stages:
        yield protocol.Progress(request.id, stage, fraction, stage.capitalize())
        if "hang" in name:
            time.sleep(600)
        if "frozen" in name:
            os.kill(os.getpid(), signal.SIGSTOP)
        end = time.monotonic() + step_seconds
        while time.monotonic() < end:
            if request.id in cancelled:
                yield protocol.CancelledJob(request.id)
                return
            time.sleep(0.01)
        if stage == "density":
            if "crash" in name:
                print("Fatal: the fake engine crashes now", file=sys.stderr, flush=True)
                os._exit(17)
            if "killed" in name:
                os.kill(os.getpid(), signal.SIGKILL)
            if "garbage" in name:
                wire.write(b"Segmentation fault imminent\n")
            if "notice" in name:
                yield protocol.Notice(request.id, "The background is not plain; the outline may be rough.")
            if "fail" in name:
                code, what, hint = REFUSALS[is_picture]
                yield protocol.Error(request.id, code, f"{name} is not {what}.", hint)
                return
            for word in (word for word in FULL if word in name):
                yield protocol.Error(request.id, *FULL[word])
                return
    if (blender := os.environ.get("GAUSSMITH_BLENDER")) is not None:
        print("blender", blender, file=sys.stderr, flush=True)
    files = {}
    for level in range(request.options.get("lods", 0) + 1):
        path = Path(request.output)
        path = path.with_name(f"{path.stem}_lod{level}.glb") if level else path
        _write(path, request.options, level)
        files[f"lod{level}" if level else "mesh"] = str(path)
    lods = [files[key] for key in files if key != "mesh"]
    if request.options.get("save_splats"):
        files["splats"] = str(Path(request.output).with_suffix(".ply"))
        write_known_splats(files["splats"], request.options.get("size", 1.0))
    if "damaged" in name:
        Path(request.output).write_bytes(b"glTF, but cut off")
    if "lost" in name:
        Path(request.output).unlink()
    report = {
        "seconds": {stage: step_seconds for stage, _ in stages} | {"total": time.monotonic() - begin},
        **_mesh_report(request.options),
        "lods": lods,
        "warnings": [],
        "request": {"seed": request.seed if is_picture else 0, "options": request.options},
    }
    yield protocol.Result(request.id, files, report)


def _write(path: Path, options: dict, level: int) -> None:
    """The known object with what the options ask for; half as tall at each further level of detail."""
    part = Path(f"{path}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    write_known_glb(
        part,
        options.get("size", 1.0) / 2**level,
        quads=options.get("topology") == "quads",
        normal_map=options.get("normal_map", False),
        occlusion=options.get("occlusion", False),
        image=options.get("image", "png"),
        extras=None if level else {"gaussmith": _mesh_report(options)},
        placement=OWN_PLACE if options.get("keep_frame") else None,
    )
    os.replace(part, path)


def _mesh_report(options: dict) -> dict:
    quads = options.get("topology") == "quads"
    return {
        "faces": POLYGONS if quads else FACES,
        "vertices": WELDED_VERTICES,
        "quads": quads,
        "watertight": True,
        "manifold": True,
        "components": 1,
        "genus": 0,
        "uv_coverage": 0.5,
        "surface": "density",
    }


def doctor() -> None:
    if os.environ.get("GAUSSMITH_FAKE", "") == "die":
        sys.exit("ModuleNotFoundError: No module named 'numba'")
    lines = [("engine", "a fake one"), ("device", "cpu"), ("numpy", "1.26.4"), ("weights agg_xs", "22.4 MB")]
    passed = ("self-test", "passed: a picture became 2,000 faces in 1.90 s (slowest: density 0.70 s)")
    print(json.dumps({"works": True, "lines": [*lines, passed]}))


if __name__ == "__main__":
    if sys.argv[1:] == ["doctor", "--json"]:
        doctor()
        sys.exit()
    if sys.argv[1:] != ["serve"]:
        sys.exit(f"Expected `serve`, found {json.dumps(sys.argv[1:])}.")
    serve()
