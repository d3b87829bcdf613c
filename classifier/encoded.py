"""Tickets as token ids and class ids, as the classifier trains on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from backbone.batches import collate
from backbone.prompts import ticket_text
from backbone.training.stage import Stage
from classifier.targets import label_targets, tag_targets
from tickets.labels import LabelSpace
from tickets.schema import Ticket


@dataclass(frozen=True)
class EncodedTickets:
    """Prompt ids and targets of tickets: class ids (tickets, columns) and tag indicators (tickets, tags).

    A class id is NO_LABEL or UNSEEN, both negative, where the ticket has no label or one that training never saw.
    """

    prompts: list[Sequence[int]]
    targets: np.ndarray[Any, np.dtype[np.int64]]
    tags: np.ndarray[Any, np.dtype[np.float32]]

    @property
    def lengths(self) -> list[int]:
        """Tokens of every prompt."""
        return [len(ids) for ids in self.prompts]

    def batch(self, rows: Sequence[int], pad_id: int, packed: bool, with_targets: bool = True) -> dict[str, Any]:
        """Return a batch of some rows, packed or padded."""
        batch = collate([self.prompts[row] for row in rows], pad_id, packed)
        if with_targets:
            batch |= self.target_tensors(rows)
        return batch

    def target_tensors(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return `targets` (rows, columns) and `tag_targets` (rows, tags)."""
        index = list(rows)
        return {"targets": torch.from_numpy(self.targets[index]), "tag_targets": torch.from_numpy(self.tags[index])}


def encode_tickets(stage: Stage, tickets: Sequence[Ticket], space: LabelSpace) -> EncodedTickets:
    """Encode tickets and look up their targets."""
    limit = stage.config.classifier.training.max_length
    return EncodedTickets(
        prompts=stage.tokens.rows(
            [stage.encoder.fingerprint, "classifier", limit, [ticket_text(ticket) for ticket in tickets]],
            lambda: [stage.encoder.classifier_prompt(ticket, limit).ids for ticket in tickets],
        ),
        targets=label_targets(tickets, space),
        tags=tag_targets(tickets, space),
    )
