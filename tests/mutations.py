"""Damaged files of a bundle with their sums made right again, tried many to a process.

    python tests/mutations.py BUNDLE FIRST LAST

prints a line of JSON for each: its number, what was damaged, and how that ended. A worker that dies in a native library
leaves the line of its last attempt without an end, and the caller goes on behind it.
"""

import json
import math
import os
import random
import shutil
import struct
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from backbone.process_memory import peak_resident
from backbone.runs.files import sha256
from pipeline.engine_choice import EngineChoice
from pipeline.export.bundle import MEMORY, Bundle
from pipeline.model_folder import open_model
from pipeline.resolved import ResolvedTickets, add_tickets, erase_tickets, load_resolved
from pipeline.two_stage import load_two_stage
from tickets.errors import DuetError
from tickets.schema import Answer, Ticket

TICKETS = [Ticket("a", "Printer", "My printer is broken since Monday."), Ticket("b", "", "VPN haengt.\n" * 30)]
_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, -0.0, math.nan, math.inf, "", "x",
    "../../etc/passwd", "/etc/passwd", "\x1b[2J", [], {}, [[]], [0] * 5000, {"a": {}},
)  # fmt: skip
_NPY_HEAD = 128  # bytes before the values of an array
_FLOATS = (math.nan, math.inf, -math.inf, -1.0, 0.0, 1.5, 3e38)
_INTEGERS = (0, 1, 0x7F, 0xFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


def mutated(data: bytes, name: str, chance: random.Random) -> tuple[bytes, str]:
    """Damaged bytes, and what was done."""
    if name.endswith(".jsonl") and data and chance.random() < 0.75:
        lines = data.splitlines(keepends=True)
        row = chance.randrange(len(lines))
        record = json.loads(lines[row])
        done = _change(record, chance)
        lines[row] = json.dumps(record).encode() + b"\n"
        return b"".join(lines), f"line {row}: {done}"
    if name.endswith(".npy") and chance.random() < 0.5:
        words = (len(data) - _NPY_HEAD) // 4
        at = _NPY_HEAD + 4 * chance.randrange(max(words, 1))
        value = chance.choice(_FLOATS)
        return data[:at] + struct.pack("<f", value) + data[at + 4 :], f"{value} at {at}"
    if name.endswith(".json") and chance.random() < 0.75:
        record = json.loads(data)
        done = _change(record, chance)
        return json.dumps(record).encode(), done
    if name.endswith(".safetensors") and chance.random() < 0.5:
        (length,) = struct.unpack_from("<Q", data)
        record = json.loads(data[8 : 8 + length])
        done = _change(record, chance)
        header = json.dumps(record).encode()
        return struct.pack("<Q", len(header)) + header + data[8 + length :], f"header: {done}"
    # half of the time where headers are
    end = min(len(data), 4096) if chance.random() < 0.5 else len(data)
    at = chance.randrange(max(end, 1))
    kind = chance.choice(("flip", "integer", "cut", "insert", "delete", "zeros", "noise", "repeat"))
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :], f"{kind} at {at}"
    if kind == "integer":
        value = struct.pack("<Q", chance.choice(_INTEGERS))[: chance.choice((4, 8))]
        return data[:at] + value + data[at + len(value) :], f"{kind} at {at}"
    if kind == "cut":
        return data[:at], f"{kind} at {at}"
    length = chance.choice((1, 8, 64, 1024))
    if kind in ("insert", "repeat"):
        piece = chance.randbytes(length) if kind == "insert" else data[at : at + length]
        return data[:at] + piece + data[at:], f"{kind} {length} at {at}"
    piece = {"delete": b"", "zeros": bytes(length), "noise": chance.randbytes(length)}[kind]
    return data[:at] + piece + data[at + length :], f"{kind} {length} at {at}"


def _change(record: Any, chance: random.Random) -> str:
    """Change a value somewhere in decoded JSON."""
    at, path = record, ""
    while isinstance(at, (dict, list)) and at:
        key = chance.choice(list(at)) if isinstance(at, dict) else chance.randrange(len(at))
        path += f"/{str(key)[:30]}"
        if not isinstance(at[key], (dict, list)) or not at[key] or chance.random() < 0.25:
            kind = chance.choice(("value", "value", "delete", "copy"))
            if kind == "value":
                at[key] = chance.choice(_VALUES)
            elif kind == "delete":
                del at[key]
            elif isinstance(at, dict):
                at["copied"] = at[key]
            else:
                at.append(at[key])
            return f"{kind} {path}"
        at = at[key]
    return "nothing"


