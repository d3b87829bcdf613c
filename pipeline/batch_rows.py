"""From the rows of a source to lines of answers: what `duet predict-batch` does, wherever it writes them."""

import hashlib
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from itertools import islice
from typing import Any

from backbone.runs.layout import MANIFEST
from engines.addresses import without_credentials
from engines.protocols import TicketRefused
from pipeline.answer_lines import Line, Lines, SourceRow
from pipeline.engine_choice import EngineChoice
from pipeline.model_folder import ModelFolder
from pipeline.scheduler import Request
from pipeline.two_stage import TwoStage
from tickets.cleaning.clean import Cleaner, normalise
from tickets.cleaning.steps import CleaningSteps
from tickets.preparation.rows import Source, UniqueIds
from tickets.schema import Ticket
from tickets.terminal import whole_characters

_WINDOW = 4  # tickets in work per place in the engine: enough for groups of similar length
_UNWRITTEN = 16  # lines per place that may wait for an earlier one


@dataclass(frozen=True)
class AnswerOptions:
    """What to answer and how the source is read.

    Of the steps of cleaning, None stands for what the training data had, and for `escapes` for what the source means.
    `similar` is how many resolved tickets are written beside every answer.
    """

    source: str
    _: KW_ONLY
    preset: str | None = None
    encoding: str | None = None
    maps: tuple[str, ...] = ()
    escapes: bool | None = None
    html: bool | None = None
    quotes: bool | None = None
    signatures: bool | None = None
    labels_only: bool = False
    allowed_contacts: tuple[str, ...] = ()
    similar: int = 0

    def cleaning(self, opened: ModelFolder) -> CleaningSteps:
        """Return the steps of cleaning: those of the training data, where no option says otherwise."""
        return opened.cleaning.changed(html=self.html, quotes=self.quotes, signatures=self.signatures)


def answers_plan(options: AnswerOptions, opened: ModelFolder, choice: EngineChoice) -> dict[str, Any]:
    """Return what decides the answers, besides the tickets."""
    manifests = {name: stage.path / MANIFEST for name, stage in opened.stages.items()}
    if opened.bundle:
        manifests["bundle"] = opened.path / MANIFEST
    return {
        "preset": options.preset,
        "encoding": options.encoding,
        "map": list(options.maps),
        "cleaning": {"escapes": options.escapes, **options.cleaning(opened).to_dict()},
        "labels_only": options.labels_only,
        "similar": options.similar or None,  # plans of before do not have it
        "allowed_contacts": [whole_characters(contact) for contact in options.allowed_contacts],
        "model": {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in manifests.items()},
        "engine": choice.kind,
        "endpoint": [whole_characters(without_credentials(part)) for part in choice.endpoint or ()],
    }


def source_rows(source: Source, cleaner: Cleaner, unnamed: str = "") -> Iterator[SourceRow]:
    """Yield the rows of the source with ids that are unique: a repeated one gets `#2` and so on.

    Args:
        unnamed: what begins the id of a row that has none; its number follows.
    """
    ids = UniqueIds()
    for number, row in enumerate(source.rows, start=1):
        cells = None if row.fault else source.cells(row)
        ticket = source.ticket(cells, number, cleaner) if cells else None
        named = cells is not None and bool(normalise(cells.parts.get("id", "")))
        name = (ticket.id if ticket else "") or f"{number:06d}"
        name = name if named else f"{unnamed}{name}"
        if source.columns.id:
            name = ids.unique(name)
        if ticket is None or not (ticket.body or ticket.subject):
            yield SourceRow(row.line, name, None, row.fault or "no text")
        else:
            yield SourceRow(row.line, name, Ticket(name, ticket.subject, ticket.body, ticket.language), "")


def answer_rows(rows: Iterator[SourceRow], system: TwoStage, labels_only: bool, together: int, lines: Lines) -> None:
    """Answer all rows; a place that becomes free is taken at once. A row that a server refuses gets a line saying so.

    Raises:
        DuetError: a ticket cannot be answered; what was answered before it is written.
    """
    # a ticket that is read once has to stay in the context from its labels to its reply
    ahead = max(1, together // 4) if system.prefix_caching_engine else (_WINDOW - 1) * together
    scheduler = system.scheduler(label_tokens=None)
    line_of: dict[Request, Line] = {}
    try:
        while True:
            missing = together + ahead - len(line_of)
            if missing >= min(together, ahead) and len(lines) < _UNWRITTEN * together:
                for row in islice(rows, missing):
                    line = lines.add(row)
                    if row.ticket:
                        request = Request(row.ticket, labels_only)
                        line_of[request] = line
                        scheduler.add(request)
            if not lines:
                return
            ended = scheduler.step()
            for request in ended:
                lines.complete(line_of.pop(request), request)
            lines.write()
            for request in ended:
                if request.error and not isinstance(request.error, TicketRefused):
                    raise request.error
    finally:
        scheduler.clear()
