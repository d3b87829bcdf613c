"""Class weights and sampling weights from training labels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from backbone.config import BalanceConfig
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.schema import Ticket


def class_weights(tickets: Sequence[Ticket], space: LabelSpace, config: BalanceConfig) -> dict[str, list[float] | None]:
    """Weight of every class by column, in class order; None where no weights are wanted.

    `balanced` is inverse frequency (King and Zeng 2001, as in scikit-learn); `effective` is the inverse effective
    number (1 - beta^n) / (1 - beta) of Cui et al. 2019; a mapping gives weights outright, 1 for classes it leaves out.
    All but explicit weights are scaled to average 1 over the training tickets that have a label in the column: the
    learning rate keeps its meaning.
    """
    return {
        column: _column_weights(tickets, space.columns[column], column, _scheme(config, column, space), config)
        for column in space.columns
    }


def sampling_weights(
    tickets: Sequence[Ticket], space: LabelSpace, config: BalanceConfig, synthetic: Sequence[Ticket] = ()
) -> list[float] | None:
    """Weight of drawing every ticket so that the classes of one column come equally often; None for plain epochs.

    `balanced` uses the column of which the rarest class is the smallest share. Synthetic tickets come after the others;
    they take a part of their class's draws and add none.
    """
    if config.sampling == "none":
        return None
    column = config.sampling
    if column == "balanced":
        column = min(space.columns, key=lambda name: min(_counts(tickets, name).values()))
    if column not in space.columns:
        raise InputError(
            f"{config.section}.sampling: found {config.sampling!r}, expected none, balanced or one of "
            f"{', '.join(space.columns)}"
        )
    rows = [*tickets, *synthetic]
    counts = _counts(rows, column)
    # A ticket without this label is drawn as often as one with it on average.
    average = len(counts) / sum(counts.values())
    return [1.0 / counts[ticket.labels[column]] if column in ticket.labels else average for ticket in rows]


def effective_examples(
    tickets: Sequence[Ticket], space: LabelSpace, config: BalanceConfig, synthetic: Sequence[Ticket] = ()
) -> dict[str, dict[str, dict[str, float]]]:
    """Return what an epoch holds of every class, by column and label.

    `tickets` in the data, `drawn` in an epoch on average (another number where sampling balances), the `weight` of
    each in the loss, and `effective`, drawn times weight: how many plain examples the class counts for. Synthetic
    tickets are drawn, but do not count as `tickets`, nor for the weight.
    """
    rows = [*tickets, *synthetic]
    weights = class_weights(tickets, space, config)
    ticket_weights = sampling_weights(tickets, space, config, synthetic) or [1.0] * len(rows)
    scale = len(rows) / sum(ticket_weights)
    report: dict[str, dict[str, dict[str, float]]] = {}
    for column, classes in space.columns.items():
        counts, drawn = _counts(tickets, column), dict.fromkeys(classes, 0.0)
        for ticket, ticket_weight in zip(rows, ticket_weights, strict=True):
            if column in ticket.labels:
                drawn[ticket.labels[column]] += ticket_weight * scale
        column_weights = weights[column] or [1.0] * len(classes)
        report[column] = {
            label: {
                "tickets": counts[label],
                "drawn": drawn[label],
                "weight": weight,
                "effective": drawn[label] * weight,
            }
            for label, weight in zip(classes, column_weights, strict=True)
        }
    return report


def _scheme(config: BalanceConfig, column: str, space: LabelSpace) -> str | Mapping[str, Any]:
    """Return what `class_weights` says of one column; a mapping may be per column or of one column's classes."""
    given = config.class_weights
    if isinstance(given, str):
        return given
    unknown = [key for key in given if key not in space.columns]
    if unknown:
        raise InputError(
            f"{config.section}.class_weights: found {unknown[0]!r}, expected label columns "
            f"({', '.join(space.columns)}), for "
            "example {priority: {low: 2.0}}"
        )
    scheme = given.get(column, "none")
    return scheme if isinstance(scheme, str | dict) else "none"


def _column_weights(
    tickets: Sequence[Ticket],
    classes: Sequence[str],
    column: str,
    scheme: str | Mapping[str, Any],
    config: BalanceConfig,
) -> list[float] | None:
    if isinstance(scheme, Mapping):
        unknown = [label for label in scheme if label not in classes]
        if unknown:
            raise InputError(
                f"{config.section}.class_weights.{column}: found {unknown[0]!r}, expected one of {', '.join(classes)}"
            )
        return [float(scheme.get(label, 1.0)) for label in classes]
    if scheme == "none":
        return None
    counts = _counts(tickets, column)
    beta = config.effective_beta
    sizes = counts if scheme == "balanced" else {label: (1 - beta**n) / (1 - beta) for label, n in counts.items()}
    raw = [1.0 / sizes[label] for label in classes]
    mean = sum(weight * counts[label] for weight, label in zip(raw, classes, strict=True)) / sum(counts.values())
    return [weight / mean for weight in raw]


def _counts(tickets: Sequence[Ticket], column: str) -> Counter[str]:
    return Counter(ticket.labels[column] for ticket in tickets if column in ticket.labels)
