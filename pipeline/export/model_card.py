"""What a bundle says of itself: its model card, and the Modelfile that Ollama reads."""

from collections.abc import Mapping, Sequence
from typing import Any

from backbone.config import ClassifierConfig, RunConfig
from backbone.prompts import END, END_OF_TEXT, START, PromptEncoder
from backbone.runs.files import read_json
from backbone.runs.layout import CLASSIFIER, GENERATOR, LABELS, RUN
from classifier.review import TARGETS
from pipeline.export.bundle import NO_GGUF
from pipeline.export.parity import Parity
from pipeline.model_folder import ModelFolder, StageFolder
from tickets.errors import InputError
from tickets.plain_reason import plain_reason

_HANDED_OVER = (
    " It reuses the classifier's KV cache of the ticket, so its adapter is of no use alone: instruction and "
    "ticket are read with the classifier's, all that follows with its own."
)
LIMITS = (
    "## Limits\n\nTrained on one organisation's tickets: labels and replies follow their habits and errors. Replies "
    "can state things that are not so; a person has to read them before they are sent. The base's licence applies."
)


def model_card(model: ModelFolder, quant: str, results: Sequence[Parity]) -> str:
    """Return Markdown from the runs' own records.

    Raises:
        InputError: a run did not record what training writes.
    """
    try:
        return _model_card(model, quant, results)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"{model.path}: a {RUN} is not what training writes ({plain_reason(error)}); train the run again"
        ) from None


def _model_card(model: ModelFolder, quant: str, results: Sequence[Parity]) -> str:
    base = model.any_stage.base
    sections = [
        f"# Two-stage ticket model on {base.name}\n\n"
        f"Base `{base.name}` (fingerprint `{base.fingerprint[:16]}`), {_format(quant)}, with a LoRA adapter "
        "per stage. Made by `duet export`; `duet predict --model THIS_FOLDER ticket.txt` answers from it.",
        classifier_section(model.stages[CLASSIFIER]),
    ]
    if GENERATOR in model.stages:
        sections.append(generator_section(model.stages[GENERATOR]))
    checks = "\n\n".join(str(result) for result in results)
    sections.append(f"## Check against the trained model\n\n```\n{checks}\n```")
    sections.append(LIMITS)
    return "\n\n".join(sections) + "\n"


def modelfile(gguf: str, encoder: PromptEncoder, config: RunConfig) -> str:
    """Return Ollama's Modelfile of the merged generator: the template of training, greedy decoding, stop tokens.

    The server sees messages: instruction (system), ticket (user), labels (system), as `duet predict --endpoint` sends.
    """
    decoding = config.decoding
    return f'''FROM ./{gguf}
TEMPLATE """{{{{- range .Messages }}}}{START}{{{{ .Role }}}}
{{{{ .Content }}}}{END}
{{{{ end }}}}{encoder.opening}"""
SYSTEM """{encoder.instruction}"""
PARAMETER stop {END}
PARAMETER stop {START}
PARAMETER stop {END_OF_TEXT}
PARAMETER temperature {decoding.temperature:g}
PARAMETER top_p {decoding.top_p:g}
PARAMETER repeat_penalty {decoding.repetition_penalty:g}
PARAMETER num_predict {decoding.max_new_tokens}
PARAMETER num_ctx {config.generator.training.max_length + decoding.max_new_tokens}
'''


def _format(quant: str) -> str:
    return "labels as ONNX" if quant == NO_GGUF else f"in GGUF {quant.upper()}"


def classifier_section(stage: StageFolder) -> str:
    """Return the classifier's part of a card.

    Raises:
        LookupError, TypeError: its run did not record what training writes.
    """
    record = read_json(stage.path / RUN)
    labels: Mapping[str, Sequence[str]] = read_json(stage.path / LABELS)["columns"]
    lines = [
        "| label | accuracy | macro-F1 | calibration error | classes |",
        "| --- | --- | --- | --- | --- |",
    ]
    for column, scores in record["calibrated"].items():
        lines.append(
            f"| {column} | {scores['accuracy']:.3f} | {scores['macro_f1']:.3f} | {scores['calibration_error']:.3f} | "
            f"{', '.join(labels[column])} |"
        )
    parts = [f"## Classifier\n\n{_trained(stage, record)} On its validation tickets, calibrated:", "\n".join(lines)]
    return "\n\n".join([*parts, *_automated_section(record, stage.config.classifier)])


def _automated_section(record: Mapping[str, Any], settings: ClassifierConfig) -> list[str]:
    """Return what each column can have applied without a person; nothing for runs of before it was computed."""
    if "automated" not in record:
        return []
    lines = [
        f"| applied without a person at | its own target | {' | '.join(f'{target:g}' for target in TARGETS)} |",
        "| --- | --- |" + " --- |" * len(TARGETS),
    ]
    for column, (own, *others) in record["automated"].items():
        cells = [f"{_applied_text(own)}, target {own['target']:g}", *map(_applied_text, others)]
        lines.append(f"| {column} | {' | '.join(cells)} |")
    note = (
        "Share of the validation tickets, and accuracy there. The targets are accuracies; every ticket was judged by "
        "thresholds fitted on others. Never: no confidence was enough. "
        f"A person looks at every ticket with an unsure label in: {', '.join(settings.required)}."
    )
    return ["\n".join(lines), note]


def _applied_text(one: Mapping[str, Any]) -> str:
    return "never" if one["accuracy"] is None else f"{one['share']:.0%}: {one['accuracy']:.3f}"


def generator_section(stage: StageFolder) -> str:
    """Return the generator's part of a card.

    Raises:
        LookupError, TypeError: its run did not record what training writes.
    """
    record = read_json(stage.path / RUN)
    best, generated = record["best"], record["generated"]
    return (
        f"## Generator\n\n{_trained(stage, record)} Validation perplexity {best['eval_perplexity']:.2f}; ROUGE-L of "
        f"{generated['replies']} generated replies {generated['rouge_l']:.3f}."
        + (_HANDED_OVER if stage.config.generator.uses_classifier_prefix else "")
    )


def _trained(stage: StageFolder, record: Mapping[str, Any]) -> str:
    lora = stage.config.lora
    return (
        f"LoRA rank {lora.rank}, alpha {lora.scale:g}, trained on {record['train_tickets']:,} tickets (seed "
        f"{record['seed']}); loss on validation / training tickets {record['loss_ratio']:.2f}."
    )
