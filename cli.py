"""The command line: each command is annotated options, a docstring and one call. Heavy imports live in the bodies."""

import errno
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from tickets.errors import DuetError, Interrupted, WorkError

app = typer.Typer(
    name="duet",
    help="Fine-tune a local LLM on your own helpdesk tickets: one Qwen2 base, one adapter that labels, one that "
    "replies.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Config = Annotated[
    Optional[Path],  # noqa: UP045  # typer reads annotations at run time
    typer.Option("--config", help="YAML of the experiment; the built-in mini configuration without it."),
]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key of the configuration, e.g. lora.rank=64. Repeatable."
    ),
]
Model = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--model", help="Run folder, model folder or bundle; the shipped mini model without it."),
]
Engine = Annotated[
    str, typer.Option("--engine", help="auto, llama, onnx or torch. auto: the fastest that the model has files for.")
]
Endpoint = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--endpoint", metavar="URL", help="Let an OpenAI-compatible server write the replies."),
]
EndpointModel = Annotated[str, typer.Option("--endpoint-model", help="Name of the model at that server.")]
EndpointTimeout = Annotated[
    float, typer.Option("--endpoint-timeout", min=1.0, help="Seconds after which a request to it counts as lost.")
]
LabelsOnly = Annotated[bool, typer.Option("--labels-only", help="Do not write replies.")]
Preset = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--preset", help="Column names of an export: public, zendesk or zammad; found by itself without."),
]
Maps = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--map",
        metavar="NAME=COLUMN",
        help="Name the column of body, subject, reply, language, id, tags or a label. Repeatable.",
    ),
]
CleanEscapes = Annotated[bool, typer.Option("--escapes/--no-escapes", help=r"Turn literal \n into line breaks.")]
CleanHtml = Annotated[bool, typer.Option("--html/--no-html", help="Turn HTML into text.")]
CleanQuotes = Annotated[bool, typer.Option("--quotes/--no-quotes", help="Cut quoted earlier mails.")]
Restart = Annotated[
    bool,
    typer.Option("--restart/--resume", help="Drop an unfinished run in the folder and start over, or go on with it."),
]


@app.command()
def prepare(
    source: Annotated[str, typer.Argument(help="CSV, TSV, JSONL, JSON or Parquet file, or a Hugging Face dataset id.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("data"),
    split: Annotated[
        str, typer.Option("--split", help="grouped (near-duplicates on one side) or published.")
    ] = "grouped",
    preset: Preset = None,
    maps: Maps = None,
    columns: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--columns", metavar="NAME", help="Label column to keep; all that are found without. Repeatable."),
    ] = None,
    languages: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--language", metavar="CODE", help="Keep only this language. Repeatable."),
    ] = None,
    clean_escapes: CleanEscapes = True,
    clean_html: CleanHtml = True,
    clean_quotes: CleanQuotes = True,
    tokenizer: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--tokenizer", help="tokenizer.json to count tokens with; the mini model's without."),
    ] = None,
) -> None:
    """Read tickets, clean them, find near-duplicates, split them and describe them.

    Example: duet prepare tickets.csv --map subject=Betreff --out data
    """
    from backbone.base import mini_folder
    from tickets.describe import render
    from tickets.prepare import PrepareOptions
    from tickets.prepare import prepare as run

    options = PrepareOptions(
        source=source,
        out=out,
        split=split,
        preset=preset,
        maps=tuple(maps or ()),
        columns=tuple(columns) if columns else None,
        languages=tuple(languages or ()),
        clean_escapes=clean_escapes,
        clean_html=clean_html,
        clean_quotes=clean_quotes,
        tokenizer=tokenizer or mini_folder() / "base" / "tokenizer.json",
    )
    print(render(run(options)))


@app.command()
def pretrain(
    config: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--config", help="YAML recipe of the base; the recipe of the shipped mini base without it."),
    ] = None,
    overrides: Overrides = None,
    restart: Restart = False,
) -> None:
    """Train a small Qwen2-architecture base from scratch on tickets or a text file.

    Example: duet pretrain --set source=data --set output=runs/base
    """
    from backbone.training.pretrain import load_pretrain_config
    from backbone.training.pretrain import pretrain as run

    print(run(load_pretrain_config(config, overrides or []), restart))


@app.command("train-cls")
def train_cls(
    config: Config = None,
    overrides: Overrides = None,
    init_from: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--init-from", help="Classifier run whose adapter is the starting point."),
    ] = None,
    restart: Restart = False,
) -> None:
    """Train the classifier adapter and its heads; prints the run folder.

    Example: duet train-cls --config configs/qwen2-7b.yaml --set data.path=data
    """
    from backbone.config_file import load_config

    settings = load_config(config, overrides or [])  # a wrong key is told before torch is imported
    from classifier.train import train_classifier

    print(train_classifier(settings, init_from, restart))


