"""What a judge model is asked about a reply: dimensions, each with a description of every score."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Dimension:
    """One thing that a reply is scored on, from 1 to 5.

    Attributes:
        question: what the score answers.
        anchors: what each score means, from 1 to 5.
        of_content: whether a good reply to another ticket has to score low; not so for manners.
    """

    question: str
    anchors: tuple[str, str, str, str, str]
    of_content: bool


DIMENSIONS: Mapping[str, Dimension] = {
    "accuracy": Dimension(
        "Are the facts, causes and steps in the reply right for this ticket?",
        (
            "Wrong or about something else: following it would not help or would do harm.",
            "Mostly wrong, with one correct point.",
            "Right in the main, with one error or invented fact that matters.",
            "Right, with at most a small slip that does not matter.",
            "Everything it says is right for this ticket, and nothing is invented.",
        ),
        of_content=True,
    ),
    "professionalism": Dimension(
        "Could a support team send this reply as it is, by its wording and manners?",
        (
            "Could not be sent: empty, rude, unreadable, or no reply to a customer at all.",
            "Needs to be written again: broken sentences, careless or unsuitable wording.",
            "Acceptable after some corrections of wording.",
            "Good: correct and polite, at most one awkward phrase.",
            "Could be sent as it is: correct, polite, clear and respectful.",
        ),
        of_content=False,
    ),
    "completeness": Dimension(
        "Does the reply deal with everything that the customer asks or needs?",
        (
            "Deals with nothing that the customer asks.",
            "Deals with a small part; the main request stays open.",
            "Deals with the main request, but leaves out something important.",
            "Deals with all requests; a detail is missing.",
            "Deals with everything; the customer knows what happens next.",
        ),
        of_content=True,
    ),
    "relevance": Dimension(
        "Is the reply about this customer's matter?",
        (
            "About another matter, or about nothing.",
            "Touches the matter, but most of it is beside the point.",
            "About the matter, but in general terms that would fit many tickets.",
            "About this matter, with some text beside the point.",
            "All of it is about this customer's matter.",
        ),
        of_content=True,
    ),
    "tone": Dimension(
        "Does the tone suit this customer's situation?",
        (
            "Hurtful or absurd for the situation, or no words to the customer at all.",
            "Cold, or far too casual, for the situation.",
            "Neutral; neither helps nor harms.",
            "Suitable and friendly.",
            "Just right: takes the situation seriously, calm and helpful.",
        ),
        of_content=False,
    ),
    "overall": Dimension(
        "All in all, how well would this reply serve the customer?",
        (
            "Useless or harmful; an agent has to start from nothing.",
            "Poor; little of it can be kept.",
            "Usable as a draft; needs real changes.",
            "Good; needs small changes.",
            "Could be sent as it is and would settle the matter as well as the agent's reply.",
        ),
        of_content=True,
    ),
}
PUBLISHED = ("accuracy", "professionalism", "completeness")
