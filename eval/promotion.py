"""Whether a new model should take the place of the one in use: on the frozen test tickets, and on the newest ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from backbone.dataset import load_part, load_synthetic, resolve_data
from eval.answers import SystemAnswers
from eval.bootstrap import Difference, Resamples
from eval.reply_metrics import ROUGE_L, TrainingReplies
from eval.scoring import EXACT, SystemPair, TestSet, compare_pair, f1_replicates, reply_scores
from eval.systems import System, TwoStageSystem
from tickets.errors import InputError
from tickets.schema import PARTS, Ticket

MARGIN = 0.02  # of a column's accuracy, which the new model must not lose
FROZEN, NEWEST = "frozen", "newest"
PROMOTE, KEEP = "promote", "keep"
_TWO = 2  # models


@dataclass(frozen=True)
class Promotion:
    """What to do with the new model and why.

    Attributes:
        verdict: `promote` or `keep`.
        reason: one sentence.
        tickets: how many there are of either kind.
        differences: by kind and figure, new minus old.
    """

    verdict: str
    reason: str
    tickets: Mapping[str, int]
    differences: Mapping[str, Mapping[str, Difference]]

    def __str__(self) -> str:
        return f"{self.verdict}: {self.reason}"


def current_and_candidate(systems: Sequence[System]) -> tuple[int, int]:
    """Return the indices of the model in use and of the new one: the two-stage systems of the two runs given.

    Raises:
        InputError: not two.
    """
    positions = [index for index, system in enumerate(systems) if isinstance(system, TwoStageSystem)]
    if len(positions) != _TWO:
        raise InputError(
            f"--promote: found {len(positions)} two-stage systems, expected two: give the run folder of the model in "
            "use, then that of the new one"
        )
    return positions[0], positions[1]


def decide(old: SystemAnswers, new: SystemAnswers, test: TestSet) -> Promotion:
    """Promote a model that is nowhere clearly worse and somewhere better; a tie is keep.

    Nowhere worse: on neither kind of tickets does a column's 95 % interval reach below two points lost. Better: the
    interval of a figure is above zero. Frozen tickets were in the test part of the old model's data, the newest came
    since; tickets that the old model was trained on are neither.

    Raises:
        InputError: the old model's data are gone, or no ticket is left.
    """
    rows_of = _rows_by_kind(old, test)
    pairs = {kind: _pair(old, new, test, rows) for kind, rows in rows_of.items() if rows}
    if not pairs:
        raise InputError(
            "--promote: the old model was trained on all test tickets; run `duet prepare` on the new data with "
            "--keep-split OLD, where OLD is the data folder of the old model"
        )
    counts = {kind: len(rows) for kind, rows in rows_of.items()}
    differences = {kind: _figures(pair, test.columns) for kind, pair in pairs.items()}
    for kind, pair in pairs.items():
        for column in test.columns:
            change = pair.labels[column]
            if not change.low >= -MARGIN:
                return Promotion(
                    KEEP,
                    f"{column} may have lost {-change.low:.1%} of accuracy on the {kind} tickets (95 % interval from "
                    f"{change.low:+.1%} to {change.high:+.1%}, {counts[kind]:,} tickets); at most {MARGIN:.0%} are "
                    f"allowed{_more_tickets(change, counts[kind])}",
                    counts,
                    differences,
                )
    better = [
        f"{name} on the {kind} tickets by {change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
        for kind, changes in differences.items()
        for name, change in changes.items()
        if change.low > 0
    ]
    if not better:
        return Promotion(KEEP, "no figure is shown to be better, and no column is worse", counts, differences)
    alone = "" if counts[NEWEST] else "; no newer ticket was there to look at"
    return Promotion(PROMOTE, f"better in {'; '.join(better)}; no column is worse{alone}", counts, differences)


def _rows_by_kind(old: SystemAnswers, test: TestSet) -> dict[str, list[int]]:
    """Return the rows of the test tickets by kind; texts are compared, because ids change from export to export."""
    assert isinstance(old.system, TwoStageSystem)
    folder = resolve_data(old.system.model.any_stage.config.data.path)
    by_part = {part: load_part(folder, part) for part in PARTS}
    known = {part: {_key(ticket) for ticket in tickets} for part, tickets in by_part.items()}
    learned = known["train"] | known["validation"] | {_key(t) for t in load_synthetic(folder, by_part["train"])}
    keys = [_key(ticket) for ticket in test.tickets]
    return {
        FROZEN: [row for row, key in enumerate(keys) if key in known["test"]],
        NEWEST: [row for row, key in enumerate(keys) if key not in known["test"] and key not in learned],
    }


def _key(ticket: Ticket) -> str:
    return " ".join(ticket.text.split()).casefold()


def _pair(old: SystemAnswers, new: SystemAnswers, test: TestSet, rows: Sequence[int]) -> SystemPair:
    """Return new beside old on some of the tickets."""
    part = TestSet([test.tickets[row] for row in rows], test.train, test.columns, Resamples(len(rows)))
    both = [replace(answers, outputs=[answers.outputs[row] for row in rows]) for answers in (new, old)]
    training = TrainingReplies([ticket.reply for ticket in test.train])
    scores = {answers.system.name: reply_scores(answers, part, training) for answers in both}
    return compare_pair(
        both[0], both[1], part, scores, {answers.system.name: f1_replicates(answers, part) for answers in both}
    )


def _figures(pair: SystemPair, columns: Sequence[str]) -> dict[str, Difference]:
    figures = {f"{column} accuracy": pair.labels[column] for column in columns}
    figures |= {f"{column} macro-F1": pair.macro_f1[column] for column in columns}
    figures["all labels right"] = pair.labels[EXACT]
    return figures | ({ROUGE_L: pair.replies[ROUGE_L]} if ROUGE_L in pair.replies else {})


def _more_tickets(change: Difference, count: int) -> str:
    """Return how many tickets would narrow the interval enough, where the difference itself is harmless."""
    if change.value <= -MARGIN or change.value == change.low:
        return ""
    needed = count * ((change.value - change.low) / (change.value + MARGIN)) ** 2
    return f"; {needed:,.0f} tickets would tell, if the difference stays what it is"
