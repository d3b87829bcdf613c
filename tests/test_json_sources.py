"""Every object of a JSON export is a ticket, a row set aside, or an error, whatever the nesting."""

import json
from pathlib import Path
from typing import Any

import pytest

from tickets.errors import InputError
from tickets.formats.readers import read_rows
from tickets.raw import ReadLog

TICKETS = [{"id": str(n + 7), "subject": f"s{n}", "body": f"text {n}", "queue": "AB"[n % 2]} for n in range(16)]
PAGES = [TICKETS[:10], TICKETS[10:]]


NAMES = list(TICKETS[0])
CELLS = [list(ticket.values()) for ticket in TICKETS]
WITHOUT_ID = [{name: value for name, value in ticket.items() if name != "id"} for ticket in TICKETS]
TABLES: tuple[Any, ...] = (
    {ticket["id"]: ticket for ticket in TICKETS},  # tickets under their numbers
    {f"T-{ticket['id']}": ticket for ticket in TICKETS},
    {"status": "ok", "data": {f"T-{ticket['id']}": ticket for ticket in TICKETS}},
    {ticket["id"]: rest for ticket, rest in zip(TICKETS, WITHOUT_ID, strict=True)} | {"22": WITHOUT_ID[15]},
    {name: {str(place): ticket[name] for place, ticket in enumerate(TICKETS)} for name in NAMES},  # pandas, columns
    {name: {ticket["id"]: ticket[name] for ticket in TICKETS} for name in NAMES if name != "id"},
    {name: [ticket[name] for ticket in TICKETS] for name in NAMES},  # pandas, list
    {"columns": NAMES, "index": list(range(16)), "data": CELLS},  # pandas, split
    {"columns": NAMES[1:], "index": [t["id"] for t in TICKETS], "data": [row[1:] for row in CELLS]},
    {"schema": {"fields": [{"name": name} for name in NAMES]}, "data": TICKETS},  # pandas, table
    {"columns": [{"name": name, "type": "text"} for name in NAMES], "rows": CELLS},  # an SQL server
    {"data": {"cols": [{"name": name} for name in NAMES], "rows": CELLS}},
    {"range": "A1:D17", "majorDimension": "ROWS", "values": [NAMES, *CELLS]},  # a sheet of Google's
    {"majorDimension": "COLUMNS", "values": [list(c) for c in zip(NAMES, *CELLS, strict=True)]},
    {"valueRanges": [{"values": [NAMES, *CELLS[:9]]}, {"values": [NAMES, *CELLS[9:]]}]},
    [NAMES, *CELLS],
)


def ids(tmp_path: Path, text: str, name: str = "t.json", log: ReadLog | None = None) -> list[Any]:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return [row.fields.get("id") for row in read_rows(str(path), log=log)]


def lines(values: list[Any], indent: int | None = None) -> str:
    return "\n".join(json.dumps(value, indent=indent) for value in values)


def nested(path: str, tickets: list[dict[str, str]] = TICKETS) -> dict[str, Any]:
    value: Any = tickets
    for name in reversed(path.split(".")):
        value = {name: value}
    return dict(value)


@pytest.mark.parametrize(
    "text",
    [
        lines(TICKETS, indent=2),  # jq '.[]'
        lines(TICKETS),
        "".join(json.dumps(ticket) for ticket in TICKETS),
        "\x1e" + "\n\x1e".join(json.dumps(ticket) for ticket in TICKETS),  # JSON text sequence
        lines(PAGES, indent=1),
        lines(PAGES),
        json.dumps(PAGES),  # jq --slurp
        lines([{"tickets": page, "next_page": None} for page in PAGES], indent=1),
        lines([{"tickets": page, "next_page": None} for page in PAGES]),
        json.dumps([{"tickets": page} for page in PAGES]),
        lines([{"tickets": page} for page in [*PAGES, []]]),
        *(
            json.dumps(nested(path))
            for path in ("data.issues.nodes", "_embedded.conversations", "result", "a.b.c.rows")
        ),
        json.dumps({"hits": {"total": 16, "hits": [{"_id": t["id"], "_source": t} for t in TICKETS]}}),
        json.dumps({"data": {"issues": {"edges": [{"cursor": "x", "node": t} for t in TICKETS]}}}),
        json.dumps({"data": [{"id": t["id"], "type": "tickets", "attributes": t} for t in TICKETS]}),
        lines([{"ticket": ticket} for ticket in TICKETS]),
        json.dumps({"status": "ok", "message": "success", "data": TICKETS}),
        *map(json.dumps, TABLES),
    ],
)
@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_every_ticket_is_read_from_every_nesting(tmp_path: Path, text: str, name: str) -> None:
    assert ids(tmp_path, text, name) == [ticket["id"] for ticket in TICKETS]


def test_a_ticket_with_lists_of_its_own_is_one_ticket(tmp_path: Path) -> None:
    ticket = {**TICKETS[0], "comments": [{"id": 1, "body": "a"}], "items": [{"id": 7, "name": "printer"}]}
    assert ids(tmp_path, json.dumps(ticket, indent=1)) == ["7"]
    assert ids(tmp_path, lines([ticket, ticket])) == ["7", "7"]


@pytest.mark.parametrize("indent", [None, 1])
def test_text_behind_a_value_is_an_error_with_its_line(tmp_path: Path, indent: int | None) -> None:
    text = json.dumps(TICKETS, indent=indent) + "\nHTTP/1.1 500 upstream broke off\n"
    with pytest.raises(InputError, match=rf"line {text.count(chr(10))}: found text behind the JSON value"):
        ids(tmp_path, text)


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"tickets": [\n{"id": 1, "body": "a"},\n\n3,\n{"id": 2, "body": "b"}]}')
    assert [(row.line, row.fault) for row in read_rows(str(path))] == [
        (2, None),
        (4, "not a JSON object: found int"),
        (5, None),
    ]


