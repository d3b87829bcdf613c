"""From a source of tickets to train, validation and test files, with a report and every unusable row accounted for."""

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from tickets.cleaning.steps import CleaningSteps
from tickets.columns.choose import ColumnMap
from tickets.errors import InputError, WorkError
from tickets.formats.readers import estimate_steps
from tickets.preparation.describe import RARE, Intake, PrivateData, Report, describe
from tickets.preparation.label_spellings import spelling_notes
from tickets.preparation.prepared_folder import QUARANTINE, kept_quarantine, new_folder
from tickets.preparation.quarantine import Quarantine, remedy
from tickets.preparation.report import render_report
from tickets.preparation.rows import Source, UniqueIds, language_code, synthetic_fault
from tickets.preparation.token_counts import TokenCounter
from tickets.raw import RawRow
from tickets.redact.known import Known
from tickets.redact.patterns import parse_patterns
from tickets.redact.redactor import Redactor
from tickets.redact.tickets import TicketRedactor
from tickets.schema import Ticket, write_tickets
from tickets.splitting.conversation_groups import join_conversations
from tickets.splitting.duplicates import LOOSEST, THRESHOLD, NearDuplicates, near_duplicates
from tickets.splitting.earlier_split import EarlierSplit
from tickets.splitting.rare import MODES, single_classes, treat_rare
from tickets.splitting.splits import FEWEST, SEED, SPLITS, Split, grouped_split, published_split, random_split
from tickets.splitting.time_split import time_split
from tickets.terminal import escape_controls, json_text

_PUBLISHED_LANGUAGE = "en"
_PUBLISHED_STRATUM = "queue"


