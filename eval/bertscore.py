"""BERTScore (Zhang et al. 2020) of replies with an encoder from a local folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backbone.load import quiet_libraries
from eval.bootstrap import Floats
from tickets.errors import InputError
from tickets.plain_reason import plain_reason


@dataclass(frozen=True)
class BertScore:
    """F1 per ticket (tickets,), and what it was computed with."""

    f1: Floats
    model: str
    layer: int


def bert_score(replies: Sequence[str], references: Sequence[str], model: Path, layer: int | None = None) -> BertScore:
    """Return BERTScore F1 without baseline rescaling; an empty reply or reference scores 0.

    Args:
        model: folder of a BERT-like encoder with its tokenizer.
        layer: which layer's states are compared; the one two thirds up without it.

    Raises:
        InputError: no such encoder there, or it has fewer layers.
    """
    from bert_score import BERTScorer

    chosen, longest = check_encoder(model, layer)
    quiet_libraries()
    try:
        scorer = BERTScorer(model_type=str(model), num_layers=chosen, idf=False)
    except (OSError, ValueError, AttributeError) as error:
        raise _not_an_encoder(model, error) from None
    # a tokenizer without a length limit of its own says 1e30, which the library passes on until it overflows
    scorer._tokenizer.model_max_length = min(scorer._tokenizer.model_max_length, longest)
    # the library crashes on an empty text
    rows = [i for i, (a, b) in enumerate(zip(replies, references, strict=True)) if a.strip() and b.strip()]
    f1 = np.zeros(len(replies))
    if rows:
        _, _, found = scorer.score([replies[i] for i in rows], [references[i] for i in rows])
        f1[rows] = found.double().cpu().numpy()
    return BertScore(f1, str(model), chosen)


def check_encoder(model: Path, layer: int | None) -> tuple[int, int]:
    """Return the layer to compare, and the longest text in tokens.

    Raises:
        InputError: no such encoder there, or it has fewer layers.
    """
    from transformers import AutoConfig

    if not model.is_dir():
        raise InputError(f"--bertscore-model {model}: no such folder; expected that of a downloaded encoder")
    try:
        config = AutoConfig.from_pretrained(model)
        depth, longest = int(config.num_hidden_layers), int(config.max_position_embeddings)
    except (OSError, ValueError, AttributeError) as error:
        raise _not_an_encoder(model, error) from None
    chosen = max(1, round(depth * 2 / 3)) if layer is None else layer
    if not 1 <= chosen <= depth:
        raise InputError(f"--bertscore-layer {layer}: {model} has {depth} layers, expected one of them")
    return chosen, longest


def _not_an_encoder(model: Path, error: Exception) -> InputError:
    reason = plain_reason(error)[:200]
    return InputError(f"--bertscore-model {model}: not an encoder ({reason}); expected the folder of a downloaded one")
