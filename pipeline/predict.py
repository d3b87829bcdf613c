"""`duet predict`: answer ticket files and print what a person or a program reads."""

import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from classifier.predict import Classifier
from pipeline.engine_choice import EngineChoice
from pipeline.model_folder import ModelFolder
from pipeline.shipped import open_to_answer
from pipeline.two_stage import TwoStage, load_two_stage
from tickets.errors import InputError
from tickets.formats.text_file import read_text
from tickets.schema import Answer, Prediction, Ticket

if TYPE_CHECKING:
    from memory.memory import Similar
    from pipeline.resolved import ResolvedTickets

_WIDTH = 80
_INDENT = 10
_TORN = "\N{REPLACEMENT CHARACTER}"  # what an unfinished character decodes to


@dataclass(frozen=True)
class PredictOptions:
    """What to print: text, or one JSON object per line; with or without replies, and the contacts they may hold.

    `similar` is how many resolved tickets are shown beside.
    """

    as_json: bool = False
    labels_only: bool = False
    allowed_contacts: tuple[str, ...] = ()
    similar: int = 0


def predict_files(
    files: Sequence[Path], model: Path | None, options: PredictOptions, choice: EngineChoice | None = None
) -> None:
    """Label and answer every file, in order: labels as soon as they are known, then the reply as it is written."""
    if files.count(Path("-")) > 1:
        raise InputError("found `-`, standard input, twice; expected it once")
    texts = [read_text(path) for path in files]  # all of them before the model: a bad file fails at once
    for text in texts:
        if text.doubt:
            print(f"warning: {text.name}: {text.doubt}", file=sys.stderr)
    opened = open_to_answer(model, choice)
    tickets = [text.ticket(opened.cleaning) for text in texts]
    resolved = open_resolved(opened) if options.similar else None
    system = load_two_stage(opened, options.labels_only, choice, options.allowed_contacts)
    if system.generator is None and not options.labels_only:
        print("this model has no generator: labels only; `duet train-gen` adds replies", file=sys.stderr)
    for number, ticket in enumerate(tickets):
        if options.as_json:
            answer = system.answer([ticket])[0]
            record = answer_to_dict(answer)
            if resolved:
                record["similar"] = resolved.similar_as_dicts(ticket, options.similar)
            print(json.dumps(record, ensure_ascii=False, allow_nan=False), flush=True)
        else:
            heading = f"{ticket.id}\n" if len(tickets) > 1 else ""
            print(("\n" if number else "") + heading, end="")
            answer = _answer_and_print(system, ticket)
            if resolved:
                print(render_similar(resolved, resolved.similar(ticket, options.similar)), flush=True)
        for warning in _warnings(answer, system):
            print(f"warning: {ticket.id}: {warning}", file=sys.stderr)


def open_resolved(opened: ModelFolder) -> "ResolvedTickets":
    """Return the resolved tickets of a bundle.

    Raises:
        InputError: it has none, or a file of them is damaged.
    """
    from pipeline.resolved import load_resolved  # a tenth of a start

    return load_resolved(opened.bundle, opened.path)


def _warnings(answer: Answer, system: TwoStage) -> Iterator[str]:
    """Yield what a reader of an answer should know of it."""
    if answer.truncated:
        yield (
            f"longer than this model reads ({system.classifier.max_length} tokens, reply included); its end was cut "
            "off; train with a larger classifier.training.max_length to read more"
        )
    if answer.reply_cut:
        yield "the reply stops before its end; it reached decoding.max_new_tokens, or the server ended it early"
    if answer.reply == "":
        yield "the reply is empty"


def answer_to_dict(answer: Answer) -> dict[str, Any]:
    """Return the JSON form of an answer; confidences are probabilities, timings seconds."""
    return {
        "id": answer.ticket_id,
        "labels": dict(answer.prediction.labels),
        "confidence": {column: round(value, 4) for column, value in answer.prediction.confidence.items()},
        "confidence_all": round(answer.prediction.confidence_all, 4),
        "tags": list(answer.prediction.tags),
        "reply": answer.reply,
        "apply": dict(answer.apply),
        "needs_review": answer.needs_review,
        "masked": list(answer.masked),
        "truncated": answer.truncated,
        "reply_cut": answer.reply_cut,
        "timings": {name: round(value, 3) for name, value in answer.timings.items()},
    }


