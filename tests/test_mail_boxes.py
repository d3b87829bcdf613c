"""Where the mails of an mbox begin, as programs write them, and sentences that begin with `From`."""

from pathlib import Path

import pytest

from tickets.formats.mail import read_mailbox
from tickets.formats.readers import read_rows

HEADER = "Message-ID: <{n}@example.com>\nFrom: Ida <ida@example.com>\nSubject: s{n}\n\n"
SEPARATORS = [
    "From - Mon Mar 04 09:12:00 2024",
    "From ida@example.com Mon Mar  4 09:12:00 2024",
    "From MAILER-DAEMON Mon Mar  4 09:12:00 2024",
    "From 1792567@xxx Mon Mar 04 09:12:00 +0000 2024",
    "From ida@example.com Mon Mar  4 09:12:00 CET 2024",
    '"From "Ida Huber"@example.com Mon Mar  4 09:12 2024'[1:],
    "From ida@example.com 2024-03-04 09:12:00 2024",
    "From ida@example.com Mon Mar  4 2024",
]
SENTENCES = [
    "From tomorrow at 10:00 on 5 March 2024 we are closed.",
    "From 09:00 until 10:00 nothing works since 2024",
    "From here it is your turn.",
    "From Berlin we come Mon Mar 4 09:12:00 2024",
]


def box(path: Path, separator: str, body: str, gap: str = "\n", end: str = "\n") -> Path:
    text = "".join(f"{separator}\n{HEADER.format(n=n)}{body}{gap}" for n in range(3))
    path.write_text(text.replace("\n", end), newline="")
    return path


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("sentence", SENTENCES)
def test_mails_begin_at_separators_alone(separator: str, end: str, sentence: str, tmp_path: Path) -> None:
    path = box(tmp_path / "a.mbox", separator, f"It fails.\n\n{sentence}\nMore text.\n", end=end)
    rows = list(read_rows(str(path)))
    assert [row.fields["Subject"] for row in rows] == ["s0", "s1", "s2"]
    for row in rows:
        assert row.fields["Body"].replace("\r\n", "\n").rstrip() == f"It fails.\n\n{sentence}\nMore text."
    assert [row.line for row in rows] == [1, 11, 21]


@pytest.mark.parametrize("separator", [text for text in SEPARATORS if " Mon " in text])
def test_a_separator_needs_no_empty_line_above_it(separator: str, tmp_path: Path) -> None:
    rows = list(read_mailbox(box(tmp_path / "a.mbox", separator, "It fails.\n", gap="")))
    assert [row.fields["Subject"] for row in rows] == ["s0", "s1", "s2"]
