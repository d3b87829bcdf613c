"""Labels and tags of tickets as numbers: what a classifier is trained towards and fitted on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classifier.metrics import Ints
from tickets.labels import LabelSpace
from tickets.schema import Ticket


def label_targets(tickets: Sequence[Ticket], space: LabelSpace) -> Ints:
    """Return class ids, (tickets, columns): NO_LABEL where a ticket has no label, UNSEEN where training lacked it."""
    ids = [space.label_ids(ticket) for ticket in tickets]
    return np.array([[row[column] for column in space.columns] for row in ids], dtype=np.int64)


def tag_targets(tickets: Sequence[Ticket], space: LabelSpace) -> NDArray[np.float32]:
    """Return 1 for every tag that a ticket has, 0 for the others, (tickets, tags)."""
    return np.array([space.tag_vector(ticket) for ticket in tickets], dtype=np.float32).reshape(len(tickets), -1)
