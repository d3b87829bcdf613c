"""Commands that measure: evaluate, compare, human-eval.

Each command is annotated options, a docstring and one call. Heavy imports live in the bodies.
"""

from pathlib import Path
from typing import Annotated, Optional

import typer

from commands.options import Engine, Model


def evaluate(
    model: Model = None,
    data: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--data", help="Folder of `duet prepare`, or sample; the model's own data without it."),
    ] = None,
    part: Annotated[str, typer.Option("--part", help="train, validation or test.")] = "test",
    replies: Annotated[int, typer.Option("--replies", min=0, help="How many tickets to answer for reply metrics.")] = 0,
    engine: Engine = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Score a model beside the majority class and TF-IDF with logistic regression.

    Example: duet evaluate --model runs/mini --data data --replies 64
    """
    import json

    from eval.evaluate import evaluate as run
    from eval.evaluate import render
    from pipeline.engine_choice import EngineChoice

    result = run(model, data, part, replies, EngineChoice(engine, together=16))
    print(json.dumps(result.to_dict(), indent=2) if as_json else render(result))


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of train-cls and train-gen, train-baseline, or all.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; answers there are used again.")] = Path(
        "runs/comparison"
    ),
    data: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--data", help="Folder of `duet prepare`, or sample; the first run's own data without it."),
    ] = None,
    part: Annotated[str, typer.Option("--part", help="train, validation or test.")] = "test",
    limit: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--limit", min=2, help="Compare on the first so many tickets; all without it."),
    ] = None,
    timed: Annotated[
        int, typer.Option("--timed", min=0, help="How many tickets to answer one at a time as well, for latencies.")
    ] = 8,
    with_zero_shot: Annotated[
        bool, typer.Option("--zero-shot/--no-zero-shot", help="Also prompt the base without an adapter.")
    ] = True,
    bertscore_model: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--bertscore-model", help="Folder of an encoder for BERTScore; not computed without it."),
    ] = None,
    bertscore_layer: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--bertscore-layer", min=1, help="Layer of its states; two thirds up without it."),
    ] = None,
    beside: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--beside", help="Folder of an earlier comparison on another split, to show beside this one."),
    ] = None,
) -> None:
    """Compare trained systems with each other and with simple references; prints the report's path.

    Example: duet compare runs/mini --out runs/comparison
    """
    from eval.compare import CompareOptions
    from eval.compare import compare as run

    options = CompareOptions(
        runs, out, data, part, limit, timed, with_zero_shot, bertscore_model, bertscore_layer, beside
    )
    print(run(options))


def human_eval_make(
    comparison: Annotated[Path, typer.Argument(help="Folder of `duet compare`.")],
    tickets: Annotated[int, typer.Option("--tickets", min=1, help="How many tickets to rate.")] = 100,
    systems: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--system", metavar="NAME", help="System to rate; all that reply without it. Repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the draw and the shuffling.")] = 0,
) -> None:
    """Write a blinded rating sheet (CSV) and, apart, its key; prints the sheet's path.

    Example: duet human-eval make runs/comparison --system two-stage --system single-prompt
    """
    from eval.human import make_sheet

    print(make_sheet(comparison, tickets, systems or (), seed))


def human_eval_score(
    comparison: Annotated[Path, typer.Argument(help="Folder of `duet compare`.")],
    sheets: Annotated[list[Path], typer.Argument(help="Filled sheets, one per rater.")],
) -> None:
    """Score filled rating sheets and add the result to the report; prints JSON.

    Example: duet human-eval score runs/comparison anna.csv ben.csv
    """
    import json
    from dataclasses import asdict

    from eval.human import score_sheets
    from eval.report.page import plain

    print(json.dumps(plain(asdict(score_sheets(sheets, comparison))), indent=2))
