"""What the server has to know of a model besides how to run it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from backbone.runs.layout import GENERATOR, MANIFEST
from classifier.predict import Classifier
from pipeline.model_folder import ModelFolder

_NEVER = 1.0  # a threshold above this is reached by no confidence


@dataclass(frozen=True)
class ModelFacts:
    """A model as people and programs see it.

    Attributes:
        fingerprint: its name, and twelve hex digits that change with any of its files.
        columns: labels by column.
        tags: every tag it can give.
        thresholds: by column the confidence from which no person is needed; None where that is never.
        writes: whether it has a generator.
    """

    fingerprint: str
    columns: Mapping[str, tuple[str, ...]]
    tags: tuple[str, ...]
    thresholds: Mapping[str, float | None]
    writes: bool

    @classmethod
    def of(cls, model: ModelFolder, classifier: Classifier) -> "ModelFacts":
        """Describe an open model; its base need not be there."""
        manifests = [model.path / MANIFEST] if model.bundle else []
        manifests += [stage.path / MANIFEST for _, stage in sorted(model.stages.items())]
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in manifests)).hexdigest()
        space, heads = classifier.space, classifier.calibration.heads
        thresholds = {c: heads[c].threshold if heads[c].threshold <= _NEVER else None for c in space.columns}
        columns = {column: tuple(labels) for column, labels in space.columns.items()}
        return cls(
            f"{model.path.resolve().name}-{digest[:12]}",
            columns,
            tuple(space.tags),
            thresholds,
            GENERATOR in model.stages,
        )
