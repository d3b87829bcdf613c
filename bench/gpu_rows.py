"""The rows of bench/gpu.py: what each measures, as cells of the table (figure, aim, measured, detail)."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from backbone.dataset import load_part, resolve_data
from backbone.prompts import PromptEncoder
from bench.shapes import QWEN2_7B, write_random_base, write_random_run
from bench.train import SOURCE, TINY, measured
from bench.train_ways import STAGES
from pipeline.engine_choice import EngineChoice
from pipeline.two_stage import load_two_stage
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.schema import Ticket

SCRATCH = Path("runs/bench-gpu")
PREPARATION = "weights"
_RANK, _MAX_LENGTH = 64, 1024
_PUBLISHED_TICKETS, _PUBLISHED_EPOCHS = 19_782, 3
_PUBLISHED_FLAGS = [
    "base.gradient_checkpointing=true",
    *(f"{stage}.training.packing=false" for stage in STAGES),
    *(f"{stage}.training.batch_tickets=4" for stage in STAGES),
    *(f"{stage}.training.accumulation=8" for stage in STAGES),
]


class Cell(NamedTuple):
    """One line of the table."""

    figure: str
    aim: str
    measured: str
    detail: str = ""


def measure_row(name: str, small: bool) -> list[Cell]:
    """Measure a row; the first one writes the weights that all others load."""
    return _prepare(small) if name == PREPARATION else ROWS[name](small)


def _prepare(small: bool) -> list[Cell]:
    base, run = _base(small), _run(small)
    if not (base / "config.json").is_file():
        write_random_base(base, _shape(small))
    if not (run / "generator").is_dir():
        write_random_run(base, _shape(small), _RANK, run)
    _data()
    return []


def _training(stage: str, small: bool) -> list[Cell]:
    measured = _train(f"{stage}:ours", _config(stage, small, steps=50))
    share = measured["useful_flops"] / measured["product_flops"]
    rates = f"{measured['useful_flops'] / 1e12:.3g} / {measured['product_flops'] / 1e12:.3g} TFLOP/s"
    seconds = _PUBLISHED_TICKETS * _PUBLISHED_EPOCHS / measured["tickets_per_second"]
    return [
        Cell(f"{stage}, bf16, useful FLOP/s / rate of its matrix products", "0.60", f"{share:.2f}", rates),
        Cell(
            f"{stage}, {_PUBLISHED_EPOCHS} epochs of {_PUBLISHED_TICKETS:,} tickets, extrapolated",
            "25 min for both",
            f"{seconds / 60:.1f} min",
            f"{measured['tickets_per_second']:.2f} tickets/s",
        ),
        Cell(f"{stage}, bf16, peak memory", "", f"{measured['peak'] / 1e9:.1f} GB"),
    ]


def _published_flags(stage: str, small: bool) -> list[Cell]:
    ours = _train(f"{stage}:ours", _config(stage, small, steps=15))
    theirs = _train(f"{stage}:published", [*_config(stage, small, steps=2), *_PUBLISHED_FLAGS])
    return [_ratio(f"{stage}, ours / the published flags", "4", ours, theirs)]


def _qlora(stage: str, small: bool) -> list[Cell]:
    flags = ["base.precision=nf4", "base.gradient_checkpointing=true", f"{stage}.training.batch_tokens=2048"]
    measured = _train(f"{stage}:ours", [*_config(stage, small, steps=10), *flags])
    peak = f"{measured['peak'] / 1e9:.1f} GB"
    return [Cell(f"{stage}, NF4, cutoff 1,024, peak memory", "14 GB", peak, _per_second(measured))]


def _lever(way: str, name: str, small: bool) -> list[Cell]:
    """Return training with and without one option; the generator, which uses all of them."""
    settings = _config("generator", small, steps=15)
    one, other = (_train(f"generator:{way}", settings), _train("generator:ours", settings))
    with_it, without = (other, one) if way == "without-liger" else (one, other)
    return [_ratio(f"generator, with / without {name}", "", with_it, without)]


def _answers(small: bool) -> list[Cell]:
    tickets = load_part(_data(), "test", 8 if small else 256)
    system = load_two_stage(_run(small), choice=EngineChoice("torch", together=64))
    system.answer(tickets[:4], labels_only=True)  # kernels are loaded
    labels = _seconds(lambda: system.answer(tickets, labels_only=True))
    answered = tickets[: 2 if small else 64]
    written: list[int] = []
    replies = _seconds(lambda: system.answer(answered, on_token=lambda _row, token: written.append(token)))
    return [
        Cell("torch engine, labels", "", f"{len(tickets) / labels:.1f} tickets/s"),
        Cell(
            "torch engine, labels and replies",
            "",
            f"{len(answered) / replies:.2f} tickets/s",
            f"{len(written) / replies:.0f} tokens/s",
        ),
    ]


def _continuous_batching(small: bool) -> list[Cell]:
    """Time transformers' own two ways of writing many replies, with the plain base: what an engine could gain."""
    from transformers import AutoModelForCausalLM, GenerationConfig

    if not torch.cuda.is_available():
        raise SystemExit("transformers' continuous batching was not seen to end on a CPU; it needs a GPU")
    model = AutoModelForCausalLM.from_pretrained(_base(small), dtype=torch.bfloat16).to("cuda").eval()
    encoder = PromptEncoder(_base(small), "You handle support tickets.")
    tickets: list[Ticket] = load_part(_data(), "test", 2 if small else 64)
    prompts = [list(encoder.classifier_prompt(ticket, _MAX_LENGTH - 256).ids) for ticket in tickets]
    tokens = 8 if small else 128
    settings = GenerationConfig(
        max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, eos_token_id=encoder.end_id
    )

    def plain() -> None:
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device="cuda")
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device="cuda")
        with torch.inference_mode():
            model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)

    plain_seconds = _seconds(plain)
    continuous = _seconds(lambda: model.generate_batch(prompts, generation_config=settings))
    rates = " / ".join(f"{len(prompts) * tokens / seconds:.0f}" for seconds in (continuous, plain_seconds))
    figure = "plain base, transformers' continuous batching / generate, tokens/s"
    return [Cell(figure, "", f"{plain_seconds / continuous:.2f}", f"{rates} tokens/s")]


