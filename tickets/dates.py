"""When tickets were created: the dates that helpdesks export, as seconds since 1970."""

import re
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
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
    *(
        "erstellt",
        "erstellt am",
        "erstellt um",
        "erstelldatum",
        "erstellungsdatum",
        "eingang",
        "eingangsdatum",
        "geöffnet",
    ),
    *("datum", "créé", "créé le", "date de création", "fecha de creación", "fecha", "data di creazione"),
    *("création", "creada", "creación"),
    *("aangemaakt", "aangemaakt op", "utworzono", "data utworzenia", "data de criação"),
)
_EARLIEST, _LATEST = 1970, 2100  # years; outside, a number is no date
_NUMERIC = re.compile(r"\s*(\d{1,2})([./-])(\d{1,2})\2\d{2,4}\b")
_EPOCH = re.compile(r"\d{9,17}(\.\d+)?")
_COMPACT = re.compile(r"(19|20)\d{12}")  # 20240131101500
_LONGEST = 100  # characters
_DIGITS_OF_SECONDS = 11  # three digits more are milliseconds, six more microseconds


_MONTHS: Any = [  # in English, German, French, Spanish, Italian, Dutch, Portuguese, Polish, Czech, Swedish and Russian
    tuple(names.split())
    for names in (
        "jan january januar jänner janvier janv enero ene gennaio gen januari janeiro styczeń stycznia sty "
        "ledna января янв",
        "feb february februar février févr febrero febbraio februari fevereiro fev luty lutego lut února "
        "февраля фев февр",
        "mar march märz mär mrz mars marzo maart mrt março marzec marca marts března марта мар",
        "apr april avril avr abril abr aprile kwiecień kwietnia kwi dubna апреля апр",
        "may mai mayo maggio mag mei maio maj maja května мая май",
        "jun june juni juin junio giugno giu junho czerwiec czerwca cze června июня июн",
        "jul july juli juillet juil julio luglio lug julho lipiec lipca lip července июля июл",
        "aug august août agosto ago augustus augusti sierpień sierpnia sie srpna августа авг",
        "sep sept september septembre septiembre settembre set setembro wrzesień września wrz září сентября сен сент",
        "oct october oktober okt octobre octubre ottobre ott outubro out październik października paź října "
        "октября окт",
        "nov november novembre noviembre novembro listopad listopada lis listopadu ноября ноя нояб",
        "dec december dezember dez décembre déc diciembre dic dicembre dezembro grudzień grudnia gru "
        "prosince декабря дек",
    )
]
_WEEKDAYS: Any = [  # but for `mar`, which is a month, too
    tuple(names.split())
    for names in (
        "mon monday mo montag lundi lun lunes lunedì segunda seg maandag ma poniedziałek pon понедельник пн",
        "tue tues tuesday di dienstag mardi martes martedì terça ter dinsdag wtorek wt вторник вт",
        "wed wednesday mi mittwoch mercredi mer miércoles mié mercoledì quarta qua woensdag wo środa śr среда ср",
        "thu thur thurs thursday do donnerstag jeudi jeu jueves jue giovedì gio quinta qui donderdag "
        "czwartek czw четверг чт",
        "fri friday fr freitag vendredi ven viernes vie venerdì sexta sex vrijdag vr piątek pt пятница пт",
        "sat saturday sa samstag sonnabend samedi sam sábado sáb sabato sab zaterdag za sobota sob суббота сб",
        "sun sunday so sonntag dimanche dim domingo dom domenica zondag zo niedziela niedz воскресенье вс",
    )
]
_FILLERS = (  # words between the parts of a date
    "uhr um à á às alle ore om o godz de del da dell den der kl klo feira du g г года в le el il op em w dnia"
)
_JUMP: Any = [*parser.parserinfo.JUMP, *_FILLERS.split()]
_TUESDAY = re.compile(r"^\s*mar\b\.?,?\s+(?=\d{1,2}\.?\s+(?:de\s+)?[^\W\d]{3})", re.I)  # mar. 5 mars 2024
_DAY = r"(?:\d{4}-\d\d-\d\d|\d{1,2}\.\d{1,2}\.\d{4})"
_YEAR_FIRST = re.compile(r"\d{4}\s?[-/.]\s?\d{1,2}\s?[-/.]\s?\d{1,2}\b")
_FLOAT = re.compile(r"\d(?:\.\d{1,16})?[eE]\+?\d\d?")  # 1.7095464E9
_AS_USUAL = (  # what other notations write, and what it means
    (re.compile(r"\\?/Date\((\d{9,14})(?:[+-]\d{4})?\)\\?/"), r"\1"),  # of Microsoft: milliseconds
    (re.compile(r"\([^()]{0,80}\)\s*$"), ""),  # (Central European Standard Time)
    (re.compile(r"\b(?:GMT|UTC)\s?([+-])(\d\d?):?(\d\d)?(?!\d)"), r"\1\2\3"),
    (re.compile(r"(\d{4})\s?[年년]\s?(\d{1,2})\s?[月월]\s?(\d{1,2})\s?[日일]"), r"\1-\2-\3"),
    (re.compile(r"\b(\d{1,2})\.(\d\d)(?:\.(\d\d))?\s*Uhr\b"), r"\1:\2"),
    (re.compile(r"\b(\d{1,2})\s?h\s?(\d\d)\b", re.I), r"\1:\2"),
    (re.compile(r"\b(\d{1,2})\s?Uhr\b", re.I), r"\1:00"),
    (re.compile(r"\b([ap])\.?\s?m\.?(?!\w)", re.I), r"\1m"),
    (re.compile(r"\b(\d{1,2})(?:er|º|ª|°)(?=\s)"), r"\1"),
    (re.compile(r"\b(?:a las?|alle ore)\b", re.I), " "),
    (re.compile("[\xa0\u202f\u2009]"), " "),
    (re.compile(rf"({_DAY}[ T,]+\d{{1,2}})\.(\d\d)\.(\d\d)$"), r"\1:\2:\3"),  # 04.03.2024 09.12.33
    (re.compile(rf"({_DAY}[ T,]+\d{{1,2}})\.(\d\d)$"), r"\1:\2"),
)
_SERIAL = re.compile(r"\d{5}(?:[.,]\d{1,12})?")  # days of a spreadsheet
_SERIAL_START = datetime(1899, 12, 30, tzinfo=UTC)
_MIDNIGHT = re.compile(r"\b24:00(:00)?\b")


