"""The one prompt encoder, on `tokenizers` alone: tickets become token ids that no text in them can forge.

A prompt is a list of chat turns. Text is encoded by a copy of the tokenizer that knows no added tokens, so a ticket
that contains `<|im_end|>` yields ordinary tokens; the turn delimiters are inserted by id. On text without such literals
the ids equal those of the chat template, for Qwen3 with thinking switched off.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer

from tickets.errors import InputError
from tickets.plain_reason import plain_reason
from tickets.schema import Ticket

START, END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
THINK, END_THINK = "<think>", "</think>"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")  # the last is not always there
_CHARACTERS_PER_TOKEN = 64  # text far beyond the limit is cut before encoding; no ticket averages more


@dataclass(frozen=True)
class Turn:
    """One chat message."""

    role: str
    text: str


@dataclass(frozen=True)
class Prompt:
    """Token ids that end with the assistant opening; `truncated` when the ticket was cut to fit."""

    ids: tuple[int, ...]
    truncated: bool


_STEPS = ("Sequence", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "ByteLevel", "ByteFallback", "Fuse")
_LONGEST_TOKEN = 10_000  # characters


class PromptEncoder:
    """Encodes chat turns with the tokenizer of a base, and decodes replies.

    Attributes:
        thinks: the model would think before it answers; every prompt ends with an empty block of thoughts.
    """

    def __init__(self, folder: Path, instruction: str, task: str = "") -> None:
        """Load `tokenizer.json` from a model folder.

        Args:
            instruction: the system message of every prompt.
            task: what stands in the user turn before every ticket, with its line break.

        Raises:
            InputError: no tokenizer there, or one without the chat tokens.
        """
        path = folder / "tokenizer.json"
        try:
            text = path.read_text(encoding="utf-8")
            self._full, self._plain = _tokenizers(text)
        except OSError:
            raise InputError(f"{path}: missing; expected the tokenizer of the base beside its config.json") from None
        except Exception as error:  # `tokenizers` raises bare Exception
            raise InputError(f"{path}: not a tokenizer ({plain_reason(error)}); copy it again from the model") from None
        ids = [self._full.token_to_id(token) for token in (START, END, END_OF_TEXT)]
        if None in ids:
            raise InputError(
                f"{path}: lacks {START}, {END} or {END_OF_TEXT}; expected a tokenizer with these chat tokens"
            )
        self.start_id, self.end_id, self.pad_id = (token for token in ids if token is not None)
        self.control_ids = frozenset(self._full.get_added_tokens_decoder())
        self.instruction, self.task = instruction, task
        thoughts = _empty_thoughts(self._full, folder, self.encode_text("\n\n"))
        self.thinks = bool(thoughts)
        parts = (text, instruction, task, *((THINK,) if self.thinks else ()))
        self.fingerprint = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        self._opening = tuple(self.encode_text("assistant\n") + thoughts)
        self._line_break = tuple(self.encode_text("\n"))
        self._prefix = (*self._turn(Turn("system", instruction)), self.start_id, *self.encode_text(f"user\n{task}"))

    @property
    def control_literals(self) -> tuple[str, ...]:
        """What the control tokens look like in text."""
        return tuple(token.content for token in self._full.get_added_tokens_decoder().values())

    @property
    def opening(self) -> str:
        """What every prompt ends with, as text."""
        return START + self.decode_all(self._opening)

    @property
    def prefix(self) -> list[int]:
        """What every prompt begins with: the instruction's turn, the opening of the ticket's, and the task."""
        return list(self._prefix)

    def turns(self, ids: Sequence[int]) -> list[Turn]:
        """Return the chat turns of a prompt without its assistant opening, as text."""
        parts: list[list[int]] = []
        for token in ids:
            if token == self.start_id:
                parts.append([])
            elif parts:
                parts[-1].append(token)
        turns = []
        for part in parts[:-1]:  # the last is the assistant opening
            role, _, text = self.decode_all(part[: part.index(self.end_id)]).partition("\n")
            turns.append(Turn(role, text))
        return turns

    def ticket_end(self, ids: Sequence[int]) -> int:
        """Return the length of the instruction's and the ticket's turns, which both stages' prompts share."""
        return [i for i, token in enumerate(ids) if token == self.start_id][2]  # where the third turn starts

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, added tokens included."""
        return int(self._full.get_vocab_size(with_added_tokens=True))

    def encode_text(self, text: str) -> list[int]:
        """Return the ids of plain text; no control token, whatever it says."""
        return list(self._encoding(text).ids)

    def _encoding(self, text: str) -> Encoding:
        """Return what the tokenizer makes of plain text.

        Raises:
            InputError: its patterns do not come to an end on this text.
            TypeError: half a character, as a server may send.
        """
        try:
            return self._plain.encode(text, add_special_tokens=False)
        except TypeError:
            raise
        except BaseException as error:
            # the library raises Exception itself; a panic of Rust is none
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise InputError(
                f"the tokenizer fails on a text ({plain_reason(error)}); expected the tokenizer of the base; copy it "
                "again"
            ) from None

    def encode_parts(self, texts: Sequence[str]) -> tuple[list[int], list[int]]:
        """Return the ids of the texts joined, and of every id the index of the text that its last character is in."""
        encoding = self._encoding("".join(texts))
        ends = list(accumulate(len(text) for text in texts))
        return list(encoding.ids), [bisect_right(ends, max(start, end - 1)) for start, end in encoding.offsets]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without control tokens."""
        return str(self._full.decode(list(ids), skip_special_tokens=True))

    def decode_all(self, ids: Sequence[int]) -> str:
        """Return the text of ids with control tokens shown."""
        return str(self._full.decode(list(ids), skip_special_tokens=False))

    def classifier_prompt(self, ticket: Ticket, max_length: int) -> Prompt:
        """Encode instruction, ticket, assistant opening."""
        return self._prompt(ticket_text(ticket), None, max_length)

    def generator_prompt(self, ticket: Ticket, labels: Mapping[str, str], max_length: int) -> Prompt:
        """Encode instruction, ticket, a turn with the labels, assistant opening.

        The labels stand in a system turn of their own after the ticket: nothing inside a ticket can imitate it.
        """
        return self._prompt(ticket_text(ticket), label_text(labels), max_length)

    def single_prompt(self, ticket: Ticket, max_length: int) -> Prompt:
        """Encode the published single-prompt format: instruction, task and ticket in one turn, assistant opening."""
        return self._prompt(single_prompt_text(ticket), None, max_length)

    def chat_prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Return the ids of any chat turns, and the assistant opening."""
        return [*(token for turn in turns for token in self._turn(turn)), self.start_id, *self._opening]

    def reply_ids(self, reply: str) -> list[int]:
        """Return what the generator learns to write after its prompt: the reply and the end token."""
        return [*self.encode_text(reply), self.end_id]

    def _prompt(self, text: str, labels: str | None, max_length: int) -> Prompt:
        head = self._prefix
        tail = [self.end_id, *self._line_break]
        if labels is not None:
            tail += self._turn(Turn("system", labels))
        tail += [self.start_id, *self._opening]
        room = max_length - len(head) - len(tail)
        if room < 1:
            raise InputError(
                f"max_length {max_length} leaves no room for a ticket; raise max_length of the stage's training"
            )
        body = self.encode_text(text[: room * _CHARACTERS_PER_TOKEN])
        truncated = len(body) > room or len(text) > room * _CHARACTERS_PER_TOKEN
        return Prompt((*head, *body[:room], *tail), truncated)

    def _turn(self, turn: Turn) -> list[int]:
        return [self.start_id, *self.encode_text(f"{turn.role}\n{turn.text}"), self.end_id, *self._line_break]


def _empty_thoughts(tokenizer: Tokenizer, folder: Path, blank_line: Sequence[int]) -> list[int]:
    """Return the empty block of thoughts that tells a Qwen3 model to answer at once; nothing for other models.

    Models of the same family that never think have the tokens too, but a chat template without the switch.
    """
    start, end = tokenizer.token_to_id(THINK), tokenizer.token_to_id(END_THINK)
    if start is None or end is None or not _can_switch_thinking(folder):
        return []
    return [start, *blank_line, end, *blank_line]


def _can_switch_thinking(folder: Path) -> bool:
    """Return whether the chat template can switch thinking off.

    A folder without a template is taken to have such a one.
    """
    texts = [path.read_text(encoding="utf-8") for name in TOKENIZER_FILES[1:] if (path := folder / name).is_file()]
    return "enable_thinking" in "".join(texts) or not any("chat_template" in text or "{%" in text for text in texts)


@lru_cache(maxsize=2)
def _tokenizers(text: str) -> tuple[Tokenizer, Tokenizer]:
    """Return the tokenizer of a `tokenizer.json`, and one without its added tokens.

    Loading takes a second, so stages share them.

    Raises:
        ValueError: not one of the kind that the supported families have.
    """
    full, record = Tokenizer.from_str(text), json.loads(text)
    kind, padding = record["model"].get("type", "BPE"), record.get("padding") or {}
    if kind != "BPE" or record["model"].get("dropout"):
        raise ValueError(f"a {kind} model{' with dropout' if kind == 'BPE' else ''}, expected BPE without dropout")
    if padding.get("strategy", "BatchLongest") != "BatchLongest":
        raise ValueError(f"it pads every text ({padding['strategy']}), expected no padding")
    _check_growth(record)
    bare_record = {**record, "added_tokens": [], "padding": None, "truncation": None}
    return full, Tokenizer.from_str(json.dumps(bare_record))


def ticket_text(ticket: Ticket) -> str:
    """Return the user turn of a ticket."""
    body = ticket.body.strip()
    return f"Subject: {ticket.subject.strip()}\n\n{body}" if ticket.subject.strip() else body


def single_prompt_text(ticket: Ticket) -> str:
    """Return a ticket as the published single-prompt system reads it."""
    body = ticket.body.strip()
    return f"Subject: {ticket.subject.strip()}\n\nContent:\n{body}" if ticket.subject.strip() else body


def label_text(labels: Mapping[str, str]) -> str:
    """Return the label turn: one `Column: label` line each; columns that are absent were dropped on purpose."""
    return "\n".join(f"{column.capitalize()}: {label}" for column, label in labels.items())


def _check_growth(record: dict[str, Any]) -> None:
    """Refuse what makes a text or its ids much longer than they are: `Replace` may do so many times over.

    Raises:
        ValueError: a step that no supported family has, or a token as long as a text.
    """
    for part in ("normalizer", "decoder"):
        steps = [record.get(part) or {"type": "Sequence"}]
        while steps:
            step = steps.pop()
            if step["type"] not in _STEPS:
                raise ValueError(f"{part} {step['type'][:50]!r}, expected some of {', '.join(_STEPS)}")
            steps += step.get(f"{part}s", [])
    longest = max(map(len, record["model"]["vocab"]), default=0)
    if longest > _LONGEST_TOKEN:
        raise ValueError(f"a token of {longest:,} characters, expected at most {_LONGEST_TOKEN:,}")
