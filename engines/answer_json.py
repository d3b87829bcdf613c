"""Reading the JSON object that a model was asked for: servers answer with something else, whatever they were asked."""

import json
import re
from typing import TypeVar

from pydantic import BaseModel, ValidationError

_FENCED = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.S)

Answer = TypeVar("Answer", bound=BaseModel)


def read_answer(text: str, form: type[Answer]) -> Answer:
    """Read an answer; what a model thought before it, and a code fence around it, is passed over.

    Raises:
        ValueError: no JSON object, or not of that form; the message says what is wrong in one line.
    """
    answer = text.rpartition("</think>")[2].strip()
    fenced = _FENCED.match(answer)
    try:
        return form.model_validate(json.loads(fenced.group(1) if fenced else answer), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'answer'}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise ValueError("not a JSON object") from None
