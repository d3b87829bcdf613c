"""Which files of a folder, or that fit a pattern, are answered apart."""

import re
from fnmatch import fnmatchcase

from backbone.remote.places import Place
from tickets.errors import InputError
from tickets.raw import ROW_ENDINGS

_TABLES = (*ROW_ENDINGS, ".gz", ".zip")
_MAIL = ".eml"
_WILDCARD = re.compile(r"[*?\[]")


def has_wildcard(place: Place) -> bool:
    """Return whether the name of a place is a pattern such as `*.csv`, and no file is called that."""
    return bool(_WILDCARD.search(place.name)) and not (place.is_local and place.local.exists())


def _matching(place: Place) -> list[Place]:
    folder = place.parent
    return [folder / name for name in folder.files() if fnmatchcase(name, place.name)]


def table_files(source: str) -> list[Place] | None:
    """Return the files of a folder of tables, or those that fit a pattern; None for any other source.

    Raises:
        InputError: a folder or pattern without such a file.
        WorkError: a store does not answer.
    """
    place = Place.parse(source, "SOURCE")
    if has_wildcard(place):
        found = _matching(place)
        if not found:
            raise InputError(f"{source}: no file fits this pattern; correct it")
        return found
    if not place.is_folder():
        return None
    tables = [name for name in _names(place) if name.lower().endswith(_TABLES)]
    if place.is_local and (not tables or any(name.lower().endswith(_MAIL) for name in place.files(recursive=True))):
        return None  # mails, a saved dataset, or what the reader of sources refuses
    if not tables:
        raise InputError(f"{source}: found no file of tickets in it, expected {', '.join(_TABLES)}")
    return [place / name for name in tables]


def other_files(source: str) -> list[str]:
    """Return the names of the files in a folder that are no tables, and are not read with them."""
    place = Place.parse(source, "SOURCE")
    return [] if has_wildcard(place) else [name for name in _names(place) if not name.lower().endswith(_TABLES)]


def _names(folder: Place) -> list[str]:
    return [name for name in folder.files() if not name.startswith((".", "_"))]
