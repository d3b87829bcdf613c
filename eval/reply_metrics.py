"""The reply metrics, one record each: its name in a report, how it scores a reply, whether systems are compared by it.

To add a metric, add a record to METRICS. See docs/howto-metric.md.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from rouge_score import rouge_scorer

from eval.faithfulness import names_own_fact, shared_facts
from generator.rouge import UnicodeTokenizer
from tickets.schema import Ticket

ROUGE_L = "rougeL"  # stemmed, as published; the figure of the buckets
BERTSCORE = "bertscore"
_KINDS = ("rouge1", "rouge2", ROUGE_L)
_PLACEHOLDER = re.compile(r"[<\[{]([a-z][a-z_' ]*)[>\]}]", re.I)  # <name> in the data; models also write [Name]
_WORD = re.compile(r"\w+")
_COPY_WORDS = 8  # a run of so many words that stands in a training reply counts as copied


@dataclass(frozen=True)
class TrainingReplies:
    """What could have been copied."""

    replies: Sequence[str]

    @cached_property
    def runs(self) -> frozenset[tuple[str, ...]]:
        """Every run of eight words of the training replies."""
        return frozenset(run for reply in self.replies for run in _word_runs(reply))


Compute = Callable[[Ticket, str, TrainingReplies], float]  # (ticket with its true reply, reply, training replies)


@dataclass(frozen=True)
class ReplyMetric:
    """One metric of replies.

    Attributes:
        key: in report.json.
        name: in the report, with its unit where it has one.
        compute: the score of one reply; NaN where there is nothing to measure. None for what an encoder computes.
        paired: whether the report compares systems by it, ticket by ticket.
    """

    key: str
    name: str
    compute: Compute | None
    paired: bool = False


def stemmed_rouge_l(reply: str, reference: str) -> float:
    """Return ROUGE-L F1 as published."""
    return float(_STEMMED.score(reference, reply)[ROUGE_L].fmeasure)


_STEMMED = rouge_scorer.RougeScorer(list(_KINDS), use_stemmer=True)
_UNICODE = rouge_scorer.RougeScorer(list(_KINDS), tokenizer=UnicodeTokenizer())


@lru_cache(maxsize=1)  # six metrics of one pair follow each other
def _rouge(reference: str, reply: str) -> dict[str, float]:
    """Return ROUGE F1 with Porter stemming and a-z tokens, as published, and `_unicode` with every alphabet's words."""
    stemmed, words = _STEMMED.score(reference, reply), _UNICODE.score(reference, reply)
    return {
        **{kind: float(stemmed[kind].fmeasure) for kind in _KINDS},
        **{f"{kind}_unicode": float(words[kind].fmeasure) for kind in _KINDS},
    }


def _sentence_bleu(reference: str, reply: str) -> float:
    """Compute BLEU as published: whitespace tokens, lower case, smoothing method 1 of Chen and Cherry 2014."""
    words = reply.lower().split()
    if not words:
        return 0.0
    smooth = SmoothingFunction().method1
    return float(sentence_bleu([reference.lower().split()], words, smoothing_function=smooth))


def _copied(reply: str, training: TrainingReplies) -> float:
    """Return the share of the reply's runs of eight words that stand in a training reply; NaN for shorter replies."""
    runs = _word_runs(reply)
    return sum(run in training.runs for run in runs) / len(runs) if runs else float("nan")


def _word_runs(text: str) -> list[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return [tuple(words[i : i + _COPY_WORDS]) for i in range(len(words) - _COPY_WORDS + 1)]


def _placeholders(reference: str, reply: str) -> dict[str, float]:
    """Return the share of the true reply's placeholders (such as <name>) kept and lost, and how many are invented."""
    wanted, given = (_placeholder_names(text) for text in (reference, reply))
    return {
        "placeholders_kept": len(wanted & given) / len(wanted) if wanted else float("nan"),
        "placeholders_lost": len(wanted - given) / len(wanted) if wanted else float("nan"),
        "placeholders_invented": float(len(given - wanted)),
    }


def _placeholder_names(text: str) -> set[str]:
    return {" ".join(name.lower().replace("_", " ").split()) for name in _PLACEHOLDER.findall(text)}


def _rouge_metric(key: str, name: str, paired: bool = False) -> ReplyMetric:
    return ReplyMetric(key, name, lambda ticket, reply, _: _rouge(ticket.reply, reply)[key], paired)


def _fact_metric(kind: str, name: str) -> ReplyMetric:
    return ReplyMetric(f"own_{kind}", name, lambda ticket, reply, _: shared_facts(ticket, reply)[kind])


def _placeholder_metric(key: str, name: str) -> ReplyMetric:
    return ReplyMetric(key, name, lambda ticket, reply, _: _placeholders(ticket.reply, reply)[key])


METRICS = (
    _rouge_metric("rouge1", "ROUGE-1"),
    _rouge_metric("rouge2", "ROUGE-2"),
    _rouge_metric(ROUGE_L, "ROUGE-L", paired=True),
    _rouge_metric("rouge1_unicode", "ROUGE-1, Unicode words"),
    _rouge_metric("rouge2_unicode", "ROUGE-2, Unicode words"),
    _rouge_metric("rougeL_unicode", "ROUGE-L, Unicode words", paired=True),
    ReplyMetric("bleu", "BLEU as published", lambda ticket, reply, _: _sentence_bleu(ticket.reply, reply), paired=True),
    ReplyMetric(BERTSCORE, "BERTScore F1", None, paired=True),
    ReplyMetric("copied", "8-word runs copied from training", lambda _, reply, training: _copied(reply, training)),
    _placeholder_metric("placeholders_kept", "placeholders kept"),
    _placeholder_metric("placeholders_lost", "placeholders lost"),
    _placeholder_metric("placeholders_invented", "placeholders invented, per reply"),
    ReplyMetric(
        "names_own",
        "replies with a name, number or date of the ticket",
        lambda ticket, reply, _: names_own_fact(ticket, reply),
    ),
    _fact_metric("names", "the ticket's own names kept"),
    _fact_metric("numbers", "its own numbers kept"),
    _fact_metric("dates", "its own dates kept"),
    ReplyMetric("empty", "empty replies", lambda _ticket, reply, _: float(not reply.strip())),
)
NAMES = {metric.key: metric.name for metric in METRICS}
