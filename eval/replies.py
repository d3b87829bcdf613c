"""Reply metrics: overlap with the true reply, faithfulness to the ticket, copying, variety, placeholders."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from rouge_score import rouge_scorer
from sacrebleu.metrics.bleu import BLEU

from backbone.progress import track
from eval.bootstrap import Floats
from eval.faithfulness import names_own_fact, shared_facts
from generator.rouge import UnicodeTokenizer
from tickets.schema import Ticket

ROUGE_L = "rougeL"  # stemmed, as published; the figure of the buckets
_KINDS = ("rouge1", "rouge2", ROUGE_L)
_PLACEHOLDER = re.compile(r"[<\[{]([a-z][a-z_' ]*)[>\]}]", re.I)  # <name> in the data; models also write [Name]
_WORD = re.compile(r"\w+")
_COPY_WORDS = 8  # a run of so many words that stands in a training reply counts as copied
BUCKETS = ("> 0.5", "0.3-0.5", "< 0.3")  # of ROUGE-L; published as excellent, good, fair


@dataclass(frozen=True)
class ReplyScores:
    """Scores of one system's replies.

    Attributes:
        values: per ticket (tickets,), by metric; NaN where a metric has nothing to measure.
        ratios: figures that are a sum over a sum, both per ticket (tickets,), by metric.
        bleu: what corpus BLEU adds up per ticket, (tickets, 10): lengths of reply and true reply, matching n-grams,
            n-grams, for n from 1 to 4.
        bleu_signature: sacreBLEU's, which says how its figure is computed.
        variety: of all replies together. Drawing replies twice lowers it, so it has no bootstrap interval.
    """

    values: Mapping[str, Floats]
    ratios: Mapping[str, tuple[Floats, Floats]]
    bleu: Floats
    bleu_signature: str
    variety: Mapping[str, float]

    def spread(self, rows: Sequence[int], count: int) -> "ReplyScores":
        """The same for `count` tickets, of which `rows` were scored and the others count nothing."""

        def placed(values: Floats, empty: float) -> Floats:
            return spread(values, rows, count, empty)

        return replace(
            self,
            values={name: placed(values, np.nan) for name, values in self.values.items()},
            ratios={name: (placed(top, 0.0), placed(bottom, 0.0)) for name, (top, bottom) in self.ratios.items()},
            bleu=placed(self.bleu, 0.0),
        )


def spread(values: Floats, rows: Sequence[int], count: int, empty: float = np.nan) -> Floats:
    """Values of some rows (rows, ...) in an array of `count` rows, `empty` elsewhere."""
    whole = np.full((count, *values.shape[1:]), empty)
    whole[list(rows)] = values
    return whole


def corpus_bleu(sums: Floats) -> float:
    """sacreBLEU, 0 to 100, from the sums of `ReplyScores.bleu` over tickets, (10,)."""
    reply, reference, *counts = (round(value) for value in sums.tolist())
    score = BLEU.compute_bleu(counts[:4], counts[4:], reply, reference, smooth_method="exp")
    return float(score.score)


@dataclass(frozen=True)
class TrainingReplies:
    """What could have been copied."""

    replies: Sequence[str]

    @cached_property
    def runs(self) -> frozenset[tuple[str, ...]]:
        """Every run of eight words of the training replies."""
        return frozenset(run for reply in self.replies for run in _word_runs(reply))


def score_replies(tickets: Sequence[Ticket], replies: Sequence[str], training: TrainingReplies) -> ReplyScores:
    """Score replies against the tickets' true ones."""
    rows = [
        _ticket_scores(ticket, reply, training)
        for ticket, reply in track(list(zip(tickets, replies, strict=True)), "reply metrics")
    ]
    values = {name: np.array([row[name] for row in rows], dtype=np.float64) for name in rows[0]}
    bleu = BLEU()
    statistics = np.array([_bleu_statistics(bleu, t.reply, r) for t, r in zip(tickets, replies, strict=True)])
    words, wanted = _words(replies), _words([ticket.reply for ticket in tickets])
    ratios = {"mean_words": (words, np.ones(len(words))), "mean_words_ratio": (words, wanted)}
    return ReplyScores(values, ratios, statistics, str(bleu.get_signature()), _variety(replies))


