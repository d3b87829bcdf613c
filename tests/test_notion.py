"""Pages of a Notion database: every property is its value, and the title is the heading."""

import json
from pathlib import Path
from typing import Any

import pytest

from tickets.flatten import flatten
from tickets.preparation.rows import Source

ASK = "It does not print"


def pieces(text: str) -> list[dict[str, Any]]:
    first, space, rest = text.partition(" ")
    return [{"type": "text", "text": {"content": piece}, "plain_text": piece} for piece in (first + space, rest)]


def prop(kind: str, value: Any) -> dict[str, Any]:
    return {"id": "a%3Db", "type": kind, kind: value}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (prop("rich_text", [{"plain_text": "a "}, {"plain_text": "b"}]), "a b"),
        (prop("rich_text", []), ""),
        (prop("select", {"id": "x", "name": "High", "color": "red"}), "High"),
        (prop("select", None), None),
        (prop("status", {"id": "x", "name": "Open"}), "Open"),
        (prop("multi_select", [{"id": "x", "name": "vpn"}, {"id": "y", "name": "printer"}]), ["vpn", "printer"]),
        (prop("people", [{"object": "user", "id": "u", "name": "Ann Lee"}]), ["Ann Lee"]),
        (prop("date", {"start": "2024-03-04", "end": None}), "2024-03-04"),
        (prop("created_time", "2024-03-04T10:00:00.000Z"), "2024-03-04T10:00:00.000Z"),
        (prop("number", 7), 7),
        (prop("checkbox", True), True),
        (prop("email", "a@x.org"), "a@x.org"),
        (prop("created_by", {"object": "user", "id": "u", "name": "Bo"}), "Bo"),
        (prop("unique_id", {"prefix": "SUP", "number": 7}), "SUP-7"),
    ],
)
def test_a_property_is_its_value(value: dict[str, Any], expected: object) -> None:
    assert flatten({"properties": {"Field": value}}) == {"properties.Field": expected}


@pytest.mark.parametrize(
    "value",
    [
        {"type": "user", "user": "ann", "id": 5},
        {"type": "status", "name": "Open"},
        {"type": "url", "url": "x", "subject": "s"},
    ],
)
def test_other_objects_stay(value: dict[str, Any]) -> None:
    assert flatten({"author": value}) == {f"author.{name}": inner for name, inner in value.items()}


@pytest.mark.parametrize("is_page", [True, False])
def test_a_database_is_read(tmp_path: Path, is_page: bool) -> None:
    pages = [
        {
            "object": "page",
            "id": f"p{n}",
            "created_time": "2024-03-04T10:00:00.000Z",
            "properties": {
                "Name": {"id": "title", "type": "title", "title": pieces("Printer upstairs")},
                "Description": prop("rich_text", pieces(f"{ASK} {n}")),
                "Priority": prop("select", {"id": "x", "name": "High"}),
                "Tags": prop("multi_select", [{"id": "y", "name": "vpn"}, {"id": "z", "name": "printer"}]),
            },
        }
        for n in range(2)
    ]
    (tmp_path / "t.json").write_text(json.dumps({"object": "list", "results": pages} if is_page else pages))
    source = Source.open(str(tmp_path / "t.json"))
    first, second = map(source.cells, source.rows)
    assert (first.parts["id"], first.parts["subject"], first.tags) == ("p0", "Printer upstairs", ("vpn", "printer"))
    assert (second.parts["body"], dict(second.labels)) == (f"{ASK} 1", {"priority": "High"})
