"""Commands that answer tickets: predict, predict-batch."""

import sys
from pathlib import Path
from typing import Annotated, Optional

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

    choice = EngineChoice.of_options(engine, 1, endpoint, endpoint_model, endpoint_timeout)
    predict_files(files, model, PredictOptions(as_json, labels_only, tuple(allow_contacts or ()), similar), choice)


def predict_batch(
    source: Annotated[
        str,
        typer.Argument(
            help="What `duet prepare` reads: a table, JSON, mails, .gz, .zip, or a Hugging Face id. Also a folder of "
            "tables, a pattern such as 'tickets/*.csv', or an address such as s3://bucket/tickets."
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            metavar="PATH",
            help="JSONL file to write, one line per row of the source; or a folder, written with / at its end or as an "
            "address such as s3://bucket/answers, for Parquet files.",
        ),
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
    shard_rows: Annotated[
        Optional[int],
        typer.Option(
            "--shard-rows",
            min=1,
            max=1_000_000,
            help="Into a folder: tickets per file, where the source is one file (default: 2000).",
        ),
    ] = None,
    share: Annotated[
        Optional[str],
        typer.Option(
            "--share", metavar="N/COUNT", help="Into a folder: answer every COUNT-th file, beside other such commands."
        ),
    ] = None,
    ray: Annotated[
        Optional[str],
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Into a folder: let workers of a Ray cluster answer. auto: the cluster of this machine; local: one "
            "that is started here.",
        ),
    ] = None,
    workers: Annotated[
        Optional[int],
        typer.Option(
            "--workers", min=1, max=10_000, help="With --ray: how many workers (default: as many as there is room for)."
        ),
    ] = None,
    threads: Annotated[
        Optional[int],
        typer.Option("--threads", min=1, max=1024, help="With --ray: processor cores per worker (default: 2)."),
    ] = None,
) -> None:
    """Label and answer every ticket of one file or many.

    Interrupted, the same command goes on where it was.

    Tickets are cleaned as the training data was, unless options say otherwise.

    Example: duet predict-batch tickets.csv --out answers.jsonl --model bundle
    """
    from pipeline.batch import BatchOptions
    from pipeline.batch import predict_batch as batch
    from pipeline.batch_rows import AnswerOptions
    from pipeline.engine_choice import EngineChoice
    from pipeline.shards.options import ray_options, shards_options

    choice = EngineChoice.of_options(engine, together, endpoint, endpoint_model, endpoint_timeout)
    options = AnswerOptions(
        source,
        preset=preset,
        encoding=encoding,
        maps=tuple(maps or ()),
        escapes=clean_escapes,
        html=clean_html,
        quotes=clean_quotes,
        signatures=cut_signatures,
        labels_only=labels_only,
        allowed_contacts=tuple(allow_contacts or ()),
        similar=similar,
    )
    sharded = shards_options(options, out, restart, shard_rows, share, ray_options(ray, workers, threads))
    if sharded is None:
        rows = batch(BatchOptions(out=path(out), restart=restart, **vars(options)), model, choice)
        print(f"{rows:,} rows in {out}", file=sys.stderr)
        return
    from pipeline.shards.run import answer_shards

    finished = answer_shards(sharded, model, choice)
    if finished:
        without = f", {finished.errors:,} of them with an error and no answer" if finished.errors else ""
        print(f"{finished.rows:,} rows in {finished.files:,} files in {out}{without}", file=sys.stderr)
