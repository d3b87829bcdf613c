"""What a judge's server says beside its answer is not believed: token counts, and the name of its model."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engines.answer_cache import AnswerCache, Kept
from engines.asking import AskSettings
from engines.chat import ChatEndpoint
from eval.judge.asking import JudgeModel, Outcome
from eval.judge.questions import Case, point_question
from tests.scripted_judge import Script, serving

QUESTION = point_question(Case("t", "It fails", "Restart it."), "Restart it.", "overall")


def ask(url: str, folder: Path) -> Outcome:
    """The answer of a server, or the one that is kept, to one question."""

    async def ask_with(cache: AnswerCache) -> Outcome:
        async with ChatEndpoint(url, "scripted", "OPENAI_API_KEY", 10.0) as endpoint:
            model = JudgeModel(AskSettings(url, "scripted", budget=100_000), endpoint, cache)
            return (await model.ask([QUESTION], "scores"))[QUESTION.key]

    with closing(AnswerCache(folder / "a.sqlite")) as cache:
        return asyncio.run(ask_with(cache))


def answered(script: Script, folder: Path) -> Outcome:
    with serving(script) as url:
        return ask(url, folder)


ABSURD: tuple[Any, ...] = (
    "700",
    "\ud800",
    float("inf"),
    float("nan"),
    -1,
    10**9,
    2**63,
    10**400,
    1.5,
    True,
    None,
    [],
    {},
)
USAGES: list[Any] = [{"prompt_tokens": value, "completion_tokens": value} for value in ABSURD]
USAGES += ["many", [700], {"prompt_tokens": 700}, {"prompt_tokens": 700, "completion_tokens": 10**6}]


@pytest.mark.parametrize("usage", USAGES, ids=[ascii(usage)[:60] for usage in USAGES])
def test_tokens_that_no_answer_takes_are_estimated(usage: Any, tmp_path: Path) -> None:
    outcome = answered(Script(usage=usage), tmp_path)
    assert outcome.value is not None and type(outcome.tokens) is int and 100 < outcome.tokens < 5_000


def test_tokens_that_can_be_are_counted(tmp_path: Path) -> None:
    assert answered(Script(), tmp_path).tokens == 720


@pytest.mark.parametrize(("given", "shown"), [("m\ud800", "m\\ud800"), ("s" * 300, "s" * 200), ({"a": 1}, "")])
def test_the_name_of_a_model_is_short_text(given: Any, shown: str, tmp_path: Path) -> None:
    assert answered(Script(model=given), tmp_path).model == shown


@pytest.mark.parametrize("tokens", ["many", float("inf"), -5, 2**62, b"x"])
def test_a_damaged_count_is_asked_for_anew(tokens: Any, tmp_path: Path) -> None:
    with closing(AnswerCache(tmp_path / "a.sqlite")) as cache:
        cache.put("k", Kept("text", "", "m", tokens, "2026-01-01"))
        assert cache.get("k") is None


def test_a_damaged_answer_is_asked_for_anew(tmp_path: Path) -> None:
    script = Script()
    with serving(script) as url:
        ask(url, tmp_path)
        with closing(AnswerCache(tmp_path / "a.sqlite")) as cache:
            cache._file.execute("UPDATE answers SET text = 'four'")
        asked = len(script.requests)
        assert ask(url, tmp_path).value is not None and len(script.requests) > asked
