"""Rows of any supported source: CSV, TSV, JSONL, JSON, Parquet, a saved dataset folder or a Hugging Face dataset id.

A row that cannot be read is still yielded, with the fault named: nothing is dropped here. NUL characters are removed
from text files.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tickets.delimited import delimited_rows
from tickets.encoding import TextEncoding, detect_encoding, is_broken, text_lines
from tickets.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

RAW = "(raw)"  # key under which an unreadable row keeps its text
_RAW_LENGTH = 2_000
_BATCH = 1_000
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_FILE_ENDINGS = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet")
_TICKET_LISTS = ("tickets", "results", "rows", "data", "items", "records")


@dataclass(frozen=True)
class RawRow:
    """One row as the source has it; nested objects are flattened to dotted names.

    `line` is the physical line where a CSV or JSONL record starts, else the 1-based row number; `fault` says why the
    row cannot be used, None when it can.
    """

    line: int
    fields: dict[str, Any]
    fault: str | None = None


def read_rows(source: str) -> Iterator[RawRow]:
    """Stream the rows of a file, a saved dataset folder or, where neither exists, a Hugging Face dataset id.

    Raises:
        InputError: no such source, an empty or binary file, JSON that breaks off, a dataset that does not load.
    """
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.exists():
            return _read_file(path)
    except OSError as error:
        raise InputError(f"{source[:200]}: cannot be read ({error.strerror}); give a file you may read") from None
    if _HUB_ID.fullmatch(source) and not source.lower().endswith(_FILE_ENDINGS):
        return _read_hub(source)
    near = _nearest_file(path)
    raise InputError(f"{source}: no such file; expected a file or a Hugging Face id like owner/name{near}")


def estimate_steps(source: str) -> int | None:
    """What the `line` of the last row will be, about, for a progress bar; None where that is not known."""
    path = Path(source).expanduser()
    if not path.is_file():
        return None
    with path.open("rb") as file:
        if file.read(4) == b"PAR1":
            import pyarrow.parquet as pq

            return int(pq.ParquetFile(path).metadata.num_rows)
        return 1 + sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def flatten(record: Mapping[str, Any]) -> dict[str, Any]:
    """Nested objects as dotted names: `via.channel`, `articles.0.body`; Zendesk fields as `custom_fields.<id>`.

    Lists of plain values stay lists.
    """
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat.update(_flattened(str(name), value))
    return flat


def _flattened(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flattened(f"{name}.{key}", inner)
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for place, item in enumerate(value):
            if isinstance(item, Mapping) and set(item) == {"id", "value"}:
                yield from _flattened(f"{name}.{item['id']}", item["value"])
            else:
                yield from _flattened(f"{name}.{place}", item)
    else:
        yield name, value


def _read_file(path: Path) -> Iterator[RawRow]:
    with path.open("rb") as file:
        if file.read(4) == b"PAR1":
            return _read_parquet(path)
    encoding = detect_encoding(path)
    kind = _text_kind(path, encoding)
    if kind == "jsonl":
        return _read_jsonl(path, encoding)
    if kind == "json":
        return _read_json(path, encoding)
    return (RawRow(line, fields, fault) for line, fields, fault in delimited_rows(path, encoding))


def _text_kind(path: Path, encoding: TextEncoding) -> str:
    """`csv`, `jsonl` or `json`, by content; the file's ending decides only where the first line is broken JSON."""
    first, second = [*islice((line for line in text_lines(path, encoding) if line.strip()), 2), "", ""][:2]
    jsonl = path.suffix.lower() in (".jsonl", ".ndjson")
    start = first.lstrip()[:1]
    if start == "[" and (path.suffix.lower() == ".json" or re.match(r"\s*\[\s*(\{|\]|$)", first)):
        return "json"
    if start == "{":
        try:
            record = json.loads(first)
        except (ValueError, RecursionError):
            return "jsonl" if jsonl or second.lstrip()[:1] == "{" else "json"
        return "jsonl" if jsonl or second or not any(isinstance(value, list) for value in record.values()) else "json"
    if jsonl:
        return "jsonl"
    return "json" if path.suffix.lower() == ".json" else "csv"


def _read_jsonl(path: Path, encoding: TextEncoding) -> Iterator[RawRow]:
    for number, line in enumerate(text_lines(path, encoding), start=1):
        if line.strip():
            fields, fault = _decoded(line, encoding)
            yield RawRow(number, fields, fault)


