"""Texts of rich-text editors, which are trees or rows of blocks, as a person reads them.

Known are the Atlassian Document Format, ProseMirror, TipTap, Slate, Lexical, Contentful and Portable Text, which are
trees, and the rows of blocks in `rich_text_blocks.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tickets.rich_text_blocks import Marker, block_lines

_CHILDREN = ("content", "children", "nodes", "leaves")
_KIND = ("type", "_type", "nodeType", "object")
_INLINE = frozenset(
    (
        *("text", "link", "a", "autolink", "hyperlink", "mention", "emoji", "status", "inlinecard", "date", "hashtag"),
        *("span", "inline", "entryhyperlink", "assethyperlink", "code", "inlinecode", "inlineequation"),
    )
)
_BREAKS = frozenset(("hardbreak", "softbreak", "linebreak", "br", "break"))
_BULLETS = frozenset(("bulletlist", "bulletedlist", "unorderedlist", "ul", "list", "tasklist", "checklist"))
_NUMBERED = frozenset(("orderedlist", "numberedlist", "ol"))
_ITEMS = frozenset(("listitem", "li", "taskitem", "checklistitem", "checklist", "todo", "todoli", "actionitem"))
_ROWS, _CELLS = frozenset(("tablerow", "tr", "row")), frozenset(("tablecell", "tableheader", "td", "th"))
_SHOWN = ("text", "label", "shortName", "character", "name", "value", "id", "url")  # of a mention, an emoji or a card
_MARKS = frozenset(
    ("content", "root", "document", "blocks", "ops", "children", "insert", "plain_text", "object", "text")
)
_EMPTY = frozenset(("image", "img", "media", "mediasingle", "mediagroup", "video", "file", "embed"))
_ENVELOPE = frozenset(("children", "type", "version", "direction", "format", "indent"))

Node = Mapping[str, Any]


def rich_text(value: object) -> str | None:
    """Return the text of an editor's document, with a line break behind every block; None for any other value."""
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, Mapping) or _MARKS.isdisjoint(first):  # nearly always
        return None
    lines = block_lines(value)
    if lines is not None:
        return "\n".join(lines).strip()
    nodes = _tree(value)
    return None if nodes is None else _text(nodes).strip()


def _tree(value: object) -> Sequence[Node] | None:
    """Return the topmost nodes of a document that is a tree; None for any other value."""
    if isinstance(value, list):
        is_slate = bool(value) and all(_is_block(node) for node in value)
        return value if is_slate and any(_children(node) for node in value) else None
    if not isinstance(value, Mapping):
        return None
    root, document = value.get("root"), value.get("document")
    if isinstance(root, Mapping) and root.get("type") == "root":  # Lexical
        return _children(root)
    if isinstance(document, Mapping) and isinstance(document.get("nodes"), list):  # Slate before 0.50
        return _children(document)
    if value.get("type") == "doc" or value.get("nodeType") == "document":
        return value["content"] if isinstance(value.get("content"), list) else None
    return _tree(value.get("children")) if value.keys() <= _ENVELOPE else None


def _is_block(value: object) -> bool:
    """Return whether a value is a node of Slate: a block of nodes, or a text without any."""
    if not isinstance(value, Mapping):
        return False
    if isinstance(value.get("text"), str):
        return "children" not in value
    children = value.get("children")
    return isinstance(children, list) and bool(children) and all(map(_is_block, children))


def _children(node: Node) -> list[Node]:
    children: list[Any] = next((node[name] for name in _CHILDREN if isinstance(node.get(name), list)), [])
    return [child for child in children if isinstance(child, Mapping)]


def _kind(node: Node) -> str:
    kinds = (node[name] for name in _KIND if isinstance(node.get(name), str))
    return next(kinds, "").replace("_", "").replace("-", "").lower()


