"""Whether a reply speaks of its ticket: products, numbers, codes and dates."""

import math

import pytest

from eval.faithfulness import (
    names_other_product,
    names_own_fact,
    names_product,
    own_facts_kept,
    shared_facts,
    states_unknown_fact,
)
from tickets.schema import Ticket

PRODUCTS = ["InvoiceLoop", "VPN Falke", "PrintMate 650"]


def ticket(body: str, reply: str = "", language: str = "en") -> Ticket:
    return Ticket("t", "", body, language, {}, (), reply)


def test_a_reply_names_its_ticket_s_product_or_another() -> None:
    tickets = [ticket("InvoiceLoop fails."), ticket("VPN Falke drops."), ticket("Nothing works.")]
    replies = ["InvoiceLoop is back.", "PrintMate 650 is back.", "VPN Falke is back."]
    assert names_product(tickets, replies, PRODUCTS) == 0.5  # of the two that name one
    assert names_other_product(tickets, replies, PRODUCTS) == pytest.approx(2 / 3)
    assert names_other_product([], [], PRODUCTS) == 0.0


@pytest.mark.parametrize(
    ("reply", "is_unknown"),
    [
        ("We look into E-426.", False),
        ("We look into E-427.", True),
        ("It was fixed at 12:10.", False),
        ("It was fixed at 12:15.", True),
        ("By 3 March it will work.", False),
        ("By 4 March it will work.", True),
        ("We call you back.", False),
        ("PrintMate 650 is back.", False),
    ],
)
def test_a_number_code_or_date_has_to_be_the_ticket_s(reply: str, is_unknown: bool) -> None:
    asked = ticket("E-426 on PrintMate 650 since 12:10 on 3 March.")
    assert states_unknown_fact([asked], [reply]) == float(is_unknown)


def test_facts_shared_with_the_true_reply_are_kept() -> None:
    asked = ticket("The order 1017 for Falke is late.", "Your order 1017 at Falke leaves today.")
    assert own_facts_kept([asked], ["The order 1017 leaves."]) == {
        "own names kept (1)": 0.0,
        "own numbers kept (1)": 1.0,
    }
    assert shared_facts(asked, "Hello Falke")["names"] == 1.0
    assert math.isnan(shared_facts(ticket("x", "y"), "z")["numbers"])
    assert names_own_fact(asked, "1017 leaves.") == 1.0
    assert names_own_fact(asked, "Something leaves.") == 0.0