def resign(folder: Path, damaged: str) -> None:
    """Make the sums right again, as a broken training or export would have them."""
    for path in (*(folder / s / "manifest.json" for s in ("classifier", "generator")), folder / "manifest.json"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            inside = path.parent.relative_to(folder).as_posix()
            for name in record["files"]:
                whole = name if inside == "." else f"{inside}/{name}"
                if whole == damaged or name.endswith("/manifest.json"):
                    record["files"][name] = sha256(folder / whole)
            path.unlink()  # it may be shared with the bundle
            path.write_text(json.dumps(record), encoding="utf-8")
        except Exception:  # the damaged file is this one
            continue


def engine_for(name: str, chance: random.Random) -> str:
    """The engine that reads a file."""
    if name.endswith(".gguf"):
        return "llama"
    if name.endswith(".onnx"):
        return "onnx"
    if name.startswith("base/") or chance.random() < 0.1:
        return "torch"
    return "onnx" if os.environ.get("DUET_NO_LLAMA") else chance.choice(("onnx", "llama"))


def attempt(bundle: Path, number: int) -> dict[str, Any]:
    """Damage one file and answer two tickets; tells how that ended."""
    chance = random.Random(number)
    names = sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())
    names = [name for name in names if not name.endswith((".md", "recipe.yaml", "check.json"))]
    name = names[number % len(names)]
    engine = engine_for(name, chance)
    data, done = mutated((bundle / name).read_bytes(), name, chance)
    print(json.dumps({"number": number, "file": name, "engine": engine, "done": done}), flush=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(shutil.copytree(bundle, Path(scratch) / "b", copy_function=os.link))
        (folder / name).unlink()
        (folder / name).write_bytes(data)
        resign(folder, name)
        try:
            answers = finds(folder) if name.startswith(MEMORY) else _answered(folder, engine, _writes(name))
            how = "answered" if answers else "of another form"
        except DuetError as error:
            how = "told" if "\n" not in str(error) and len(str(error)) < 1500 else f"no line: {error!r:.300}"
        except BaseException as error:
            how = f"{type(error).__name__}: {error!s:.300}"
    peak = peak_resident() // 2**20
    return {"number": number, "how": how, "seconds": round(time.monotonic() - start, 2), "peak_mb": peak}


def _writes(name: str) -> bool:
    """Whether a file is of the generator."""
    return name.startswith("generator")


def finds(folder: Path) -> bool:
    """Whether resolved tickets are found in their form, before and after some are added and erased."""
    return all(
        change() is not None and _has_similar_form(load_resolved(Bundle.open(folder), folder))
        for change in (
            lambda: 0,
            lambda: add_tickets(folder, [Ticket("new", "VPN", "It hangs.", reply="Restart it.")]),
            lambda: erase_tickets(folder, ["new"]),
        )
    )


def _has_similar_form(resolved: ResolvedTickets) -> bool:
    found = [resolved.to_dict(one) for ticket in TICKETS for one in resolved.similar(ticket, 3)]
    json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    return all(0 < one["similarity"] <= 1 and isinstance(one["reply"], str) for one in found)


def _answered(folder: Path, engine: str, writes: bool) -> bool:
    """Whether the answers have the form of answers; replies of three tokens where the generator is damaged."""
    system = load_two_stage(open_model(folder), labels_only=not writes, choice=EngineChoice(engine))
    if system.generator:
        decoding = system.generator.decoding.model_copy(update={"max_new_tokens": 3})
        system = replace(system, generator=replace(system.generator, decoding=decoding))
    return all(_has_form(answer, system.classifier.space.columns) for answer in system.answer(TICKETS))


def _has_form(answer: Answer, columns: Any) -> bool:
    said = answer.prediction
    return set(said.labels) == set(columns) and all(
        said.labels[column] in classes and 0 <= said.confidence[column] <= 1 for column, classes in columns.items()
    )


if __name__ == "__main__":
    for one in range(int(sys.argv[2]), int(sys.argv[3])):
        print(json.dumps(attempt(Path(sys.argv[1]), one)), flush=True)