def _text(nodes: Sequence[Node]) -> str:
    """Return the text of nodes beside each other; those beside a text are a part of its line."""
    kinds = [_kind(node) for node in nodes]
    in_line = any(isinstance(node.get("text"), str) or kind == "text" for node, kind in zip(nodes, kinds, strict=True))
    marker, texts = Marker(), []
    for node, kind in zip(nodes, kinds, strict=True):
        style = _style(node)
        if not style:
            marker.reset()
        text = _node_text(node, kind)
        if in_line or kind in _INLINE or kind in _BREAKS:
            texts.append(text)
        elif text or kind not in _EMPTY:
            texts.append(f"{marker.next(style, _level(node)) if style else ''}{text.strip(chr(10))}\n")
    return "".join(texts)


def _node_text(node: Node, kind: str) -> str:
    """Return the text of a node with the nodes below it."""
    if kind in _BREAKS:
        return "\n"
    if isinstance(node.get("text"), str):
        return str(node["text"])
    if kind == "text":
        return str(node.get("value") or "") if isinstance(node.get("value"), str) else _text(_children(node))
    children = _children(node)
    if kind in _BULLETS | _NUMBERED and not (kind in _ITEMS and "checked" in node):
        return "".join(_items(node, kind, children))
    if kind in _ROWS:
        return " ".join(" ".join(_text(_children(cell)).split("\n")).strip() for cell in children)
    text, attributes = _text(children), node.get("attrs")
    if text.strip():
        title = attributes.get("title") if isinstance(attributes, Mapping) and kind == "expand" else None
        return f"{title}\n{text}" if title else text
    return text if kind in _EMPTY else _of_attributes(node, kind) or text


def _items(node: Node, kind: str, children: Sequence[Node]) -> Iterator[str]:
    """Yield the items of a list, each with its marker; a list inside an item has markers of its own."""
    numbered = kind in _NUMBERED or node.get("listType") == "number"
    marker = Marker()
    for child in children:
        text = _text(_children(child)) if "text" not in child else str(child["text"])
        inner = [_kind(item) for item in _children(child)]
        if _kind(child) in _BULLETS | _NUMBERED:
            yield _node_text(child, _kind(child))
        elif inner and inner[0] in _BULLETS | _NUMBERED:
            yield text  # of Lexical: an item that only holds the list below it
        else:
            yield f"{marker.next(_checked(child) or ('ordered' if numbered else 'bullet'))}{text.strip(chr(10))}\n"


def _style(node: Node) -> str:
    """Return the kind of list that a block outside any list says it is an item of; empty for other blocks."""
    if item := node.get("listItem") or node.get("listStyleType"):  # of Portable Text and Plate
        return "ordered" if item in ("number", "decimal") else "bullet"
    return _checked(node) or ("bullet" if _kind(node) in _ITEMS else "")


def _checked(node: Node) -> str:
    """Return whether a task is done, in words of Quill; empty for what is no task."""
    attributes = node.get("attrs")
    facts = {**attributes, **node} if isinstance(attributes, Mapping) else node
    if isinstance(facts.get("checked"), bool):
        return "checked" if facts["checked"] else "unchecked"
    return {"DONE": "checked", "TODO": "unchecked"}.get(str(facts.get("state")), "")


def _level(node: Node) -> int:
    level = node.get("level") or node.get("indent") or 0
    return level if isinstance(level, int) else 0


def _of_attributes(node: Node, kind: str) -> str:
    """Return what stands for a node without text: a person's name, a sign, an address, a day."""
    attributes = node.get("attrs")
    facts = attributes if isinstance(attributes, Mapping) else node
    if kind == "date":
        return _day(str(facts.get("timestamp", "")))
    if kind not in ("mention", "emoji", "status", "inlinecard", "blockcard", "embedcard"):
        return ""
    text = next((str(facts[name]) for name in _SHOWN if facts.get(name)), "")
    return f"@{text}" if kind == "mention" and not text.startswith("@") else text


def _day(milliseconds: str) -> str:
    """Return the day of a Unix time; the text itself where it is none."""
    try:
        return datetime.fromtimestamp(int(milliseconds) / 1000, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return milliseconds
