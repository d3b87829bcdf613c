"""Archives and workbooks that are small and unpack to what no machine holds: refused in one line, within limits."""

import gzip
import io
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tickets.errors import InputError
from tickets.formats.readers import read_rows
from tickets.formats.workbook_limits import check_workbook
from tickets.raw import RawRow

SHEET, STRINGS, STYLES = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/styles.xml"
NAMESPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
TICKETS = b"subject,body\nVPN,It hangs\n"


def rows_of(path: Path) -> list[RawRow]:
    return list(read_rows(str(path)))


def workbook(path: Path, changed: str = "", pieces: Iterable[bytes] = ()) -> Path:
    """A workbook of one ticket, one part of which is another."""
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append(["subject", "body"])
    book.active.append(["VPN", "It hangs"])
    kept = io.BytesIO()
    book.save(kept)
    with zipfile.ZipFile(kept) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in {*source.namelist(), *([changed] if changed else [])}:
            with target.open(name, "w", force_zip64=True) as part:
                for piece in pieces if name == changed else [source.read(name)]:
                    part.write(piece)
    return path


def sheet(inside: bytes, times: int, before: bytes = b"", after: bytes = b"") -> Iterator[bytes]:
    yield f"<worksheet {NAMESPACE}><sheetData>".encode() + before
    for _ in range(times):
        yield inside
    yield after + b"</sheetData></worksheet>"


