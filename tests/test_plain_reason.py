"""What users read of a value that others wrote: what was found and expected, in no language's own words."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backbone.base import BaseIdentity
from backbone.runs.files import read_json
from classifier.calibration import Calibration, HeadCalibration
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.plain_reason import plain_reason
from tickets.schema import ticket_from_record

OF_PYTHON = re.compile(r"NoneType|\bobject (is|has)\b|indices must|argument|__|\b(str|dict|int|float|ufunc)\b|Error\b")
VALUES: Any = (None, 5, 1.5, True, "text", [1], {"a": 1}, [], {}, [None], ["a", 2], {"a": None}, [[1], [1, 2]])


def raised(act: Callable[[], object]) -> Exception:
    try:
        act()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda value: value["a"], "found null, expected an object or a list"),
        (lambda value: value.choices, "found null, expected an object with 'choices'"),
        (lambda value: value.items(), "found null, expected an object"),
        (lambda value: float(value), "found null, expected a number"),
        (lambda value: int(value), "found null, expected a number"),
        (lambda value: list(value), "found null, expected a list"),
        (lambda value: len(value), "found null, expected a list"),
        (lambda value: "a" in value, "found null, expected an object or a list"),
        (lambda value: dict(**value), "found null, expected an object"),
        (lambda value: value >= 0, "found null, expected a number"),
        (lambda value: value <= 0, "found null, expected a number"),
        (lambda _: "text".strip()["a"], "found text, expected an object"),  # type: ignore[index]
        (lambda _: sorted("b")["a"], "found a list, expected an object"),  # type: ignore[call-overload]
        (lambda _: [][0], "a list or text is too short"),
        (lambda _: dict[str, int]()["heads"], "no 'heads'"),
        (lambda _: float("x"), "found 'x', expected a number"),
        (lambda _: {[]: 1}, "found a list, expected text"),  # type: ignore[dict-item]
        (lambda _: HeadCalibration(offset=(), temprature=1), "unknown key 'temprature'"),  # type: ignore[arg-type]
        (lambda _: HeadCalibration((), 1.0), "no 'threshold'"),  # type: ignore[call-arg]
        (lambda _: Path("/nowhere/at/all").read_text(), "No such file or directory"),
    ],
)
def test_python_s_complaints_say_what_was_found(act: Callable[[Any], object], told: str) -> None:
    assert plain_reason(raised(lambda: act(None))) == told


@pytest.mark.parametrize("text", ["classes and tags are no lists of different names", "over 10 bytes", "line 3: half"])
def test_our_own_words_stay(text: str) -> None:
    assert plain_reason(ValueError(text)) == text


def _with(record: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A JSON value, one place of which is another."""
    if not path:
        return value
    copy = json.loads(json.dumps(record))
    inner = copy
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return copy


CALIBRATION: dict[str, Any] = {
    "heads": {
        "type": {
            "offset": [0.0, 1.0],
            "temperature": 1.0,
            "threshold": 0.5,
            "strength": 0.0,
            "thresholds": {"0.8": 0.5},
        }
    },
    "tag_threshold": 0.5,
    "fitted_on": {},
}
HEAD = ("heads", "type")
READERS: dict[str, tuple[Callable[[Path], object], Any, list[tuple[Any, ...]]]] = {
    "calibration": (
        Calibration.load,
        CALIBRATION,
        [(), ("heads",), HEAD, *((*HEAD, key) for key in CALIBRATION["heads"]["type"]), ("tag_threshold",)],  # type: ignore[index]
    ),
    "labels": (
        LabelSpace.load,
        {"columns": {"type": ["a", "b"]}, "tags": ["x"]},
        [(), ("columns",), ("columns", "type"), ("columns", "type", 0), ("tags",), ("tags", 0)],
    ),
    "base": (
        BaseIdentity.load,
        {"name": "a", "revision": None, "fingerprint": "b", "folder": "c"},
        [(), ("name",), ("fingerprint",)],
    ),
    "record": (read_json, {}, [()]),
    "ticket": (
        lambda path: ticket_from_record(json.loads(path.read_text()), str(path)),
        {"id": "1", "subject": "", "body": "b", "labels": {"a": "b"}, "tags": ["x"], "reply": ""},
        [(), ("id",), ("subject",), ("labels",), ("labels", "a"), ("tags",), ("tags", 0), ("reply",)],
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_files_of_ours_are_refused_in_plain_words(name: str, tmp_path: Path) -> None:
    read, record, places = READERS[name]
    file = tmp_path / "record.json"
    file.write_text(json.dumps(record))
    read(file)  # as it is, it passes
    refused = 0
    for place in places:
        for value in VALUES:
            file.write_text(json.dumps(_with(record, place, value)))
            try:
                read(file)
            except InputError as error:
                refused += 1
                assert "\n" not in str(error) and not OF_PYTHON.search(str(error).replace(str(tmp_path), "")), error
    assert refused >= len(places)


@pytest.mark.parametrize("key", ["temperature", "threshold", "strength", "offset", "thresholds", "tag_threshold"])
@pytest.mark.parametrize("value", [True, False, "0.5"])
def test_what_is_no_number_calibrates_nothing(key: str, value: object, tmp_path: Path) -> None:
    wrong: dict[str, Any] = {"offset": [0.0, value], "thresholds": {"0.8": value}}
    place = (key,) if key in CALIBRATION else (*HEAD, key)
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(_with(CALIBRATION, place, wrong.get(key, value))))
    with pytest.raises(InputError, match="not a calibration"):
        Calibration.load(file)
