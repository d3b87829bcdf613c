"""Commands on the resolved tickets in a bundle: memory add, memory erase."""

from pathlib import Path
from typing import Annotated

import typer

from commands.options import path

memory = typer.Typer(
    help="Change the resolved tickets that a bundle keeps.", no_args_is_help=True, rich_markup_mode=None
)
_Bundle = Annotated[Path, typer.Argument(parser=path, help="Bundle of `duet export --memory`.")]


@memory.command("add")
def add(
    bundle: _Bundle,
    data: Annotated[Path, typer.Argument(parser=path, help="Folder of `duet prepare`; all its parts are added.")],
) -> None:
    """Add resolved tickets; one of a known id replaces the old one.

    Tickets without a reply are left out. Private data is replaced by placeholders. A running `duet serve` sees them
    after a restart.

    Example: duet memory add bundle yesterday
    """
    from itertools import chain

    from pipeline.resolved import add_tickets
    from tickets.schema import PARTS, read_tickets

    tickets = list(chain.from_iterable(read_tickets(data / f"{part}.jsonl") for part in PARTS))
    print(f"{bundle}: {add_tickets(bundle, tickets):,} resolved tickets")


@memory.command("erase")
def erase(bundle: _Bundle, ids: Annotated[list[str], typer.Argument(help="Ids of the tickets.")]) -> None:
    """Erase tickets, their text and their terms.

    Example: duet memory erase bundle 000123
    """
    from pipeline.resolved import erase_tickets

    print(f"{bundle}: {erase_tickets(bundle, ids):,} resolved tickets")
