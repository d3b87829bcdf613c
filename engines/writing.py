"""Continuing a closed list of prompts, with any writer."""

from collections import deque
from collections.abc import Callable, Sequence

from backbone.config import DecodingConfig
from engines.protocols import OnToken, Row, SharedPrefix, Writer


def write_all(
    writer: Writer,
    prompts: Sequence[Sequence[int]],
    adapter: str,
    options: DecodingConfig | Sequence[DecodingConfig],
    on_token: OnToken | None = None,
    on_done: Callable[[int, list[int]], None] | None = None,
    shared_prefix: SharedPrefix | None = None,
) -> list[list[int]]:
    """Return the ids generated after every prompt, in order, without the end token.

    Args:
        adapter: applied from the end of the `shared_prefix` on.
        options: one for all prompts, or one each.
        on_token: called with the index of the prompt and every id as it is generated.
        on_done: called with the index of a prompt that is complete, and its ids.

    Raises:
        WorkError: a prompt does not fit, or the writer fails; what was being written is given up.
    """
    lengths = shared_prefix.lengths if shared_prefix else [0] * len(prompts)
    each = [options] * len(prompts) if isinstance(options, DecodingConfig) else options
    rows = [
        Row(
            prompt=prompt,
            adapter=adapter,
            options=own,
            prefix_adapter=shared_prefix.adapter if shared_prefix else adapter,
            prefix_length=length,
            on_token=_with_index(on_token, i),
        )
        for i, (prompt, own, length) in enumerate(zip(prompts, each, lengths, strict=True))
    ]
    index = {row: i for i, row in enumerate(rows)}
    waiting, unfinished = deque(rows), len(rows)
    try:
        while unfinished:
            while waiting and writer.admit(waiting[0]):
                waiting.popleft()
            for row in writer.step():
                if row.error:
                    raise row.error
                unfinished -= 1
                if on_done:
                    on_done(index[row], row.written)
    finally:
        for row in rows:  # an interrupted call leaves nothing behind
            writer.end(row)
    return [row.written for row in rows]


def _with_index(on_token: OnToken | None, index: int) -> Callable[[int], None] | None:
    return (lambda token: on_token(index, token)) if on_token else None
