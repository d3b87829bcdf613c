"""Reading tickets: encodings, delimiters, broken rows, JSON shapes, Parquet, and sources that are no tickets."""

import json
from pathlib import Path

import pytest

from tickets.errors import InputError
from tickets.flatten import flatten
from tickets.formats.readers import estimate_steps, read_rows
from tickets.raw import RawRow

TABLE = [["subject", "body", "queue"], ["Größe", "Die Tür\nklemmt; heute, wieder", "Büro"], ["two", 'said "no"', "x"]]


def as_csv(separator: str) -> str:
    """TABLE with every field quoted."""
    return "".join(separator.join('"' + f.replace('"', '""') + '"' for f in row) + "\r\n" for row in TABLE)


def rows_of(path: Path, content: str | bytes) -> list[RawRow]:
    """Rows of a file with this content."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_rows(str(path)))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_every_encoding_and_delimiter_reads_the_same(tmp_path: Path, separator: str, encoding: str) -> None:
    rows = rows_of(tmp_path / "t.csv", as_csv(separator).encode(encoding))
    assert [list(row.fields.values()) for row in rows] == TABLE[1:]
    assert [list(row.fields) for row in rows] == [TABLE[0]] * 2
    assert [row.line for row in rows] == [2, 4]
    assert not any(row.fault for row in rows)


def test_ragged_rows_are_yielded_with_a_fault(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "t.csv", "subject,body\na,b\nonly\n\nx,y,z\nc,d,\n")
    assert [(row.line, row.fault) for row in rows] == [
        (2, None),
        (3, "ragged row: 1 fields, expected 2"),
        (5, "ragged row: 3 fields, expected 2"),
        (6, None),
    ]
    assert rows[2].fields["(extra)"] == ["z"]


def test_an_unclosed_quote_costs_one_row_not_the_rest(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "t.csv", 'subject,body\na,b\nc,"never ends\ne,f\ng,h\n')
    assert [row.line for row in rows] == [2, 3, 4, 5]
    assert rows[1].fault and rows[1].fault.startswith("unclosed quote")
    assert rows[3].fields == {"subject": "g", "body": "h"}


def test_a_field_of_a_mebibyte_after_an_unclosed_quote_does_not_swallow_the_file(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "t.csv", 'subject,body\nc,"open\n' + "a,b\n" * 300_000)
    assert len(rows) == 300_001
    assert sum(row.fault is not None for row in rows) == 1


def test_nul_bytes_are_removed(tmp_path: Path) -> None:
    assert rows_of(tmp_path / "t.csv", b"subject,body\nabcdefgh,b\x00ody text\n")[0].fields["body"] == "body text"


def test_one_bad_byte_in_utf8_costs_its_row_only(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "t.csv", "subject,body\nä,ö\n".encode() + b"x,\xff\n" + "ü,ß\n".encode())
    assert [row.fault for row in rows] == [None, "undecodable bytes: not valid UTF-8", None]
    assert rows[2].fields["body"] == "ß"


def test_repeated_and_empty_column_names_stay_apart(tmp_path: Path) -> None:
    assert list(rows_of(tmp_path / "t.csv", "a,a,\n1,2,3\n")[0].fields) == ["a", "a.2", "column 3"]


def test_excel_separator_line(tmp_path: Path) -> None:
    assert rows_of(tmp_path / "t.csv", "sep=;\nsubject;body\na;b\n")[0] == RawRow(3, {"subject": "a", "body": "b"})


def test_jsonl_faults_name_the_line(tmp_path: Path) -> None:
    lines = ['{"body": "a"}', "", "{broken", "[1]", '{"n": ' + "9" * 5000 + "}", '{"body": "b"}']
    rows = rows_of(tmp_path / "t.jsonl", "\n".join(lines))
    assert [row.line for row in rows] == [1, 3, 4, 5, 6]
    assert [row.fault is None for row in rows] == [True, False, False, False, True]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("wrapped", [False, True])
def test_json_exports_are_found_and_flattened(tmp_path: Path, wrapped: bool, indent: int | None) -> None:
    tickets = [
        {"id": 1, "via": {"channel": "web"}, "tags": ["a", "b"], "custom_fields": [{"id": 9, "value": "x"}]},
        {"id": 2, "articles": [{"body": "first"}, {"body": "second"}]},
    ]
    export = {"count": 2, "users": [{"id": 7}], "tickets": tickets} if wrapped else tickets
    rows = rows_of(tmp_path / "t.json", json.dumps(export, indent=indent))
    assert rows[0].fields == {"id": 1, "via.channel": "web", "tags": ["a", "b"], "custom_fields.9": "x"}
    assert rows[1].fields["articles.1.body"] == "second"


def test_flatten_keeps_empty_objects() -> None:
    assert flatten({"a": {}, "b": {"c": [{"d": 1}]}}) == {"a": {}, "b.c.0.d": 1}


def test_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"body": ["a", None], "n": [1, 2]}), path)
    assert list(read_rows(str(path))) == [RawRow(1, {"body": "a", "n": 1}), RawRow(2, {"body": None, "n": 2})]
    assert estimate_steps(str(path)) == 2


def test_saved_dataset_folder(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_dict({"body": ["a", "b"]}).save_to_disk(str(tmp_path / "saved"))
    assert [row.fields["body"] for row in read_rows(str(tmp_path / "saved"))] == ["a", "b"]


def test_hugging_face_id_goes_through_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(name: str) -> dict[str, list[dict[str, str]]]:
        assert name == "owner/name"
        return {"train": [{"body": "a"}], "test": [{"body": "b"}]}

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert [(row.line, row.fields["body"]) for row in read_rows("owner/name")] == [(1, "a"), (2, "b")]

    def fail(name: str) -> None:
        raise RuntimeError("no\nnetwork")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(InputError, match="no network") as caught:
        list(read_rows("owner/name"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "PNG"),
        ("a.xlsx", b"PK\x03\x04" + bytes(100), "Excel"),
        ("a.csv", bytes(range(256)) * 20, "binary"),
        ("a.parquet", b"PAR1garbage", "Parquet"),
        ("a.json", b'[{"body": "a"}, {"bo', "not valid JSON at line 1"),
        ("a.json", b'{"tickets": [{"body": "a"} {"body": "b"}]}', "not valid JSON"),
        ("a.json", b"[" * 100_000, "JSON"),
    ],
)
def test_unusable_files_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes, found: str) -> None:
    with pytest.raises(InputError, match=found) as caught:
        rows_of(tmp_path / name, content)
    assert "\n" not in str(caught.value)


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text("body\na\n")
    with pytest.raises(InputError, match="did you mean"):
        read_rows(str(tmp_path / "tikets.csv"))
    with pytest.raises(InputError, match="found a folder"):
        read_rows(str(tmp_path))