ROWS: Mapping[str, Callable[[bool], list[Cell]]] = {
    "train-classifier": partial(_training, "classifier"),
    "train-generator": partial(_training, "generator"),
    "published-classifier": partial(_published_flags, "classifier"),
    "published-generator": partial(_published_flags, "generator"),
    "qlora-classifier": partial(_qlora, "classifier"),
    "qlora-generator": partial(_qlora, "generator"),
    "liger": partial(_lever, "without-liger", "Liger kernels"),
    "compile": partial(_lever, "compiled", "torch.compile"),
    "answers": _answers,
    "continuous-batching": _continuous_batching,
}


def _train(name: str, overrides: list[str]) -> dict[str, float]:
    """Return the figures of one training, which needs a process of its own."""
    return measured([name], overrides, 1)[name]


def _shape(small: bool) -> dict[str, Any]:
    return TINY if small else QWEN2_7B


def _base(small: bool) -> Path:
    return SCRATCH / ("tiny-base" if small else "qwen2-7b")


def _run(small: bool) -> Path:
    return SCRATCH / ("tiny-run" if small else "qwen2-7b-run")


def _data() -> Path:
    """Return a folder of prepared tickets: the real ones where they are there, else the built-in ones."""
    if not Path(SOURCE).is_file():
        return resolve_data("sample")
    folder = SCRATCH / "data"
    if not folder.is_dir():
        prepare(PrepareOptions(source=SOURCE, out=folder, languages=("en",)))
    return folder


def _config(stage: str, small: bool, steps: int) -> list[str]:
    """Rank 64 on all linear layers in bf16; a small run takes two steps."""
    own = f"{stage}.training"
    return [
        f"data.path={_data()}",
        f"base.path={_base(small)}",
        "base.precision=bf16",
        "base.compute=bf16",
        f"lora.rank={_RANK}",
        f"{own}.evaluations_per_epoch=1",
        f"{own}.max_length={_MAX_LENGTH}",
        f"{own}.batch_tokens={1024 if small else 16_384}",
        f"{own}.batch_tickets={8 if small else 64}",
        f"{own}.max_steps={min(steps, 2) if small else steps}",
    ]


def _ratio(figure: str, aim: str, ours: Mapping[str, float], other: Mapping[str, float]) -> Cell:
    ratio = ours["tickets_per_second"] / other["tickets_per_second"]
    peaks = " / ".join(f"{figures['peak'] / 1e9:.1f}" for figures in (ours, other))
    return Cell(figure, aim, f"{ratio:.2f}", f"{_per_second(ours)} / {_per_second(other)}; {peaks} GB")


def _per_second(figures: Mapping[str, float]) -> str:
    return f"{figures['tickets_per_second']:.2f} tickets/s"


def _seconds(action: Callable[[], Any]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
