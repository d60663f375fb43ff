# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine with the real wire and no networks: it makes the known GLB, and every fault on demand.

A word in the picture's name chooses what happens to its job:

    slow     takes 3 s, in small steps        crash    ends without a word after the stage "density"
    hang     stops answering, even to cancel  garbage  writes a line that is no message
    fail     answers with an error and a hint     notice   gives a warning on the way
    noise    prints to stdout as a careless library would

GAUSSMITH_FAKE chooses what happens at the start: `protocol` (another version), `die`, `silent` (no hello),
`rude` (speaks before its hello), `helper` (starts a child that holds the pipe open, and writes its pid to the log).
Standard library only.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine import protocol
from tests.fakes.known_glb import FACES, write_known_glb

STAGES = (("picture", 0.1), ("generate", 0.3), ("density", 0.5), ("surface", 0.7), ("texture", 0.9), ("export", 1.0))


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
    threading.Thread(target=_listen, args=(requests, cancelled), daemon=True).start()
    if start == "silent":
        time.sleep(600)
    if start == "rude":
        wire.write(protocol.encode(protocol.Notice("", "No time for a hello")))
    wire.write(protocol.encode(protocol.Hello(99 if start == "protocol" else protocol.PROTOCOL, "fake", ["cpu"])))
    while True:
        request = requests.get()
        for reply in _work(request, cancelled, wire):
            wire.write(protocol.encode(reply))


def _listen(requests: queue.SimpleQueue, cancelled: set[str]) -> None:
    for line in sys.stdin.buffer:
        message = protocol.decode(line)
        if isinstance(message, protocol.Cancel):
            cancelled.add(message.id)
        elif isinstance(message, protocol.Shutdown):
            break
        else:
            requests.put(message)
    os._exit(0)


def _work(request: protocol.Generate, cancelled: set[str], wire):
    name = Path(request.picture).stem
    step_seconds = 0.5 if "slow" in name else 0.02
    begin = time.monotonic()
    if "noise" in name:
        print("a library says hello on stdout", flush=True)
    for stage, fraction in STAGES:
        yield protocol.Progress(request.id, stage, fraction, stage.capitalize())
        if "hang" in name:
            time.sleep(600)
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
            if "garbage" in name:
                wire.write(b"Segmentation fault imminent\n")
            if "notice" in name:
                yield protocol.Notice(request.id, "The background is not plain; the outline may be rough.")
            if "fail" in name:
                yield protocol.Error(request.id, "BAD_PICTURE", f"{name} is not a picture.", "Choose a PNG or JPEG.")
                return
    size = request.options.get("size", 1.0)
    part = Path(request.output + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    write_known_glb(part, size)
    os.replace(part, request.output)
    report = {
        "seconds": {stage: step_seconds for stage, _ in STAGES} | {"total": time.monotonic() - begin},
        "faces": FACES,
        "watertight": True,
        "warnings": [],
        "request": {"seed": request.seed, "options": request.options},
    }
    yield protocol.Result(request.id, {"mesh": request.output}, report)


if __name__ == "__main__":
    if sys.argv[1:] != ["serve"]:
        sys.exit(f"Expected `serve`, found {json.dumps(sys.argv[1:])}.")
    serve()
