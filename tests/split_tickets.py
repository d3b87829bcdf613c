"""Tickets that the tests of splits share: distinct texts, texts of one template, and checks of a split."""

from collections.abc import Sequence

import numpy as np

from tickets.schema import PARTS, Ticket
from tickets.splitting.splits import Split

SUBJECTS = (
    "The projector in the large hall shows only green stripes when Bruno plugs his notebook in",
    "Please add our new colleague to the distribution list for quarterly budget figures",
    "Every invoice I print since Tuesday comes out rotated by ninety degrees on tray two",
    "My badge opens the garage but refuses the side entrance near the canteen after eight",
    "Could someone restore a spreadsheet that vanished from the team drive over Easter",
    "Outlook asks for a password again and again although nothing was changed recently",
    "We were charged twice for the same hosting plan and want one payment returned",
    "The warehouse scanner loses wireless contact whenever a forklift drives past gate five",
    "How do I switch the language of the time recording terminal back to English",
    "A pop-up claims that our antivirus licence expired and blocks half of the screen",
    "The train booking portal rejects any date after the end of next month for me",
    "Headset microphone stays mute during calls unless I restart the whole telephone client",
    "Can the meeting room calendar show who booked it rather than only a grey block",
    "After yesterday's maintenance window the payroll report misses all part-time employees",
    "I need a second monitor and a docking station for the desk beside the window",
    "Customers tell us that the order confirmation mail lands in their spam folder",
)


def body(number: int) -> str:
    """A text that shares no word pair with that of another number."""
    return " ".join(f"w{number}x{k}" for k in range(8))


def alert(number: int) -> str:
    return (
        f"Monitoring alert: the host srv{number} in rack {number % 3} reports disk usage above the limit on its data "
        "volume, please check and close this ticket"
    )


def tickets_of(texts: Sequence[str], queues: Sequence[str] = ("A", "B")) -> list[Ticket]:
    return [
        Ticket(f"T{n}", "", text, labels={"queue": queues[n % len(queues)]} if queues[n % len(queues)] else {})
        for n, text in enumerate(texts)
    ]


def sizes(split: Split) -> tuple[int, int, int]:
    return len(split.train), len(split.validation), len(split.test)


def part_of(split: Split) -> np.ndarray:
    """The part of every row; fails where a row is in none or several."""
    rows = np.concatenate([split.train, split.validation, split.test])
    assert sorted(rows.tolist()) == list(range(len(rows)))
    parts = np.empty(len(rows), dtype=np.int64)
    for number, name in enumerate(PARTS):
        parts[getattr(split, name)] = number
    return parts
