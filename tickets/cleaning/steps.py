"""How tickets are cleaned: what the prepared folder remembers and every later reading of a ticket follows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from tickets.cleaning.clean import Cleaner
from tickets.errors import InputError
from tickets.own_json import read_own


@dataclass(frozen=True)
class CleaningSteps:
    """Steps of cleaning that are on. Whether `\\n` is a line break is asked of every source anew."""

    html: bool = True
    quotes: bool = True
    signatures: bool = False

    @classmethod
    def from_record(cls, record: object) -> "CleaningSteps":
        """Return the reading that `to_dict` wrote; the usual one if it is missing, as in runs of earlier versions."""
        known = {field.name for field in fields(cls)}
        values = record if isinstance(record, Mapping) else {}
        return cls(**{str(name): value for name, value in values.items() if name in known and isinstance(value, bool)})

    @classmethod
    def of_prepared(cls, folder: Path) -> "CleaningSteps":
        """Return the reading of a folder that `duet prepare` wrote; the usual one where it does not say."""
        try:
            return cls.from_record(read_own(folder / "report.json").get("reading"))
        except (OSError, ValueError, AttributeError, InputError):
            return cls()

    def changed(self, **options: bool | None) -> "CleaningSteps":
        """Return the same with the options that were given; None leaves a step as it is."""
        return replace(self, **{name: value for name, value in options.items() if value is not None})

    def cleaner(self, escapes: bool | None = None) -> Cleaner:
        """Return a cleaner that takes these steps."""
        return Cleaner(escapes, self.html, self.quotes, self.signatures)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


USUAL = CleaningSteps()
