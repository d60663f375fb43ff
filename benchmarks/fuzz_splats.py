# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutated splat files against the readers: no crash, no hang over 5 s, no memory over 1 GB, refusals of one sentence.

    python benchmarks/fuzz_splats.py [--files 10000] [--seed 0] [--workers 2] [--keep FOLDER]

Sound files of every format are damaged: bits flipped, bytes replaced, cut, repeated, swapped, lengthened, numbers of
headers set to extremes, words of text headers and meta files replaced, packed content damaged before it is packed
again, and bombs that unpack to gigabytes. Children read and prepare them under an address-space limit; each file has a
time limit. Prints a table and exits with 1 where anything but Gaussians or a sentence came out. What fails is kept.
"""

import argparse
import gzip
import io
import json
import multiprocessing
import os
import random
import re
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.engine import splat_encoders as encode

SECONDS = 5.0
MEGABYTES = 1024
SPLATS = 40
EXTREMES = (0, 1, 2, 127, 128, 255, 256, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
FLOATS = (0.0, -1.0, 1e-45, 1e30, -1e38, float("inf"), float("-inf"), float("nan"))
WORDS = (
    b"0",
    b"-1",
    b"1",
    b"3",
    b"99999999999999999999",
    b"1e309",
    b"nan",
    b"list uchar int",
    b"double",
    b"char",
    b"",
    b"x" * 5000,
)
JSON_VALUES = (
    None,
    -1,
    0,
    1,
    2**31,
    2**63,
    1e308,
    "",
    "a",
    "../a",
    [],
    {},
    [[]],
    [None] * 256,
    True,
    "x" * 10_000,
    [1e400] * 256,
)

Mutation = Callable[[random.Random, bytes], bytes]


def seeds() -> dict[str, list[bytes]]:
    """Sound files, several per format."""
    plain = encode.some(SPLATS)
    full = encode.some(SPLATS, 15)
    return {
        "ply": [inria(plain, False), inria(full, False), inria(plain, True)],
        "compressed ply": [encode.compressed_ply(plain), encode.compressed_ply(full, 15)],
        "splat": [encode.splat(plain)],
        "ksplat": [encode.ksplat(plain, 0), encode.ksplat(full, 1, 3), encode.ksplat(full, 2, 2)],
        "spz": [encode.spz(plain, 1), encode.spz(full, 2, 3), encode.spz(full, 3, 3)],
        "spz 4": [encode.spz(plain, 4), encode.spz(full, 4, 3)],
        "sog": [encode.zipped(encode.sog_files(full, version, 15)) for version in (1, 2)],
        "sog meta": [encode.sog_files(plain, version)["meta.json"] for version in (1, 2)],
    }


def inria(splats: list[encode.Splat], text: bool) -> bytes:
    """A PLY file in INRIA's layout, as text or binary."""
    names = [*"xyz", *(f"f_dc_{i}" for i in range(3)), *(f"f_rest_{i}" for i in range(3 * len(splats[0].sh)))]
    names += ["opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    rows = []
    for s in splats:
        rests = [triple[channel] for channel in range(3) for triple in s.sh]
        rows.append((*s.mean, *s.color, *rests, s.opacity, *(-5 * v for v in s.scale), *s.quat))
    kind = "ascii" if text else "binary_little_endian"
    lines = [
        "ply",
        f"format {kind} 1.0",
        f"element vertex {len(splats)}",
        *(f"property float {name}" for name in names),
    ]
    header = ("\n".join([*lines, "end_header"]) + "\n").encode()
    if text:
        return header + "".join(" ".join(f"{v:.5g}" for v in row) + "\n" for row in rows).encode()
    return header + b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows)


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        out[place(rng, len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def place(rng: random.Random, size: int) -> int:
    """Headers are hit as often as all the rest."""
    return rng.randrange(min(size, rng.choice((16, 64, 512, 5200, size, size, size))))


def truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: place(rng, len(data))]


def lengthen(rng: random.Random, data: bytes) -> bytes:
    return data + rng.choice((b"\0" * rng.randrange(1, 5000), rng.randbytes(rng.randrange(1, 5000)), data))


def rearrange(rng: random.Random, data: bytes) -> bytes:
    start, other = sorted((place(rng, len(data)), place(rng, len(data))))
    size = rng.choice((1, 4, 16, 256))
    block = data[start : start + size]
    if rng.random() < 0.3:
        return data[:start] + data[start + size :]
    if rng.random() < 0.5:
        return data[:other] + block + data[other:]
    return data[:other] + block + data[other + len(block) :]


def extreme_number(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 3))):
        at = place(rng, max(len(out) - 8, 1)) & ~rng.choice((0, 1, 3))
        if rng.random() < 0.3:
            value = struct.pack("<f", rng.choice(FLOATS))
        else:
            value = struct.pack("<I", rng.choice(EXTREMES))[: rng.choice((1, 2, 4, 4))]
        out[at : at + len(value)] = value
    return bytes(out)


