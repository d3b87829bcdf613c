"""The label space: which label columns there are, the classes of each, and the tags. Learned from training data."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tickets.errors import InputError
from tickets.schema import Ticket


@dataclass(frozen=True)
class LabelSpace:
    """Classes of every label column, sorted, and tags, most frequent first. The only map between labels and ids."""

    columns: Mapping[str, tuple[str, ...]]
    tags: tuple[str, ...] = ()

    @classmethod
    def learn(cls, tickets: Sequence[Ticket], columns: Iterable[str], max_tags: int = 0) -> "LabelSpace":
        """Collect the classes of `columns` and up to `max_tags` tags that occur in at least five tickets.

        Raises:
            InputError: a column no ticket has, a ticket without it, or a column with a single class.
        """
        classes = {column: _classes(tickets, column) for column in columns}
        counts = Counter(tag for ticket in tickets for tag in set(ticket.tags))
        frequent = [(tag, n) for tag, n in counts.items() if n >= _FEWEST_TAG_TICKETS]
        tags = [tag for tag, _ in sorted(frequent, key=lambda item: (-item[1], item[0]))]
        return cls(classes, tuple(tags[:max_tags]))

    def label_ids(self, ticket: Ticket) -> dict[str, int]:
        """Class id by column.

        Raises:
            InputError: a label that training never saw.
        """
        ids = {}
        for column, classes in self.columns.items():
            label = ticket.labels.get(column)
            if label not in classes:
                found = "no label" if label is None else repr(label)
                raise InputError(
                    f"ticket {ticket.id}: found {found} in column {column!r}, which training never saw; expected one "
                    f"of {', '.join(classes)}; move such tickets to the training file or run `duet prepare` again"
                )
            ids[column] = classes.index(label)
        return ids

    def tag_vector(self, ticket: Ticket) -> list[float]:
        """1.0 for every tag the ticket has, 0.0 for the others, in the order of `tags`."""
        return [float(tag in ticket.tags) for tag in self.tags]

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "LabelSpace":
        """Read what `save` wrote."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            columns = {name: tuple(classes) for name, classes in record["columns"].items()}
            return cls(columns, tuple(record["tags"]))
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise InputError(
                f"{path}: not a label space ({error}); expected the labels.json of a training run"
            ) from None


_FEWEST_TAG_TICKETS = 5


def _classes(tickets: Sequence[Ticket], column: str) -> tuple[str, ...]:
    found = {ticket.labels.get(column) for ticket in tickets}
    if found <= {None}:
        present = sorted({name for ticket in tickets for name in ticket.labels})
        raise InputError(
            f"label column {column!r} is in no training ticket; found {', '.join(present) or 'no label columns'}; set "
            "classifier.columns to columns that exist, or map one with `duet prepare --map`"
        )
    if None in found:
        missing = next(ticket.id for ticket in tickets if column not in ticket.labels)
        raise InputError(f"ticket {missing} has no label in column {column!r}; run `duet prepare` to set it aside")
    classes = tuple(sorted(label for label in found if label is not None))
    if len(classes) < 2:
        raise InputError(
            f"label column {column!r} has the single class {classes[0]!r}, expected at least two; remove it from "
            "classifier.columns"
        )
    return classes
