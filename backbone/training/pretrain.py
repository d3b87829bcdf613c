"""Train a small Qwen2-architecture base from scratch: its own byte-level BPE, then next-token prediction.

The result is an ordinary Qwen2 model folder (config.json, model.safetensors, tokenizer.json with Qwen2's special tokens
and chat template), so every path that takes Qwen2-7B takes it too.
"""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Config, Qwen2ForCausalLM, set_seed

from backbone.base import find_base, identify
from backbone.batches import IGNORE
from backbone.buckets import length_buckets
from backbone.config import SAMPLE, PromptConfig, TrainingConfig
from backbone.device import resolve_format
from backbone.load import quiet_libraries
from backbone.progress import track
from backbone.prompts import END, END_OF_TEXT, START, TOKENIZER_FILES, PromptEncoder
from backbone.runs.files import disk_guard, write_json
from backbone.runs.folder import open_partial, paths_written_for, publish, run_record
from backbone.runs.layout import CHECKPOINTS, RUN
from backbone.training.job import TrainingJob
from backbone.training.loop import train
from backbone.training.pretrain_texts import Texts, plain_texts, read_texts
from tickets.errors import InputError
from tickets.schema import Ticket
from tickets.sources import output_path, refuse_overlap

# As in Qwen2's tokenizer.json: contractions, words, single digits, punctuation, line breaks, spaces.
_PRE_TOKENIZER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class PretrainConfig(BaseModel):
    """Recipe of a small base. Widths are multiples of 256 because GGUF's K-quants need that."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    source: str = Field(SAMPLE, description="prepared folder, `sample`, or a plain text file (documents by blank line)")
    output: str = "runs/base"
    init_from: str | None = Field(None, description="base to go on from, with its tokenizer and shape; `mini` is one")
    seed: int = Field(42, ge=0, le=2**32 - 1)
    vocabulary: int = Field(7000, ge=300, le=2**20, description="tokens of the byte-level BPE, special tokens included")
    hidden_size: int = Field(256, ge=256, le=16_384, multiple_of=256)
    intermediate_size: int = Field(768, ge=256, le=65_536, multiple_of=256)
    layers: int = Field(6, ge=1, le=256)
    heads: int = Field(4, ge=1, le=256)
    key_value_heads: int = Field(2, ge=1, le=256, validate_default=True)
    context: int = Field(2048, ge=128, le=2**20)
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="of attention weights")
    compute: Literal["auto", "fp32", "bf16"] = "auto"
    prompt: PromptConfig = PromptConfig()
    training: TrainingConfig = TrainingConfig(
        epochs=10, learning_rate=2e-3, weight_decay=0.1, batch_tickets=16, batch_tokens=4096, evaluations_per_epoch=1
    )

    @field_validator("heads", "key_value_heads")
    @classmethod
    def _divides(cls, count: int, info: ValidationInfo) -> int:
        of_heads = info.field_name == "heads"  # halves of each are rotated, so that its length has to be even
        total_size = info.data.get("hidden_size", 2 * count) // 2 if of_heads else info.data.get("heads", count)
        if total_size % count:
            raise ValueError("a divisor of hidden_size / 2 for heads, and of heads for key_value_heads")
        return count


@dataclass(frozen=True)
class _Documents:
    """Token ids of every document."""

    train: list[list[int]]
    validation: list[list[int]]


def load_pretrain_config(path: Path | None, overrides: Sequence[str]) -> PretrainConfig:
    """Read a recipe; the shipped one without a path."""
    from backbone.config_file import apply_override, builtin_config_text, explain, read_yaml

    record: dict[str, Any] = read_yaml(path) if path else yaml.safe_load(builtin_config_text("mini-base"))
    for override in overrides:
        apply_override(record, override)
    try:
        return PretrainConfig.model_validate(record)
    except ValidationError as error:
        raise InputError(f"pretrain recipe: {explain(error, PretrainConfig)}") from None


def pretrain(config: PretrainConfig, restart: bool = False) -> Path:
    """Train tokenizer and model and write the base folder, going on with an unfinished run of the same recipe.

    Returns:
        The folder, config.output.
    """
    config = config.model_copy(update={"compute": resolve_format(config.compute)})
    folder = output_path(config.output, "output")
    _check_output(folder)
    quiet_libraries()
    texts = read_texts(config.source)
    start = find_base(config.init_from) if config.init_from else None
    refuse_overlap([config.source, *([start / "config.json"] if start else [])], paths_written_for(folder), "output")
    partial = open_partial(folder, _plan(config, texts, start), restart)
    _provide_tokenizer(config, start, texts, partial)
    encoder = PromptEncoder(partial, config.prompt.instruction)
    limit = config.training.max_length
    documents = _Documents(
        [_encode(encoder, text, limit) for text in texts.train], [_encode(encoder, t, limit) for t in texts.validation]
    )
    set_seed(config.seed)
    model = _model(config, start, encoder)
    print(
        f"{model.num_parameters():,} parameters, {sum(map(len, documents.train)):,} training tokens in "
        f"{len(documents.train):,} documents",
        file=sys.stderr,
    )
    job = TrainingJob(
        model=model,
        lengths=[len(ids) for ids in documents.train],
        collate=lambda rows: _batch([documents.train[i] for i in rows], encoder.pad_id),
        evaluate=lambda: _evaluate(model, documents, encoder.pad_id, config),
        config=config.training,
        compute=config.compute,
        seed=config.seed,
    )
    result = train(job, partial / CHECKPOINTS)
    with disk_guard(partial):
        model.save_pretrained(partial)
        (partial / "recipe.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        record = run_record(seed=config.seed, data=texts.fingerprint, best=result.best, seconds=result.seconds)
        write_json(partial / RUN, record)
    publish(partial, folder)
    return folder


def _check_output(folder: Path) -> None:
    """Raise InputError where something else than an earlier base of ours would be replaced, such as the source."""
    if folder.is_dir() and ((folder / RUN).is_file() or not any(folder.iterdir())):
        return
    if folder.exists() or folder.is_symlink():
        raise InputError(
            f"output={folder}: found something that is no base of `duet pretrain`; expected a new folder, or a base "
            "to replace; choose another output"
        )


def _plan(config: PretrainConfig, texts: Texts, start: Path | None) -> dict[str, Any]:
    """Return what decides the base, wherever its sources lie and however they are spelt."""
    plan = {
        "config": config.model_dump(mode="json", exclude={"source", "output", "init_from"}),
        "data": texts.fingerprint,
    }
    return plan | ({"init_from": identify(start, "").fingerprint} if start else {})


def _provide_tokenizer(config: PretrainConfig, start: Path | None, texts: Texts, partial: Path) -> None:
    """Copy the starting base's tokenizer, or train one unless an interrupted run already did."""
    if start is not None:
        for name in TOKENIZER_FILES:
            if (start / name).is_file():
                shutil.copyfile(start / name, partial / name)
    elif not (partial / "tokenizer_config.json").is_file():
        print(f"training a tokenizer of {config.vocabulary} tokens", file=sys.stderr)
        train_tokenizer(list(plain_texts(texts.train)), config.vocabulary, partial)