def header_words(rng: random.Random, data: bytes) -> bytes:
    """A word of a PLY header, or of another file's first kilobyte, becomes another one, or its line another line."""
    end = data.find(b"end_header") + 11 if b"end_header" in data[:4096] else min(len(data), 1024)
    header, body = data[:end], data[end:]
    lines = header.split(b"\n")
    if rng.random() < 0.4 and len(lines) > 3:
        first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
        lines[first] = lines[second] if rng.random() < 0.7 else b""
        return b"\n".join(lines) + body
    words = list(re.finditer(rb"[^\s]+", header))
    if not words:
        return data
    word = rng.choice(words)
    return header[: word.start()] + rng.choice(WORDS) + header[word.end() :] + body


def meta_values(rng: random.Random, data: bytes) -> bytes:
    """A value somewhere in a SOG meta file becomes another one; other files are left to the other mutations."""
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        files["meta.json"] = meta_values(rng, files["meta.json"])
        return encode.zipped(files)
    if data[:1] != b"{":
        return extreme_number(rng, data)
    meta = json.loads(data)
    node = meta
    for _ in range(rng.choice((1, 2, 2, 3))):
        key = rng.choice(list(node) if isinstance(node, dict) else list(range(len(node))))
        if isinstance(node[key], (dict, list)) and node[key] and rng.random() < 0.8:
            node = node[key]
        else:
            break
    key = rng.choice(list(node) if isinstance(node, dict) else list(range(len(node))))
    if isinstance(node, dict) and rng.random() < 0.2:
        del node[key]
    else:
        node[key] = rng.choice(JSON_VALUES)
    return json.dumps(meta).encode()


def packed_content(rng: random.Random, data: bytes) -> bytes:
    """Damages what is inside a gzip or zip file and packs it again, so that the damage reaches the reader."""
    inner = rng.choice(BLIND)
    if data[:2] == b"\x1f\x8b":
        return gzip.compress(inner(rng, gzip.decompress(data)), 1)
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        name = rng.choice(list(files))
        if rng.random() < 0.2:
            files[name] = files[rng.choice(list(files))]
        elif rng.random() < 0.1:
            del files[name]
        else:
            files[name] = inner(rng, files[name])
        return encode.zipped(files)
    return inner(rng, data)


