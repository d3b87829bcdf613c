"""Commands that answer tickets: predict, predict-batch.

Each command is annotated options, a docstring and one call. Heavy imports live in the bodies.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from commands.options import (
    CleanEscapes,
    CleanHtml,
    CleanQuotes,
    Endpoint,
    EndpointModel,
    EndpointTimeout,
    Engine,
    LabelsOnly,
    Maps,
    Model,
    Preset,
)


def predict(
    files: Annotated[list[Path], typer.Argument(help="Text files with one ticket each; - for stdin.")],
    model: Model = None,
    engine: Engine = "auto",
    endpoint: Endpoint = None,
    endpoint_model: EndpointModel = "default",
    endpoint_timeout: EndpointTimeout = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per ticket and line.")] = False,
    labels_only: LabelsOnly = False,
) -> None:
    """Label tickets and answer them.

    Example: duet predict ticket.txt --model runs/mini
    """
    from pipeline.engine_choice import EngineChoice
    from pipeline.predict import PredictOptions, predict_files

    choice = EngineChoice(engine, 1, (endpoint, endpoint_model) if endpoint else None, endpoint_timeout)
    predict_files(files, model, PredictOptions(as_json, labels_only), choice)


def predict_batch(
    source: Annotated[str, typer.Argument(help="CSV, TSV, JSONL, JSON or Parquet file, or a Hugging Face dataset id.")],
    out: Annotated[Path, typer.Option("--out", help="JSONL file to write, one line per row of the source.")],
    model: Model = None,
    engine: Engine = "auto",
    endpoint: Endpoint = None,
    endpoint_model: EndpointModel = "default",
    endpoint_timeout: EndpointTimeout = 300.0,
    labels_only: LabelsOnly = False,
    together: Annotated[
        int, typer.Option("--together", min=1, max=128, help="How many tickets are in work at a time.")
    ] = 16,
    preset: Preset = None,
    maps: Maps = None,
    clean_escapes: CleanEscapes = None,
    clean_html: CleanHtml = True,
    clean_quotes: CleanQuotes = True,
    restart: Annotated[bool, typer.Option("--restart", help="Drop earlier answers in --out and start over.")] = False,
) -> None:
    """Label and answer every ticket of a file; interrupted, the same command goes on where it was.

    Example: duet predict-batch tickets.csv --out answers.jsonl --model bundle
    """
    from pipeline.batch import BatchOptions
    from pipeline.batch import predict_batch as run
    from pipeline.engine_choice import EngineChoice

    choice = EngineChoice(engine, together, (endpoint, endpoint_model) if endpoint else None, endpoint_timeout)
    cleaning = (clean_escapes, clean_html, clean_quotes)
    options = BatchOptions(source, out, preset, tuple(maps or ()), cleaning, labels_only, restart)
    print(f"{run(options, model, choice):,} rows in {out}", file=sys.stderr)
