"""Scoring the replies of a system: every metric of `reply_metrics`, corpus BLEU, variety, length."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from backbone.progress import track
from eval.bootstrap import Floats
from eval.reply_metrics import METRICS, TrainingReplies
from tickets.schema import Ticket

_WORD = re.compile(r"\w+")
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
        """Return the same for `count` tickets, of which `rows` were scored and the others count nothing."""

        def placed(values: Floats, empty: float) -> Floats:
            return spread(values, rows, count, empty)

        return replace(
            self,
            values={name: placed(values, np.nan) for name, values in self.values.items()},
            ratios={name: (placed(top, 0.0), placed(bottom, 0.0)) for name, (top, bottom) in self.ratios.items()},
            bleu=placed(self.bleu, 0.0),
        )


def spread(values: Floats, rows: Sequence[int], count: int, empty: float = np.nan) -> Floats:
    """Return values of some rows (rows, ...) in an array of `count` rows, `empty` elsewhere."""
    spread_values = np.full((count, *values.shape[1:]), empty)
    spread_values[list(rows)] = values
    return spread_values


def corpus_bleu(sums: Floats) -> float:
    """Return sacreBLEU, 0 to 100, from the sums of `ReplyScores.bleu` over tickets, (10,)."""
    reply, reference, *counts = (round(value) for value in sums.tolist())
    score = BLEU.compute_bleu(counts[:4], counts[4:], reply, reference, smooth_method="exp")
    return float(score.score)


def score_replies(tickets: Sequence[Ticket], replies: Sequence[str], training: TrainingReplies) -> ReplyScores:
    """Score replies against the tickets' true ones."""
    computed = [metric for metric in METRICS if metric.compute]
    rows = [
        [metric.compute(ticket, reply, training) for metric in computed if metric.compute]
        for ticket, reply in track(list(zip(tickets, replies, strict=True)), "reply metrics")
    ]
    columns = np.array(rows, dtype=np.float64).T
    values = {metric.key: column for metric, column in zip(computed, columns, strict=True)}
    bleu = BLEU()
    statistics = np.array([_bleu_statistics(bleu, t.reply, r) for t, r in zip(tickets, replies, strict=True)])
    words, true_words = _words(replies), _words([ticket.reply for ticket in tickets])
    ratios = {"mean_words": (words, np.ones(len(words))), "mean_words_ratio": (words, true_words)}
    return ReplyScores(values, ratios, statistics, str(bleu.get_signature()), _variety(replies))


def bucket_of(rouge: float) -> str:
    """Return the published bucket of a ROUGE-L."""
    return BUCKETS[0] if rouge > 0.5 else BUCKETS[1] if rouge >= 0.3 else BUCKETS[2]


def _variety(replies: Sequence[str]) -> dict[str, float]:
    """Return distinct-n (Li et al. 2016): different n-grams over all n-grams of all replies."""
    distinct = {}
    for n in (1, 2):
        grams: Counter[Any] = Counter()
        for reply in replies:
            words = _WORD.findall(reply.lower())
            grams.update(zip(*(words[i:] for i in range(n)), strict=False))
        distinct[f"distinct_{n}"] = len(grams) / max(grams.total(), 1)
    return distinct


def _bleu_statistics(bleu: BLEU, reference: str, reply: str) -> list[float]:
    score = bleu.corpus_score([reply], [[reference]])
    return [score.sys_len, score.ref_len, *score.counts, *score.totals]


def _words(texts: Sequence[str]) -> Floats:
    return np.array([len(text.split()) for text in texts], dtype=np.float64)
