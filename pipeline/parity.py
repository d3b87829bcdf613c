"""Does an exported model say what the trained one says? Labels, hidden states and replies on validation tickets."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbone.progress import track
from backbone.stage import CLASSIFIER, GENERATOR
from classifier.predict import Classifier
from engines.base import Encoder, Writer
from generator.reply import Generator
from tickets.schema import Prediction, Ticket

REPLY_TOKENS = 32
_REPLIES = 16
_BATCH = 16


@dataclass(frozen=True)
class Reference:
    """What the torch run says of the tickets."""

    tickets: Sequence[Ticket]
    states: NDArray[np.float32]
    predictions: Sequence[Prediction]
    replies: Sequence[Sequence[int]]


@dataclass(frozen=True)
class ColumnParity:
    """One head: how many labels changed, how many of those were ties before, and accuracy before and after."""

    flips: int
    ties: int
    accuracy_before: float
    accuracy_after: float


@dataclass(frozen=True)
class Parity:
    """One exported engine beside the reference.

    `state_difference` is the largest over tickets of |difference| / |reference|, Euclidean norms; `reply_tokens` the
    share of the first greedy tokens up to the first difference; both None where not compared.
    """

    name: str
    tickets: int
    columns: dict[str, ColumnParity]
    state_difference: float | None
    replies: int
    same_replies: int
    reply_tokens: float | None

    @property
    def flips(self) -> int:
        """Labels that changed and were no ties."""
        return sum(column.flips - column.ties for column in self.columns.values())

    @property
    def worst_fall(self) -> float:
        """Largest loss of accuracy of any head."""
        return max((c.accuracy_before - c.accuracy_after for c in self.columns.values()), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.tickets} validation tickets against torch"]
        for name, column in self.columns.items():
            ties = f" ({column.ties} ties)" if column.ties else ""
            lines.append(
                f"  {name:<10} {column.flips} labels changed{ties}; accuracy {column.accuracy_before:.3f} -> "
                f"{column.accuracy_after:.3f}"
            )
        if self.state_difference is not None:
            lines.append(f"  states     differ by {self.state_difference:.2%} at most")
        if self.reply_tokens is not None:
            lines.append(
                f"  replies    {self.same_replies} of {self.replies} equal over {REPLY_TOKENS} tokens; "
                f"{self.reply_tokens:.0%} of tokens before the first difference"
            )
        return "\n".join(lines)


def reference(
    tickets: Sequence[Ticket],
    classifier: Classifier,
    engine: Encoder,
    generator: Generator | None,
    writer: Writer | None,
) -> Reference:
    """Run the trained model on tickets."""
    states = _states(tickets, classifier, engine)
    predictions = classifier.read(states)
    return Reference(tickets, states, predictions, _replies(tickets, predictions, generator, writer))


def compare(
    name: str,
    before: Reference,
    classifier: Classifier,
    engine: Encoder | None,
    generator: Generator | None,
    writer: Writer | None,
    tie: float,
) -> Parity:
    """Run an exported model on the same tickets.

    Args:
        engine: None leaves labels out.
        writer: None leaves replies out.
        tie: a label that changes counts as a tie where the reference gave both labels log-probabilities that differ by
            less; 0 for a reference computed in fp32.
    """
    columns, difference = {}, None
    if engine is not None:
        states = _states(before.tickets, classifier, engine)
        after = classifier.read(states)
        columns = {column: _column(column, before, after, tie) for column in classifier.space.columns}
        distances = np.linalg.norm(states - before.states, axis=1) / np.linalg.norm(before.states, axis=1)
        difference = float(distances.max())
    replies = _replies(before.tickets, before.predictions, generator, writer)
    shares = [_common(a, b) / max(len(a), 1) for a, b in zip(before.replies, replies, strict=False)]
    return Parity(
        name=name,
        tickets=len(before.tickets),
        columns=columns,
        state_difference=difference,
        replies=len(replies),
        same_replies=sum(list(a) == list(b) for a, b in zip(before.replies, replies, strict=False)),
        reply_tokens=float(np.mean(shares)) if replies else None,
    )


def _states(tickets: Sequence[Ticket], classifier: Classifier, engine: Encoder) -> NDArray[np.float32]:
    prompts = [prompt.ids for prompt in classifier.prompts(tickets)]
    parts = [
        engine.encode(prompts[start : start + _BATCH], CLASSIFIER)
        for start in track(range(0, len(prompts), _BATCH), "checking labels")
    ]
    return np.concatenate(parts)


def _replies(
    tickets: Sequence[Ticket], predictions: Sequence[Prediction], generator: Generator | None, writer: Writer | None
) -> list[list[int]]:
    """The first tokens written to the first tickets, greedily; the reference's labels for both sides."""
    if generator is None or writer is None:
        return []
    labels = [prediction.labels for prediction in predictions[:_REPLIES]]
    prompts = [prompt.ids for prompt in generator.prompts(tickets[:_REPLIES], labels)]
    options = generator.decoding.model_copy(update={"max_new_tokens": REPLY_TOKENS, "temperature": 0.0})
    return writer.generate(prompts, GENERATOR, options)


def _column(column: str, before: Reference, after: Sequence[Prediction], tie: float) -> ColumnParity:
    flips = ties = right_before = right_after = 0
    for ticket, old, new in zip(before.tickets, before.predictions, after, strict=True):
        right_before += old.labels[column] == ticket.labels.get(column)
        right_after += new.labels[column] == ticket.labels.get(column)
        if old.labels[column] != new.labels[column]:
            p = old.probabilities[column]
            gap = np.log(p[old.labels[column]]) - np.log(max(p[new.labels[column]], 1e-30))
            flips += 1
            ties += bool(gap < tie)
    n = len(before.tickets)
    return ColumnParity(flips, ties, right_before / n, right_after / n)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
