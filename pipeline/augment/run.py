"""`duet augment`: new training tickets after those of rare classes, in a copy of a prepared folder."""

import asyncio
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from backbone.dataset import data_fingerprint
from backbone.runs.files import disk_guard, writable, write_json
from backbone.runs.locks import hold, release
from engines.addresses import without_credentials
from engines.answer_cache import AnswerCache, Kept
from engines.asking import Asker, ChatModel, answer_key, estimated_tokens
from pipeline.augment.filters import RULES, Filters, problem_rule
from pipeline.augment.label_check import LabelCheck
from pipeline.augment.plan import AugmentOptions, Plan, make_plan
from pipeline.augment.question import PROBE, ParaphraseQuestion, read_paraphrase
from tickets.cleaning.steps import CleaningSteps
from tickets.errors import InputError, WorkError
from tickets.preparation.prepared_folder import AUGMENTATION, FILES, check_out, new_folder
from tickets.schema import Ticket, ticket_to_json
from tickets.sources import output_path

_ROUND = 8  # questions asked together at least


@dataclass(frozen=True)
class Augmentation:
    """What came of it.

    Attributes:
        counts: answers by the rule that decided on them; they add up to `asked`.
        by_class: new tickets by class, as `column=label`.
        room: how many of each were allowed.
        answered_as: model names that the server gave.
        days: days of the answers.
        tokens: of the answers and their prompts.
    """

    source: str
    data: str
    where: Sequence[str]
    model: str
    endpoint: str
    answered_as: Sequence[str]
    days: Sequence[str]
    seed: int
    temperature: float
    threshold: float
    label_check: bool
    parents: int
    too_long: int
    asked: int
    tokens: int
    counts: dict[str, int]
    by_class: dict[str, int]
    room: dict[str, int]


def cache_path(out: Path) -> Path:
    """Return where answers are kept, beside the folder that is written: the same command goes on from them."""
    return out.with_name(f"{out.name}.answers.sqlite")


def augment(options: AugmentOptions) -> Augmentation:
    """Write a copy of a prepared folder with new training tickets, and return what came of it.

    Validation and test files are the same bytes; the training file begins with the same bytes.

    Raises:
        InputError: not a prepared folder, a class that is not there, or an `--out` that is not apart.
        WorkError: the model does not answer, the budget is spent, or no answer passed; what was answered is kept.
    """
    options = replace(options, out=output_path(options.out, "--out"))
    plan = make_plan(options)
    _check_out(plan.folder, options.out)
    with writable(options.out, "--out"):
        options.out.parent.mkdir(parents=True, exist_ok=True)
        hold(options.out)
    try:
        print(_announcement(options, plan), file=sys.stderr)
        filters = _filters(options, plan)
        with disk_guard(options.out), closing(AnswerCache(cache_path(options.out))) as cache:
            answers = asyncio.run(_ask(options, plan, filters, cache))
        result = _result(options, plan, filters, answers)
        if not filters.accepted:
            raise WorkError(
                f"none of {result.asked:,} answers became a ticket ({_reasons(result)}), expected some; use a stronger "
                "model, or --no-label-check if that refused them"
            )
        _write(options, plan, filters.accepted, result)
    finally:
        release(options.out)
    return result


def dry_run_text(options: AugmentOptions) -> str:
    """Say how many requests and tokens a run would take; nothing is sent."""
    options = replace(options, out=output_path(options.out, "--out"))
    plan = make_plan(options)
    _check_out(plan.folder, options.out)
    path = cache_path(options.out)
    missing = list(plan.questions)
    if path.is_file():
        with closing(AnswerCache(path)) as cache:
            missing = [q for q in missing if cache.get(answer_key(options.settings, q)) is None]
    first = missing[: _room(plan)]
    lines = [f"{'':42}{'requests':>10}{'tokens, about':>16}"]
    for name, questions in (("if every answer passes", first), ("if so few pass that all tickets are asked", missing)):
        lines.append(f"{name:42}{len(questions):>10,}{_tokens(questions):>16,}")
    return "\n".join(lines)


def _check_out(folder: Path, out: Path) -> None:
    """Refuse to write over anything but an earlier augmentation."""
    check_out(str(folder), out)
    if out.is_dir() and any(out.iterdir()) and not (out / AUGMENTATION).is_file():
        raise InputError(
            f"{out}: found prepared tickets that `duet augment` did not write, and would be lost; give another --out"
        )


def _announcement(options: AugmentOptions, plan: Plan) -> str:
    settings = options.settings
    count = min(_room(plan), len(plan.questions))
    if not settings.url:
        return f"asking {settings.model} on this machine about {count:,} training tickets or more"
    return (
        f"warning: the texts of {count:,} training tickets or more go to {without_credentials(settings.url)}; "
        "`duet prepare --redact` replaces private data before"
    )


def _filters(options: AugmentOptions, plan: Plan) -> Filters:
    columns = list(dict.fromkeys(column for column, _ in plan.classes))
    check = LabelCheck.fit(plan.real, columns) if options.label_check else None
    return Filters(plan.parts, dict(plan.room), options.threshold, check, Counter(), [])


