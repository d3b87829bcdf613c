"""Recall and precision of redaction: values in Faker's formats inside tickets that were worded before the patterns.

Run from the repository root: `python bench/redaction.py [TICKETS.csv] [--misses]`. A value counts as found where the
text comes out with the placeholder in its place and nothing else changed. Of the tickets in TICKETS.csv, which hold
next to nothing private, everything that would be redacted is listed for reading.
"""

import csv
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from faker import Faker
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tickets.redact.kinds import PLACEHOLDERS
from tickets.redact.known import NOBODY, Known
from tickets.redact.patterns import parse_patterns
from tickets.redact.redactor import Redactor

ROOT = Path(__file__).resolve().parent.parent
LOCALES = ("en_US", "en_GB", "de_DE", "de_AT", "de_CH")
PER_LOCALE = 200  # values of each kind
SEED = 1_000  # smaller ones were used while the patterns were written
WORDING = yaml.safe_load((ROOT / "bench" / "redaction_wording.yaml").read_text(encoding="utf-8"))
REDACTOR = Redactor(parse_patterns([r"order_num=\b[A-Z]{2}-[0-9]{4}-[0-9]{6}\b"]))
Example = tuple[str, str, Known]  # a text, what is to come of it, what is known beside it


@dataclass
class Tally:
    """Values of one kind: how many there were, how many were found, and those that were not."""

    tried: int = 0
    found: int = 0
    misses: list[tuple[str, str]] = field(default_factory=list)

    def add(self, example: Example) -> None:
        """Redact one example and compare."""
        text, expected, known = example
        redacted, _ = REDACTOR.redact(text, known)
        self.tried += 1
        if redacted == expected:
            self.found += 1
        else:
            self.misses.append((text, redacted))

    def row(self, kind: str) -> str:
        """Return one row of a Markdown table."""
        interval = binomtest(self.found, self.tried).proportion_ci(method="wilson")
        share = self.found / self.tried
        return f"| {kind} | {self.tried:,} | {share:.3f} | {interval.low:.3f} to {interval.high:.3f} |"


def values(faker: Faker) -> dict[str, Callable[[], str]]:
    """Return what makes a value of each kind."""

    def grouped(number: str) -> str:
        pairs = range(0, len(number), 4)
        separator = faker.random_element(("", " ", " ", "-" if number.isdigit() else " "))
        return separator.join(number[at : at + 4] for at in pairs)

    def url() -> str:
        base, host = faker.uri().removesuffix("/"), faker.domain_name()
        forms = (
            f"{base}?token={faker.sha1()}",
            f"{base}?user=7&sig={faker.password(16, special_chars=False)}&exp=1700000000",
            f"https://{faker.user_name()}:{faker.password(12, special_chars=False)}@{host}/files/report.pdf",
            f"https://{host}/reset/{faker.uuid4()}",
            f"https://{host}/invite/{faker.sha256()[:40]}/accept",
            f"https://{host}/callback#access_token={faker.password(24, special_chars=False)}&state=1",
            f"{base}?api_key={faker.md5()}",
        )
        return str(faker.random_element(forms))

    return {
        "email": faker.email,
        "phone": faker.phone_number,
        "iban": lambda: grouped(faker.iban()),
        "card": lambda: grouped(faker.credit_card_number()),
        "ip": lambda: faker.ipv4() if faker.boolean(70) else faker.ipv6(),
        "url": url,
        "order_num": lambda: faker.bothify("??-####-######").upper(),
    }


def structured(faker: Faker, kind: str, texts: list[str]) -> Iterator[Example]:
    """Yield examples of a kind that is told by its form."""
    make = values(faker)[kind]
    for number in range(PER_LOCALE):
        text = texts[number % len(texts)]
        yield text.replace("{}", make()), text.replace("{}", REDACTOR.placeholders[kind]), NOBODY


