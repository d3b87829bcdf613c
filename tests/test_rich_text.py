"""Documents of rich-text editors become the text that a person reads, wherever an export holds them."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tickets.errors import InputError
from tickets.preparation.rows import Source
from tickets.rich_text import rich_text


def node(kind: str, *children: Any, name: str = "content", **more: Any) -> dict[str, Any]:
    return {"type": kind, name: list(children), **more}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def leafy(kind: str, *children: Any, **more: Any) -> dict[str, Any]:
    return node(kind, *children, name="children", **more)


def paragraph(words: str) -> dict[str, Any]:
    return node("paragraph", text(words))


def pieces(*words: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": {"content": word}, "plain_text": word} for word in words]


def notion(kind: str, *words: str, **more: Any) -> dict[str, Any]:
    return {"object": "block", "type": kind, kind: {"rich_text": pieces(*words), **more}}


ADF = node(
    "doc",
    node("paragraph", text("Hello "), node("mention", attrs={"text": "@Bo"}), node("hardBreak"), text("next line")),
    node(
        "bulletList",
        node("listItem", paragraph("a"), node("orderedList", node("listItem", paragraph("b")))),
        node("listItem", paragraph("c")),
    ),
    node("table", node("tableRow", node("tableHeader", paragraph("x")), node("tableCell", paragraph("y")))),
    node("taskList", node("taskItem", text("done"), attrs={"state": "DONE"})),
    node("mediaSingle", node("media", attrs={"id": "1"})),
    node("expand", paragraph("line"), attrs={"title": "Log"}),
    version=1,
)
PROSEMIRROR = node(
    "doc",
    node("bullet_list", node("list_item", paragraph("a"))),
    node("ordered_list", node("list_item", paragraph("b")), node("list_item", paragraph("c"))),
    node("code_block", text("x=1\ny=2")),
)
SLATE = [
    leafy("paragraph", {"text": "Hello "}, {"text": "you", "bold": True}, leafy("link", {"text": " there"}, url="u")),
    leafy("bulleted-list", leafy("list-item", {"text": "a"}), leafy("list-item", {"text": "b"})),
    leafy("numbered-list", leafy("list-item", leafy("paragraph", {"text": "c"}))),
    leafy("check-list-item", {"text": "done"}, checked=True),
]
PLATE = [
    leafy("ul", leafy("li", leafy("lic", {"text": "a"}), leafy("ul", leafy("li", leafy("lic", {"text": "b"}))))),
    leafy("p", {"text": "one"}, indent=1, listStyleType="decimal"),
    leafy("p", {"text": "two"}, indent=1, listStyleType="decimal"),
]
OLD_SLATE = {
    "object": "value",
    "document": {
        "nodes": [
            {"object": "block", "nodes": [{"object": "text", "leaves": [{"text": "Hi "}, {"text": "you"}]}]},
            {"object": "block", "nodes": [{"object": "text", "text": "second"}]},
        ]
    },
}
LEXICAL = {
    "root": leafy(
        "root",
        leafy("paragraph", text("a"), {"type": "linebreak"}, text("b"), leafy("link", text("c"), url="u")),
        leafy(
            "list",
            leafy("listitem", text("x")),
            leafy("listitem", leafy("list", leafy("listitem", text("inner")), listType="bullet")),
            leafy("listitem", text("y")),
            listType="number",
        ),
        leafy("list", leafy("listitem", text("open"), checked=False), listType="check"),
    )
}
PORTABLE = [
    {"_type": "block", "children": [{"_type": "span", "text": "Hi"}]},
    {"_type": "block", "listItem": "number", "level": 1, "children": [{"_type": "span", "text": "a"}]},
    {"_type": "block", "listItem": "number", "level": 1, "children": [{"_type": "span", "text": "b"}]},
]
CONTENTFUL = {
    "nodeType": "document",
    "content": [
        {
            "nodeType": "paragraph",
            "content": [{"nodeType": "text", "value": "Hi "}, {"nodeType": "text", "value": "x"}],
        },
        {
            "nodeType": "unordered-list",
            "content": [{"nodeType": "list-item", "content": [{"nodeType": "text", "value": "a"}]}],
        },
    ],
}
QUILL = {
    "ops": [
        {"insert": "Hello "},
        {"insert": "you", "attributes": {"bold": True}},
        {"insert": "\na"},
        {"insert": "\n", "attributes": {"list": "bullet"}},
        {"insert": "one"},
        {"insert": "\n", "attributes": {"list": "ordered"}},
        {"insert": "two"},
        {"insert": "\n", "attributes": {"list": "ordered"}},
        {"insert": {"image": "data:image/png;base64,AAAA"}},
        {"insert": {"mention": {"denotationChar": "@", "value": "Bo"}}},
        {"insert": " end\n"},
    ]
}
DRAFT = {
    "blocks": [
        {"key": "a", "text": "Hello", "type": "unstyled", "depth": 0},
        {"key": "b", "text": "one", "type": "ordered-list-item", "depth": 0},
        {"key": "c", "text": "inner", "type": "ordered-list-item", "depth": 1},
        {"key": "d", "text": "two", "type": "ordered-list-item", "depth": 0},
        {"key": "e", "text": "u", "type": "unordered-list-item", "depth": 0},
    ],
    "entityMap": {},
}
EDITOR = {
    "time": 1,
    "blocks": [
        {"type": "paragraph", "data": {"text": "Hello"}},
        {"type": "list", "data": {"style": "ordered", "items": ["a", "b"]}},
        {"type": "list", "data": {"style": "unordered", "items": [{"content": "c", "items": [{"content": "d"}]}]}},
        {"type": "checklist", "data": {"items": [{"text": "t", "checked": True}]}},
        {"type": "table", "data": {"content": [["x", "y"], ["1", "2"]]}},
        {"type": "delimiter", "data": {}},
    ],
}
NOTION = [
    notion("heading_1", "Title"),
    notion("paragraph", "Hi ", "you"),
    notion("numbered_list_item", "a", children=[notion("bulleted_list_item", "in")]),
    notion("numbered_list_item", "b"),
    notion("to_do", "do", checked=False),
    {"object": "block", "type": "divider", "divider": {}},
]
DOCUMENTS = {
    "adf": (ADF, "Hello @Bo\nnext line\n- a\n1. b\n- c\nx y\n- [x] done\nLog\nline"),
    "prosemirror": (PROSEMIRROR, "- a\n1. b\n2. c\nx=1\ny=2"),
    "slate": (SLATE, "Hello you there\n- a\n- b\n1. c\n- [x] done"),
    "slate in an envelope": ({"children": SLATE[:1]}, "Hello you there"),
    "plate": (PLATE, "- a\n- b\n1. one\n2. two"),
    "old slate": (OLD_SLATE, "Hi you\nsecond"),
    "lexical": (LEXICAL, "a\nbc\n1. x\n- inner\n2. y\n- [ ] open"),
    "portable": (PORTABLE, "Hi\n1. a\n2. b"),
    "contentful": (CONTENTFUL, "Hi x\n- a"),
    "quill": (QUILL, "Hello you\n- a\n1. one\n2. two\n@Bo end"),
    "draft": (DRAFT, "Hello\n1. one\n1. inner\n2. two\n- u"),
    "editor.js": (EDITOR, "Hello\n1. a\n2. b\n- c\n- d\n- [x] t\nx y\n1 2"),
    "notion": (NOTION, "Title\nHi you\n1. a\n- in\n2. b\n- [ ] do"),
    "text of notion": (pieces("Hi ", "you"), "Hi you"),
}
every_document = pytest.mark.parametrize(("document", "expected"), DOCUMENTS.values(), ids=DOCUMENTS.keys())


@every_document
def test_a_document_is_its_text(document: Any, expected: str) -> None:
    assert rich_text(document) == expected


@every_document
@pytest.mark.parametrize("whole", [True, False])
def test_documents_in_tickets_and_messages(tmp_path: Path, document: Any, expected: str, whole: bool) -> None:
    comments = [{"author_id": 9, "public": True, "body": document}]
    record = {"id": 1, "requester_id": 5, "title": "s", "body": "It does not print", "comments": comments}
    (tmp_path / "t.json").write_text(json.dumps(record if whole else {"tickets": [record]}))
    source = Source.open(str(tmp_path / "t.json"))
    assert [(c.parts["body"], [t.reply for t in c.turns]) for c in map(source.cells, source.rows)] == [
        ("It does not print", [expected])
    ]


@every_document
def test_a_ticket_with_nothing_but_a_document_is_no_list(tmp_path: Path, document: Any, expected: str) -> None:
    (tmp_path / "t.json").write_text(json.dumps([{"id": n, "description": document} for n in range(2)]))
    source = Source.open(str(tmp_path / "t.json"))
    assert [source.cells(row).parts["body"] for row in source.rows] == [expected] * 2


@every_document
def test_documents_in_the_cells_of_a_table(tmp_path: Path, document: Any, expected: str) -> None:
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(
            [["id", "description"], [1, json.dumps(document)], [2, json.dumps(document, indent=1)]]
        )
    source = Source.open(str(tmp_path / "t.csv"))
    assert [source.cells(row).parts["body"] for row in source.rows] == [expected] * 2


@pytest.mark.parametrize(
    "value",
    [
        [{"text": "a", "children": [{"text": "b", "author": "x"}]}],  # answers to a comment
        [{"id": 1, "title": "x", "children": [{"id": 2, "title": "y"}]}],  # tickets below a ticket
        [{"type": "paragraph"}],
        [{"text": "a"}],
        {"type": "doc"},
        {"blocks": []},
        {"blocks": [{"id": 1, "name": "north"}]},
        {"root": {"path": "/"}},
        {"ops": [{"op": "replace", "path": "/a", "value": 1}]},
        {"document": {"id": 1}},
        {"content": [{"text": "x"}]},
        [],
        {},
    ],
)
def test_other_values_are_no_documents(value: Any) -> None:
    assert rich_text(value) is None


def test_json_that_a_person_sends_stays_as_it_is(tmp_path: Path) -> None:
    sent = '{"error": "boom", "content": {"a": 1}}'
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([["id", "description"], [1, sent]])
    source = Source.open(str(tmp_path / "t.csv"))
    assert [source.cells(row).parts["body"] for row in source.rows] == [sent]


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_documents_nested_without_end_are_set_aside_or_refused(tmp_path: Path, name: str) -> None:
    found = set()
    for depth in (100, *range(440, 520, 2), 2_000):
        body = '{"type":"blockquote","content":[' * depth + '{"type":"text","text":"x"}' + "]}" * depth
        record = f'{{"id":1,"subject":"s","body":{{"type":"doc","content":[{body}]}}}}'
        (tmp_path / name).write_text(record + ('\n{"id":2,"subject":"s","body":"y"}' if name.endswith("l") else ""))
        try:
            source = Source.open(str(tmp_path / name))
            row = next(iter(source.rows))
            found.add(row.fault or source.cells(row).parts["body"])
        except InputError as error:
            found.add(str(error).partition(": ")[2].partition(";")[0])
    assert {fault.removeprefix("not JSON: ").removeprefix("JSON ") for fault in found} == {
        "x",
        "nested too deeply or a number too long",
    }
