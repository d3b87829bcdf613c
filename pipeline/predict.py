"""`duet predict`: answer ticket files and print what a person or a program reads."""

import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.two_stage import load_two_stage
from tickets.schema import Answer, Prediction
from tickets.text_file import read_ticket

_WIDTH = 80
_INDENT = 10


def predict_files(files: Sequence[Path], model: Path | None, as_json: bool, labels_only: bool) -> None:
    """Label and answer every file, in order; text for people or one JSON object per line on stdout."""
    tickets = [read_ticket(path) for path in files]  # all of them before the model: a bad file fails at once
    system = load_two_stage(model, labels_only)
    if system.generator is None and not labels_only:
        print("this model has no generator: labels only; `duet train-gen` adds replies", file=sys.stderr)
    for number, ticket in enumerate(tickets):
        answer = system.answer([ticket], labels_only)[0]
        if answer.truncated:
            print(
                f"warning: {ticket.id}: longer than this model reads ({system.classifier.max_length} tokens, reply "
                "included); its end was cut off; train with a larger training.max_length to read more",
                file=sys.stderr,
            )
        if as_json:
            print(json.dumps(answer_to_dict(answer), ensure_ascii=False), flush=True)
        else:
            heading = f"{ticket.id}\n" if len(tickets) > 1 else ""
            print(("\n" if number else "") + heading + render(answer), flush=True)


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


def render(answer: Answer) -> str:
    """The text form of an answer, 80 columns wide."""
    lines = _label_lines(answer.prediction)
    if answer.prediction.tags:
        lines += _wrapped("tags", ", ".join(answer.prediction.tags))
    lines.append(f"{'review':<{_INDENT}}{'a person should look' if answer.needs_review else 'not needed'}")
    if answer.reply is not None:
        lines += _wrapped("reply", answer.reply)
    return "\n".join(lines)


def _label_lines(prediction: Prediction) -> list[str]:
    confidence = prediction.confidence
    return [f"{column:<{_INDENT}}{label}  {confidence[column]:.0%}" for column, label in prediction.labels.items()]


def _wrapped(name: str, text: str) -> list[str]:
    """A named paragraph with a hanging indent; the text's own line breaks stay."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        lines += textwrap.wrap(paragraph, _WIDTH - _INDENT) or [""]
    first, *rest = lines
    return [f"{name:<{_INDENT}}{first}", *(" " * _INDENT + line if line else "" for line in rest)]
