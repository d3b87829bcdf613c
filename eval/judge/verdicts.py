"""The form of a judge model's answer."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from engines.answer_json import read_answer


class Verdict(BaseModel):
    """Reasons before what follows from them: models write in the order of the fields."""

    reasons: str

    @property
    def value(self) -> int | str:
        raise NotImplementedError


class PointVerdict(Verdict):
    """A score on one dimension."""

    score: int = Field(ge=1, le=5)

    @property
    def value(self) -> int:
        """The score."""
        return self.score


class PairVerdict(Verdict):
    """Which of two replies is better."""

    verdict: Literal["first", "second", "tie"]

    @property
    def value(self) -> str:
        """The better one's place, or tie."""
        return self.verdict


def schema_of(answer: type[Verdict]) -> dict[str, Any]:
    """Return the JSON schema of an answer, of the simplest kind: servers let schemas pass that they cannot compile."""
    name, values = ("score", [1, 2, 3, 4, 5]) if answer is PointVerdict else ("verdict", ["first", "second", "tie"])
    kind = "integer" if answer is PointVerdict else "string"
    return {
        "type": "object",
        "properties": {"reasons": {"type": "string"}, name: {"type": kind, "enum": values}},
        "required": ["reasons", name],
        "additionalProperties": False,
    }


def read_verdict(text: str, answer: type[Verdict]) -> Verdict:
    """Read an answer; what a model thought before it, and a code fence around it, is passed over.

    Raises:
        ValueError: no JSON object, or not of that form; the message says what is wrong in one line.
    """
    return read_answer(text, answer)
