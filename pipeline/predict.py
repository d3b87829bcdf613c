"""`duet predict`: answer ticket files and print what a person or a program reads."""

import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.engine_choice import EngineChoice
from pipeline.two_stage import TwoStage, load_two_stage
from tickets.errors import InputError
from tickets.schema import Answer, Prediction, Ticket
from tickets.text_file import read_ticket

_WIDTH = 80
_INDENT = 10
_TORN = "\N{REPLACEMENT CHARACTER}"  # what an unfinished character decodes to


@dataclass(frozen=True)
class PredictOptions:
    """What to print: text, or one JSON object per line; with or without replies."""

    as_json: bool = False
    labels_only: bool = False


def predict_files(
    files: Sequence[Path], model: Path | None, options: PredictOptions, choice: EngineChoice | None = None
) -> None:
    """Label and answer every file, in order: labels as soon as they are known, then the reply as it is written."""
    if files.count(Path("-")) > 1:
        raise InputError("found `-`, standard input, twice; expected it once")
    tickets = [read_ticket(path) for path in files]  # all of them before the model: a bad file fails at once
    system = load_two_stage(model, options.labels_only, choice)
    if system.generator is None and not options.labels_only:
        print("this model has no generator: labels only; `duet train-gen` adds replies", file=sys.stderr)
    for number, ticket in enumerate(tickets):
        if options.as_json:
            answer = system.answer([ticket])[0]
            print(json.dumps(answer_to_dict(answer), ensure_ascii=False, allow_nan=False), flush=True)
        else:
            heading = f"{ticket.id}\n" if len(tickets) > 1 else ""
            print(("\n" if number else "") + heading, end="")
            answer = _answer_aloud(system, ticket)
        if answer.truncated:
            print(
                f"warning: {ticket.id}: longer than this model reads ({system.classifier.max_length} tokens, reply "
                "included); its end was cut off; train with a larger training.max_length to read more",
                file=sys.stderr,
            )


def answer_to_dict(answer: Answer) -> dict[str, Any]:
    """The JSON form of an answer; confidences are probabilities, timings seconds."""
    return {
        "id": answer.ticket_id,
        "labels": dict(answer.prediction.labels),
        "confidence": {column: round(value, 4) for column, value in answer.prediction.confidence.items()},
        "tags": list(answer.prediction.tags),
        "reply": answer.reply,
        "needs_review": answer.needs_review,
        "truncated": answer.truncated,
        "timings": {name: round(value, 3) for name, value in answer.timings.items()},
    }


def render_labels(prediction: Prediction, needs_review: bool) -> str:
    """The text form of the first stage, 80 columns wide."""
    confidence = prediction.confidence
    lines = [f"{column:<{_INDENT}}{label}  {confidence[column]:.0%}" for column, label in prediction.labels.items()]
    if prediction.tags:
        wrapped = textwrap.wrap(", ".join(prediction.tags), _WIDTH - _INDENT)
        lines += [f"{'tags' if not i else '':<{_INDENT}}{line}" for i, line in enumerate(wrapped)]
    lines.append(f"{'review':<{_INDENT}}{'a person should look' if needs_review else 'not needed'}")
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
    """Words, and line breaks as words of their own."""
    lines = text.split("\n")
    words: list[str] = []
    for i, line in enumerate(lines):
        words += (["\n"] if i else []) + line.split()
    return words


def _answer_aloud(system: TwoStage, ticket: Ticket) -> Answer:
    """Answer one ticket; print the labels as soon as they are known, and the reply as it is generated."""
    stream = WrappedStream("reply", _print_now)
    ids: list[int] = []

    def show_labels(_row: int, prediction: Prediction) -> None:
        print(render_labels(prediction, system.classifier.needs_review(prediction)), flush=True)

    def show_token(_row: int, token: int) -> None:
        ids.append(token)
        if system.generator:
            stream.show(system.generator.encoder.decode(ids).lstrip())

    try:
        answer = system.answer([ticket], on_labels=show_labels, on_token=show_token)[0]
    except BaseException:
        stream.break_off()
        raise
    if answer.reply is not None:
        stream.show(answer.reply, final=True)
    return answer


def _print_now(text: str) -> None:
    print(text, end="", flush=True)
