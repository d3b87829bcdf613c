"""The label space: the label columns, the classes of each, and the tags, learned from training."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tickets.errors import InputError
from tickets.own_json import read_own
from tickets.plain_reason import plain_reason
from tickets.schema import Ticket
from tickets.terminal import json_text

TAGS = "tags"  # what is learnt beside the label columns; no column may have this name
NO_LABEL = -100  # class id of a ticket without a label; the value that torch's cross-entropy leaves out
UNSEEN = -1  # class id of a label that training never saw, which no prediction can equal
_FEWEST_TAG_TICKETS = 5


@dataclass(frozen=True)
class LabelSpace:
    """Classes of every label column, sorted, and tags, most frequent first. The only map between labels and ids."""

    columns: Mapping[str, tuple[str, ...]]
    tags: tuple[str, ...] = ()

    @classmethod
    def learn(cls, tickets: Sequence[Ticket], columns: Iterable[str], max_tags: int = 0) -> "LabelSpace":
        """Collect the classes of `columns` and up to `max_tags` tags that occur in at least five tickets.

        Raises:
            InputError: a column no ticket has, or a column with a single class.
        """
        classes = {column: _classes(tickets, column) for column in columns}
        counts = Counter(tag for ticket in tickets for tag in set(ticket.tags))
        frequent = [(tag, n) for tag, n in counts.items() if n >= _FEWEST_TAG_TICKETS]
        tags = [tag for tag, _ in sorted(frequent, key=lambda item: (-item[1], item[0]))]
        return cls(classes, tuple(tags[:max_tags]))

    def label_ids(self, ticket: Ticket) -> dict[str, int]:
        """Return class ids by column; NO_LABEL where the ticket has none, UNSEEN where training had no such class."""
        return {column: self._label_id(ticket.labels.get(column), column) for column in self.columns}

    def _label_id(self, label: str | None, column: str) -> int:
        if label is None:
            return NO_LABEL
        classes = self.columns[column]
        return classes.index(label) if label in classes else UNSEEN

    def is_labelled(self, ticket: Ticket) -> bool:
        """Return whether the ticket has a label in any of the columns, or a tag: something to learn from."""
        return any(column in ticket.labels for column in self.columns) or any(tag in ticket.tags for tag in self.tags)

    def unseen(self, tickets: Sequence[Ticket]) -> dict[str, Counter[str]]:
        """Count by column the labels of `tickets` that training never saw; columns without any are left out."""
        counts = {
            column: Counter(t.labels[column] for t in tickets if column in t.labels and t.labels[column] not in classes)
            for column, classes in self.columns.items()
        }
        return {column: labels for column, labels in counts.items() if labels}

    def tag_vector(self, ticket: Ticket) -> list[float]:
        """Return 1.0 for every tag the ticket has, 0.0 for the others, in the order of `tags`."""
        return [float(tag in ticket.tags) for tag in self.tags]

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json_text(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "LabelSpace":
        """Read what `save` wrote."""
        try:
            record = read_own(path)
            columns = {name: tuple(classes) for name, classes in record["columns"].items()}
            space = cls(columns, tuple(record["tags"]))
            if TAGS in columns:
                raise ValueError(f"a label column named {TAGS!r}")
            if not columns or not all(map(_are_names, (*columns.values(), space.tags))) or not all(columns.values()):
                raise ValueError("classes and tags are no lists of different names")
            return space
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise InputError(
                f"{path}: not a label space ({plain_reason(error)}); expected the labels.json of a training run"
            ) from None


def _are_names(values: Sequence[object]) -> bool:
    """Return whether all values are text, and none is there twice."""
    return all(isinstance(value, str) and value for value in values) and len(set(values)) == len(values)


def _classes(tickets: Sequence[Ticket], column: str) -> tuple[str, ...]:
    found = {ticket.labels.get(column) for ticket in tickets}
    if found <= {None}:
        present = sorted({name for ticket in tickets for name in ticket.labels})
        raise InputError(
            f"label column {column!r} is in no training ticket; found {', '.join(present) or 'no label columns'}; set "
            "classifier.columns to columns that exist, or map one with `duet prepare --map`"
        )
    classes = tuple(sorted(label for label in found if label is not None))
    if len(classes) < 2:
        raise InputError(
            f"label column {column!r} has the single class {classes[0]!r}, expected at least two; remove it from "
            "classifier.columns"
        )
    return classes
