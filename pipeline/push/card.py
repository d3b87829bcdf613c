"""The card of a published model: front matter that hubs read, and what the runs recorded."""

from typing import Any

import yaml

from backbone.config import MINI, UNPUBLISHED
from backbone.hub.address import HubAddress
from backbone.runs.layout import CLASSIFIER, GENERATOR, RUN
from backbone.shipped import SMOLLM2
from pipeline.export.model_card import LIMITS, classifier_section, generator_section
from pipeline.model_folder import ModelFolder
from tickets.errors import InputError
from tickets.plain_reason import plain_reason

_APACHE = "apache-2.0"
# of the bases in configs/, by the pages of their publishers; another base's licence is not known here
_LICENCES = {
    MINI: _APACHE,
    SMOLLM2: _APACHE,
    **dict.fromkeys(("Qwen/Qwen2-0.5B-Instruct", "Qwen/Qwen2-1.5B-Instruct", "Qwen/Qwen2-7B-Instruct"), _APACHE),
    **dict.fromkeys(("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B"), _APACHE),
    **dict.fromkeys((f"HuggingFaceTB/SmolLM2-{size}-Instruct" for size in ("135M", "360M", "1.7B")), _APACHE),
}


def hub_card(model: ModelFolder, address: HubAddress) -> str:
    """Return the Markdown of a model whose files are reduced to what is published.

    Raises:
        InputError: a run did not record what training writes.
    """
    try:
        sections = [_introduction(model, address)]
        if CLASSIFIER in model.stages:
            sections.append(classifier_section(model.stages[CLASSIFIER]))
        if GENERATOR in model.stages:
            sections.append(generator_section(model.stages[GENERATOR]))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"a {RUN} is not what training writes ({plain_reason(error)}); train the run again") from None
    front = yaml.safe_dump(_front_matter(model), sort_keys=True, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n\n".join([*sections, LIMITS]) + "\n"


def _front_matter(model: ModelFolder) -> dict[str, Any]:
    name = model.any_stage.base.name
    facts: dict[str, Any] = {"library_name": "ticket-duet", "tags": ["ticket-duet", "lora", "helpdesk"]}
    if name in _LICENCES:
        facts["license"] = _LICENCES[name]
    if "/" in name:  # an id of the hub
        facts |= {"base_model": name, "base_model_relation": "adapter"}
    return facts


def _introduction(model: ModelFolder, address: HubAddress) -> str:
    base = model.any_stage.base
    if base.name == UNPUBLISHED:
        base_text = (
            f"The base is **not published**: it lay in a local folder (fingerprint `{base.fingerprint[:16]}`). Whoever "
            "has it copies this model into a folder, puts the base into `base/` there, and gives the folder to "
            "`--model`."
        )
    else:
        base_text = f"Base `{base.name}` (fingerprint `{base.fingerprint[:16]}`), which is found or downloaded by name."
    stages = " and ".join({CLASSIFIER: "labels", GENERATOR: "replies"}[name] for name in model.stages)
    return (
        f"# Ticket model: {stages}\n\n{base_text} Here are a LoRA adapter per stage, heads, label space and "
        f"calibration. Made by `duet push`.\n\n    duet predict --model hf://{address.repository} ticket.txt\n\n"
        "The training tickets, their ids and the answers on samples are not here. Names of labels and tags are."
    )
