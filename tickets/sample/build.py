"""Build the sample corpus from scenarios/*.yaml, phrases.yaml and slots.yaml: same seed, same bytes.

A scenario describes one matter; its variants say which queue and type the same matter belongs to, depending on who
writes and why. A ticket takes situation and detail from the scenario, and what tells the labels (cue, ask, impact) from
the variant and the priority. Each of these is sometimes left out, as people do: that, not noise, makes tickets
ambiguous.

Run `make sample-corpus`.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tickets.schema import Ticket, write_tickets
from tickets.splitting.duplicates import THRESHOLD, word_bigrams
from tickets.splitting.splits import grouped_split

SEED = 20
SIZE = 5_000
GROUP_LIMIT = 12  # tickets in one near-duplicate group
DUPLICATE_SHARE = 0.12  # of the tickets that resemble an earlier one, how many may stay
FLIP_SHARE = 0.02  # labels replaced by another one, per column
LANGUAGES = {"en": 0.65, "de": 0.35}

# Shares of the public set (shared data contract): what the corpus imitates.
QUEUES = {
    "Technical Support": 8149,
    "Product Support": 5305,
    "Customer Service": 4269,
    "IT Support": 3333,
    "Billing and Payments": 2897,
    "Returns and Exchanges": 1402,
    "Service Outages and Maintenance": 1106,
    "Sales and Pre-Sales": 843,
    "Human Resources": 553,
    "General Inquiry": 404,
}
TYPES = {"Incident": 11213, "Request": 8163, "Problem": 5895, "Change": 2990}
PRIORITY_BY_TYPE = {
    "Incident": {"high": 0.55, "medium": 0.35, "low": 0.10},
    "Problem": {"high": 0.40, "medium": 0.42, "low": 0.18},
    "Request": {"high": 0.22, "medium": 0.48, "low": 0.30},
    "Change": {"high": 0.25, "medium": 0.45, "low": 0.30},
}
# How often a sentence is present. What is left out makes the ticket ambiguous.
PRESENT = {"greeting": 0.6, "cue": 0.75, "detail": 0.75, "ask": 0.75, "closing": 0.6, "reply_close": 0.6}
IMPACT_CLEAR, IMPACT_UNCLEAR = 0.75, 0.12  # the rest has no impact sentence

_SPIN = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Variant:
    """One (queue, type) reading of a scenario with its own cue, ask and reply sentences."""

    scenario: dict[str, Any]
    spec: dict[str, Any]

    @property
    def queue(self) -> str:
        return str(self.spec["queue"])

    @property
    def type(self) -> str:
        return str(self.spec["type"])


@dataclass
class NearDuplicateIndex:
    """Says which earlier tickets a new one resembles, and keeps groups of them below the limit."""

    members: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    sizes: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    group_sizes: Counter[int] = field(default_factory=Counter)

    def similar(self, bigrams: set[tuple[str, str]]) -> set[int]:
        """Return groups that hold a ticket at or above the near-duplicate threshold."""
        shared = Counter(row for bigram in bigrams for row in self.members.get(bigram, ()))
        rows = [r for r, n in shared.items() if n >= THRESHOLD * (len(bigrams) + self.sizes[r] - n)]
        return {self._root(row) for row in rows}

    def add(self, bigrams: set[tuple[str, str]], groups: set[int]) -> None:
        """Add a ticket, joining the given groups into one."""
        row = len(self.sizes)
        for bigram in bigrams:
            self.members[bigram].append(row)
        self.sizes.append(len(bigrams))
        self.parents.append(row)
        for group in groups:
            self.parents[group] = row
        self.group_sizes[row] = 1 + sum(self.group_sizes.pop(group) for group in groups)

    def _root(self, row: int) -> int:
        while self.parents[row] != row:
            row = self.parents[row]
        return row


def build(size: int = SIZE, seed: int = SEED) -> list[Ticket]:
    """Compose `size` tickets with the public set's shares of queues, types and priorities."""
    folder = Path(__file__).parent
    phrases = _load(folder / "phrases.yaml")
    slots = _load(folder / "slots.yaml")
    variants = [
        Variant(scenario, spec)
        for path in sorted((folder / "scenarios").glob("*.yaml"))
        for scenario in _load(path)
        for spec in scenario["variants"]
    ]
    weights = _variant_weights(variants)
    rng = random.Random(seed)
    index = NearDuplicateIndex()
    tickets: list[Ticket] = []
    while len(tickets) < size:
        variant = rng.choices(variants, weights)[0]
        language = rng.choices(list(LANGUAGES), list(LANGUAGES.values()))[0]
        for _attempt in range(200):  # retry the wording, never the labels, so that shares stay as drawn
            ticket = _compose(variant, language, phrases, slots, rng)
            bigrams = word_bigrams(ticket.text)
            groups = index.similar(bigrams)
            joined = sum(index.group_sizes[group] for group in groups)
            if not groups or (joined < GROUP_LIMIT and rng.random() < DUPLICATE_SHARE):
                index.add(bigrams, groups)
                tickets.append(replace(ticket, id=f"sample-{len(tickets) + 1:05d}"))
                break
    return [_flip(ticket, rng) for ticket in tickets]


