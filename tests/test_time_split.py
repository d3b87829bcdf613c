"""The split by time, and the dates it reads."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.split_tickets import alert, body, part_of, sizes, tickets_of
from tickets.dates import timestamps
from tickets.errors import InputError
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.schema import PARTS, read_tickets
from tickets.splitting.assign import SHARES
from tickets.splitting.time_split import time_split


def test_time_trains_on_the_past_and_leaves_near_duplicates(tmp_path: Path) -> None:
    days = list(range(100))
    random.Random(3).shuffle(days)
    rows = [
        f'"{alert(day) if day % 2 else body(day)}",q{day % 3},2024-{day // 28 + 1:02d}-{day % 28 + 1:02d}'
        for day in days
    ]
    source = tmp_path / "t.csv"
    source.write_text("\n".join(["body,queue,Created at", *rows]))
    report = prepare(PrepareOptions(str(source), tmp_path / "out", split="time"), progress=False)
    dates = {part: [t.created for t in read_tickets(tmp_path / "out" / f"{part}.jsonl")] for part in PARTS}
    assert report.parts == {"train": 70, "validation": 15, "test": 15}
    assert max(dates["train"]) < min(dates["validation"]) <= max(dates["validation"]) < min(dates["test"])
    assert report.duplicates.test_leaks == 8  # the alerts of odd days from the 85th on
    assert report.columns["created"] == "Created at"


@given(st.lists(st.integers(0, 10**9), min_size=8, max_size=60, unique=True), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_time_keeps_the_order(seconds: list[int], undated: int) -> None:
    tickets = [
        replace(t, created=str(10**9 + s))
        for t, s in zip(tickets_of([body(n) for n in range(len(seconds))]), seconds, strict=True)
    ]
    tickets += [replace(t, id=f"u{n}") for n, t in enumerate(tickets[:undated]) for t in [replace(t, created="soon")]]
    split = time_split(tickets)
    part_of(split)
    times = [
        np.array([float(tickets[r].created) for r in rows if tickets[r].created != "soon"])
        for rows in (split.train, split.validation, split.test)
    ]
    assert times[0].max() < times[1].min() and times[1].max() < times[2].min()
    assert np.abs(np.array(sizes(split)) - SHARES * len(tickets)).max() <= 1.5


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2024-01-31", "2024-01-31T00:00:00+00:00"),
        ("1.7066961E9", "2024-01-31T10:15:00+00:00"),
        ("2024-01-31 10.15.33", "2024-01-31T10:15:33+00:00"),
        ("31.01.2024 10.15", "2024-01-31T10:15:00+00:00"),
        ("/Date(1706696100000)/", "2024-01-31T10:15:00+00:00"),
        ("/Date(1706696100000+0100)/", "2024-01-31T10:15:00+00:00"),
        ("2024-01-31 10:15:00", "2024-01-31T10:15:00+00:00"),
        ("2024-01-31T10:15:00Z", "2024-01-31T10:15:00+00:00"),
        ("2024-01-31T10:15:00.000+0100", "2024-01-31T09:15:00+00:00"),
        ("31.01.2024 10:15", "2024-01-31T10:15:00+00:00"),
        ("02.01.2024", "2024-01-02T00:00:00+00:00"),
        ("31/01/2024", "2024-01-31T00:00:00+00:00"),
        ("01/31/2024 10:15", "2024-01-31T10:15:00+00:00"),
        ("31/Jan/24 10:15 AM", "2024-01-31T10:15:00+00:00"),
        ("Wed, 31 Jan 2024 10:15:00 +0100", "2024-01-31T09:15:00+00:00"),
        ("Jan 31, 2024", "2024-01-31T00:00:00+00:00"),
        ("31. März 2024", "2024-03-31T00:00:00+00:00"),
        ("1706696100", "2024-01-31T10:15:00+00:00"),
        ("1706696100000", "2024-01-31T10:15:00+00:00"),
        ("1706696100000000", "2024-01-31T10:15:00+00:00"),
        ("20240131101500", "2024-01-31T10:15:00+00:00"),
        ("20240131", "2024-01-31T00:00:00+00:00"),
        ("31.01.2024, 10:15 Uhr", "2024-01-31T10:15:00+00:00"),
        ("31.01.2024 um 10.15 Uhr", "2024-01-31T10:15:00+00:00"),
        ("31.01.2024 10 Uhr", "2024-01-31T10:00:00+00:00"),
        ("Mi., 31. Januar 2024, 10:15", "2024-01-31T10:15:00+00:00"),
        ("Mittwoch, 31. Januar 2024 10:15", "2024-01-31T10:15:00+00:00"),
        ("Mi, 02.01.2024", "2024-01-02T00:00:00+00:00"),
        ("31 janvier 2024 à 10:15", "2024-01-31T10:15:00+00:00"),
        ("mercredi 31 janvier 2024 à 10h15", "2024-01-31T10:15:00+00:00"),
        ("mar. 5 mars 2024", "2024-03-05T00:00:00+00:00"),
        ("1er mars 2024", "2024-03-01T00:00:00+00:00"),
        ("31 de enero de 2024 10:15", "2024-01-31T10:15:00+00:00"),
        ("miércoles, 31 de enero de 2024, a las 10:15 a. m.", "2024-01-31T10:15:00+00:00"),
        ("31 de janeiro de 2024 às 10:15", "2024-01-31T10:15:00+00:00"),
        ("quarta-feira, 31 de janeiro de 2024", "2024-01-31T00:00:00+00:00"),
        ("5 de março de 2024", "2024-03-05T00:00:00+00:00"),
        ("mercoledì 31 gennaio 2024 alle ore 10:15", "2024-01-31T10:15:00+00:00"),
        ("woensdag 31 januari 2024 om 10:15", "2024-01-31T10:15:00+00:00"),
        ("5 maart 2024", "2024-03-05T00:00:00+00:00"),
        ("5 mrt. 2024", "2024-03-05T00:00:00+00:00"),
        ("środa, 31 stycznia 2024 o 10:15", "2024-01-31T10:15:00+00:00"),
        ("5 marca 2024", "2024-03-05T00:00:00+00:00"),
        ("5 paź 2024", "2024-10-05T00:00:00+00:00"),
        ("31 января 2024 г. 10:15", "2024-01-31T10:15:00+00:00"),
        ("2024年1月31日 10:15", "2024-01-31T10:15:00+00:00"),
        ("2024년 1월 31일", "2024-01-31T00:00:00+00:00"),
        ("Wed Jan 31 2024 10:15:00 GMT+0100 (Central European Standard Time)", "2024-01-31T09:15:00+00:00"),
        ("2024-01-31 10:15 UTC-05:00", "2024-01-31T15:15:00+00:00"),
        ("Wed, 31 Jan 2024 10:15:00 +0100 (CET)", "2024-01-31T09:15:00+00:00"),
        ("Jan 31, 2024 at 10:15\u202fAM", "2024-01-31T10:15:00+00:00"),
        ("Mar 5, 2024", "2024-03-05T00:00:00+00:00"),
        ("2024-01-31 24:00:00", "2024-02-01T00:00:00+00:00"),
        ("45322", "2024-01-31T00:00:00+00:00"),
        ("45322.5", "2024-01-31T12:00:00+00:00"),
        ("45322,5", "2024-01-31T12:00:00+00:00"),
    ],
)
def test_dates_of_helpdesks_are_read(text: str, iso: str) -> None:
    assert timestamps([text])[0] == np.datetime64(iso.removesuffix("+00:00")).astype("datetime64[s]").astype(float)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "10:15",
        "Monday",
        "5",
        "99999999999999999",
        "31.02.2024",
        "0001-01-01",
        "24 days ago",
        "10:15 Uhr",
        "Montag",
        "12345",
        "99999",
        "März",
        "a las",
        "x" * 100_000,
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert np.isnan(timestamps([text])[0])


def test_other_dates_of_the_column_tell_day_from_month() -> None:
    assert timestamps(["03/04/2024", "25/04/2024"])[0] == timestamps(["2024-04-03"])[0]
    assert timestamps(["03/04/2024", "04/25/2024"])[0] == timestamps(["2024-03-04"])[0]
    with pytest.raises(InputError, match="'03/04/2024', of which the day and the month cannot be told apart"):
        timestamps(["03/04/2024", "01/02/2024"])


def test_time_without_dates_says_what_mends_it() -> None:
    tickets = tickets_of([body(n) for n in range(20)])
    with pytest.raises(InputError, match=r"20 of 20 tickets have no date that can be read; .*--map created=COLUMN"):
        time_split(tickets)
    with pytest.raises(InputError, match="such as 'soon'"):
        time_split([replace(ticket, created="soon") for ticket in tickets])
    with pytest.raises(InputError, match="all tickets have the date '2024-01-01'"):
        time_split([replace(ticket, created="2024-01-01") for ticket in tickets])


@pytest.mark.parametrize("text", ["2024/03/04", "2024-03-04 10:15:00 AM", "2024.03.04 10:15", "2024年3月4日"])
def test_the_month_stands_behind_a_year_whatever_other_dates_say(text: str) -> None:
    assert str(np.datetime64(int(timestamps([text, "31/01/2024"])[0]), "s")).startswith("2024-03-04")