BLIND: tuple[Mutation, ...] = (flip_bits, truncate, lengthen, rearrange, extreme_number)
MUTATIONS: tuple[Mutation, ...] = (*BLIND, header_words, meta_values, packed_content)
"""Those that know nothing of formats, and all."""


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that claim, or unpack to, gigabytes."""
    gigabyte = gzip.compress(b"NGSP" + struct.pack("<IIBBBB", 2, 100, 0, 12, 0, 0) + bytes(1 << 30), 9)
    yield "spz", gigabyte
    for count, degree in ((9_900_000, 0), (9_900_000, 3), (3_000_000, 3), (16_000_000, 3)):
        yield "spz", gzip.compress(b"NGSP" + struct.pack("<IIBBBB", 3, count, degree, 12, 0, 0) + bytes(count * 65), 9)
    four = encode.spz(encode.some(1), 4)
    packed = [encode.zstandard.ZstdCompressor().compress(bytes(9_900_000 * size)) for size in (9, 1, 3, 3, 4)]
    table = b"".join(
        struct.pack("<QQ", len(part), 9_900_000 * size) for part, size in zip(packed, (9, 1, 3, 3, 4), strict=True)
    )
    yield "spz 4", four[:8] + struct.pack("<I", 9_900_000) + four[12:32] + table + b"".join(packed)
    files = encode.sog_files(encode.some(SPLATS), 2)
    for name, size in (("means_l.webp", (16_000, 16_000)), ("sh0.webp", (10_000, 3000))):
        out = io.BytesIO()
        encode.Image.new("RGBA", size).save(out, "PNG")
        yield "sog", encode.zipped(files | {name: out.getvalue()})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, bytes(1 << 30) if name == "meta.json" else content)
    yield "sog", out.getvalue()
    yield "sog meta", b"[" * 1_000_000
    yield "sog meta", b'{"a":' * 100_000
    yield "sog meta", b'{"version": 2, "count": ' + b"9" * 100_000 + b', "means": {}}'
    yield "ply", b"ply\nformat ascii 1.0\nelement vertex 1\n" + b"property float x\n" * 3000 + b"end_header\n"
    yield "ply", b"ply\nformat ascii 1.0\nelement camera 900000\nproperty int a\nelement vertex 1\n" + b"1 " * 2_000_000


def mutants(count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """(format, mutation, content), `count` of them: the bombs, the sound files, and damaged ones in equal numbers."""
    rng = random.Random(seed)
    sound = seeds()
    made = 0
    if count > 1000:
        for kind, content in bombs():
            made += 1
            yield kind, "bomb", content
    for kind, contents in sound.items():
        for content in contents:
            made += 1
            yield kind, "none", content
    while made < count:
        for kind, contents in sound.items():
            mutation = rng.choice(MUTATIONS)
            content = rng.choice(contents)
            content = mutation(rng, content)
            if content and rng.random() < 0.25:
                content = rng.choice(BLIND)(rng, content)
            made += 1
            yield kind, mutation.__name__, content


def limit_memory() -> None:
    """The address space this process has now, and `MEGABYTES` more; beyond that allocations fail."""
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + (MEGABYTES << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def peak_megabytes() -> float:
    """Most memory this process has had since the last reset, where the system tells."""
    if sys.platform != "linux":
        return 0.0
    text = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", text)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    return int(found.group(1)) / 1024 if found else 0.0


def read_one(path: Path) -> tuple[str, str]:
    """ "read", "refused" or "fault", and what was said."""
    from engine.errors import InputError
    from engine.fields.splats import prepare_splats, read_splats

    try:
        prepared = prepare_splats(read_splats(path))
        return "read", f"{len(prepared.gaussians)}"
    except InputError as error:
        return ("refused" if is_sentence(error.message) and error.hint else "fault"), error.message
    except BaseException as error:
        return "fault", f"{type(error).__name__}: {error}"


def is_sentence(text: str) -> bool:
    """One sentence: printable, on one line, not long, with an end."""
    return text.isprintable() and text.endswith(".") and 10 < len(text) < 400


def serve(inbox: "multiprocessing.Queue", outbox: "multiprocessing.Queue") -> None:
    """A child: reads the files it is told to until it is told None."""
    import warnings

    warnings.simplefilter("error")  # a warning on the terminal is no sentence either
    read_one(Path("none"))
    limit_memory()
    start_memory = peak_megabytes() and peak_megabytes()
    while (path := inbox.get()) is not None:
        peak_megabytes()
        start = time.perf_counter()
        verdict, text = read_one(Path(path))
        outbox.put((verdict, text, time.perf_counter() - start, peak_megabytes() - start_memory))


class Child:
    """One process of the pool, replaced when it hangs or dies."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.inbox, self.outbox = context.Queue(), context.Queue()
        self.process = context.Process(target=serve, args=(self.inbox, self.outbox), daemon=True)
        self.process.start()

    def read(self, path: Path) -> tuple[str, str, float, float]:
        self.inbox.put(str(path))
        begun = time.perf_counter()
        while True:
            try:
                return self.outbox.get(timeout=0.5)
            except Exception:
                spent = time.perf_counter() - begun
                if not self.process.is_alive():
                    code = self.process.exitcode
                    self.start()
                    return "crash", f"the process ended with {code}", spent, 0.0
                if spent > 4 * SECONDS:
                    self.process.kill()
                    self.start()
                    return "hang", f"no answer within {spent:.0f} s", spent, 0.0

    def stop(self) -> None:
        self.inbox.put(None)
        self.process.join(5)


