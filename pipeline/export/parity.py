"""Does an exported model say what the trained one says? Labels, hidden states and replies on validation tickets."""

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from backbone.config import DecodingConfig
from backbone.runs.layout import CLASSIFIER, GENERATOR
from classifier.predict import Classifier
from engines.encoding import encode_all
from engines.layered import LayeredEngine
from engines.protocols import LabelEngine, SharedPrefix, Writer
from engines.writing import write_all
from generator.reply import Generator
from tickets.schema import Prediction, Ticket

REPLY_TOKENS = 32
VISIBLE_FALL = 0.01  # of accuracy, which a check should be able to show
_EVEN = 0.5  # share of losses among changes where nothing is lost
_NORMAL = 1.96  # standard errors on either side of a 95 % interval
_FEWEST = 100  # tickets of which one is a point
_REPLIES = 16


@dataclass(frozen=True)
class Reference:
    """What the trained model says of the tickets, and the prompts of the replies to check."""

    tickets: Sequence[Ticket]
    prompts: Sequence[Sequence[int]]
    states: NDArray[np.float32]
    predictions: Sequence[Prediction]
    reply_prompts: Sequence[Sequence[int]]
    shared_prefix: SharedPrefix | None

    @property
    def longest(self) -> int:
        """Tokens of context that a ticket may need, its checked reply included."""
        return max([*map(len, self.prompts), *(len(ids) + REPLY_TOKENS for ids in self.reply_prompts)])


@dataclass(frozen=True)
class EngineOutputs:
    """What one exported engine says: states (tickets, hidden) and the first ids of replies; None where not asked."""

    name: str
    states: NDArray[np.float32] | None
    replies: Sequence[Sequence[int]] | None


@dataclass(frozen=True)
class ColumnParity:
    """One head: how many labels changed, how many of those were ties before, and what that did to the right ones.

    Attributes:
        tickets: those with a true label.
        right_before: of those, how many the trained model has right.
        lost, won: labels that were right and became wrong, and the other way round.
    """

    flips: int
    ties: int
    tickets: int
    right_before: int
    lost: int
    won: int

    @property
    def accuracy_before(self) -> float:
        """Of the trained model."""
        return self.right_before / max(self.tickets, 1)

    @property
    def accuracy_after(self) -> float:
        """Of the exported one."""
        return (self.right_before - self.lost + self.won) / max(self.tickets, 1)

    @property
    def fall(self) -> float:
        """Accuracy lost."""
        return (self.lost - self.won) / max(self.tickets, 1)

    @property
    def falls_beyond_chance(self) -> bool:
        """Whether the exact 95 % interval of the paired difference is clear of zero (Clopper and Pearson 1934)."""
        changed = self.lost + self.won
        return changed > 0 and bool(binomtest(self.lost, changed).proportion_ci(0.95).low > _EVEN)

    @property
    def tickets_needed(self) -> int:
        """How many would show a fall of one point, if as large a share of labels became right or wrong."""
        share = max(self.lost + self.won, 1) / max(self.tickets, 1)
        return max(_FEWEST, math.ceil(share * (_NORMAL / VISIBLE_FALL) ** 2))


