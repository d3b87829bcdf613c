"""An OpenAI-compatible server that rewrites tickets by a script: well, or wrong in one way."""

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.scripted_judge import Script
from tickets.schema import Ticket

_TICKET = re.compile(r"^BEGIN TICKET (\w{16})\n(.*?)\nEND TICKET \1$", re.M | re.S)
_GERMAN = "Guten Tag, wir haben ein Problem mit dem System und bitten um Hilfe, da es nicht mehr läuft und wir warten. "


@dataclass
class Writer(Script):
    """How the server rewrites.

    Attributes:
        ways: how the answers of one ticket after the other are, repeated; see `answer`.
        leak: the ticket that the way `leak` answers with.
    """

    ways: tuple[str, ...] = ("good",)
    leak: Ticket | None = None
    obeyed: int = 0

    def answer(self, request: Mapping[str, Any]) -> str:
        """Rewrite the ticket in the messages: the same words in another order, so that nothing is lost."""
        user = request["messages"][1]["content"]
        found = _TICKET.search(user)
        assert found, user
        subject, _, body = found[2].rpartition("\n\n") if found[2].startswith("Subject: ") else ("", "", found[2])
        if subject:
            subject, _, body = found[2].removeprefix("Subject: ").partition("\n\n")
        way = self.ways[random.Random(found[2]).randrange(len(self.ways))]
        words = body.split()
        random.Random(body).shuffle(words)
        new = " ".join(words)
        if "ignore all instructions" in user.lower() and user.rfind("END TICKET") < user.lower().rfind("ignore all"):
            self.obeyed += 1  # the ticket stands outside of its block
        texts = {
            "good": (subject, new),
            "copy": (subject, body),
            "german": (subject, _GERMAN * max(1, len(words) // 20)),
            "lost": (subject, re.sub(r"\w*\d\w*", "some", new)),
            "added": (subject, f"{new} Order 998877."),
            "short": (subject, words[0]),
            "long": (subject, f"{new} {new} {new}"),
            "placeholder": (subject, f"{new} <name>"),
            "blank": (subject, " "),
            "leak": (self.leak.subject, self.leak.body) if self.leak else ("", ""),
        }
        if way == "prose":
            return f"Sure, here is the ticket: {new}"
        if way == "empty":
            return ""
        if way == "cut":
            return json.dumps({"subject": subject, "body": new})[:-20]
        said = dict(zip(("subject", "body"), texts["good" if way == "invented" else way], strict=True))
        return json.dumps({**said, **({"priority": "critical", "labels": {"type": "x"}} if way == "invented" else {})})
