"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from backbone.hub.address import model_path
from tickets.sources import source_path


def path(text: str | Path) -> Path:
    """Return the path in an option or argument; `~` is the home folder.

    Some versions of typer name the value after this function in the help.
    """
    return source_path(text)


Config = Annotated[
    Optional[Path],
    typer.Option("--config", parser=path, help="YAML of the experiment (default: the built-in mini configuration)."),
]
Overrides = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the configuration, e.g. lora.rank=64. Repeatable; of one key the last counts.",
    ),
]
Model = Annotated[
    Optional[Path],
    typer.Option(
        "--model",
        parser=model_path,
        metavar="MODEL",
        help="Run folder, model folder, bundle, hf://OWNER/NAME[@REVISION], a bundle at s3://BUCKET/FOLDER, `smollm2` "
        "or `mini` (default: a shipped model).",
    ),
]
Engine = Annotated[
    str, typer.Option("--engine", help="auto, llama, onnx or torch. auto: the fastest that the model has files for.")
]
Endpoint = Annotated[
    Optional[str],
    typer.Option("--endpoint", metavar="URL", help="Let an OpenAI-compatible server write the replies."),
]
EndpointModel = Annotated[str, typer.Option("--endpoint-model", help="Name of the model at that server.")]
EndpointTimeout = Annotated[
    float,
    typer.Option(
        "--endpoint-timeout",
        min=1.0,
        max=86_400.0,
        help="Seconds after which a request to it counts as lost; with retries, twice that.",
    ),
]
AllowContacts = Annotated[
    Optional[list[str]],
    typer.Option(
        "--allow-contact",
        metavar="VALUE",
        help="Address or number that replies may hold, or @example.com; others are masked. Repeatable.",
    ),
]
SimilarTickets = Annotated[
    int,
    typer.Option(
        "--similar", metavar="N", min=0, max=20, help="Show the N most similar resolved tickets of the bundle."
    ),
]
LabelsOnly = Annotated[bool, typer.Option("--labels-only", help="Do not write replies.")]
Preset = Annotated[
    Optional[str],
    typer.Option(
        "--preset",
        help="Column names of an export: zendesk, zammad, freshdesk, jira, servicenow, otrs, github, gitlab, glpi, "
        "autotask, redmine, bugzilla, rt, trac or public (default: detected).",
    ),
]
Maps = Annotated[
    Optional[list[str]],
    typer.Option(
        "--map",
        metavar="NAME=COLUMN",
        help="Name the column of body, subject, reply, language, id, created, tags or a label, or "
        "requester.name, requester.address, requester.company. Repeatable.",
    ),
]
Encoding = Annotated[
    Optional[str],
    typer.Option("--encoding", metavar="NAME", help="Encoding of text files, such as cp1251 (default: detected)."),
]
CleanEscapes = Annotated[
    Optional[bool],
    typer.Option(
        "--escapes/--no-escapes", help=r"Turn literal \n into line breaks (default: where the source means that)."
    ),
]
CleanHtml = Annotated[
    Optional[bool],
    typer.Option("--html/--no-html", help="Turn HTML into text."),
]
CutSignatures = Annotated[
    Optional[bool],
    typer.Option("--cut-signatures/--keep-signatures", help="Cut signatures and legal disclaimers."),
]
CleanQuotes = Annotated[
    Optional[bool],
    typer.Option("--quotes/--no-quotes", help="Cut quoted earlier mails."),
]
Restart = Annotated[
    bool,
    typer.Option("--restart/--resume", help="Drop an unfinished run in the folder and start over, or go on with it."),
]
