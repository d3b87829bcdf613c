"""Texts of editors that write rows of blocks: Quill's operations, Draft.js, Editor.js, and the blocks of Notion."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

_CHECKS = {"checked": "- [x] ", "unchecked": "- [ ] "}
_DRAFT_ITEMS = {"unordered-list-item": "bullet", "ordered-list-item": "ordered"}
_NOTION_ITEMS = {"bulleted_list_item": "bullet", "numbered_list_item": "ordered"}
_EDITOR_TEXTS = ("text", "title", "message", "code", "html", "caption", "link", "source")
_NOTION_TEXTS = ("rich_text", "text", "caption")
_NOTION_OTHERS = ("expression", "title", "url")  # of an equation, a page below this one, a bookmark

Block = Mapping[str, Any]


class Marker:
    """Writes what stands before the items of a list: `- `, `1. `, `- [x] `."""

    def __init__(self) -> None:
        """Begin with the first item."""
        self.numbers: Counter[int] = Counter()  # of the last item, by level

    def next(self, style: str, level: int = 0) -> str:
        """Return the marker of the next item.

        Args:
            style: bullet, ordered, checked or unchecked; anything else is no item.
            level: how many lists the item lies in.
        """
        for deeper in [number for number in self.numbers if number > level]:
            del self.numbers[deeper]
        if style == "ordered":
            self.numbers[level] += 1
            return f"{self.numbers[level]}. "
        self.numbers.pop(level, None)
        return _CHECKS.get(style, "- " if style == "bullet" else "")

    def reset(self) -> None:
        """Begin a new list."""
        self.numbers.clear()


def block_lines(value: object) -> list[str] | None:
    """Return the lines of a document of blocks; None for any other value."""
    if isinstance(value, Mapping):
        blocks, operations = value.get("blocks"), value.get("ops")
        if _all(operations, _is_operation):
            return list(_quill(operations))
        if _all(blocks, _is_draft) and isinstance(value.get("entityMap"), Mapping | list):
            return list(_draft(blocks))
        return list(_editor(blocks)) if _all(blocks, _is_editor) else None
    if _all(value, lambda item: isinstance(item.get("plain_text"), str)):
        return [_notion_text(value)]
    if _all(value, _is_notion):
        return list(_notion(value))
    return list(_quill(value)) if _all(value, _is_operation) else None


def _all(items: object, is_known: Callable[[Block], bool]) -> TypeGuard[list[Block]]:
    """Return whether a value is a list of objects, and not empty, all of which are known."""
    return isinstance(items, list) and bool(items) and all(isinstance(i, Mapping) and is_known(i) for i in items)


def _is_operation(item: Block) -> bool:
    return "insert" in item and item.keys() <= {"insert", "attributes"}


def _is_draft(item: Block) -> bool:
    return isinstance(item.get("text"), str) and "type" in item


def _is_editor(item: Block) -> bool:
    return isinstance(item.get("type"), str) and isinstance(item.get("data"), Mapping)


def _is_notion(item: Block) -> bool:
    return item.get("object") == "block" and isinstance(item.get("type"), str)


def _quill(operations: Sequence[Block]) -> Iterator[str]:
    """Yield lines; the line break that ends a line says whether it is an item."""
    marker, line = Marker(), ""
    for operation in operations:
        inserted, attributes = operation["insert"], operation.get("attributes")
        format_of_line = attributes if isinstance(attributes, Mapping) else {}
        first, *others = (inserted if isinstance(inserted, str) else _embedded(inserted)).split("\n")
        line += first
        for rest in others:
            yield _quill_line(line, format_of_line, marker)
            line = rest
    if line:
        yield line


def _quill_line(line: str, attributes: Block, marker: Marker) -> str:
    style, indent = attributes.get("list"), attributes.get("indent")
    if isinstance(style, str):
        return marker.next(style, indent if isinstance(indent, int) else 0) + line
    marker.reset()
    return line


def _embedded(inserted: object) -> str:
    """Return what stands for a mention, a formula or the like; nothing for a picture."""
    if not isinstance(inserted, Mapping):
        return ""
    mention, formula = inserted.get("mention"), inserted.get("formula")
    if isinstance(mention, Mapping):
        return f"{mention.get('denotationChar') or ''}{mention.get('value') or ''}"
    return "\n" if "divider" in inserted else formula if isinstance(formula, str) else ""


def _draft(blocks: Sequence[Block]) -> Iterator[str]:
    marker = Marker()
    for block in blocks:
        style, depth = _DRAFT_ITEMS.get(str(block["type"])), block.get("depth")
        if style:
            yield marker.next(style, depth if isinstance(depth, int) else 0) + block["text"]
        else:
            marker.reset()
            yield block["text"]


def _editor(blocks: Sequence[Block]) -> Iterator[str]:
    for block in blocks:
        data = block["data"]
        if isinstance(rows := data.get("content"), list):
            yield from (" ".join(map(str, row)) for row in rows if isinstance(row, list))
        elif isinstance(items := data.get("items"), list):
            yield from _editor_items(items, "ordered" if data.get("style") == "ordered" else "bullet")
        else:
            yield from (text for name in _EDITOR_TEXTS if isinstance(text := data.get(name), str) and text)


def _editor_items(items: Sequence[Any], style: str) -> Iterator[str]:
    marker = Marker()
    for item in items:
        if not isinstance(item, Mapping):
            yield f"{marker.next(style)}{item}"
            continue
        meta = item.get("meta")
        checked = {**meta, **item}.get("checked") if isinstance(meta, Mapping) else item.get("checked")
        own = style if not isinstance(checked, bool) else "checked" if checked else "unchecked"
        yield f"{marker.next(own)}{item.get('content') or item.get('text') or ''}"
        if isinstance(inner := item.get("items"), list):
            yield from _editor_items(inner, style)


def _notion(blocks: Sequence[Block]) -> Iterator[str]:
    marker = Marker()
    for block in blocks:
        kind, content = block["type"], block.get(block["type"])
        content = content if isinstance(content, Mapping) else {}
        texts: Any = next((content[name] for name in _NOTION_TEXTS if content.get(name)), [])
        text = _notion_text(texts) or next((content[name] for name in _NOTION_OTHERS if content.get(name)), "")
        style = _NOTION_ITEMS.get(kind, "")
        if kind == "to_do":
            style = "checked" if content.get("checked") else "unchecked"
        if not style:
            marker.reset()
        if isinstance(cells := content.get("cells"), list):
            yield " ".join(_notion_text(cell) for cell in cells)
        elif text:
            yield f"{marker.next(style) if style else ''}{text}"
        for inner in (content.get("children"), block.get("children")):
            if _all(inner, _is_notion):
                yield from _notion(inner)


def _notion_text(texts: Any) -> str:
    """Return a text of Notion, which is a list of pieces."""
    pieces = texts if isinstance(texts, list) else []
    return "".join(str(piece.get("plain_text") or "") for piece in pieces if isinstance(piece, Mapping))