def _model(config: PretrainConfig, start: Path | None, encoder: PromptEncoder) -> Qwen2ForCausalLM:
    if start is not None:
        return Qwen2ForCausalLM.from_pretrained(start, dtype=torch.float32)
    return Qwen2ForCausalLM(_model_config(config, encoder))


def train_tokenizer(texts: Sequence[str], vocabulary: int, folder: Path) -> None:
    """Train a byte-level BPE with Qwen2's pre-tokenizer and special tokens and write its two files."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PRE_TOKENIZER), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [END_OF_TEXT, START, END]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    with disk_guard(folder):
        tokenizer.save(str(folder / "tokenizer.json"))
        write_json(
            folder / "tokenizer_config.json",
            {
                "tokenizer_class": "Qwen2Tokenizer",
                "add_prefix_space": False,
                "bos_token": None,
                "eos_token": END,
                "pad_token": END_OF_TEXT,
                "unk_token": None,
                "errors": "replace",
                "additional_special_tokens": [START, END],
                "clean_up_tokenization_spaces": False,
                "split_special_tokens": False,
                "model_max_length": 2048,
                "chat_template": _CHAT_TEMPLATE,
            },
        )


def _encode(encoder: PromptEncoder, text: Ticket | str, max_length: int) -> list[int]:
    """Return a chat of ticket and reply, or plain text, closed by the end-of-text token."""
    if isinstance(text, Ticket):
        ids = [*encoder.classifier_prompt(text, max_length).ids, *encoder.reply_ids(text.reply)]
    else:
        ids = encoder.encode_text(text)
    return [*ids[: max_length - 1], encoder.pad_id]


def _model_config(config: PretrainConfig, encoder: PromptEncoder) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=encoder.vocabulary_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.key_value_heads,
        max_position_embeddings=config.context,
        attention_dropout=config.dropout,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        bos_token_id=None,
        eos_token_id=encoder.end_id,
        pad_token_id=encoder.pad_id,
    )


def _batch(documents: Sequence[list[int]], pad_id: int) -> dict[str, Any]:
    """Return ids and labels, (batch, seq), padded on the right, where causal attention never looks: no mask needed."""
    width = max(map(len, documents))
    ids = torch.tensor([row + [pad_id] * (width - len(row)) for row in documents])
    labels = torch.tensor([row + [IGNORE] * (width - len(row)) for row in documents])
    return {"input_ids": ids, "labels": labels, "use_cache": False}


def _evaluate(model: Qwen2ForCausalLM, documents: _Documents, pad_id: int, config: PretrainConfig) -> dict[str, float]:
    sample = documents.train[: config.training.loss_sample]
    return {
        "loss": _mean_loss(model, documents.validation[: config.training.loss_sample], pad_id, config),
        "train_loss": _mean_loss(model, sample, pad_id, config),
    }


def _mean_loss(model: Qwen2ForCausalLM, documents: Sequence[list[int]], pad_id: int, config: PretrainConfig) -> float:
    """Return the mean cross-entropy per token, in nats."""
    total, count = 0.0, 0
    for rows in track(length_buckets([len(ids) for ids in documents], config.training.batch_tokens), "evaluating"):
        batch = _batch([documents[i] for i in rows], pad_id)
        batch |= {name: batch[name].to(model.device) for name in ("input_ids", "labels")}
        tokens = int((batch["labels"][:, 1:] != IGNORE).sum())
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=config.compute == "bf16"):
            total += float(model(**batch).loss) * tokens
        count += tokens
    return total / max(count, 1)
