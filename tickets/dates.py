"""When tickets were created: the dates that helpdesks export, as seconds since 1970."""

import re
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from dateutil import parser
from numpy.typing import NDArray

from tickets.errors import InputError

CREATED = (  # headers of the column with the date of creation, best first
    *("created", "created at", "created on", "created time", "created date", "date created", "creation date"),
    *("creation time", "create time", "create date", "ticket created", "sys created on", "fields.created", "opened"),
    *("opened at", "opened on", "open time", "date opened", "reported", "reported date", "received", "received at"),
    *("date received", "submitted", "submitted at", "submission date", "timestamp", "date", "datetime"),
    *("erstellt", "erstellt am", "erstellt um", "erstelldatum", "erstellungsdatum", "eingang", "eingangsdatum"),
    *("datum", "créé", "créé le", "date de création", "fecha de creación", "fecha", "data di creazione"),
    *("aangemaakt", "aangemaakt op", "utworzono", "data utworzenia", "data de criação"),
)
_EARLIEST, _LATEST = 1970, 2100  # years; outside, a number is no date
_NUMERIC = re.compile(r"\s*(\d{1,2})([./-])(\d{1,2})\2\d{2,4}\b")
_EPOCH = re.compile(r"\d{9,17}(\.\d+)?")
_COMPACT = re.compile(r"(19|20)\d{12}")  # 20240131101500
_DIGITS_OF_SECONDS = 11  # three digits more are milliseconds, six more microseconds


_MONTHS: Any = [  # in English, German, French, Spanish and Italian
    ("jan", "january", "januar", "jänner", "janvier", "janv", "enero", "ene", "gennaio", "gen"),
    ("feb", "february", "februar", "février", "févr", "febrero", "febbraio"),
    ("mar", "march", "märz", "mär", "mrz", "mars", "marzo"),
    ("apr", "april", "avril", "avr", "abril", "abr", "aprile"),
    ("may", "mai", "mayo", "maggio", "mag"),
    ("jun", "june", "juni", "juin", "junio", "giugno", "giu"),
    ("jul", "july", "juli", "juillet", "juil", "julio", "luglio", "lug"),
    ("aug", "august", "août", "agosto", "ago"),
    ("sep", "sept", "september", "septembre", "septiembre", "settembre", "set"),
    ("oct", "october", "oktober", "okt", "octobre", "octubre", "ottobre", "ott"),
    ("nov", "november", "novembre", "noviembre"),
    ("dec", "december", "dezember", "dez", "décembre", "déc", "diciembre", "dic", "dicembre"),
]


class _Names(parser.parserinfo):
    MONTHS = _MONTHS


def timestamps(texts: Sequence[str]) -> NDArray[np.float64]:
    """Seconds since 1970 of every text, NaN where it is no date, shape (texts,). Without a time zone: UTC.

    Raises:
        InputError: day and month cannot be told apart.
    """
    names = _Names(dayfirst=_day_first(texts))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", parser.UnknownTimezoneWarning)  # such as CEST: an hour is too little to matter
        return np.array([_seconds(text.strip(), names) for text in texts], dtype=np.float64)


def _seconds(text: str, names: parser.parserinfo) -> float:
    try:
        moment = _moment(text, names)
        if not _EARLIEST <= moment.year <= _LATEST:
            return float("nan")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):  # ParserError is a ValueError
        return float("nan")


def _moment(text: str, names: parser.parserinfo) -> datetime:
    if _COMPACT.fullmatch(text):
        return datetime.strptime(text, "%Y%m%d%H%M%S")
    if _EPOCH.fullmatch(text):
        digits = len(text.partition(".")[0])
        return datetime.fromtimestamp(float(text) / 1000 ** max(0, -(-(digits - _DIGITS_OF_SECONDS) // 3)), UTC)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        # A text without a year gets the year 1, which is too early: `10:15` is no date.
        return parser.parse(text, parserinfo=names, default=datetime(1, 1, 1))


def _day_first(texts: Sequence[str]) -> bool:
    """Whether 03/04/2024 is in April, as the other dates of the column tell."""
    dates = [match.groups() for text in texts if (match := _NUMERIC.match(text))]
    day_first = any(int(first) > 12 or sign == "." for first, sign, _ in dates)
    month_first = any(int(second) > 12 and sign != "." for _, sign, second in dates)
    if dates and day_first == month_first:
        example = next(text.strip() for text in texts if _NUMERIC.match(text))
        raise InputError(
            f"found dates such as {example[:40]!r}, of which the day and the month cannot be told apart; expected "
            "year, month and day, such as 2024-01-31; write them so, or use --split random"
        )
    return day_first
