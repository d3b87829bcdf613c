"""Asking a judge model: questions in, verdicts or the problem that stood in the way out."""

from collections.abc import Sequence
from dataclasses import dataclass

from engines.answer_cache import AnswerCache, Kept
from engines.asking import Asker, AskSettings, ChatModel
from eval.judge.questions import Case, Question, point_question
from eval.judge.verdicts import read_verdict

_PROBE = point_question(Case("", "Where do I find my invoice?", "Under Billing."), "Under Billing.", "overall")


@dataclass(frozen=True)
class Outcome:
    """The answer to one question: a score, a place, or None with the problem that stood in the way."""

    value: int | str | None
    reasons: str
    problem: str
    model: str
    tokens: int
    day: str


class JudgeModel:
    """A judge model behind a server, with the answers that it gave before."""

    def __init__(self, settings: AskSettings, model: ChatModel, cache: AnswerCache) -> None:
        self._asker = Asker(settings, model, cache, _PROBE)

    async def ask(self, questions: Sequence[Question], description: str) -> dict[str, Outcome]:
        """Answer all questions, from what is kept where it is; returns outcomes by the question's key.

        Raises:
            WorkError: the budget is spent, or the server does not answer; what was answered is kept.
        """
        answers = await self._asker.ask(questions, description)
        return {question.key: _outcome(question, answers[question.key]) for question in questions}


def _outcome(question: Question, answer: Kept) -> Outcome:
    if answer.problem:
        return Outcome(None, answer.text, answer.problem, answer.model, answer.tokens, answer.day)
    verdict = read_verdict(answer.text, question.answer)
    return Outcome(verdict.value, verdict.reasons, "", answer.model, answer.tokens, answer.day)