@dataclass(frozen=True)
class PrepareOptions:
    """What to prepare and how.

    Attributes:
        maps: `name=Column` texts.
        columns: label columns to keep; None for all that are found.
        languages: those to keep; none for all.
        duplicate_threshold: share of common word pairs from which tickets are near-duplicates.
        keep_split: folder of an earlier run.
        rare: what happens to labels with fewer than `rare_below` tickets: keep, merge or drop.
        tokenizer: a tokenizer.json to count tokens with.
        encoding: of text files; None to detect it.
        turns: make a ticket of every public reply, with the conversation before it.
        redact: replace private data by placeholders.
        redact_patterns: `name=regex` texts for numbers of the team's own.
    """

    source: str
    out: Path
    split: str = "grouped"
    preset: str | None = None
    maps: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    languages: tuple[str, ...] = ()
    clean_escapes: bool | None = None
    clean_html: bool = True
    clean_quotes: bool = True
    cut_signatures: bool = False
    seed: int = SEED
    duplicate_threshold: float = THRESHOLD
    keep_split: Path | None = None
    rare: str = "keep"
    rare_below: int = RARE
    tokenizer: Path | None = None
    encoding: str | None = None
    turns: bool = False
    redact: bool = False
    redact_patterns: tuple[str, ...] = ()

    @property
    def cleaning(self) -> CleaningSteps:
        """The steps of cleaning."""
        return CleaningSteps(self.clean_html, self.clean_quotes, self.cut_signatures)

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is read."""
        if self.split not in SPLITS:
            raise InputError(f"found --split {self.split!r}, expected one of {', '.join(SPLITS)}")
        if self.rare not in MODES:
            raise InputError(f"found --rare {self.rare!r}, expected one of {', '.join(MODES)}")
        if not LOOSEST <= self.duplicate_threshold <= 1:
            raise InputError(
                f"found --duplicate-threshold {self.duplicate_threshold:g}, expected a share of common word pairs from "
                f"{LOOSEST} to 1, such as {THRESHOLD}"
            )
        if not 0 <= self.seed < 2**32:
            raise InputError(f"found --seed {self.seed}, expected 0 or more, below 2^32")
        if self.split == "published" and (self.keep_split is not None or self.seed != SEED):
            wrong = "--keep-split" if self.keep_split is not None else "--seed"
            raise InputError(f"found {wrong} with --split published, which is always the same; leave out one of them")
        if self.tokenizer is not None and not self.tokenizer.is_file():
            raise InputError(f"{self.tokenizer}: no such file; expected a tokenizer.json; correct --tokenizer")


def prepare(options: PrepareOptions, progress: bool = True) -> Report:
    """Read, clean, split and write `options.out` whole or not at all; returns the report that lies beside the files.

    Raises:
        InputError: a source, column map or folder that cannot be used.
        WorkError: files that cannot be written to their end, such as on a full disk.
    """
    # whatever can be wrong is looked at before the minutes of reading
    counter = TokenCounter(options.tokenizer) if options.tokenizer else None
    earlier = EarlierSplit.load(options.keep_split) if options.keep_split is not None else None
    source = Source.open(options.source, options.preset, options.maps, options.columns, options.encoding)
    with (
        new_folder(options.source, options.out) as folder,
        (folder / QUARANTINE).open("w", encoding="utf-8") as quarantine,
    ):
        reading = _Reading(options, source, quarantine, progress)
        tickets, rare_notes = treat_rare(reading.tickets(), options.rare, options.rare_below)
        for note in source.notes():
            _note(note, progress)
        _note("finding near-duplicates", progress)
        try:
            split, near = _split(tickets, reading, earlier)
        except InputError as error:
            advice = single_classes(tickets) if len(tickets) >= FEWEST else ""  # the advice of too few is enough
            raise reading.explained(InputError(f"{error}; {advice}") if advice else error) from None
        split = replace(split, notes=(*rare_notes, *spelling_notes(tickets), *split.notes))
        for note in split.notes:
            _note(note, progress)
        _note("describing and writing", progress)
        report = describe(tickets, split, near, reading.intake(), counter)
        if report.rows_in + report.turns != report.kept + report.quarantined:
            raise WorkError(
                f"{options.source}: {report.rows_in} rows and {report.turns} later replies in, but {report.kept} kept "
                f"and {report.quarantined} quarantined; expected them to add up; please report this as a fault of duet"
            )
        for part, members in split.parts(tickets).items():
            write_tickets(folder / f"{part}.jsonl", members)
        record = json_text(report.to_dict(), indent=2)
        for name, text in (("report.json", record + "\n"), ("report.txt", escape_controls(render_report(report)))):
            # half a character in the name of a column stays readable, and is JSON's own escape for it
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    return report


class _Reading:
    """One pass over the rows: tickets out, everything else to the quarantine file, and the counts of both."""

    def __init__(self, options: PrepareOptions, source: Source, quarantine: TextIO, progress: bool) -> None:
        _check_columns(options, source.columns)
        self.options, self.source, self.progress = options, source, progress
        self.quarantine = Quarantine(quarantine)
        self.cleaner = options.cleaning.cleaner(options.clean_escapes)
        self.cleaner.decide_escapes(source.sample)
        self.redactor = TicketRedactor(Redactor(parse_patterns(options.redact_patterns)), options.redact)
        self.languages = {language_code(name) for name in options.languages}
        if options.split == "published":
            self.languages = {_PUBLISHED_LANGUAGE}
        self.read = 0
        self.missing: Counter[str] = Counter(dict.fromkeys([*source.part_columns, *source.columns.labels], 0))
        self.ids = UniqueIds()
        self.first_turns: dict[str, str] = {}  # id of a conversation's first ticket, by those of its later ones

    def tickets(self) -> list[Ticket]:
        """Return the usable tickets in source order."""
        total = estimate_steps(self.options.source)
        kept, line = [], 0
        with tqdm(
            total=total, desc="reading", unit=" lines", disable=None if self.progress else True, file=sys.stderr
        ) as bar:
            for row in self.source.rows:
                self.read += 1
                tickets, reason = self._tickets(row)
                kept += tickets
                if not tickets:
                    self.quarantine.add(row, reason)
                bar.update(max(0, row.line - line))
                line = row.line
        if not kept:
            self._refuse()
        return kept

    def intake(self) -> Intake:
        """Return what the pass came to."""
        return Intake(
            source=self.options.source,
            rows=self.read,
            reasons=self.quarantine.reasons,
            cleaned=self.cleaner.counts,
            removed=self.cleaner.examples,
            cleaning=self.options.cleaning,
            missing=self.missing,
            columns={**self.source.part_columns, **self.source.columns.labels},
            turns=len(self.first_turns),
            encodings=dict(self.source.log.encodings),
            private=PrivateData(self.options.redact, self.redactor.tickets, dict(self.redactor.counts)),
            notes=self.source.notes(),
        )

    def explained(self, error: InputError) -> InputError:
        """Return the error with the commonest reason for rows set aside before it, and where those rows are."""
        if not self.quarantine.reasons:
            return error
        reason, count = self.quarantine.commonest()
        return InputError(
            f"{self.options.source}: {count:,} of {self.read:,} rows are set aside: {reason}; {remedy(reason)}; they "
            f"are in {kept_quarantine(self.options.out)}; then: {error}"
        )

    def _tickets(self, row: RawRow) -> tuple[list[Ticket], str]:
        """Return the tickets of a row, one for every reply with `turns`; none, and why the row cannot be used."""
        if fault := row.fault or synthetic_fault(row):
            return [], fault
        cells = self.source.cells(row)
        tags = {"tags": "any" if cells.tags else ""} if self.source.columns.tags else {}
        self._count_missing({**cells.parts, **cells.labels, **tags})
        shown = {step: len(examples) for step, examples in self.cleaner.examples.items()}
        ticket = self.source.ticket(cells, self.read, self.cleaner)
        reason = self._fault(ticket)
        if reason:
            return [], reason
        ticket = replace(ticket, id=self.ids.unique(ticket.id))
        tickets = [ticket]
        if self.options.turns:
            later = self.source.later_turns(ticket, cells, self.cleaner)
            tickets += [replace(turn, id=self.ids.unique(turn.id)) for turn in later]
            self.first_turns.update((turn.id, ticket.id) for turn in tickets[1:])
        known = self.source.people.known(row.fields)
        self._redact_examples(shown, known)
        return [self.redactor.redact(ticket, known) for ticket in tickets], ""

    def _redact_examples(self, shown: Mapping[str, int], known: Known) -> None:
        """Replace private data in what this row added to the examples of what cleaning removed, where that is asked."""
        if self.options.redact:
            for step, examples in self.cleaner.examples.items():
                examples[shown[step] :] = [self.redactor.redactor.redact(e, known)[0] for e in examples[shown[step] :]]

    def _fault(self, ticket: Ticket) -> str:
        """Return why a ticket cannot be used; empty when it can."""
        if not ticket.body and not ticket.subject:
            return "no text"
        if self.languages and ticket.language not in self.languages:
            return f"language {ticket.language or 'unknown'} not wanted"
        return ""

    def _count_missing(self, cells: Mapping[str, str]) -> None:
        for name, value in cells.items():
            self.missing[name] += not value.strip()

    def _refuse(self) -> None:
        reason, count = self.quarantine.commonest()
        raise InputError(
            f"{self.options.source}: none of {self.read:,} rows can be used; {count:,} of them: {reason}; expected "
            f"tickets with a body; {remedy(reason)}; they are in {kept_quarantine(self.options.out)}"
        )


def _check_columns(options: PrepareOptions, columns: ColumnMap) -> None:
    """Refuse a source without the columns that the split needs."""
    if options.split == "published" and _PUBLISHED_STRATUM not in columns.labels:
        raise InputError(
            f"{options.source}: the published split stratifies by queue, but there is no queue column; name it with "
            "--map queue=COLUMN or use --split grouped"
        )
    if (options.languages or options.split == "published") and columns.language is None:
        raise InputError(
            f"{options.source}: no language column to select rows by; name it with --map language=COLUMN, or use "
            "--split grouped and no --language"
        )


def _split(tickets: list[Ticket], reading: _Reading, earlier: EarlierSplit | None) -> tuple[Split, NearDuplicates]:
    """Split by the options; also return the near-duplicates."""
    options, has_ids = reading.options, reading.source.columns.id is not None
    pinned, note = None, ""
    if earlier is None:
        near = near_duplicates([ticket.text for ticket in tickets], options.duplicate_threshold)
    else:
        pinned, near, note = earlier.pin(tickets, options.duplicate_threshold, has_ids)
    names = list(dict.fromkeys(name for ticket in tickets for name in ticket.labels))
    stratum = _PUBLISHED_STRATUM if _PUBLISHED_STRATUM in names else next(iter(names), None)
    if options.split == "published":
        split = published_split(tickets, _PUBLISHED_STRATUM)
    elif options.split == "random":
        split = random_split(tickets, stratum, options.seed, pinned)
    elif options.split == "time":
        split = time_split(tickets, pinned)
    else:
        groups = join_conversations(near.groups, tickets, reading.first_turns)
        split = grouped_split(tickets, stratum, groups, options.seed, pinned, options.duplicate_threshold)
    return (replace(split, notes=(note, *split.notes)) if note else split), near


def _note(text: str, progress: bool) -> None:
    if progress:
        print(text, file=sys.stderr)
