"""Commands on data: prepare."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from commands.options import CleanEscapes, CleanHtml, CleanQuotes, CutSignatures, Encoding, Maps, Preset, path


def prepare(
    source: Annotated[
        str,
        typer.Argument(
            help="CSV, TSV, JSONL, JSON, Parquet, .xlsx, .mbox, .eml; .gz or .zip; a folder of .eml; a Hugging Face id."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", parser=path, help="Folder to write.")] = Path("data"),
    split: Annotated[
        str, typer.Option("--split", help="grouped (near-duplicates in one part), random, time or published.")
    ] = "grouped",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the grouped and the random split.")] = 42,
    duplicate_threshold: Annotated[
        float,
        typer.Option("--duplicate-threshold", metavar="SHARE", help="Common word pairs that make a near-duplicate."),
    ] = 0.25,
    keep_split: Annotated[
        Optional[Path],
        typer.Option(
            "--keep-split", parser=path, metavar="OLD", help="Earlier output, whose tickets stay in their parts."
        ),
    ] = None,
    rare: Annotated[
        str, typer.Option("--rare", help="Labels with few tickets: keep, merge (into other) or drop (the label).")
    ] = "keep",
    rare_below: Annotated[int, typer.Option("--rare-below", min=1, help="Tickets below which a label is rare.")] = 10,
    preset: Preset = None,
    encoding: Encoding = None,
    turns: Annotated[bool, typer.Option("--turns", help="A ticket for every public reply of a conversation.")] = False,
    maps: Maps = None,
    columns: Annotated[
        Optional[list[str]],
        typer.Option("--columns", metavar="NAME", help="Label column to keep; all that are found without. Repeatable."),
    ] = None,
    languages: Annotated[
        Optional[list[str]],
        typer.Option("--language", metavar="CODE", help="Keep only this language. Repeatable."),
    ] = None,
    clean_escapes: CleanEscapes = None,
    clean_html: CleanHtml = True,
    clean_quotes: CleanQuotes = True,
    cut_signatures: CutSignatures = False,
    redact: Annotated[
        bool,
        typer.Option("--redact", help="Replace private data by placeholders such as <email> (default: only count it)."),
    ] = False,
    redact_patterns: Annotated[
        Optional[list[str]],
        typer.Option(
            "--redact-pattern", metavar="NAME=REGEX", help="Numbers of your own, replaced by <NAME>. Repeatable."
        ),
    ] = None,
    tokenizer: Annotated[
        Optional[Path],
        typer.Option("--tokenizer", parser=path, help="tokenizer.json to count tokens with; the mini model's without."),
    ] = None,
) -> None:
    """Read, clean, split and describe tickets.

    Near-duplicates stay on one side of the split.

    Example: duet prepare tickets.csv --map subject=Betreff --out data
    """
    from backbone.shipped import mini_folder
    from tickets.preparation.prepare import PrepareOptions
    from tickets.preparation.prepare import prepare as run
    from tickets.preparation.report import render_report

    options = PrepareOptions(
        source=source,
        out=out,
        split=split,
        seed=seed,
        duplicate_threshold=duplicate_threshold,
        keep_split=keep_split,
        rare=rare,
        rare_below=rare_below,
        preset=preset,
        encoding=encoding,
        turns=turns,
        maps=tuple(maps or ()),
        columns=tuple(columns) if columns else None,
        languages=tuple(languages or ()),
        clean_escapes=clean_escapes,
        clean_html=clean_html is not False,
        clean_quotes=clean_quotes is not False,
        cut_signatures=bool(cut_signatures),
        redact=redact,
        redact_patterns=tuple(redact_patterns or ()),
        tokenizer=tokenizer or mini_folder() / "base" / "tokenizer.json",
    )
    print(render_report(run(options)))