def bucket_of(rouge: float) -> str:
    """The published bucket of a ROUGE-L."""
    return BUCKETS[0] if rouge > 0.5 else BUCKETS[1] if rouge >= 0.3 else BUCKETS[2]


def bucket_counts(rouge: Floats) -> dict[str, int]:
    """How many replies fall into every published bucket."""
    counts = Counter(bucket_of(float(value)) for value in rouge)
    return {name: counts[name] for name in BUCKETS}


def stemmed_rouge_l(reply: str, reference: str) -> float:
    """ROUGE-L F1 as published."""
    return float(_STEMMED.score(reference, reply)[ROUGE_L].fmeasure)


def _ticket_scores(ticket: Ticket, reply: str, training: TrainingReplies) -> dict[str, float]:
    return {
        **_rouge(ticket.reply, reply),
        "bleu": _sentence_bleu(ticket.reply, reply),
        **{f"own_{kind}": share for kind, share in shared_facts(ticket, reply).items()},
        "copied": _copied(reply, training),
        **_placeholders(ticket.reply, reply),
        "names_own": names_own_fact(ticket, reply),
        "empty": float(not reply.strip()),
    }


_STEMMED = rouge_scorer.RougeScorer(list(_KINDS), use_stemmer=True)
_UNICODE = rouge_scorer.RougeScorer(list(_KINDS), tokenizer=UnicodeTokenizer())


def _rouge(reference: str, reply: str) -> dict[str, float]:
    """F1 with Porter stemming and a-z tokens, as published, and `_unicode` with every alphabet's words."""
    stemmed, words = _STEMMED.score(reference, reply), _UNICODE.score(reference, reply)
    return {
        **{kind: float(stemmed[kind].fmeasure) for kind in _KINDS},
        **{f"{kind}_unicode": float(words[kind].fmeasure) for kind in _KINDS},
    }


def _sentence_bleu(reference: str, reply: str) -> float:
    """As published: whitespace tokens, lower case, smoothing method 1 of Chen and Cherry 2014."""
    found = reply.lower().split()
    if not found:
        return 0.0
    smooth = SmoothingFunction().method1
    return float(sentence_bleu([reference.lower().split()], found, smoothing_function=smooth))


def _copied(reply: str, training: TrainingReplies) -> float:
    """Share of the reply's runs of eight words that stand in a training reply; NaN for shorter replies."""
    runs = _word_runs(reply)
    return sum(run in training.runs for run in runs) / len(runs) if runs else float("nan")


def _word_runs(text: str) -> list[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return [tuple(words[i : i + _COPY_WORDS]) for i in range(len(words) - _COPY_WORDS + 1)]


def _placeholders(reference: str, reply: str) -> dict[str, float]:
    """Of the true reply's placeholders such as <name> the share kept and lost; and how many the reply invented."""
    wanted, given = (_placeholder_names(text) for text in (reference, reply))
    return {
        "placeholders_kept": len(wanted & given) / len(wanted) if wanted else float("nan"),
        "placeholders_lost": len(wanted - given) / len(wanted) if wanted else float("nan"),
        "placeholders_invented": float(len(given - wanted)),
    }


def _placeholder_names(text: str) -> set[str]:
    return {" ".join(name.lower().replace("_", " ").split()) for name in _PLACEHOLDER.findall(text)}


def _variety(replies: Sequence[str]) -> dict[str, float]:
    """Distinct-n (Li et al. 2016): different n-grams over all n-grams of all replies."""
    found = {}
    for n in (1, 2):
        grams: Counter[Any] = Counter()
        for reply in replies:
            words = _WORD.findall(reply.lower())
            grams.update(zip(*(words[i:] for i in range(n)), strict=False))
        found[f"distinct_{n}"] = len(grams) / max(grams.total(), 1)
    return found


def _bleu_statistics(bleu: BLEU, reference: str, reply: str) -> list[float]:
    found = bleu.corpus_score([reply], [[reference]])
    return [found.sys_len, found.ref_len, *found.counts, *found.totals]


def _words(texts: Sequence[str]) -> Floats:
    return np.array([len(text.split()) for text in texts], dtype=np.float64)
