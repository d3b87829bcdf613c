"""Commands of the server: serve, and its tokens, backups and outbox."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from commands.options import Endpoint, EndpointModel, EndpointTimeout, Engine, Model, path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

    from store.database import Database

serve = typer.Typer(
    help="Answer tickets for a helpdesk; people review the answers.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
token = typer.Typer(help="Tokens that give access.", no_args_is_help=True, rich_markup_mode=None)
serve.add_typer(token, name="token")

Db = Annotated[
    Optional[str],
    typer.Option(
        "--db",
        metavar="ADDRESS",
        help="sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME (default: a file in your data folder).",
    ),
]


@serve.callback()
def serve_tickets(
    context: typer.Context,
    model: Model = None,
    db: Db = None,
    listen: Annotated[
        Optional[str],
        typer.Option("--listen", metavar="HOST:PORT", help="Where to listen (default: 127.0.0.1:8077)."),
    ] = None,
    role: Annotated[
        str,
        typer.Option(
            "--role",
            help="On PostgreSQL, web answers requests and worker answers tickets, any number of each; all does both.",
        ),
    ] = "all",
    helpdesks: Annotated[
        Optional[Path],
        typer.Option(
            "--helpdesks", parser=path, metavar="FILE", help="YAML that names your helpdesks, see docs/helpdesks.md."
        ),
    ] = None,
    engine: Engine = "auto",
    endpoint: Endpoint = None,
    endpoint_model: EndpointModel = "default",
    endpoint_timeout: EndpointTimeout = 300.0,
    together: Annotated[
        int, typer.Option("--together", min=1, max=128, help="How many tickets are in work at a time.")
    ] = 8,
    demo: Annotated[bool, typer.Option("--demo", help="Fill the store with twenty built-in tickets.")] = False,
    single_keys: Annotated[
        bool, typer.Option("--single-keys/--no-single-keys", help="Keys without a modifier on the review page.")
    ] = True,
) -> None:
    """Answer tickets for a helpdesk; people review the answers.

    Example: duet serve --demo
    """
    if context.invoked_subcommand:
        return
    _need_extra()
    from pipeline.engine_choice import EngineChoice
    from serve.run import ServeOptions
    from serve.run import serve as run

    choice = EngineChoice.of_options(engine, together, endpoint, endpoint_model, endpoint_timeout)
    run(ServeOptions(model, db, listen, choice, helpdesks, demo, single_keys, role))


@token.command("add")
def token_add(
    name: Annotated[str, typer.Argument(help="Whose token it is.")],
    role: Annotated[str, typer.Option("--role", help="ingest, review or admin; each may do what those before may.")],
    days: Annotated[
        Optional[float],
        typer.Option("--days", min=0.001, max=36_500, help="How many days it is valid (default: no expiry)."),
    ] = None,
    db: Db = None,
) -> None:
    """Make a token and print it. It is shown this once.

    Example: duet serve token add anna --role review
    """
    from store.tokens import add_token

    print(add_token(_open(db), name, role, days))


@token.command("remove")
def token_remove(name: Annotated[str, typer.Argument(help="Whose token it is.")], db: Db = None) -> None:
    """Remove a token; it is refused from now on.

    Example: duet serve token remove anna
    """
    from store.tokens import remove_token

    remove_token(_open(db), name)


@token.command("list")
def token_list(db: Db = None) -> None:
    """List the tokens as JSON lines, without their secrets.

    Example: duet serve token list
    """
    import json

    from store.tokens import list_tokens

    with _open(db).read() as connection:
        for row in list_tokens(connection):
            print(json.dumps(row, ensure_ascii=False))


@serve.command("backup")
def backup_store(target: Annotated[Path, typer.Argument(parser=path, help="File to write.")], db: Db = None) -> None:
    """Write a copy of the store, also while it is served.

    Example: duet serve backup duet-monday.db
    """
    _need_extra()
    from serve.upkeep import backup

    backup(_open(db), target)


@serve.command("restore")
def restore_store(
    source: Annotated[Path, typer.Argument(parser=path, help="File of `backup`.")], db: Db = None
) -> None:
    """Put a copy in the place of the store.

    Nobody may serve it meanwhile.

    Example: duet serve restore duet-monday.db
    """
    import sys

    _need_extra()
    from serve.upkeep import restore

    print(f"the store before is {restore(_open(db), source)}", file=sys.stderr)


@serve.command("outbox")
def show_outbox(
    retry: Annotated[bool, typer.Option("--retry", help="Try again what was given up.")] = False, db: Db = None
) -> None:
    """Show as JSON what waits for helpdesks, was sent, or was given up.

    Example: duet serve outbox --retry
    """
    import sys

    from store.outbox import outbox_state, retry_given_up

    database = _open(db)
    if retry:
        print(f"{retry_given_up(database)} will be tried again", file=sys.stderr)
    _print_counts(database, outbox_state)


@serve.command("jobs")
def show_jobs(
    retry: Annotated[bool, typer.Option("--retry", help="Queue the tickets again whose answering failed.")] = False,
    db: Db = None,
) -> None:
    """Show as JSON how many tickets wait, run, are done or failed.

    Example: duet serve jobs --retry
    """
    import sys

    from store.jobs import count_by_state, retry_failed

    database = _open(db)
    if retry:
        print(f"{retry_failed(database)} are queued again; a server that runs takes them", file=sys.stderr)
    _print_counts(database, count_by_state)


def verify_store(path: Path) -> None:
    """Check the audit chain of an SQLite store and print how many entries it has."""
    from tickets.errors import InputError

    _need_extra()
    from serve.upkeep import is_store
    from store.audit import verify_chain
    from store.database import open_file

    if not is_store(path):
        raise InputError(f"{path}: not a store of `duet serve`; expected its file, or the folder of a bundle or run")
    with open_file(path).read() as connection:
        print(f"{path}: {verify_chain(connection):,} audit entries as they were written")


def _print_counts(database: "Database", counts: "Callable[[Connection], Mapping[str, float]]") -> None:
    """Print counts of the store as JSON."""
    import json

    with database.read() as connection:
        print(json.dumps(counts(connection)))


def _open(db: str | None) -> "Database":
    _need_extra()
    from serve.run import default_database
    from store.database import open_database

    return open_database(default_database() if db is None else db)


def _need_extra() -> None:
    """Raise InputError where the packages of the server are not installed."""
    from importlib.util import find_spec

    from tickets.errors import InputError

    missing = [name for name in ("fastapi", "uvicorn", "sqlalchemy", "alembic", "httpx2") if find_spec(name) is None]
    if missing:
        raise InputError(f"duet serve needs {missing[0]}; `pip install 'ticket-duet[serve]'` adds what it needs")
