"""Rows of any supported source: a table, JSON, a workbook, packed files, a saved dataset or a Hugging Face dataset id.

A row that cannot be read is still yielded, with the fault named: nothing is dropped here. NUL characters are removed
from text files.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from tickets.encodings.detect import TextEncoding, detect_encoding, is_broken, text_lines
from tickets.errors import InputError
from tickets.flatten import flatten
from tickets.formats.archives import GZIP, ZIP, is_workbook, named_as, ticket_members, unpacked_gzip, unpacked_members
from tickets.formats.delimited import delimited_rows
from tickets.formats.failed_requests import failure_of
from tickets.formats.json_tables import header_names, named_row
from tickets.formats.json_values import decode_json, expand, json_items, values_in_row
from tickets.formats.mail import ATTACHMENTS, MAIL, MAILBOX, is_mail, is_mailbox, read_mail_file, read_mailbox
from tickets.formats.markup import refuse_markup
from tickets.formats.stored_tables import read_dataset, read_parquet
from tickets.formats.workbook import read_workbook
from tickets.raw import FAILED, RAW, RAW_LENGTH, ROW_ENDINGS, RawRow, ReadLog
from tickets.sources import check_regular, nearest_file, source_path
from tickets.terminal import json_text

_PARQUET = b"PAR1"
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_FILE_ENDINGS = (*ROW_ENDINGS, ".txt", MAIL, MAILBOX)
_PACKED_ENDINGS = (".gz", ".zip")
_LONGEST_JSON = 1 << 28  # characters of a JSON text that is no JSON Lines
_NO_OBJECTS = "no ticket in its JSON, only empty lists"
_BLANK = 1 << 10  # bytes; a longer file holds something
_TOO_DEEP = "nested too deeply or a number too long"
_START = 1 << 16  # bytes by which a mail is recognised


def read_rows(source: str, encoding: str | None = None, log: ReadLog | None = None) -> Iterator[RawRow]:
    """Stream the rows of a file, a saved dataset folder or, where neither exists, a Hugging Face dataset id.

    Args:
        encoding: that of text files; found by looking without it.
        log: takes what was understood of the source.

    Raises:
        InputError: no such source, an empty or binary file, JSON that breaks off, a dataset that does not load.
    """
    path, log = source_path(source), log or ReadLog()
    try:
        if path.is_dir():
            return _read_folder(path, log)
        if path.exists():
            check_regular(path)
            return _read_file(path, encoding, log)
    except OSError as error:
        raise InputError(f"{source[:200]}: cannot be read ({error.strerror}); give a file you may read") from None
    if _HUB_ID.fullmatch(source) and not source.lower().endswith(_FILE_ENDINGS + _PACKED_ENDINGS):
        return read_dataset(source, saved=False)
    near = nearest_file(path)
    raise InputError(f"{source}: no such file; expected a file or a Hugging Face id like owner/name{near}")


def estimate_steps(source: str) -> int | None:
    """Return what the `line` of the last row will be, about, for a progress bar; None where that is not known."""
    path = source_path(source)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        magic = file.read(4)
        if magic == _PARQUET:
            import pyarrow.parquet as pq

            return int(pq.ParquetFile(path).metadata.num_rows)
        if magic == ZIP or magic.startswith(GZIP):
            return None
        return 1 + sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _read_file(
    path: Path, asked: str | None, log: ReadLog, packed_size: int | None = None, in_gzip: bool = False
) -> Iterator[RawRow]:
    """Yield the rows of a file by what it begins with.

    Args:
        packed_size: bytes that it takes in an archive that it was in.
        in_gzip: it was in a gzip file, in which there may be no other archive: some hold themselves.
    """
    with path.open("rb") as file:
        start = file.read(_START)
    magic = start[:4]
    if magic == _PARQUET:
        log.nothing = "no row in its table"
        return read_parquet(path)
    if magic == ZIP and is_workbook(path):
        return read_workbook(path, log)
    if magic.startswith(GZIP) and not in_gzip:
        return _read_gzip(path, asked, log, path.stat().st_size if packed_size is None else packed_size)
    if magic == ZIP and packed_size is None:
        return _read_zip(path, asked, log)
    if magic == ZIP or magic.startswith(GZIP):
        raise InputError(f"{path}: found an archive in an archive, expected tickets; unpack it and give the file")
    if start[257:262] == b"ustar":
        raise InputError(f"{path}: found a tar archive, expected tickets; unpack it and give the file with the tickets")
    if is_mailbox(start):
        log.nothing = "no mail"
        return _counted(read_mailbox(path), log)
    if path.suffix.lower() == MAIL or is_mail(start):
        return _counted(read_mail_file(path), log)
    return _read_text(path, asked, log)


def _counted(mails: Iterator[RawRow], log: ReadLog) -> Iterator[RawRow]:
    """Yield the mails; those with attachments that were not read are counted."""
    for mail in mails:
        log.with_attachments += ATTACHMENTS in mail.fields
        yield mail


def _read_text(path: Path, asked: str | None, log: ReadLog) -> Iterator[RawRow]:
    refuse_markup(path)
    encoding = detect_encoding(path, asked)
    log.encodings[path.name] = encoding.name
    if encoding.doubt:
        log.note(f"Encoding of {path.name}: {encoding.doubt}.")
    kind = _text_kind(path, encoding)
    log.nothing = _NO_OBJECTS if kind != "csv" else log.nothing
    if kind == "jsonl":
        return _read_jsonl(path, encoding, log)
    if kind == "json":
        return _read_json(path, encoding, log)
    return (RawRow(line, fields, fault) for line, fields, fault in delimited_rows(path, encoding, log))


def _read_gzip(path: Path, asked: str | None, log: ReadLog, packed_size: int) -> Iterator[RawRow]:
    with unpacked_gzip(path, packed_size) as inner, named_as(inner, str(path)):
        yield from _read_file(inner, asked, log, packed_size, in_gzip=True)


def _read_zip(path: Path, asked: str | None, log: ReadLog) -> Iterator[RawRow]:
    members = ticket_members(path, _FILE_ENDINGS)
    log.holds("files", members)
    first: set[str] | None = None
    empty = []
    for member, packed_size, inner in unpacked_members(path, members):
        if _is_blank(inner):  # a day without tickets
            empty.append(member)
            log.note(f"{member} is empty.")
            continue
        with named_as(inner, f"{path}: {member}"):
            for row in _read_file(inner, asked, log, packed_size):
                first = first or (None if row.fault else set(row.fields))
                if first and row.fault is None and first.isdisjoint(row.fields):
                    raise InputError(
                        f"{path}: {member} has other columns than {members[0]}; expected one kind of tickets; unpack "
                        "it and give the files one by one"
                    )
                yield replace(row, file=member) if len(members) > 1 else row
    log.nothing = "nothing" if len(empty) == len(members) else log.nothing


def _is_blank(path: Path) -> bool:
    return path.stat().st_size < _BLANK and not path.read_bytes().strip(b"\xef\xbb\xbf\xff\xfe\0\r\n\t ")


def _text_kind(path: Path, encoding: TextEncoding) -> str:
    """Return `csv`, `jsonl` or `json` by content; its ending decides where the first line is broken JSON."""
    filled = (line for line in text_lines(path, encoding, _LONGEST_JSON) if line.strip())
    first, second = [*islice(filled, 2), "", ""][:2]
    suffix = path.suffix.lower()
    first, second = first.lstrip("\ufeff\x1e \t"), second.lstrip("\x1e \t")
    opens = second[:1] in ("{", "[")
    if suffix in (".jsonl", ".ndjson"):
        pretty = not _is_json(first) and (first.strip() in ("{", "[") or not opens)
        return "json" if second and first[:1] in ("{", "[") and pretty else "jsonl"
    if suffix != ".json" and not re.match(r"\{|\[\s*([\[{\]]|$)", first):
        return "csv"
    if not second or first[:1] not in ("{", "["):
        return "json"
    follows = opens and second.strip() not in ("{", "[")
    if _is_json(first):
        return "jsonl" if follows else "json"
    return "jsonl" if first[:1] == "{" and follows and _is_json(second) else "json"


def _is_json(line: str) -> bool:
    try:
        decode_json(line)
    except (ValueError, RecursionError):
        return False
    return True


def _read_jsonl(path: Path, encoding: TextEncoding, log: ReadLog) -> Iterator[RawRow]:
    names: list[str] | None = None
    texts = ((n, line.strip("\ufeff\x1e \t\r\n")) for n, line in enumerate(text_lines(path, encoding), start=1))
    for place, (number, text) in enumerate((n, text) for n, text in texts if text):
        names = _names(text) if place == 0 else names
        if place or not names:
            yield from _decoded(number, text, encoding, log, names)


def _names(line: str) -> list[str] | None:
    """Return the names of the columns where a file of lists begins with them."""
    if not line.startswith("["):
        return None
    try:
        return header_names(decode_json(line))
    except (ValueError, RecursionError):
        return None


def _decoded(
    number: int, line: str, encoding: TextEncoding, log: ReadLog, names: Sequence[str] | None
) -> Iterator[RawRow]:
    """Yield the tickets of one line: one object, a page of them, several values in a row, or cells below names."""
    raw = {RAW: line[:RAW_LENGTH]}
    if is_broken(line):
        yield RawRow(number, raw, f"undecodable bytes: not valid {encoding.name}")
        return
    try:
        for value in values_in_row(line):
            for item in [named_row(names, value)] if names and isinstance(value, list) else expand(value, log):
                yield _json_row(number, item)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", None) or _TOO_DEEP
        yield RawRow(number, raw, f"not JSON: {reason}")


def _json_row(number: int, item: Any) -> RawRow:
    if failure := failure_of(item):
        return RawRow(number, {RAW: json_text(item)[:RAW_LENGTH]}, f"{FAILED}: {failure}")
    if isinstance(item, dict):
        try:
            return RawRow(number, flatten(item))
        except RecursionError:
            return RawRow(number, {}, f"not JSON: {_TOO_DEEP}")
    return RawRow(number, {RAW: item}, f"not a JSON object: found {type(item).__name__}")


def _read_json(path: Path, encoding: TextEncoding, log: ReadLog) -> Iterator[RawRow]:
    lines, size = [], 0
    for line in text_lines(path, encoding, _LONGEST_JSON):
        lines.append(line)
        size += len(line)
        if size > _LONGEST_JSON:
            raise InputError(
                f"{path}: JSON of over {_LONGEST_JSON:,} characters, which is read as a whole; expected less, or JSON "
                "Lines with one ticket a line; write it as those"
            )
    text = "".join(lines)
    broken_file = is_broken(text)
    for number, item in json_items(text, str(path), log):
        row = _json_row(number, item)
        if broken_file and any(isinstance(value, str) and is_broken(value) for value in row.fields.values()):
            row = replace(row, fault=row.fault or f"undecodable bytes: not valid {encoding.name}")
        yield row


def _read_folder(path: Path, log: ReadLog) -> Iterator[RawRow]:
    if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
        return read_dataset(str(path), saved=True)
    inside = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    mails = [file for file in inside if file.suffix.lower() == MAIL]
    if mails:
        return _read_mails(path, mails, [file for file in inside if file.suffix.lower() != MAIL], log)
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in _FILE_ENDINGS + _PACKED_ENDINGS)
    hint = f"; give one of its files, such as {files[0]}" if files else ""
    raise InputError(
        f"{path}: found a folder, expected a file with tickets, mails (.eml) or a saved Hugging Face dataset{hint}"
    )


def _read_mails(folder: Path, mails: Sequence[Path], others: Sequence[Path], log: ReadLog) -> Iterator[RawRow]:
    """Yield the mails of a folder; those below it have its name as a field, which may be a label."""
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        log.note(f"Not read, because they are no mails: {', '.join(file.name for file in others[:3])}{more}.")
    nested = any(file.parent != folder for file in mails)
    for file in mails:
        for row in _counted(read_mail_file(file), log):
            place = {"folder": file.parent.relative_to(folder).as_posix()} if nested and row.fault is None else {}
            yield replace(row, fields={**row.fields, **place}, file=str(file.relative_to(folder)))