def million(piece: bytes) -> bytes:
    return piece * ((1 << 20) // len(piece))


BOMBS = {
    "cells": (SHEET, sheet(million(b"<c/>"), 16, b"<row>", b"</row>"), "a row or part with over"),
    "empty-rows": (SHEET, sheet(million(b"<row/>"), 16), "a row or part with over"),
    "rows": (SHEET, sheet(million(b"<row></row>"), 20), "over 1,048,576 rows"),
    "elements": (SHEET, sheet(million(b"<x:y/>"), 16), "a row or part with over"),
    "wide-characters": (SHEET, sheet(million(b"<\0c\0/\0>\0"), 40), "a row or part with over"),
    "text": (SHEET, sheet(million(b"a"), 66, b"<row><c><v>"), "unpacks to over 100 times"),
    "styles": (STYLES, sheet(million(b"<xf/>"), 16), "a row or part with over"),
    "style-rows": (STYLES, sheet(million(b"<xf/></row>"), 16), "a row or part with over"),
    "strings": (STRINGS, sheet(million(b"<t/>"), 16), "a row or part with over"),
    "types": ("[Content_Types].xml", sheet(million(b"<a/>"), 16), "a row or part with over"),
    "any-part": ("xl/media/image.png", sheet(million(b"\0"), 66), "unpacks to over 100 times"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_workbook_that_fills_memory_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    part, pieces, told = BOMBS[kind]
    path = workbook(tmp_path / "t.xlsx", part, pieces)
    assert path.stat().st_size < 1 << 19
    start = time.thread_time()
    tracemalloc.start()
    with pytest.raises(InputError, match=told) as error:
        rows_of(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert peak < 1 << 26 and time.thread_time() - start < 20


def test_usual_workbooks_pass(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx")
    assert [row.fields["body"] for row in rows_of(path)] == ["It hangs"]
    long = (
        b"<row><c t='inlineStr'><is><t>body</t></is></c></row>"
        + b"<row><c t='inlineStr'><is><t>x</t></is></c></row>" * 9
    )
    assert len(rows_of(workbook(path, SHEET, sheet(long, 300)))) == 300 * 10 - 1
    prefixed = b"<x:row>" + b"<x:c/>" * 5000 + b"</x:row>"  # as some writers name the elements
    check_workbook(workbook(path, SHEET, sheet(prefixed, 2000)))


@pytest.mark.parametrize("size", [10, 1 << 27])
def test_a_part_of_another_size_than_it_states_is_refused(tmp_path: Path, size: int) -> None:
    """What is read as a whole would be as large as it is, not as it says."""
    path = workbook(tmp_path / "t.xlsx", STYLES, sheet(million(b"<xf/>"), 1))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        true = struct.pack("<I", archive.getinfo(STYLES).file_size)
    place = data.index(STYLES.encode(), data.index(b"PK\x01\x02")) - 46
    assert data[place + 24 : place + 28] == true
    data[place + 24 : place + 28] = struct.pack("<I", size)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"not a (readable|usable) Excel workbook") as error:
        rows_of(path)
    assert "\n" not in str(error.value)


def test_an_archive_in_an_archive_is_not_unpacked(tmp_path: Path) -> None:
    """Some hold themselves, and would be unpacked for ever."""
    packed = gzip.compress(TICKETS)
    cases = {"twice.csv.gz": gzip.compress(packed), "thrice.gz": gzip.compress(gzip.compress(packed))}
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("t.csv", TICKETS)
    for name, content in {"t.csv": inner.getvalue(), "t.csv.gz": gzip.compress(packed), "u.gz": packed}.items():
        outer = io.BytesIO()
        with zipfile.ZipFile(outer, "w") as archive:
            archive.writestr(name if name != "u.gz" else "u.csv.gz", content)
        cases[f"{name}.zip"] = outer.getvalue()
    good = cases.pop("u.gz.zip")
    cases["zip.gz"] = gzip.compress(inner.getvalue())
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="an archive in an archive") as error:
            rows_of(tmp_path / name)
        assert str(tmp_path / name) in str(error.value) and "/duet-" not in str(error.value)
    (tmp_path / "good.zip").write_bytes(good)
    assert [row.fields["body"] for row in rows_of(tmp_path / "good.zip")] == ["It hangs"]


def test_a_gzip_in_a_zip_grows_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is of what the archive holds, not of what was unpacked before."""
    monkeypatch.setattr("tickets.formats.archives._UNSUSPICIOUS", 1 << 20)
    monkeypatch.setattr("tickets.formats.archives._MOST_GROWTH", 2000)
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv.gz", gzip.compress(b"subject,body\n" + b"a,b\n" * (1 << 24)))
    with pytest.raises(InputError, match="unpacks to over 2000 times its size"):
        rows_of(tmp_path / "t.zip")


def repeated(path: Path) -> None:
    """One text, stored once, in every row."""
    rows = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x " * 50_000]))
    pq.write_table(pa.table({"body": rows}), path, compression="zstd")


def one_page(path: Path) -> None:
    pq.write_table(pa.table({"body": ["y" * (1 << 28)]}), path, compression="zstd", use_dictionary=False)


def in_lists(path: Path) -> None:
    pq.write_table(pa.table({"body": ["a"] * 5_000, "tags": [["z" * 5_000] * 100] * 5_000}), path, compression="zstd")


@pytest.mark.parametrize("write", [repeated, one_page, in_lists])
def test_small_tables_that_hold_much_are_refused(tmp_path: Path, write: Callable[[Path], None]) -> None:
    path = tmp_path / "t.parquet"
    write(path)
    assert path.stat().st_size < 1 << 18
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    with pytest.raises(InputError, match=r"unpacks to over 300 times its size"):
        for _ in read_rows(str(path)):
            assert pa.total_allocated_bytes() - before < 1 << 28
    assert tracemalloc.get_traced_memory()[1] < 1 << 28
    tracemalloc.stop()


def test_repeated_texts_of_an_honest_table_are_read(tmp_path: Path) -> None:
    texts = ["Your order has shipped. " * 20, "", None, "Größe"]
    for write_dictionary in (True, False):
        table = pa.table({"id": list(range(4_000)), "body": texts * 1_000, "tags": [["a", "b"]] * 4_000})
        pq.write_table(table, tmp_path / "t.parquet", use_dictionary=write_dictionary)
        rows = rows_of(tmp_path / "t.parquet")
        assert [row.fields["body"] for row in rows] == texts * 1_000
        assert [row.line for row in rows] == list(range(1, 4_001))


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_columns_of_a_saved_dataset_are_refused(tmp_path: Path, compression: str) -> None:
    import datasets

    datasets.Dataset.from_dict({"body": ["a", "b"]}).save_to_disk(tmp_path / "saved")
    assert [row.fields["body"] for row in rows_of(tmp_path / "saved")] == ["a", "b"]
    [path] = (tmp_path / "saved").glob("*.arrow")
    table = pa.table({"body": ["y" * (1 << 20)] * 600})
    with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as stream:
        stream.write_table(table)
    del table
    with pytest.raises(InputError, match="holds compressed columns"):
        rows_of(tmp_path / "saved")
