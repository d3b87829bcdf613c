"""Contacts in drafts: those of the ticket and of the team stay, others are masked and call for a review."""

import pytest

from pipeline.scheduler import Labelled, Reply
from pipeline.two_stage import TwoStage
from tickets.redact.drafts import DraftGuard
from tickets.schema import Prediction, Ticket

TICKET = "My account DE89 3704 0044 0532 0130 00 and order 12345678; call 030/1234567 or mail Ida@Example.com"


@pytest.mark.parametrize(
    ("draft", "expected", "kinds"),
    [
        ("We wrote to ida@example.com.", "We wrote to ida@example.com.", ()),
        ("We wrote to max@example.com.", "We wrote to <email>.", ("email",)),
        ("Order 12345678 and 12 345 678 are shipped.", "Order 12345678 and 12 345 678 are shipped.", ()),
        ("Order 12345679 is shipped.", "Order <ref_num> is shipped.", ("number",)),
        (
            "We wrote to a@example.com about order 2345678.",
            "We wrote to <email> about order <ref_num>.",
            ("email", "number"),
        ),
        ("We ring 030 123 4567.", "We ring 030 123 4567.", ()),
        ("Call +1 (541) 555-0100 now", "Call <tel_num> now", ("phone",)),
        ("to DE89370400440532013000", "to DE89370400440532013000", ()),
        ("to DE89 3704 0044 0532 0130 01", "to <acc_num>", ("iban",)),  # a digit off
        ("card 4111 1111 1111 1112", "card <ref_num>", ("number",)),  # the same
        ("Host 10.1.2.3", "Host <ip_addr>", ("ip",)),
        ("https://x.de/reset?token=abcdef12", "<url>", ("url",)),
        ("Write to help@team.com or to any@corp.com, hotline 0800 111 2222.", None, ()),
        ("Version 10.0.19045.4291 of 2024-03-04 has 2 500 000 users on ports 50000-50100.", None, ()),
        ("a@x.de, b@x.de", "<email>, <email>", ("email", "email")),
    ],
)
def test_what_is_masked(draft: str, expected: str | None, kinds: tuple[str, ...]) -> None:
    guard = DraftGuard(("Help@team.com", "@corp.com", "0800/1112222"))
    assert guard.mask(draft, TICKET) == (draft if expected is None else expected, kinds)


def test_a_domain_is_allowed_as_a_whole_alone() -> None:
    guard = DraftGuard(("@corp.com",))
    assert guard.mask("a@evilcorp.com a@corp.com.x.de a@corp.com", "")[0] == "<email> <email> a@corp.com"


@pytest.mark.parametrize(
    "draft",
    [
        "Please call +1 (541) 555-0100 ext. 12 today, or write to max@example.com.\nThanks, we close case 7.",
        "Transfer it to DE89 3704 0044 0532 0130 01 by Monday",
        "ends in 030 1234 5678",
    ],
)
def test_what_is_shown_of_a_growing_draft_is_never_taken_back(draft: str) -> None:
    guard, shown = DraftGuard(), ""
    masked = guard.mask(draft, "")[0]
    for end in range(len(draft) + 1):
        now = guard.mask_unfinished(draft[:end], "")
        assert now.startswith(shown)
        assert masked.startswith(now)
        shown = now


class _Sure:
    def applicable(self, _prediction: Prediction) -> dict[str, bool]:
        return {}

    def needs_review(self, prediction: Prediction) -> bool:
        return False


def test_a_masked_draft_needs_review() -> None:
    system = TwoStage(_Sure(), None, None, None)
    labelled = Labelled(Prediction({}, {}, {}), False)
    ticket = Ticket("1", "printer", TICKET)
    answer = system._compose(ticket, labelled, Reply("Mail max@example.com", False), {})
    assert (answer.reply, answer.needs_review, answer.masked) == ("Mail <email>", True, ("email",))
    answer = system._compose(ticket, labelled, Reply("Mail ida@example.com", False), {})
    assert (answer.reply, answer.needs_review, answer.masked) == ("Mail ida@example.com", False, ())
    raw = TwoStage(_Sure(), None, None, None, guard=None)
    assert raw._compose(ticket, labelled, Reply("Mail max@example.com", False), {}).reply == "Mail max@example.com"
