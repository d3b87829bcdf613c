"""ROUGE-L of generated replies, with a tokenizer that keeps letters of every alphabet."""

import re
from collections.abc import Sequence

from rouge_score import rouge_scorer

_WORD = re.compile(r"\w+")


class UnicodeTokenizer:
    """Lower-cased words; rouge-score's own tokenizer drops everything but a-z and digits, so umlauts split words."""

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text.lower())


def rouge_l(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Return the mean ROUGE-L F1 (Lin 2004) over pairs, 0 to 1."""
    scorer = rouge_scorer.RougeScorer(["rougeL"], tokenizer=UnicodeTokenizer())
    pairs = zip(references, predictions, strict=True)
    scores = [scorer.score(reference, prediction)["rougeL"].fmeasure for reference, prediction in pairs]
    return sum(scores) / len(scores) if scores else 0.0