def fuzz(count: int, seed: int, workers: int, keep: Path) -> int:
    """Reads `count` files; prints the table; the number of faults."""
    from concurrent.futures import ThreadPoolExecutor
    from queue import SimpleQueue

    pool: SimpleQueue[Child] = SimpleQueue()
    children = [Child() for _ in range(workers)]
    for child in children:
        pool.put(child)
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    slowest, largest = defaultdict(float), defaultdict(float)
    sentences: dict[str, set[str]] = defaultdict(set)
    faults: list[str] = []

    def one(number: int, kind: str, mutation: str, content: bytes) -> None:
        path = images / f"{number}.{'splat' if kind == 'splat' else 'bin'}"
        path.write_bytes(content)
        child = pool.get()
        try:
            verdict, text, seconds, megabytes = child.read(path)
        finally:
            pool.put(child)
        if verdict in ("read", "refused") and (seconds > SECONDS or megabytes > MEGABYTES):
            verdict, text = "excess", f"{seconds:.1f} s, {megabytes:.0f} MB; {text}"
        if mutation == "none" and verdict != "read":
            verdict = "fault"
        rows[kind][verdict] += 1
        slowest[kind], largest[kind] = max(slowest[kind], seconds), max(largest[kind], megabytes)
        if verdict == "refused":
            sentences[kind].add(re.sub(r"[\d,.x]+|'[^']*'", "#", text.replace(path.name, "FILE")))
        elif verdict != "read":
            keep.mkdir(parents=True, exist_ok=True)
            saved = keep / f"{kind.replace(' ', '_')}_{mutation}_{number}.bin"
            saved.write_bytes(content)
            faults.append(f"{verdict}: {saved}: {text[:300]}")
        path.unlink()

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as threads:
        images = Path(folder)
        for name, image in encode.sog_files(encode.some(SPLATS), 2).items():
            (images / name).write_bytes(image)
        waiting = []
        for number, (kind, mutation, content) in enumerate(mutants(count, seed)):
            waiting.append(threads.submit(one, number, kind, mutation, content))
            if len(waiting) > 200:
                for future in waiting:
                    future.result()
                waiting.clear()
        for future in waiting:
            future.result()
    for child in children:
        child.stop()
    verdicts = ("read", "refused", "fault", "crash", "hang", "excess")
    print(
        f"{'format':16}{'files':>8}"
        + "".join(f"{v:>9}" for v in verdicts)
        + f"{'sentences':>11}{'slowest':>9}{'memory':>9}"
    )
    total: Counter[str] = Counter()
    for kind, row in rows.items():
        total += row
        numbers = "".join(f"{row[v]:9}" for v in verdicts)
        print(
            f"{kind:16}{row.total():8}{numbers}{len(sentences[kind]):11}{slowest[kind]:7.2f} s{largest[kind]:6.0f} MB"
        )
    print(f"{'all':16}{total.total():8}" + "".join(f"{total[v]:9}" for v in verdicts))
    for fault in faults[:30]:
        print(fault)
    return len(faults)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz_splats")
    arguments = parser.parse_args()
    return 1 if fuzz(arguments.files, arguments.seed, arguments.workers, arguments.keep) else 0


if __name__ == "__main__":
    sys.exit(main())
