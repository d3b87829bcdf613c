"""Commands that measure: evaluate, compare, human-eval, judge."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from backbone.hub.address import model_path
from commands.options import Engine, Model, path
from tickets.errors import InputError


def evaluate(
    model: Model = None,
    data: Annotated[
        Optional[str],
        typer.Option("--data", help="Folder of `duet prepare`, or sample (default: the model's own data)."),
    ] = None,
    part: Annotated[str, typer.Option("--part", help="train, validation or test.")] = "test",
    replies: Annotated[int, typer.Option("--replies", min=0, help="How many tickets to answer for reply metrics.")] = 0,
    engine: Engine = "auto",
    answers: Annotated[
        Optional[str],
        typer.Option(
            "--answers",
            metavar="ANSWERS",
            help="Score this file or folder of `duet predict-batch` instead of a model; needs --data.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Score a model, or saved answers, beside TF-IDF.

    The majority class is in the table too.

    Example: duet evaluate --model runs/mini --data data --replies 64
    """
    import json

    from eval.evaluate import evaluate as run
    from eval.evaluate import render
    from eval.report.page import plain
    from pipeline.engine_choice import EngineChoice

    if answers is not None:
        if data is None or model is not None or replies or engine != "auto":
            raise InputError(
                "--answers: expected with --data, and without --model, --engine and --replies, because the answers are "
                "there"
            )
        from eval.evaluate_answers import evaluate_answers, render_answers

        saved = evaluate_answers(answers, data, part)
        print(json.dumps(plain(saved.to_dict()), indent=2) if as_json else render_answers(saved))
        return
    result = run(model, data, part, replies, EngineChoice(engine, together=16))
    print(json.dumps(plain(result.to_dict()), indent=2) if as_json else render(result))


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            parser=model_path,
            metavar="RUN",
            help="Run folders of train-cls and train-gen, train-baseline, or all; or hf://OWNER/NAME[@REVISION].",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", parser=path, help="Folder to write; answers there are used again.")
    ] = Path("runs/comparison"),
    data: Annotated[
        Optional[str],
        typer.Option("--data", help="Folder of `duet prepare`, or sample (default: the first run's own data)."),
    ] = None,
    part: Annotated[str, typer.Option("--part", help="train, validation or test.")] = "test",
    limit: Annotated[
        Optional[int],
        typer.Option("--limit", min=2, help="Compare on this many tickets, the first ones (default: all)."),
    ] = None,
    timed: Annotated[
        int, typer.Option("--timed", min=0, help="How many tickets to answer one at a time as well, for latencies.")
    ] = 8,
    with_zero_shot: Annotated[
        bool, typer.Option("--zero-shot/--no-zero-shot", help="Also prompt the base without an adapter.")
    ] = True,
    bertscore_model: Annotated[
        Optional[Path],
        typer.Option(
            "--bertscore-model", parser=path, help="Folder of an encoder for BERTScore (default: no BERTScore)."
        ),
    ] = None,
    bertscore_layer: Annotated[
        Optional[int],
        typer.Option("--bertscore-layer", min=1, help="Layer of the encoder's states (default: two thirds up)."),
    ] = None,
    beside: Annotated[
        Optional[Path],
        typer.Option(
            "--beside", parser=path, help="Folder of an earlier comparison on another split, to show beside this one."
        ),
    ] = None,
    promote: Annotated[
        bool,
        typer.Option(
            "--promote", help="Decide whether the second run's model should take the place of the first run's."
        ),
    ] = False,
) -> None:
    """Compare trained systems on the same tickets, in a report.

    Simple references stand beside them. Prints the report's path.

    Example: duet compare runs/mini --out runs/comparison
    """
    from eval.compare import CompareOptions
    from eval.compare import compare as run

    options = CompareOptions(
        runs, out, data, part, limit, timed, with_zero_shot, bertscore_model, bertscore_layer, beside, promote
    )
    print(run(options))


