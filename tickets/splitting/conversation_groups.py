"""Tickets of one conversation in one group, so that no part of it is trained and another tested."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tickets.schema import Ticket


def join_conversations(
    groups: NDArray[np.int64], tickets: Sequence[Ticket], first_turns: Mapping[str, str]
) -> NDArray[np.int64]:
    """Group of every ticket, with the groups that share a conversation joined."""
    if not first_turns:
        return groups
    rows = {ticket.id: row for row, ticket in enumerate(tickets)}
    links = [(groups[rows[later]], groups[rows[first]]) for later, first in first_turns.items()]
    left, right = np.array(links, dtype=np.int64).T
    size = int(groups.max()) + 1
    graph = coo_matrix((np.ones(len(links)), (left, right)), shape=(size, size))
    joined = connected_components(graph, directed=False)[1].astype(np.int64)
    result: NDArray[np.int64] = np.unique(joined[groups], return_inverse=True)[1].astype(np.int64)
    return result
