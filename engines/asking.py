"""Asking a model for JSON objects: several questions at a time, within a budget, each answer kept and read."""

import asyncio
import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

from backbone.progress import open_bar
from engines.addresses import without_credentials
from engines.answer_cache import AnswerCache, Kept
from engines.budget import Budget
from engines.completion import Completion, RequestRefused, ServerFailed
from tickets.errors import WorkError

EMPTY, CUT, REFUSED = "empty", "cut", "refused"  # what problems begin with, where an answer is not there to be read
_BYTES_PER_TOKEN = 3.5  # of English text, about
_WRITTEN = 100  # tokens of an answer, about
_TRIES = 2
_AGAIN = "That cannot be read ({problem}). Answer again, with the JSON object alone: {schema}"
_QUOTED = 2_000  # characters of an answer that could not be read, as it is shown again
_FORMATS = ("json_schema", "json_object with schema", "json_object", "none")  # the strictest first
_LIMITS = ("max_tokens", "max_completion_tokens")  # the second is what newer models of OpenAI want


class Question(Protocol):
    """One call: what is sent, and the form of the answer."""

    @property
    def messages(self) -> list[dict[str, str]]:
        """As the API takes them."""

    @property
    def draw(self) -> int:
        """Which draw it is of the same question."""

    @property
    def key(self) -> str:
        """SHA-256 of all that the answer depends on but the model and its settings."""

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the answer."""

    def problem_of(self, text: str) -> str:
        """Say what is wrong with an answer; empty where nothing is."""


class ChatModel(Protocol):
    """Where answers come from: a server, or a base on this machine."""

    async def complete(
        self, messages: Sequence[Mapping[str, str]], settings: Mapping[str, Any], most_tokens: int
    ) -> Completion:
        """Return the answer to some messages, as `ChatEndpoint.complete` does."""


@dataclass(frozen=True)
class AskSettings:
    """Which model is asked, and how.

    Attributes:
        key_variable: environment variable that holds the API key.
        seconds: until a request counts as lost.
        concurrent: requests under way at a time.
        max_tokens: of an answer.
        budget: tokens that one run may use; None for any number.
    """

    url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    seconds: float = 120.0
    concurrent: int = 8
    temperature: float = 0.0
    max_tokens: int = 512
    seed: int = 0
    budget: int | None = None


@dataclass(frozen=True)
class Dialect:
    """How a server is asked: the field that limits an answer, and the way to give it a form, one of _FORMATS."""

    limit: str
    form: str


class Asker:
    """A model with the answers that it gave before."""

    def __init__(self, settings: AskSettings, model: ChatModel, cache: AnswerCache, probe: Question | None) -> None:
        """Take the model.

        Args:
            probe: a question by which to learn how the model takes a form for its answer; None where it takes none.
        """
        self._settings, self._model, self._cache, self._probe = settings, model, cache, probe
        self._places = asyncio.Semaphore(settings.concurrent)
        self._dialect: Dialect | None = None if probe else Dialect(_LIMITS[0], _FORMATS[-1])
        self._refused: dict[str, Kept] = {}  # for this run alone: a server can be set to take longer requests
        self._budget = Budget(settings.budget)

    async def ask(self, questions: Sequence[Question], description: str) -> dict[str, Kept]:
        """Answer all questions, from what is kept where it is; returns answers by the question's key.

        Raises:
            WorkError: the budget is spent, or the server does not answer; what was answered is kept.
        """
        missing = self.missing(questions)
        if missing:
            await self._ask_missing(missing, description)
        answers = {question.key: self._cached_answer(question) for question in questions}
        return {key: answer for key, answer in answers.items() if answer is not None}

    def missing(self, questions: Sequence[Question]) -> list[Question]:
        """Return those without an answer, each once."""
        unique = {question.key: question for question in questions}
        return [question for question in unique.values() if self._cached_answer(question) is None]

    def _cached_answer(self, question: Question) -> Kept | None:
        key = answer_key(self._settings, question)
        answer = self._refused.get(key) or self._cache.get(key)
        return answer if answer is None or answer.problem or not question.problem_of(answer.text) else None

    async def _ask_missing(self, questions: Sequence[Question], description: str) -> None:
        if self._dialect is None:
            assert self._probe is not None  # else there is a dialect from the start
            self._dialect = await self._find_dialect(self._probe)
        dialect = self._dialect
        with open_bar(len(questions), description, "answer") as bar:

            async def one(question: Question) -> bool:
                async with self._places:
                    kept = await self._answer(question, dialect)
                bar.update()
                return kept

            # those about one ticket follow each other, for servers that keep the last prompt
            tasks = [asyncio.ensure_future(one(question)) for question in sorted(questions, key=_last_message)]
            try:
                answered = await asyncio.gather(*tasks)
            except BaseException:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                raise
        if not all(answered):
            raise self._budget_spent(f"{answered.count(False):,} more {description}")

    async def _answer(self, question: Question, dialect: Dialect) -> bool:
        """Ask one question, a second time where the answer cannot be read, and keep what came; False: no budget."""
        messages = question.messages
        text, problem, model, tokens, day = "", "", "", 0, datetime.date.today().isoformat()
        for _ in range(_TRIES):
            try:
                completion = await self._complete(messages, question, dialect)
            except RequestRefused as refusal:
                self._refused[answer_key(self._settings, question)] = Kept(
                    "", f"{REFUSED}: {refusal}", model, tokens, day
                )
                return True
            if completion is None:
                return False
            text, model = completion.text, completion.model
            tokens += _used(completion, messages)
            problem = self._problem(question, completion)
            if not problem or completion.is_cut:  # which a second one would be too
                break
            again = _AGAIN.format(problem=problem, schema=json.dumps(question.schema))
            messages = [
                *question.messages,
                {"role": "assistant", "content": text[:_QUOTED]},
                {"role": "user", "content": again},
            ]
        self._cache.put(answer_key(self._settings, question), Kept(text, problem, model, tokens, day))
        return True

    def _problem(self, question: Question, completion: Completion) -> str:
        """Say why an answer cannot be used; empty where it can."""
        problem = question.problem_of(completion.text)
        if problem and completion.is_cut:
            return f"{CUT}: longer than --max-tokens {self._settings.max_tokens:,}"
        return EMPTY if problem and not completion.text.strip() else problem

    async def _complete(
        self, messages: Sequence[Mapping[str, str]], question: Question, dialect: Dialect
    ) -> Completion | None:
        """Send one request within the budget; None where that is spent."""
        settings = self._settings
        request = {
            dialect.limit: settings.max_tokens,
            "temperature": settings.temperature,
            "seed": settings.seed + question.draw,
            **_response_format(dialect.form, question.schema),
        }
        most = prompt_tokens(messages) + settings.max_tokens
        if not await self._budget.reserve(most):
            return None
        used = 0  # by a request that is refused or fails
        try:
            completion = await self._model.complete(messages, request, settings.max_tokens)
            used = _used(completion, messages)
            return completion
        finally:
            await self._budget.settle(most, used)

    async def _find_dialect(self, probe: Question) -> Dialect:
        """Try how the server takes a form for its answer: the strictest way whose answer can be read, or else that it
        does not refuse."""
        accepted: list[Dialect] = []
        refusal = ""
        for limit, form in product(_LIMITS, _FORMATS):
            if accepted and limit != accepted[0].limit:
                break
            dialect = Dialect(limit, form)
            try:
                completion = await self._complete(probe.messages, probe, dialect)
            except (RequestRefused, ServerFailed) as error:  # llama-cpp-python answers 500 to formats it does not know
                if isinstance(error, ServerFailed) and form == _FORMATS[-1]:
                    raise
                refusal = str(error)
                continue
            if completion is None:
                raise self._budget_spent("a first question")
            if not probe.problem_of(completion.text):
                return dialect
            accepted.append(dialect)
        if not accepted:
            raise WorkError(f"the server refuses every form of request, the last one with {refusal}; see its log")
        return accepted[0]

    def _budget_spent(self, needed: str) -> WorkError:
        return WorkError(
            f"--budget-tokens {self._settings.budget:,}: {self._budget.used:,} are used, and the rest is not enough "
            f"for {needed}; the same command with a larger budget goes on from here"
        )


def answer_key(settings: AskSettings, question: Question) -> str:
    """SHA-256 of all that an answer depends on."""
    address = without_credentials(settings.url)
    parts = [address, settings.model, settings.temperature, settings.max_tokens, settings.seed, question.key]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def prompt_tokens(messages: Sequence[Mapping[str, str]]) -> int:
    """Estimate the tokens of some messages."""
    return round(sum(len(message["content"].encode()) for message in messages) / _BYTES_PER_TOKEN)


def text_tokens(text: str) -> int:
    """Estimate the tokens of a text."""
    return round(len(text.encode()) / _BYTES_PER_TOKEN)


def estimated_tokens(questions: Sequence[Question], written: int = _WRITTEN) -> int:
    """Estimate the tokens of some questions with answers of `written` tokens."""
    return sum(prompt_tokens(question.messages) + written for question in questions)


def _last_message(question: Question) -> str:
    return question.messages[-1]["content"]


def _response_format(form: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    formats: dict[str, dict[str, Any]] = {
        "json_schema": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        },
        "json_object with schema": {"type": "json_object", "schema": schema},
        "json_object": {"type": "json_object"},
    }
    return {"response_format": formats[form]} if form in formats else {}


def _used(completion: Completion, messages: Sequence[Mapping[str, str]]) -> int:
    """Return tokens that an answer took: as the server says, or else estimated."""
    read = prompt_tokens(messages) if completion.read is None else completion.read
    return read + (prompt_tokens([{"content": completion.text}]) if completion.written is None else completion.written)
