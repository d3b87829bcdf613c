"""Commands on data: prepare, augment."""

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


def augment(
    data: Annotated[str, typer.Argument(help="Folder of `duet prepare`.")],
    where: Annotated[
        list[str],
        typer.Option("--where", metavar="COLUMN=LABEL", help="Class that gets new tickets. Repeatable."),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model", metavar="NAME", help="Model at the endpoint; without one a local base: a folder, smollm2, mini."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", parser=path, help="Folder to write.")] = Path("data-aug"),
    endpoint: Annotated[
        Optional[str],
        typer.Option("--endpoint", metavar="URL", help="An OpenAI-compatible server, which ticket texts are sent to."),
    ] = None,
    limit: Annotated[
        Optional[int],
        typer.Option("--limit", min=1, help="Ask for this many new tickets at most (default: as needed)."),
    ] = None,
    per_ticket: Annotated[
        int, typer.Option("--per-ticket", min=1, max=10, help="New tickets after one ticket, at most.")
    ] = 1,
    class_share: Annotated[
        float,
        typer.Option("--class-share", metavar="SHARE", help="New tickets of a class, at most, of its real ones."),
    ] = 0.3,
    duplicate_threshold: Annotated[
        float,
        typer.Option("--duplicate-threshold", metavar="SHARE", help="Common word pairs that make a near-duplicate."),
    ] = 0.25,
    label_check: Annotated[
        bool,
        typer.Option("--label-check/--no-label-check", help="Let a cross-fitted classifier check the labels."),
    ] = True,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.0, max=2.0, help="Temperature of the answers.")
    ] = 0.7,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=16, help="Longest answer, in tokens.")] = 1024,
    budget_tokens: Annotated[
        Optional[int],
        typer.Option("--budget-tokens", min=1, help="Stop before this run uses more tokens (default: no limit)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print how many requests and tokens it would take, and send nothing.")
    ] = False,
    key_variable: Annotated[
        str, typer.Option("--key-variable", metavar="NAME", help="Environment variable that holds the API key.")
    ] = "OPENAI_API_KEY",
    concurrent: Annotated[int, typer.Option("--concurrent", min=1, help="Requests under way at a time.")] = 8,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1.0, help="Seconds after which a request counts as lost.")
    ] = 120.0,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of the draw of tickets and of the answers.")
    ] = 0,
) -> None:
    """Add new training tickets for rare classes.

    A model writes tickets of a class in other words. Filters refuse what is a copy, leaks into validation or test, or
    lost a number, its language or its label. Validation and test stay as they are. Interrupted, run it again.

    Example: duet augment data --where priority=low --endpoint http://localhost:8000/v1 --model qwen3 --out data-aug
    """
    from engines.asking import AskSettings
    from pipeline.augment.plan import AugmentOptions
    from pipeline.augment.run import augment as run
    from pipeline.augment.run import dry_run_text, render

    settings = AskSettings(
        endpoint or "", model, key_variable, timeout, concurrent, temperature, max_tokens, seed, budget_tokens
    )
    options = AugmentOptions(
        data, out, where, settings, limit, per_ticket, class_share, duplicate_threshold, label_check
    )
    print(dry_run_text(options) if dry_run else render(run(options)))