def render_labels(prediction: Prediction, classifier: Classifier) -> str:
    """Return the text form of the first stage, 80 columns wide."""
    confidence, applied = prediction.confidence, classifier.applicable(prediction)
    lines = []
    for column, label in prediction.labels.items():
        advice = "apply" if applied[column] else "suggest"
        advice += ", never sure enough" if classifier.is_never_sure(column) else ""
        lines.append(f"{column:<{_INDENT}}{label}  {confidence[column]:.0%}  {advice}")
    if prediction.tags:
        wrapped = textwrap.wrap(", ".join(prediction.tags), _WIDTH - _INDENT)
        lines += [f"{'tags' if not i else '':<{_INDENT}}{line}" for i, line in enumerate(wrapped)]
    review = "a person should look" if classifier.needs_review(prediction) else "not needed"
    lines.append(f"{'review':<{_INDENT}}{review}")
    return "\n".join(lines)


def render_similar(resolved: "ResolvedTickets", found: "Sequence[Similar]") -> str:
    """Return resolved tickets as text, 80 columns wide: what they are, and the reply of one that is a repeat."""
    if not found:
        return f"{'similar':<{_INDENT}}no resolved ticket shares a word with this one"
    lines = []
    for number, one in enumerate(found):
        name = "" if number else "similar"
        lines.append(f"{name:<{_INDENT}}{one.similarity:.0%}  {one.ticket.id}  {', '.join(one.ticket.labels.values())}")
        heading = textwrap.shorten(one.ticket.subject or one.ticket.body, _WIDTH - _INDENT, placeholder=" ...")
        lines.append(" " * _INDENT + heading)
    if resolved.is_repeat(found[0]):
        lines.append(f"{'repeat':<{_INDENT}}near-duplicate of {found[0].ticket.id}, which was answered:")
        written: list[str] = []
        WrappedStream("", written.append).show(found[0].ticket.reply.rstrip(), final=True)
        lines.append("".join(written).rstrip("\n"))
    return "\n".join(lines)


class WrappedStream:
    """Prints text as it grows, word by word, in a column with a hanging indent; the text's own line breaks stay."""

    def __init__(self, name: str, write: Callable[[str], Any]) -> None:
        """Write through `write`, beginning with the name of the paragraph."""
        self._write = write
        self._name = f"{name:<{_INDENT}}"
        self._column = 0  # of the current line, indent not counted
        self._done = 0  # characters taken

    def show(self, text: str, final: bool = False) -> None:
        """Take the whole text so far; the last word waits until it is known to be complete."""
        text = text if final else text.rstrip(_TORN)
        end = len(text) if final else max(text.rfind(" "), text.rfind("\n")) + 1
        for word in _words(text[self._done : end]):
            self._put(word)
        self._done = max(end, self._done)
        if final:
            self._write((self._name if self._name else "") + "\n")

    def break_off(self) -> None:
        """End a line that was begun: what comes next is no part of the text."""
        if self._column:
            self._write("\n")

    def _put(self, word: str) -> None:
        if word == "\n":
            self._write("\n")
            self._column = 0
            return
        space = 1 if self._column else 0
        if self._column and self._column + space + len(word) > _WIDTH - _INDENT:
            self._write("\n")
            self._column = space = 0
        indent = self._name or (" " * _INDENT if not self._column else "")
        self._write(indent + " " * space + word)
        self._name = ""
        self._column += space + len(word)


def _words(text: str) -> list[str]:
    """Return words, and line breaks as words of their own."""
    lines = text.split("\n")
    words: list[str] = []
    for i, line in enumerate(lines):
        words += (["\n"] if i else []) + line.split()
    return words


def _answer_and_print(system: TwoStage, ticket: Ticket) -> Answer:
    """Answer one ticket; print the labels as soon as they are known, and the reply as it is generated."""
    stream = WrappedStream("reply", _print_now)
    ids: list[int] = []

    def show_labels(_row: int, prediction: Prediction) -> None:
        print(render_labels(prediction, system.classifier), flush=True)

    def show_token(_row: int, token: int) -> None:
        ids.append(token)
        if system.generator:
            text = system.generator.encoder.decode(ids).lstrip()
            stream.show(system.guard.mask_unfinished(text, ticket.text) if system.guard else text)

    try:
        answer = system.answer([ticket], on_labels=show_labels, on_token=show_token)[0]
    except BaseException:
        stream.break_off()
        raise
    if answer.reply is not None:
        stream.show(answer.reply, final=True)
    reasons = [f"masked in the reply: {', '.join(dict.fromkeys(answer.masked))}"] if answer.masked else []
    if not answer.reply_is_whole:
        reasons.append("the reply stops before its end" if answer.reply else "the reply is empty")
    if reasons:
        print(f"{'review':<{_INDENT}}a person should look: {'; '.join(reasons)}")
    return answer


def _print_now(text: str) -> None:
    print(text, end="", flush=True)