@app.command("train-gen")
def train_gen(config: Config = None, overrides: Overrides = None, restart: Restart = False) -> None:
    """Train the generator adapter on replies; prints the run folder.

    Example: duet train-gen --config configs/qwen2-7b.yaml --set data.path=data
    """
    from backbone.config_file import load_config

    settings = load_config(config, overrides or [])
    from generator.train import train_generator

    print(train_generator(settings, restart))


@app.command("train-baseline")
def train_baseline(config: Config = None, overrides: Overrides = None, restart: Restart = False) -> None:
    """Train the single-prompt system to compare with: labels and reply from one adapter; prints the run folder.

    Example: duet train-baseline --config configs/qwen2-7b.yaml --set data.path=data
    """
    from backbone.config_file import load_config

    settings = load_config(config, overrides or [])
    from generator.single_prompt.train import train_baseline as run

    print(run(settings, restart))


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    model: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--model", help="Run folder or model folder; the shipped mini model without it."),
    ] = None,
    generator: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--generator", help="Run folder of the generator where it is not beside the classifier."),
    ] = None,
    quant: Annotated[
        str, typer.Option("--quant", help="Format of the base: f16, q8_0, q5_k_m, q4_k_m, q4_0, or none.")
    ] = "q4_k_m",
    onnx: Annotated[bool, typer.Option("--onnx", help="Also write the classifier as ONNX; bases up to 1.5B.")] = False,
    int8: Annotated[bool, typer.Option("--int8/--no-int8", help="With --onnx: its int8 form too.")] = True,
    merged: Annotated[
        bool, typer.Option("--merged", help="Also write a self-contained generator and an Ollama Modelfile.")
    ] = False,
    data: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--data", help="Folder of `duet prepare` to check on; the classifier's own data without it."),
    ] = None,
    check: Annotated[int, typer.Option("--check", min=1, help="How many validation tickets to check on.")] = 256,
) -> None:
    """Turn trained runs into a bundle for the CPU, checked against them; prints the check.

    Example: duet export --model runs/mini --out bundle --onnx
    """
    from pipeline.export.export import ExportOptions
    from pipeline.export.export import export as run

    print(run(ExportOptions(model, out, generator, quant.lower(), onnx, int8, merged, data, check)))


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="Bundle, or finished run of one stage.")],
) -> None:
    """Compare every file of a bundle or run with the SHA-256 sums of its manifest.

    Other commands check the files they read. Example: duet verify bundle
    """
    from backbone.runs.files import read_json
    from backbone.runs.folder import verify as run

    run(folder)
    files = read_json(folder / "manifest.json")["files"]
    print(f"{folder}: {len(files):,} files as they were written")


@app.command()
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


@app.command("predict-batch")
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
    clean_escapes: CleanEscapes = True,
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


@app.command()
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


@app.command()
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


human_eval = typer.Typer(help="Let people rate replies.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(human_eval, name="human-eval")


@human_eval.command("make")
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


@human_eval.command("score")
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


@app.command()
def check(config: Config = None, overrides: Overrides = None) -> None:
    """Validate a run without starting it: data, labels, one batch with its loss mask, memory and disk.

    Example: duet check --config configs/qwen2-7b.yaml --set data.path=data
    """
    from backbone.config_file import load_config
    from pipeline.check import check as run

    print(run(load_config(config, overrides or [])))


_UsageError = typer.BadParameter.__base__  # click is vendored by typer; its base classes have no public name
_INTERRUPTED = Interrupted.exit_code
_ClickException = _UsageError.__base__ if _UsageError else None


def main() -> None:
    """Run the command line; every expected failure is one line on stderr and an exit code."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    own_stderr = sys.stderr
    if int(os.environ.get("RANK", "0")) > 0:  # of several processes (torchrun), the first one speaks
        sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # for good
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # on the CPU it misses an optional kernel at every import
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()  # here, where what goes wrong becomes one line
    except DuetError as error:
        if isinstance(error, WorkError):  # bad input is the same for all processes: one telling is enough
            sys.stderr = own_stderr
        sys.exit(_fail(str(error), error.exit_code))
    except KeyboardInterrupt:
        sys.exit(_fail("interrupted", _INTERRUPTED))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads any more: not our failure
        sys.exit(0)
    except Exception as error:
        sys.stderr = own_stderr
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed has no place
            sys.exit(_fail("the output could not be written: the disk is full; free some space and run it again", 1))
        if type(error).__name__ == "OutOfMemoryError":  # torch's, by name: importing torch here would cost seconds
            mend = "lower batch_tokens of the stage, set base.gradient_checkpointing=true or base.precision=nf4"
            sys.exit(_fail(f"out of GPU memory; expected room for the batch; {mend}, see `duet check`", 1))
        if _ClickException is None or not isinstance(error, _ClickException):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":  # a bare `duet`: what can be done is no failure's message
            print(error.format_message(), file=sys.stderr)
            sys.exit(2)
        command = error.ctx.command_path if getattr(error, "ctx", None) else "duet"
        sys.exit(_fail(f"{error.format_message()} See `{command} --help`.", 2))
    if status == _INTERRUPTED:  # typer turns Ctrl-C into this status
        sys.exit(_fail("interrupted", _INTERRUPTED))
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