def people(faker: Faker, texts: list[str]) -> Iterator[Example]:
    """Yield examples of known names, with and without titles and degrees."""
    for number in range(PER_LOCALE):
        text = texts[number % len(texts)]
        first, last = faker.first_name(), faker.last_name()
        full = f"{faker.prefix()} {first} {last}" if faker.boolean(30) else f"{first} {last}"
        expected = text.replace("{last}, {first}", "<name>").replace("{first} {last}", "<name>")
        for part in ("{first}", "{last}", "{full}"):
            expected = expected.replace(part, "<name>")
        yield text.format(first=first, last=last, full=full), expected, Known(names=(full,))


def places(faker: Faker, texts: list[str]) -> Iterator[Example]:
    """Yield examples of known addresses."""
    for number in range(PER_LOCALE):
        text, address = texts[number % len(texts)], faker.address()
        lines = address.split("\n")
        street, place = "\n".join(lines[:-1]), lines[-1]
        expected = text.replace("{street}, {place}", "<address>").replace("{street}\n{place}", "<address>")
        known = Known(addresses=(address,))
        yield text.format(street=street, place=place), expected.replace("{street}", "<address>"), known


def firms(faker: Faker, texts: list[str]) -> Iterator[Example]:
    """Yield examples of known companies."""
    for number in range(PER_LOCALE):
        text, company = texts[number % len(texts)], faker.company()
        yield text.replace("{}", company), text.replace("{}", "<organization>"), Known(companies=(company,))


def measure() -> dict[str, Tally]:
    """Recall by kind, over all locales."""
    tallies: dict[str, Tally] = {}
    known = {"name": people, "address": places, "company": firms}
    for seed, locale in enumerate(LOCALES, start=SEED):
        faker = Faker(locale)
        faker.seed_instance(seed)
        language = locale[:2]
        for kind in [*(kind for kind in PLACEHOLDERS if kind != "token"), "order_num"]:  # a token has one form alone
            texts = WORDING["order" if kind == "order_num" else kind][language]
            examples = known[kind](faker, texts) if kind in known else structured(faker, kind, texts)
            for example in examples:
                tallies.setdefault(kind, Tally()).add(example)
    return tallies


def list_redacted(path: Path) -> None:
    """Print everything that would be redacted in a CSV file, with the words around it."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [row[part] for row in rows for part in ("subject", "body", "answer") if row.get(part)]
    start = time.perf_counter()
    spans = [(text, span) for text in texts for span in Redactor().find(text)]
    seconds = time.perf_counter() - start
    counts = ", ".join(f"{kind} {count}" for kind, count in Counter(span.kind for _, span in spans).items())
    print(f"\n{path.name}: {len(rows):,} rows, {seconds / len(rows) * 1e5:.1f} s for 100,000; {counts or 'nothing'}")
    for text, span in spans:
        around = " ".join(text[max(0, span.start - 40) : span.end + 20].split())
        print(f"  {span.kind:<8}{text[span.start : span.end]!r} in ...{around}...")


def main() -> None:
    """Print the table of recall, what is touched of texts without private data, and what is redacted in a file."""
    paths = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    print("| kind | values | recall | 95 % interval (Wilson) |\n| --- | --- | --- | --- |")
    tallies = measure()
    for kind, tally in tallies.items():
        print(tally.row(kind))
    if "--misses" in sys.argv:
        for kind, tally in tallies.items():
            for text, redacted in tally.misses:
                print(f"{kind}: {text!r} -> {redacted!r}")
    plain_texts = [text for texts in WORDING["plain"].values() for text in texts]
    touched = [text for text in plain_texts if REDACTOR.find(text)]
    print(f"\nTexts without private data that are touched: {len(touched)} of {len(plain_texts)}", *touched, sep="\n")
    list_redacted(Path(paths[0]) if paths else ROOT.parent / "shared" / "data" / "tickets.csv")


if __name__ == "__main__":
    main()
