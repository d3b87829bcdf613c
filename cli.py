"""The command line: which commands there are, and how a failure becomes one line and an exit code."""

import errno
import io
import logging
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

from commands.answers import predict, predict_batch
from commands.bundles import export, verify
from commands.comparison import compare, evaluate, human_eval_make, human_eval_score, judge
from commands.data import augment, prepare
from commands.memory import memory
from commands.serving import serve
from commands.sharing import push
from commands.training import calibrate, check, pretrain, train_baseline, train_cls, train_gen
from tickets.errors import DuetError, Interrupted, WorkError
from tickets.terminal import JSON_ESCAPES, EscapingStream

app = typer.Typer(
    name="duet",
    help="Fine-tune a local LLM on your own helpdesk tickets: one base model, one adapter that labels, one that "
    "replies.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
human_eval = typer.Typer(help="Let people rate replies.", no_args_is_help=True, rich_markup_mode=None)
COMMANDS = (
    prepare,
    augment,
    check,
    train_cls,
    train_gen,
    calibrate,
    predict,
    predict_batch,
    export,
    verify,
    push,
    evaluate,
    train_baseline,
    compare,
    judge,
    pretrain,
)
for command in COMMANDS:
    app.command()(command)
human_eval.command("make")(human_eval_make)
human_eval.command("score")(human_eval_score)
app.add_typer(human_eval, name="human-eval")
app.add_typer(memory, name="memory")
app.add_typer(serve, name="serve")

_UsageError = typer.BadParameter.__base__  # click is vendored by typer; its base classes have no public name
_INTERRUPTED = Interrupted.exit_code
_ClickException = _UsageError.__base__ if _UsageError else None


def main() -> None:
    """Run the command line; every expected failure is one line on stderr and an exit code."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # how long threads of OpenMP spin before they sleep: by default for so long that a busy core stops all of them
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if not _guard_streams():
        sys.exit(_fail("stdout is closed; expected a place for the output; give one, such as > /dev/null", 2))
    own_stderr = sys.stderr
    if int(os.environ.get("RANK", "0")) > 0:  # of several processes (torchrun), the first one speaks
        sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # for good
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries tell programmers; `python -W default` shows it
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
    except (BrokenPipeError, SystemExit) as error:
        # typer exits so where nobody reads any more, which is not our failure
        if not any(isinstance(e, BrokenPipeError) for e in (error, error.__context__)):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except Exception as error:
        sys.stderr = own_stderr
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed has no place
            sys.exit(_fail("the output could not be written: the disk is full; free some space and run it again", 1))
        if isinstance(error, OSError) and error.errno:  # such as a file that may not be larger, or a disk that fails
            path_prefix = f"{error.filename}: " if error.filename else ""
            sys.exit(
                _fail(f"{path_prefix}{error.strerror}; what duet reads or writes failed; mend that and run it again", 1)
            )
        if type(error).__module__.startswith("sqlalchemy."):  # by name as below
            reason = str(getattr(error, "orig", None) or type(error).__name__)  # without the statement, which has texts
            sys.exit(_fail(f"the store failed ({reason}); `duet verify` checks it, or restore a backup", 1))
        if type(error).__name__ == "OutOfMemoryError":  # torch's, by name: importing torch here would cost seconds
            remedy = "lower batch_tokens of the stage, set base.gradient_checkpointing=true or base.precision=nf4"
            sys.exit(_fail(f"out of GPU memory; expected room for the batch; {remedy}, see `duet check`", 1))
        if _ClickException is None or not isinstance(error, _ClickException):
            raise
        sys.exit(_usage_error(error))
    if status == _INTERRUPTED:  # typer turns Ctrl-C into this status
        sys.exit(_fail("interrupted", _INTERRUPTED))
    sys.exit(status if isinstance(status, int) else 0)


def _guard_streams() -> bool:
    """Escape control characters in everything that is printed, and characters that a stream cannot encode.

    Returns whether stdout is open. Closed descriptors are filled: what is opened next would take their place, and get
    what libraries print.
    """
    is_open = sys.stdout is not None
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # for good
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=JSON_ESCAPES)
            setattr(sys, name, EscapingStream(stream, keep_returns=name == "stderr"))
    return is_open


def _usage_error(error: Any) -> int:
    """Print what the command-line parser says and return the exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":  # a bare `duet`: it lists the commands, which is no failure
        print(error.format_message(), file=sys.stderr)
        return 2
    command = error.ctx.command_path if getattr(error, "ctx", None) else "duet"
    return _fail(f"{error.format_message()} See `{command} --help`.", 2)


def _fail(message: str, code: int) -> int:
    with suppress(OSError):  # nobody reads it, or it has no room; the code says what it can
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
