"""Commands that publish: push."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Optional

import typer

from commands.options import path


def push(
    run: Annotated[Path, typer.Argument(metavar="RUN", parser=path, help="Folder of a finished run.")],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Where to publish it: hf://OWNER/NAME, @BRANCH after it if wanted.")
    ],
    private: Annotated[
        bool, typer.Option("--private/--public", help="Who may read a new repository: those with access, or everybody.")
    ] = True,
    revision: Annotated[
        Optional[str], typer.Option("--revision", metavar="BRANCH", help="Branch to write to (default: the main one).")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files with their sizes, and send nothing.")
    ] = False,
) -> None:
    """Publish a finished run on a hub.

    Adapters, heads, labels, calibration, tokenizer, configuration and a card go; tickets, their ids and paths stay.
    Names of labels and tags are published. The token is that of `hf auth login`, or in HF_TOKEN. Interrupted, the same
    command goes on. Prints the address that `--model` reads.

    Example: duet push runs/mini hf://acme/support-model --dry-run
    """
    from backbone.hub.address import HubAddress
    from pipeline.push.push import PushOptions, dry_run_text
    from pipeline.push.push import push as run_push

    address = HubAddress.parse(name)
    if revision is not None:
        if address.revision not in (None, revision):
            raise typer.BadParameter(f"--revision {revision} and {address} name two branches; give one of them")
        address = HubAddress.parse(str(replace(address, revision=revision)))
    options = PushOptions(run, address, private)
    print(dry_run_text(options) if dry_run else run_push(options))
