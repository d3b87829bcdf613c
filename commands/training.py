"""Commands that train: check, pretrain, train-cls, train-gen, train-baseline, calibrate."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from commands.options import Config, Overrides, Restart, path


def check(config: Config = None, overrides: Overrides = None) -> None:
    """Check a configuration without training.

    Looks at data, labels, one batch with its loss mask, memory and disk.

    Example: duet check --config configs/qwen2-7b.yaml --set data.path=data
    """
    from backbone.config_file import load_config
    from pipeline.check import check as run

    print(run(load_config(config, overrides or [])))


def pretrain(
    config: Annotated[
        Optional[Path],
        typer.Option(
            "--config", parser=path, help="YAML recipe of the base (default: the recipe of the shipped mini base)."
        ),
    ] = None,
    overrides: Overrides = None,
    restart: Restart = False,
) -> None:
    """Train a small base from scratch on tickets or a text file.

    Example: duet pretrain --set source=data --set output=runs/base
    """
    from backbone.training.pretrain import load_pretrain_config
    from backbone.training.pretrain import pretrain as run

    print(run(load_pretrain_config(config, overrides or []), restart))


def train_cls(
    config: Config = None,
    overrides: Overrides = None,
    init_from: Annotated[
        Optional[Path],
        typer.Option("--init-from", parser=path, help="Classifier run whose adapter is the starting point."),
    ] = None,
    restart: Restart = False,
) -> None:
    """Train the classifier: labels.

    Its adapter and heads. Prints the run folder.

    Example: duet train-cls --config configs/qwen2-7b.yaml --set data.path=data
    """
    from backbone.config_file import load_config

    settings = load_config(config, overrides or [])  # a wrong key is told before torch is imported
    from classifier.train import train_classifier

    print(train_classifier(settings, init_from, restart))


def train_gen(config: Config = None, overrides: Overrides = None, restart: Restart = False) -> None:
    """Train the generator: replies.

    Prints the run folder.

    Example: duet train-gen --config configs/qwen2-7b.yaml --set data.path=data
    """
    from backbone.config_file import load_config

    settings = load_config(config, overrides or [])
    from generator.train import train_generator

    print(train_generator(settings, restart))


def train_baseline(config: Config = None, overrides: Overrides = None, restart: Restart = False) -> None:
    """Train the single-prompt system to compare with.

    One adapter writes labels and reply. Prints the run folder.

    Example: duet train-baseline --config configs/qwen2-7b.yaml --set data.path=data
    """
    from backbone.config_file import load_config

    settings = load_config(config, overrides or [])
    from generator.single_prompt.train import train_baseline as run

    print(run(settings, restart))


def calibrate(
    run: Annotated[Path, typer.Argument(metavar="RUN", parser=path, help="Run folder with a finished classifier.")],
    out: Annotated[
        Optional[Path],
        typer.Option("--out", parser=path, help="New run folder (default: none, print operating points)."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Choose another operating point without training again.

    Without --out, prints how accuracy and the recall of rare classes change with the strength of the logit adjustment.
    With --out, fits adjustment, calibration, joint decoding and thresholds again, and prints the new run folder.

    Example: duet calibrate runs/qwen2-7b --out runs/rare --set 'classifier.adjustment={priority: 1.0}'
    """
    from pipeline.calibrate import calibrate as run_calibrate
    from pipeline.calibrate import show_operating_points

    if out is None:
        if overrides:
            raise typer.BadParameter("--set needs --out: a new run folder for the changed settings")
        print(show_operating_points(run))
    else:
        print(run_calibrate(run, out, overrides or []))