class _Names(parser.parserinfo):
    MONTHS = _MONTHS
    WEEKDAYS = _WEEKDAYS
    JUMP = _JUMP


def timestamps(texts: Sequence[str]) -> NDArray[np.float64]:
    """Return the seconds since 1970 of every text, NaN where it is no date, shape (texts,). Without a time zone: UTC.

    Raises:
        InputError: day and month cannot be told apart.
    """
    texts = [_as_usual(text) for text in texts]
    names = _Names(dayfirst=_day_first(texts))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", parser.UnknownTimezoneWarning)  # such as CEST: an hour is too little to matter
        return np.array([_seconds(text.strip(), names) for text in texts], dtype=np.float64)


def _as_usual(text: str) -> str:
    """Return a date as most programs write it; it may be cut, because no date is long."""
    text = text.strip()[:_LONGEST]
    if not text.isascii() or not text.replace("-", "").replace(":", "").isdigit():
        for pattern, usual in _AS_USUAL:
            text = pattern.sub(usual, text)
    weekday, _, rest = text.partition(" ")
    known = any(weekday.lower().rstrip(".,") in names for names in _WEEKDAYS) or _TUESDAY.match(text)
    return (rest if known else text).strip()


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
    if _SERIAL.fullmatch(text):
        return _SERIAL_START + timedelta(days=float(text.replace(",", ".")))
    if _MIDNIGHT.search(text):  # the end of a day
        return _moment(_MIDNIGHT.sub("00:00", text), names) + timedelta(days=1)
    if _FLOAT.fullmatch(text):
        text = f"{float(text):.0f}"
    if _EPOCH.fullmatch(text):
        digits = len(text.partition(".")[0])
        return datetime.fromtimestamp(float(text) / 1000 ** max(0, -(-(digits - _DIGITS_OF_SECONDS) // 3)), UTC)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        # A text without a year gets the year 1, which is too early: `10:15` is no date.
        # Behind a year stands the month, whatever other dates of the column have first.
        day_first = False if _YEAR_FIRST.match(text) else None
        return parser.parse(text, parserinfo=names, default=datetime(1, 1, 1), dayfirst=day_first)


def _day_first(texts: Sequence[str]) -> bool:
    """Return whether 03/04/2024 is in April, as the other dates of the column tell."""
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
