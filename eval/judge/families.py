"""Who made a model, as far as its name says: a judge prefers what its own family writes."""

import re
from collections.abc import Iterable

from backbone.config import MINI

# a mark of up to three letters has to stand alone, but for digits: "phi" is not in "dolphin"
_MARKS = {
    "Qwen": ("qwen", "qwq"),
    "SmolLM": ("smollm",),
    "Llama": ("llama",),
    "Mistral": ("mistral", "mixtral", "ministral", "magistral"),
    "Gemma": ("gemma", "gemini"),
    "GPT": ("gpt", "chatgpt", "o1", "o3", "o4", "davinci"),
    "Claude": ("claude",),
    "DeepSeek": ("deepseek",),
    "Phi": ("phi",),
    "Command": ("command", "aya"),
    "Granite": ("granite",),
    "GLM": ("glm", "chatglm"),
    "Falcon": ("falcon",),
    "OLMo": ("olmo",),
    "Nemotron": ("nemotron",),
    "Teuken": ("teuken",),
}
_SHORT = 3


def families_of(names: Iterable[str]) -> set[str]:
    """Return the families that some names of models speak of; a distilled model may have two.

    Of a path, the last two parts are looked at.
    """
    words = ["/".join(name.lower().split("/")[-2:]) for name in names]
    return {family for family, marks in _MARKS.items() if any(_speaks_of(word, marks) for word in words)}


def _speaks_of(word: str, marks: Iterable[str]) -> bool:
    return any(
        re.search(rf"(?<![a-z0-9]){mark}(?![a-z])", word) if len(mark) <= _SHORT else mark in word for mark in marks
    )


def base_families(bases: Iterable[tuple[str, str]]) -> set[str]:
    """Return the families of bases, each with its name and the family of its architecture.

    The architecture speaks where the name does not. The embedded model has a family of its own.
    """
    families: set[str] = set()
    for name, architecture in bases:
        if name != MINI:
            families |= families_of([name]) or families_of([architecture])
    return families