def write(folder: Path, tickets: Sequence[Ticket]) -> None:
    """Write the grouped split of the corpus as a prepared folder."""
    for name, part in grouped_split(tickets, "queue").parts(tickets).items():
        write_tickets(folder / f"{name}.jsonl", part)


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _variant_weights(variants: Sequence[Variant]) -> list[float]:
    """Return the weights under which queues and types have their shares: iterative proportional fitting."""
    weights = np.ones(len(variants))
    margins: list[tuple[list[str], dict[str, int]]] = [
        ([v.type for v in variants], TYPES),
        ([v.queue for v in variants], QUEUES),
    ]
    for _ in range(100):
        for labels, shares in margins:
            total = sum(shares.values())
            for label, share in shares.items():
                rows = [i for i, other in enumerate(labels) if other == label]
                weights[rows] *= share / total / weights[rows].sum()
    return [float(weight) for weight in weights]


def _compose(
    variant: Variant, language: str, phrases: dict[str, Any], slots: dict[str, Any], rng: random.Random
) -> Ticket:
    """Return one ticket with a placeholder id and true labels."""
    scenario, shared, own, common = (
        variant.scenario,
        variant.scenario[language],
        variant.spec[language],
        phrases[language],
    )
    priorities = PRIORITY_BY_TYPE[variant.type]
    priority = rng.choices(list(priorities), list(priorities.values()))[0]
    values = _slot_values(scenario["product"], language, slots, rng)

    def maybe(kind: str, sentences: list[str]) -> list[str]:
        return [rng.choice(sentences)] if rng.random() < PRESENT[kind] else []

    draw = rng.random()
    impact = []
    if draw < IMPACT_CLEAR:
        impact = [rng.choice(common["impact"][priority])]
    elif draw < IMPACT_CLEAR + IMPACT_UNCLEAR:
        impact = [rng.choice(common["impact"]["unclear"])]
    middle = maybe("cue", own["cue"]) + maybe("detail", shared["detail"]) + impact
    rng.shuffle(middle)
    subject = rng.choice(shared["subject"])
    core = [rng.choice(shared["situation"]), *middle, *maybe("ask", own["ask"])]
    paragraphs = [*maybe("greeting", common["greeting"]), " ".join(core), *maybe("closing", common["closing"])]
    body = "\n\n".join(paragraphs)
    known = set(_SLOT.findall(subject + body)) | {"product"}
    reply = _reply(variant, shared, own, common, known, rng)
    tags = [tag for tag in scenario["tags"] if rng.random() < 0.85]
    tags += [tag for tag in variant.spec.get("tags") or () if rng.random() < 0.9 and tag not in tags]
    return Ticket(
        id="",
        subject=_render(subject, values, rng),
        body=_render(body, values, rng),
        language=language,
        labels={"type": variant.type, "queue": variant.queue, "priority": priority},
        tags=tuple(tags or scenario["tags"][:1]),
        reply=_render(reply, values, rng),
    )


def _reply(
    variant: Variant,
    shared: dict[str, Any],
    own: dict[str, Any],
    common: dict[str, Any],
    known: set[str],
    rng: random.Random,
) -> str:
    """Return the unrendered reply; it uses only slots the ticket named."""
    kind = "fault" if variant.type in ("Incident", "Problem") else "wish"

    def pick(sentences: list[str]) -> str:
        allowed = [s for s in sentences if set(_SLOT.findall(s)) <= known]
        # A sentence that repeats a number, date or error of the ticket shows that it was read.
        specific = [s for s in allowed if set(_SLOT.findall(s)) - {"product"}]
        return rng.choice(specific if specific and rng.random() < 0.6 else allowed)

    sentences = [pick(common["reply_open"][kind]), pick(shared["reply"]), pick(own["reply"])]
    if rng.random() < PRESENT["reply_close"]:
        sentences.append(pick(common["reply_close"]))
    return " ".join(sentences)


def _slot_values(pool: str, language: str, slots: dict[str, Any], rng: random.Random) -> dict[str, str]:
    local = "_de" if language == "de" else ""
    day, month = rng.randint(1, 28), rng.choice(slots["months" + local])
    euros = f"{rng.randint(9, 899)}.{rng.choice(['00', '50', '90', '99'])}"
    return {
        "product": rng.choice(slots["products"][pool]),
        "version": f"{rng.randint(1, 9)}.{rng.randint(0, 9)}.{rng.randint(0, 9)}",
        "date": f"{day}. {month}" if language == "de" else f"{day} {month}",
        "time": f"{rng.randint(6, 19):02d}:{rng.choice(['00', '10', '15', '20', '30', '40', '45', '50'])}",
        "order": f"A-{rng.randint(1000, 9999)}",
        "invoice": f"INV-{rng.randint(1000, 9999)}",
        "amount": f"{euros.replace('.', ',')} €" if language == "de" else f"€{euros}",
        "error": f"E-{rng.randint(100, 999)}",
        "count": str(rng.randint(3, 60)),
        "city": rng.choice(slots["cities" + local]),
        "ticket": f"T-{rng.randint(1000, 9999)}",
        "name": f"{rng.choice(slots['first_names'])} {rng.choice(slots['last_names'])}",
    }


def _render(template: str, values: dict[str, str], rng: random.Random) -> str:
    chosen = _SPIN.sub(lambda match: rng.choice(match[1].split("|")), template)
    return _SLOT.sub(lambda match: values[match[1]], chosen)


def _flip(ticket: Ticket, rng: random.Random) -> Ticket:
    """Replace each label by another of its column with probability FLIP_SHARE: people mislabel."""
    classes = {"type": list(TYPES), "queue": list(QUEUES), "priority": ["high", "medium", "low"]}
    labels = dict(ticket.labels)
    for column, names in classes.items():
        if rng.random() < FLIP_SHARE:
            labels[column] = rng.choice([name for name in names if name != labels[column]])
    return replace(ticket, labels=labels)


if __name__ == "__main__":
    write(Path(__file__).parent, build())
