"""Reading a configuration: YAML files, what they extend, overrides from `--set`, and errors that name the key."""

import difflib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from backbone.config import MINI, RunConfig
from tickets.errors import InputError
from tickets.plain_reason import kind_of
from tickets.sources import check_regular, holds, source_path

_EXPECTED = {  # where the library's words speak of Python
    "tuple_type": "a list, such as [type, queue]",
    "dict_type": "keys with values, such as {low: 2.0}",
    "model_type": "a section with keys of its own",
    "model_attributes_type": "a section with keys of its own",
    "missing": "a value",
    "too_short": "at least one name, such as [type]",
}

_WHOLE = ("class_weights", "review_accuracy")  # mappings that are values, not sections

_LARGEST, _DEEPEST, _MOST_VALUES = 1_000_000, 20, 20_000  # bytes of a file, levels and values of a configuration
_MOST_ALIASES = 20  # few configurations have one; nested, 81 of them stand for hundreds of millions of values
_NUMBERS, _LONGEST_NUMBER = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"), 400  # characters
_LONGEST_SHOWN = 300  # characters of a value in an error
# what the library raises beside its own errors: dates, numbers, depth, merges that are no mappings
_NOT_YAML = (
    yaml.YAMLError,
    UnicodeDecodeError,
    ValueError,
    TypeError,
    AttributeError,
    RecursionError,
    OverflowError,
    MemoryError,
)


def load_config(path: Path | None, overrides: Sequence[str] = (), inside: Path | None = None) -> RunConfig:
    """Read a YAML file (the built-in mini configuration without one) and apply `key.path=value` overrides.

    A file that `extends` another one, named relative to itself, holds only what differs.

    Args:
        inside: the folder of a run: its configuration may extend nothing elsewhere, because nothing vouches for that.

    Raises:
        InputError: one line that names the key, what was found, what was expected and the nearest valid key.
    """
    source = str(path) if path else "built-in configuration"
    record = _extended(path, inside) if path else _parse(builtin_config_text(MINI))
    for override in overrides:
        apply_override(record, override)
    try:
        return RunConfig.model_validate(record)
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error, RunConfig)}") from None


def dump_config(config: RunConfig) -> str:
    """Return the YAML that `load_config` reads back to an equal configuration."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def builtin_config_text(name: str) -> str:
    """Return the text of a configuration shipped with the package."""
    return (resources.files("configs") / f"{name}.yaml").read_text(encoding="utf-8")


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        InputError: anything else, or what would take the machine's memory.
    """
    expected = "expected keys such as those of configs/mini.yaml"
    try:
        if not path.is_dir():
            check_regular(path, "config.yaml")
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: not YAML of a configuration (over {_LARGEST:,} bytes); {expected}")
        record = _parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a YAML file such as configs/qwen2-7b.yaml") from None
    except _NOT_YAML as error:
        raise InputError(f"{path}: not YAML ({_reason(error)}); {expected}") from None
    if record is not None and not isinstance(record, dict):
        raise InputError(f"{path}: found {kind_of(record)}, {expected}")
    settings: dict[str, Any] = record or {}
    return settings