def _decoded(line: str, encoding: TextEncoding) -> tuple[dict[str, Any], str | None]:
    raw = {RAW: line.strip()[:_RAW_LENGTH]}
    if is_broken(line):
        return raw, f"undecodable bytes: not valid {encoding.name}"
    try:
        record = json.loads(line)
        if not isinstance(record, dict):
            return raw, f"not a JSON object: found {type(record).__name__}"
        return flatten(record), None
    except (ValueError, RecursionError) as error:
        return raw, f"not JSON: {getattr(error, 'msg', None) or 'nested too deeply or a number too long'}"


def _read_json(path: Path, encoding: TextEncoding) -> Iterator[RawRow]:
    text = "".join(text_lines(path, encoding))
    try:
        for number, item in enumerate(_array_items(text), start=1):
            if isinstance(item, dict):
                yield RawRow(number, flatten(item))
            else:
                yield RawRow(number, {RAW: item}, f"not a JSON object: found {type(item).__name__}")
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: not valid JSON at line {error.lineno}, column {error.colno} ({error.msg}); expected a list of "
            "tickets or one object per line; export the file again"
        ) from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: JSON nested too deeply or a number too long; expected a list of tickets") from None


_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()


def _array_items(text: str) -> Iterator[Any]:
    """Items of the top-level list, or of the list of tickets inside a top-level object, one at a time."""
    at = _skip(text, 0)
    if text[at : at + 1] == "{":
        at = _ticket_list(text, at)
        if text[at : at + 1] == "{":  # no list inside: the object itself is the only ticket
            yield _DECODER.raw_decode(text, at)[0]
            return
    if text[at : at + 1] != "[":
        raise json.JSONDecodeError("Expecting a list or an object", text, at)
    at = _skip(text, at + 1)
    while text[at : at + 1] != "]":
        item, at = _DECODER.raw_decode(text, at)
        yield item
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)


def _ticket_list(text: str, start: int) -> int:
    """Where the list of tickets in the object at `start` begins; `start` itself when the object holds no list."""
    found, at = start, _skip(text, start + 1)
    while text[at : at + 1] == '"':
        name, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
        at = _skip(text, at + 1)
        if text[at : at + 1] == "[" and name in _TICKET_LISTS:
            return at
        if found == start and re.compile(r"\[\s*\{").match(text, at) and name not in ("comments", "articles"):
            found = at
        at = _skip(text, _DECODER.raw_decode(text, at)[1])
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
    return found


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _read_parquet(path: Path) -> Iterator[RawRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        number = 0
        for batch in pq.ParquetFile(path).iter_batches(batch_size=_BATCH):
            for row in _batch_rows(batch):
                number += 1
                yield RawRow(number, *row)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a readable Parquet file ({reason}); write it again or give CSV") from None


def _batch_rows(batch: "pa.RecordBatch") -> Iterator[tuple[dict[str, Any], str | None]]:
    """Fields and fault of every row; one broken string costs its own row, not the batch."""
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError:
        for place in range(batch.num_rows):
            try:
                yield flatten(batch.slice(place, 1).to_pylist()[0]), None
            except UnicodeDecodeError:
                yield {}, "undecodable bytes: a text is not valid UTF-8"
        return
    for row in rows:
        yield flatten(row), None


def _read_folder(path: Path) -> Iterator[RawRow]:
    if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
        return _read_dataset(str(path), saved=True)
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in _FILE_ENDINGS)
    hint = f"; give one of its files, such as {files[0]}" if files else ""
    raise InputError(f"{path}: found a folder, expected a file with tickets or a saved Hugging Face dataset{hint}")


def _read_hub(source: str) -> Iterator[RawRow]:
    return _read_dataset(source, saved=False)


def _read_dataset(source: str, saved: bool) -> Iterator[RawRow]:
    """Rows of all splits of a dataset, in the order the dataset lists them."""
    import datasets

    try:
        loaded = datasets.load_from_disk(source) if saved else datasets.load_dataset(source)
    except Exception as error:  # datasets raises whatever its dozen storage back ends raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{source}: no such file, and loading it as a Hugging Face dataset failed ({reason}); check the name and "
            "the connection, or download it and give the file"
        ) from None
    parts: Iterable[Any] = loaded.values() if isinstance(loaded, dict) else (loaded,)
    return (RawRow(n, flatten(row)) for n, row in enumerate((row for part in parts for row in part), start=1))


def _nearest_file(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"; there is no folder {path.parent} either"
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    return f"; did you mean {path.parent / near[0]}?" if near else ""