def test_lists_beside_the_tickets_are_named(tmp_path: Path) -> None:
    log = ReadLog()
    assert len(ids(tmp_path, json.dumps({"tickets": TICKETS, "users": [{"id": 1, "name": "A"}]}), log=log)) == 16
    assert log.all_notes() == ("Not read, because they are no lists of tickets: users (1 object).",)


def test_nan_is_no_value_and_a_lfs_pointer_is_called_one(tmp_path: Path) -> None:
    assert ids(tmp_path, '{"id": NaN, "body": "a"}\n{"id": 1, "body": "b"}') == [None, 1]
    with pytest.raises(InputError, match="Git LFS pointer"):
        ids(tmp_path, "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "t.csv")


def test_lines_of_cells_below_a_line_of_names(tmp_path: Path) -> None:
    assert ids(tmp_path, lines([NAMES, *CELLS]), "t.jsonl") == [ticket["id"] for ticket in TICKETS]
    path = tmp_path / "t.jsonl"
    path.write_text(lines([NAMES, CELLS[0][:2], [*CELLS[1], "more"], CELLS[2]]))
    short, long, whole = read_rows(str(path))
    assert short.fault is None and short.fields == {"id": "7", "subject": "s0", "body": None, "queue": None}
    assert long.fault and whole.fields["id"] == "9"


@pytest.mark.parametrize(
    "ticket",
    [
        {"id": 1, "title": {"rendered": "a"}, "content": {"rendered": "b"}},
        {"ticket": {"subject": "a", "body": "b", "custom": {"1": "x", "2": "y"}}, "customer": {"name": "Ida"}},
        {"id": 1, "subject": "a", "body": "b", "values": [["x", "y"], ["z", "w"]]},
        {"id": 1, "subject": "a", "body": "b", "tags": ["x"], "followers": ["y"]},
    ],
)
def test_one_ticket_with_objects_and_lists_is_no_table(tmp_path: Path, ticket: dict[str, Any]) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps(ticket))
    assert len(list(read_rows(str(path)))) == 1


BY_NUMBER = {str(ticket["id"]): {"subject": ticket["subject"], "body": ticket["body"]} for ticket in TICKETS}


@pytest.mark.parametrize(
    ("value", "beside"),
    [
        ({**BY_NUMBER, "meta": {"count": 16}}, {"meta": 1}),
        ({"meta": {"count": 16}, **BY_NUMBER}, {"meta": 1}),
        ({**BY_NUMBER, "count": 16, "next": None, "links": {}}, {}),
        ({**BY_NUMBER, "users": [{"id": 1, "name": "A"}, {"id": 2, "name": "B"}]}, {"users": 2}),
        ({"data": BY_NUMBER, "meta": {"count": 16}}, {"meta": 1}),
        ({"tickets": BY_NUMBER, "users": {"1": {"name": "A"}, "2": {"name": "B"}}}, {"users": 2}),
        ({"tickets": BY_NUMBER, "agents": [{"id": 1, "name": "A"}]}, {"agents": 1}),
        ({"export": {**BY_NUMBER, "meta": {"count": 16}}, "site": {"name": "x"}}, {"meta": 1, "site": 1}),
    ],
)
@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_objects_beside_numbered_tickets_are_named(
    tmp_path: Path, value: dict[str, Any], beside: dict[str, int], name: str
) -> None:
    log = ReadLog()
    assert ids(tmp_path, json.dumps(value), name, log) == [str(ticket["id"]) for ticket in TICKETS]
    assert log.other_lists == beside


def test_tickets_under_names_need_to_be_most_of_the_objects(tmp_path: Path) -> None:
    log = ReadLog()
    tickets = {"first": TICKETS[0], "second": TICKETS[1], "third": TICKETS[2]}
    assert len(ids(tmp_path, json.dumps({**tickets, "meta": {"count": 3}}), log=log)) == 3
    assert log.other_lists == {"meta": 1}
    assert len(ids(tmp_path, json.dumps({"parent": TICKETS[0], "child": TICKETS[1], "site": {"name": "x"}}))) == 1


@pytest.mark.parametrize("broken", [None, 7, [], {"error": "not found"}])
def test_what_has_a_number_and_is_no_ticket_is_set_aside(tmp_path: Path, broken: Any) -> None:
    (tmp_path / "t.json").write_text(json.dumps({**BY_NUMBER, "99": broken}))
    rows = list(read_rows(str(tmp_path / "t.json")))
    assert (len(rows), [row.fault is None for row in rows]) == (17, [True] * 16 + [False])


def test_sheets_without_tickets_are_named(tmp_path: Path) -> None:
    sheets = [{"range": "Tickets!A1:D9", "values": [NAMES, *CELLS]}, {"range": "People!A1", "values": [["a", "b"]]}]
    log = ReadLog()
    assert len(ids(tmp_path, json.dumps({"valueRanges": sheets}), log=log)) == 16
    assert log.other_lists == {"People!A1": 1}


def test_a_ticket_alone_beside_the_tickets_is_named(tmp_path: Path) -> None:
    ticket = {"id": 9, "subject": "Last", "description": "The newest one"}
    page = {"tickets": [{"id": 1, "subject": "VPN", "description": "It hangs"}], "latest": ticket, "meta": {"count": 1}}
    log = ReadLog()
    (tmp_path / "t.json").write_text(json.dumps(page))
    assert [row.fields["id"] for row in read_rows(str(tmp_path / "t.json"), log=log)] == [1]
    assert list(log.all_notes()) == ["Not read, because they are no lists of tickets: latest (1 object)."]
