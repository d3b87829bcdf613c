"""Generated exports: formats, encodings, nestings and damage; no row is lost, and formats agree."""

import csv
import gzip
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tickets.cleaning.clean import Cleaner
from tickets.errors import InputError
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.preparation.rows import Source
from tickets.schema import Ticket, read_tickets

Record = Mapping[str, str]
WORDS = ("printer", "Größe", "naïve", "error 0x80", "a;b", 'say "no"', "x,y", "C:\\temp", "<b", "ü" * 3, "{3}", "#4")

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
subjects = st.sampled_from(("Printer", "Zugang fehlt", "Größe, bitte", "VPN"))
exports = st.lists(st.tuples(subjects, texts, st.sampled_from("AB")), min_size=1, max_size=6).map(
    lambda rows: [
        {"id": f"T{n}", "subject": subject, "body": f"{body} no{n}", "queue": queue}
        for n, (subject, body, queue) in enumerate(rows)
    ]
)


def as_csv(separator: str) -> Callable[[Sequence[Record]], str]:
    def write(records: Sequence[Record]) -> str:
        out = io.StringIO()
        writer = csv.DictWriter(out, list(records[0]), delimiter=separator)
        writer.writeheader()
        writer.writerows(records)
        return out.getvalue()

    return write


FORMATS: Mapping[str, Callable[[Sequence[Record]], str]] = {
    "comma.csv": as_csv(","),
    "semicolon.csv": as_csv(";"),
    "tab.tsv": as_csv("\t"),
    "list.json": lambda records: json.dumps(records, ensure_ascii=False),
    "pretty.json": lambda records: json.dumps(records, ensure_ascii=False, indent=1),
    "lines.jsonl": lambda records: "\n".join(json.dumps(r, ensure_ascii=False) for r in records),
    "values.json": lambda records: "\n".join(json.dumps(r, ensure_ascii=False, indent=2) for r in records),
    "page.json": lambda records: json.dumps({"tickets": list(records), "count": len(records)}, ensure_ascii=False),
    "nodes.json": lambda records: json.dumps({"data": {"issues": {"nodes": list(records)}}}, ensure_ascii=False),
    "hits.json": lambda records: json.dumps({"hits": {"hits": [{"_source": r} for r in records]}}, ensure_ascii=False),
    "pages.jsonl": lambda records: "\n".join(json.dumps({"tickets": [r]}, ensure_ascii=False) for r in records),
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252")


def write(folder: Path, name: str, content: bytes, packing: str) -> str:
    if packing == "zip":
        with zipfile.ZipFile(folder / "t.zip", "w") as archive:
            archive.writestr(name, content)
        return str(folder / "t.zip")
    path = folder / (f"{name}.gz" if packing == "gz" else name)
    path.write_bytes(gzip.compress(content) if packing == "gz" else content)
    return str(path)


def tickets_of(source: str, encoding: str) -> list[Ticket]:
    opened = Source.open(source, encoding=encoding)
    return [opened.ticket(opened.cells(row), n, Cleaner()) for n, row in enumerate(opened.rows, start=1)]


@given(exports, st.sampled_from(sorted(FORMATS)), st.sampled_from(ENCODINGS), st.sampled_from(("", "gz", "zip")))
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_every_format_gives_the_same_tickets(records: list[Record], name: str, encoding: str, packing: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = write(Path(folder), name, FORMATS[name](records).encode(encoding), packing)
        plain = write(Path(folder), "plain.jsonl", FORMATS["lines.jsonl"](records).encode(), "")
        assert tickets_of(source, encoding) == tickets_of(plain, "utf-8")
        if encoding != "cp1252":  # which is a guess on a few bytes
            assert tickets_of(source, "") == tickets_of(plain, "utf-8")


@given(exports, st.sampled_from(sorted(FORMATS)), st.sampled_from(ENCODINGS), st.data())
@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_damage_ends_in_the_quarantine_or_in_one_line(
    records: list[Record], name: str, encoding: str, data: st.DataObject
) -> None:
    more = [{**records[0], "id": f"M{n}", "body": " ".join(f"w{n}x{k}" for k in range(9))} for n in range(12)]
    content = FORMATS[name]([*more, *records]).encode(encoding)
    at = data.draw(st.integers(len(content) // 2, len(content)))
    damage = data.draw(st.sampled_from((b"", b"\x00", b"\xff", b'"', b"\n", b"}", b"[1]", b"<html>")))
    rest = content[at + data.draw(st.integers(0, 30)) :] if data.draw(st.booleans()) else b""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        source = write(Path(folder), name, content[:at] + damage + rest, "")
        try:
            report = prepare(PrepareOptions(source, out), progress=False)
        except InputError as error:
            assert "\n" not in str(error)
            return
        kept = sum(len(read_tickets(out / f"{part}.jsonl")) for part in report.parts)
        set_aside = len((out / "quarantine.jsonl").read_text(encoding="utf-8").splitlines())
        assert report.rows_in == kept + set_aside