class _TextKeyLoader(yaml.SafeLoader):
    """Reads every key as the text that stands there: a label may be called `1`, `No` or `2024-01-01`.

    What is too much of it is refused as it is read, because the library takes seconds for a megabyte.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._aliases = self._nodes = self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._aliases += self.check_event(yaml.AliasEvent)
        if self._aliases > _MOST_ALIASES:
            raise ValueError(f"over {_MOST_ALIASES} aliases")
        self._nodes += 1
        self._depth += 1
        if self._depth > _DEEPEST + 2 or self._nodes > 2 * _MOST_VALUES:  # keys are nodes too
            raise ValueError("nested too deeply or too many values")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
            raise ValueError(f"a number of {len(node.value):,} characters")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        written = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twice = (
            next((key for key in written if written.count(key) > 1), None) if len(set(written)) < len(written) else None
        )
        if twice is not None:  # the library would drop the first one without a word
            raise ValueError(f"the key {twice[:100]!r} twice")
        self.flatten_mapping(node)  # what `<<` merges
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = self.DEFAULT_SCALAR_TAG
        return super().construct_mapping(node, deep)


def _parse(text: str) -> Any:
    """Return what YAML says, without shared parts: overriding a key must not change what another anchor named.

    Raises:
        ValueError: nested too deeply, or too much of it.
        yaml.YAMLError: no YAML.
    """
    return _unshared(yaml.load(text, Loader=_TextKeyLoader), count(), 0)


def _unshared(value: Any, counter: "count[int]", depth: int) -> Any:
    if depth > _DEEPEST or next(counter) > _MOST_VALUES:
        raise ValueError("nested too deeply or too many values")
    if isinstance(value, dict):
        return {key: _unshared(item, counter, depth + 1) for key, item in value.items()}
    return [_unshared(item, counter, depth + 1) for item in value] if isinstance(value, list) else value


def _reason(error: BaseException) -> str:
    named: dict[type[BaseException], str] = {RecursionError: "nested too deeply", MemoryError: "too large"}
    return " ".join(str(error).split())[:200] or named.get(type(error), type(error).__name__)


def _extended(path: Path, inside: Path | None, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the keys of a file over those of the file it extends."""
    record = read_yaml(path)
    parent = record.pop("extends", None)
    if parent is None:
        return record
    if path.resolve() in seen or not isinstance(parent, str):
        raise InputError(f"{path}: extends {parent!r}, expected the name of another file; correct it")
    above = path.parent / source_path(parent)
    if inside and not holds(inside, above):
        raise InputError(
            f"{path}: extends {parent[:200]!r}, which is no file inside {inside}; expected a configuration that stands "
            "for itself; train or export again"
        )
    if not above.is_file():
        raise InputError(f"{path}: extends {parent!r}, which is not there; expected a file beside this one; correct it")
    return _merged(_extended(above, inside, (*seen, path.resolve())), record)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(below[key], above[key]) for key in below.keys() & above.keys() if _are_sections(below, above, key)
    }
    return below | above | both


def _are_sections(below: dict[str, Any], above: dict[str, Any], key: str) -> bool:
    return isinstance(below[key], dict) and isinstance(above[key], dict) and key not in _WHOLE


def apply_override(record: dict[str, Any], override: str) -> None:
    """Set one dotted key of `record` in place from `key.path=value`."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override[:200]}: expected key=value, for example --set lora.rank=64")
    *parents, last = key.strip().split(".")
    if len(parents) > _DEEPEST:
        raise InputError(f"--set {override[:200]}: the key has over {_DEEPEST} parts; see configs/mini.yaml")
    for parent in parents:
        record = record.setdefault(parent, {})
        if not isinstance(record, dict):
            raise InputError(f"--set {override[:200]}: {parent!r} is a value, not a section; see configs/mini.yaml")
    try:
        record[last] = _number_or(_parse(text))
    except _NOT_YAML as error:
        raise InputError(f"--set {override[:200]}: the value is not YAML ({_reason(error)}); quote it") from None


def _number_or(value: Any) -> Any:
    """Return a number where text is one: YAML 1.1 reads `2e-4` as text; everyone means the number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """Return the first fault of a configuration of type `root` in one line: key, what was found, what was expected."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "extra_forbidden":
        key = ".".join(map(str, first["loc"]))
        nearest = [name for name in _all_keys(root) if name.endswith(f".{key}")]  # written without its section
        nearest = nearest or difflib.get_close_matches(key, _all_keys(root), n=1, cutoff=0.0)
        shown = f"{key[:200]!r} (value {_shown(first['input'])})"
        return f"unknown key {shown}; nearest valid key: {' or '.join(map(repr, nearest))}"
    path, info = _field(root, first["loc"])
    key = ".".join(path)
    message = _EXPECTED.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    expected = message[0].lower() + message[1:]
    if len(path) < len(first["loc"]) and info is not None:  # of a key that takes several kinds: one of their complaints
        expected = info.description or expected
    return f"key {key!r}: found {_shown(first['input'])}, expected: {expected}; correct it or --set {key}=..."


def _shown(value: object) -> str:
    """Return a value as an error shows it: what is long loses its end."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _field(root: type[BaseModel], location: Sequence[int | str]) -> tuple[list[str], FieldInfo | None]:
    """Return the key in a place that pydantic names, without the names of the types it tried there, and its field."""
    path: list[str] = []
    info: FieldInfo | None = None
    section: Any = root
    for part in location:
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            break
        path.append(str(part))
        info = section.model_fields.get(str(part))
        section = info.annotation if info else None
    return path, info


@cache
def _all_keys(root: type[BaseModel]) -> tuple[str, ...]:
    return tuple(_keys(root, ()))


def _keys(section: type[BaseModel], prefix: tuple[str, ...]) -> Iterable[str]:
    for name, info in section.model_fields.items():
        path = (*prefix, name)
        yield ".".join(path)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _keys(info.annotation, path)