def human_eval_make(
    comparison: Annotated[Path, typer.Argument(parser=path, help="Folder of `duet compare`.")],
    tickets: Annotated[int, typer.Option("--tickets", min=1, help="How many tickets to rate.")] = 100,
    systems: Annotated[
        Optional[list[str]],
        typer.Option("--system", metavar="NAME", help="System to rate (default: all that write replies). Repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of the draw and the shuffling.")] = 0,
) -> None:
    """Write a blinded rating sheet and, apart, its key.

    The sheet is a CSV file, whose path is printed.

    Example: duet human-eval make runs/comparison --system two-stage --system single-prompt
    """
    from eval.human import make_sheet

    print(make_sheet(comparison, tickets, systems or (), seed))


def human_eval_score(
    comparison: Annotated[Path, typer.Argument(parser=path, help="Folder of `duet compare`.")],
    sheets: Annotated[list[Path], typer.Argument(parser=path, help="Filled sheets, one per rater.")],
) -> None:
    """Score filled rating sheets.

    Adds the result to the report and prints it as JSON.

    Example: duet human-eval score runs/comparison anna.csv ben.csv
    """
    import json
    from dataclasses import asdict

    from eval.human import score_sheets
    from eval.report.page import plain

    print(json.dumps(plain(asdict(score_sheets(sheets, comparison))), indent=2))


def judge(
    comparison: Annotated[Path, typer.Argument(parser=path, help="Folder of `duet compare`.")],
    endpoint: Annotated[str, typer.Option("--endpoint", metavar="URL", help="An OpenAI-compatible server.")],
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="Name of the judge model at that server.")],
    tickets: Annotated[int, typer.Option("--tickets", min=5, help="How many tickets to score, drawn at random.")] = 100,
    systems: Annotated[
        Optional[list[str]],
        typer.Option("--system", metavar="NAME", help="System to score (default: all that write replies). Repeatable."),
    ] = None,
    dimensions: Annotated[
        Optional[list[str]],
        typer.Option(
            "--dimension",
            metavar="NAME",
            help="accuracy, professionalism, completeness, relevance, tone or overall (default: all). Repeatable.",
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option("--draws", min=1, max=100, help="How often to ask for every score; the mean counts.")
    ] = 1,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.0, max=2.0, help="Temperature of the judge's answers.")
    ] = 0.0,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=16, max=1_000_000, help="Longest answer, in tokens.")
    ] = 512,
    budget_tokens: Annotated[
        Optional[int],
        typer.Option("--budget-tokens", min=1, help="Stop before this run uses more tokens (default: no limit)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print how many questions and tokens it would take, and send nothing.")
    ] = False,
    same_family: Annotated[
        bool, typer.Option("--same-family", help="Allow a judge of the family of the systems' base.")
    ] = False,
    key_variable: Annotated[
        str, typer.Option("--key-variable", metavar="NAME", help="Environment variable that holds the API key.")
    ] = "OPENAI_API_KEY",
    concurrent: Annotated[int, typer.Option("--concurrent", min=1, max=1000, help="Requests under way at a time.")] = 8,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1.0, max=86_400.0, help="Seconds after which a request counts as lost.")
    ] = 120.0,
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of the draw of tickets and of the judge's answers."),
    ] = 0,
) -> None:
    """Let a language model score the replies of a comparison.

    The judge itself is checked with planted replies and human ratings. Adds a section to the report and prints it.

    Example: duet judge runs/comparison --endpoint http://localhost:8000/v1 --model mistral-large --dry-run
    """
    from engines.asking import AskSettings
    from eval.judge.run import JudgeOptions, dry_run_text
    from eval.judge.run import judge as run
    from eval.report.judged import judged
    from eval.report.page import section_text

    settings = AskSettings(
        endpoint, model, key_variable, timeout, concurrent, temperature, max_tokens, seed, budget_tokens
    )
    options = JudgeOptions(comparison, settings, tickets, systems or (), dimensions or (), draws, same_family)
    print(dry_run_text(options) if dry_run else section_text(judged(run(options))))
