"""Commands that answer tickets: predict, predict-batch.

Each command is annotated options, a docstring and one call. Heavy imports live in the bodies.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from commands.options import (
    AllowContacts,
    CleanEscapes,
    CleanHtml,
    CleanQuotes,
    CutSignatures,
    Encoding,
    Endpoint,
    EndpointModel,
    EndpointTimeout,
    Engine,
    LabelsOnly,
    Maps,
    Model,
    Preset,
    SimilarTickets,
    path,
)


def predict(
    files: Annotated[
        list[Path], typer.Argument(parser=path, help="Text files or mails (.eml) with one ticket each; - for stdin.")
    ],
    model: Model = None,
    engine: Engine = "auto",
    endpoint: Endpoint = None,
    endpoint_model: EndpointModel = "default",
    endpoint_timeout: EndpointTimeout = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per ticket and line.")] = False,
    labels_only: LabelsOnly = False,
    allow_contacts: AllowContacts = None,
    similar: SimilarTickets = 0,
) -> None:
    """Label tickets and answer them.

    Example: duet predict ticket.txt --model runs/mini
    """
    from pipeline.engine_choice import EngineChoice
    from pipeline.predict import PredictOptions, predict_files

    choice = EngineChoice(engine, 1, (endpoint, endpoint_model) if endpoint is not None else None, endpoint_timeout)
    predict_files(files, model, PredictOptions(as_json, labels_only, tuple(allow_contacts or ()), similar), choice)


def predict_batch(
    source: Annotated[
        str, typer.Argument(help="What `duet prepare` reads: a table, JSON, mails, .gz, .zip, or a Hugging Face id.")
    ],
    out: Annotated[
        Path, typer.Option("--out", parser=path, help="JSONL file to write, one line per row of the source.")
    ],
    model: Model = None,
    engine: Engine = "auto",
    endpoint: Endpoint = None,
    endpoint_model: EndpointModel = "default",
    endpoint_timeout: EndpointTimeout = 300.0,
    labels_only: LabelsOnly = False,
    allow_contacts: AllowContacts = None,
    similar: SimilarTickets = 0,
    together: Annotated[
        int, typer.Option("--together", min=1, max=128, help="How many tickets are in work at a time.")
    ] = 16,
    preset: Preset = None,
    encoding: Encoding = None,
    maps: Maps = None,
    clean_escapes: CleanEscapes = None,
    clean_html: CleanHtml = None,
    clean_quotes: CleanQuotes = None,
    cut_signatures: CutSignatures = None,
    restart: Annotated[bool, typer.Option("--restart", help="Drop earlier answers in --out and start over.")] = False,
) -> None:
    """Label and answer every ticket of a file.

    Interrupted, the same command goes on where it was.

    Tickets are cleaned as the training data was, unless options say otherwise.

    Example: duet predict-batch tickets.csv --out answers.jsonl --model bundle
    """
    from pipeline.batch import BatchOptions
    from pipeline.batch import predict_batch as run
    from pipeline.engine_choice import EngineChoice

    choice = EngineChoice(
        engine, together, (endpoint, endpoint_model) if endpoint is not None else None, endpoint_timeout
    )
    options = BatchOptions(
        source=source,
        out=out,
        preset=preset,
        encoding=encoding,
        maps=tuple(maps or ()),
        escapes=clean_escapes,
        html=clean_html,
        quotes=clean_quotes,
        signatures=cut_signatures,
        labels_only=labels_only,
        restart=restart,
        allowed_contacts=tuple(allow_contacts or ()),
        similar=similar,
    )
    print(f"{run(options, model, choice):,} rows in {out}", file=sys.stderr)