@dataclass(frozen=True)
class Parity:
    """One exported engine beside the reference.

    `state_difference` is the largest over tickets of |difference| / |reference|, Euclidean norms; `reply_tokens` the
    mean share of the first greedy tokens up to the first that torch would not have written; both None where not
    compared.
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

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        record = asdict(self)
        for name, column in self.columns.items():
            record["columns"][name] |= {
                "accuracy_before": column.accuracy_before,
                "accuracy_after": column.accuracy_after,
            }
        return record

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


def run_reference(
    tickets: Sequence[Ticket], classifier: Classifier, generator: Generator | None, engine: LabelEngine
) -> Reference:
    """Run the trained classifier on tickets; its labels are in the prompts of all replies, whoever writes them."""
    prompts = [prompt.ids for prompt in classifier.prompts(tickets)]
    states = engine.encode(prompts, CLASSIFIER)
    predictions = classifier.predict(states)
    labels = [prediction.labels for prediction in predictions[:_REPLIES]]
    replies = [prompt.ids for prompt in generator.prompts(tickets[:_REPLIES], labels)] if generator else []
    shared_prefix = generator.shared_prefix(replies) if generator else None
    return Reference(tickets, prompts, states, predictions, replies, shared_prefix)


def run_engine(name: str, trained: Reference, label_engine: LabelEngine | None, writer: Writer | None) -> EngineOutputs:
    """Run an exported engine on the same prompts; None for `label_engine` or `writer` leaves labels or replies out."""
    states = None
    if label_engine is not None:
        states = encode_all(label_engine, trained.prompts, CLASSIFIER, f"{name}: labels")
    greedy = DecodingConfig(max_new_tokens=REPLY_TOKENS)
    replies = None
    if writer is not None:
        replies = write_all(writer, trained.reply_prompts, GENERATOR, greedy, shared_prefix=trained.shared_prefix)
    return EngineOutputs(name, states, replies)


def reference_tokens(
    trained: Reference, outputs: Sequence[EngineOutputs], engine: LayeredEngine
) -> dict[str, list[list[int]]]:
    """Return what the trained model would have written for every id of every reply, by the engine that wrote."""
    writing = {one.name: one.replies for one in outputs if one.replies is not None}
    if not writing:
        return {}
    prompts = [prompt for _ in writing for prompt in trained.reply_prompts]
    shared_prefix = trained.shared_prefix
    if shared_prefix:
        shared_prefix = replace(shared_prefix, lengths=[length for _ in writing for length in shared_prefix.lengths])
    written = [ids for replies in writing.values() for ids in replies]
    chosen = iter(engine.choices(prompts, written, GENERATOR, shared_prefix))
    return {name: [next(chosen) for _ in replies] for name, replies in writing.items()}


def compare_with_reference(
    trained: Reference,
    outputs: EngineOutputs,
    chosen: Sequence[Sequence[int]],
    classifier: Classifier,
    tie: float,
    end_ids: AbstractSet[int],
) -> Parity:
    """Return an exported engine beside the reference.

    Args:
        chosen: what the reference would have written, of `choices`.
        tie: a label that changes counts as a tie where the reference gave both labels log-probabilities that differ by
            less.
        end_ids: ids that end a reply.
    """
    columns, difference = {}, None
    if outputs.states is not None:
        after = classifier.predict(outputs.states)
        columns = {column: _column(column, trained, after, tie) for column in classifier.space.columns}
        distances = np.linalg.norm(outputs.states - trained.states, axis=1) / np.linalg.norm(trained.states, axis=1)
        difference = float(distances.max())
    shares = [_agreement(ids, own, end_ids) for ids, own in zip(outputs.replies or (), chosen, strict=True)]
    return Parity(
        name=outputs.name,
        tickets=len(trained.tickets),
        columns=columns,
        state_difference=difference,
        replies=len(shares),
        same_replies=sum(share == 1 for share in shares),
        reply_tokens=float(np.mean(shares)) if shares else None,
    )


def _column(column: str, trained: Reference, after: Sequence[Prediction], tie: float) -> ColumnParity:
    flips = ties = labelled = right_before = lost = won = 0
    for ticket, old, new in zip(trained.tickets, trained.predictions, after, strict=True):
        was_right, is_right = (one.labels[column] == ticket.labels.get(column) for one in (old, new))
        labelled += column in ticket.labels
        right_before += was_right
        lost += was_right and not is_right
        won += is_right and not was_right
        if old.labels[column] != new.labels[column]:
            p = old.probabilities[column]
            gap = np.log(p[old.labels[column]]) - np.log(max(p[new.labels[column]], 1e-30))
            flips += 1
            ties += bool(abs(gap) < tie)  # of joint labels the likelier one need not be the one that is given
    return ColumnParity(flips, ties, labelled, right_before, lost, won)


def _agreement(written: Sequence[int], chosen: Sequence[int], end_ids: AbstractSet[int]) -> float:
    """Return the share of what was written, end included, before the first id that the reference would not write."""
    right = [ours == theirs for ours, theirs in zip(written, chosen, strict=False)]
    if len(written) < REPLY_TOKENS:
        right.append(chosen[len(written)] in end_ids)
    return (right.index(False) if False in right else len(right)) / len(right)
