"""Keys of saved answers and reports that are older than the names in the code, so that earlier files stay readable."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

UNKNOWN_LABEL, NEAR_MISS = "foreign", "nearly"
_FIELDS = {"unknown_labels": UNKNOWN_LABEL, "prompt_tokens": "read", "written_tokens": "tokens"}  # of `Output`
_KEYS = {**_FIELDS, "unknown_label": UNKNOWN_LABEL, "near_miss": NEAR_MISS}
_FIELD_OF_KEY = {key: name for name, key in _FIELDS.items()}


def to_saved(value: "DataclassInstance") -> dict[str, Any]:
    """Return a dataclass, and those inside it, as a record with the keys of saved files."""
    return asdict(value, dict_factory=lambda fields: {_KEYS.get(name, name): item for name, item in fields})


def from_saved(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a saved answer with the names of the fields of `Output`."""
    return {_FIELD_OF_KEY.get(key, key): item for key, item in answer.items()}
