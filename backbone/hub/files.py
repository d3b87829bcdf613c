"""Which files a published stage consists of, and how large each may be: what is pushed, and what is accepted."""

from collections.abc import Mapping

from backbone.runs.layout import (
    ADAPTER,
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    BASE,
    CALIBRATION,
    CLASSIFIER,
    CONFIG,
    GENERATOR,
    HEADS,
    JOINT,
    LABELS,
    MANIFEST,
    RUN,
)

STAGES = (CLASSIFIER, GENERATOR)
CARD = "README.md"
_MIB = 1 << 20
# bytes. The largest adapter that anybody trains here, rank 4096 on 8 billion parameters, takes about 60 GB in fp32;
# rank 128 takes 1.3 GB
LIMITS: Mapping[str, int] = {
    CONFIG: _MIB,
    BASE: _MIB,
    RUN: 16 * _MIB,
    LABELS: 16 * _MIB,
    CALIBRATION: 16 * _MIB,
    JOINT: 64 * _MIB,
    HEADS: 1024 * _MIB,
    "tokenizer.json": 64 * _MIB,
    "tokenizer_config.json": 16 * _MIB,
    "chat_template.jinja": _MIB,
    f"{ADAPTER}/{ADAPTER_CONFIG}": _MIB,
    f"{ADAPTER}/{ADAPTER_WEIGHTS}": 64 * 1024 * _MIB,
}
LARGEST_MANIFEST = _MIB


def limit_of(name: str) -> int | None:
    """Return how many bytes a file of a published model may have; None for a name that no such model has.

    Args:
        name: relative to the model folder, with `/`.
    """
    stage, _, inside = name.partition("/")
    if stage not in STAGES:
        return None
    return LARGEST_MANIFEST if inside == MANIFEST else LIMITS.get(inside)