async def _ask(options: AugmentOptions, plan: Plan, filters: Filters, cache: AnswerCache) -> dict[str, Kept]:
    """Ask as many questions at a time as there is room for tickets, until there is none or no question is left."""
    cleaner = CleaningSteps.of_prepared(plan.folder).cleaner(escapes=False)
    answers: dict[str, Kept] = {}
    waiting = list(plan.questions)
    names = _Names(plan)
    async with AsyncExitStack() as stack:
        model = await _open(options, stack)
        asker = Asker(options.settings, model, cache, PROBE if options.settings.url else None)
        while waiting and (room := sum(filters.room.values())):
            count = max(room, _ROUND)
            batch, waiting = waiting[:count], waiting[count:]
            found = await asker.ask(batch, "new tickets")
            answers |= found
            candidates: list[tuple[Ticket, Ticket]] = []
            for question in batch:
                kept = found[question.key]
                if kept.problem:
                    filters.counts[problem_rule(kept)] += 1
                    continue
                said = read_paraphrase(kept.text)
                subject = " ".join(cleaner.clean(said.subject, thread=False).split())
                body = cleaner.clean(said.body, subject=subject)
                candidates.append((names.new(question, subject, body), question.parent))
            filters.take(candidates)
    return answers


async def _open(options: AugmentOptions, stack: AsyncExitStack) -> ChatModel:
    settings = options.settings
    if settings.url:
        from engines.chat import ChatEndpoint  # needs an extra

        endpoint = ChatEndpoint(settings.url, settings.model, settings.key_variable, settings.seconds)
        return await stack.enter_async_context(endpoint)
    from pipeline.augment.local_model import LocalChat  # torch takes seconds

    return LocalChat(settings.model)


class _Names:
    """Makes new tickets with ids that no ticket has."""

    def __init__(self, plan: Plan) -> None:
        self._taken = {ticket.id for tickets in plan.parts.values() for ticket in tickets}

    def new(self, question: ParaphraseQuestion, subject: str, body: str) -> Ticket:
        """Return a synthetic ticket with the labels and tags of its parent, and no reply."""
        parent, number = question.parent, question.draw + 1
        while (name := f"{parent.id}~{number}") in self._taken:
            number += 1
        self._taken.add(name)
        subject = subject if parent.subject else ""
        return replace(parent, id=name, subject=subject, body=body, reply="", synthetic=True, parent=parent.id)


def _result(options: AugmentOptions, plan: Plan, filters: Filters, answers: dict[str, Kept]) -> Augmentation:
    settings = options.settings
    return Augmentation(
        source=str(plan.folder),
        data=data_fingerprint(plan.folder),
        where=list(options.where),
        model=settings.model,
        endpoint=without_credentials(settings.url),
        answered_as=sorted({kept.model for kept in answers.values() if kept.model}),
        days=sorted({kept.day for kept in answers.values()}),
        seed=settings.seed,
        temperature=settings.temperature,
        threshold=options.threshold,
        label_check=options.label_check,
        parents=len({question.parent.id for question in plan.questions}),
        too_long=plan.too_long,
        asked=sum(filters.counts.values()),
        tokens=sum(kept.tokens for kept in answers.values()),
        counts={rule: filters.counts[rule] for rule in RULES},
        by_class={
            f"{column}={label}": plan.room[column, label] - left for (column, label), left in filters.room.items()
        },
        room={f"{column}={label}": room for (column, label), room in plan.room.items()},
    )


def _write(options: AugmentOptions, plan: Plan, accepted: Iterable[Ticket], result: Augmentation) -> None:
    """Write the folder whole or not at all."""
    with new_folder(str(plan.folder), options.out) as folder:
        for path in plan.folder.iterdir():
            if path.name in FILES - {AUGMENTATION}:
                shutil.copyfile(path, folder / path.name)
        lines = "".join(ticket_to_json(ticket) + "\n" for ticket in accepted)
        old = (folder / "train.jsonl").read_bytes()
        separator = b"" if old.endswith(b"\n") else b"\n"
        encoded = lines.encode("utf-8", "backslashreplace")
        (folder / "train.jsonl").write_bytes(old + separator + encoded)
        write_json(folder / AUGMENTATION, vars(result))


def _room(plan: Plan) -> int:
    return sum(plan.room.values())


def _tokens(questions: Sequence[ParaphraseQuestion]) -> int:
    return estimated_tokens(questions, 0) + sum(question.expected_tokens for question in questions)


def _reasons(result: Augmentation) -> str:
    return ", ".join(f"{count:,} {rule}" for rule, count in result.counts.items() if count)


def render(result: Augmentation) -> str:
    """Return what came of it as text for a terminal."""
    new = ", ".join(f"{name} {count:,} of {result.room[name]:,}" for name, count in result.by_class.items())
    lines = [f"new tickets, of those allowed: {new}", f"{'asked':<44}{result.asked:>8,}"]
    lines += [f"  {rule:<42}{count:>8,}" for rule, count in result.counts.items() if count]
    if result.too_long:
        lines.append(f"{'not asked about, because too long':<44}{result.too_long:>8,}")
    lines.append(f"{'tokens':<44}{result.tokens:>8,}")
    return "\n".join(lines)
