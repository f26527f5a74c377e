"""The command line: the application, its commands and the messages of their errors."""

from __future__ import annotations

import errno
import gc
import os
import sys
import traceback
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

from memoirist.data.schema.errors import DiskFull, MemoiristError
from memoirist.data.text.sanitizer import visible
from memoirist.flows.cli.build_commands import build, refresh, schedule, serve
from memoirist.flows.cli.chat_commands import chat, serve_model, web
from memoirist.flows.cli.inspect_commands import (
    calibrate,
    diff,
    doctor,
    export,
    look,
    plan,
    sql,
    validate,
)
from memoirist.flows.cli.model_commands import models, push
from memoirist.flows.cli.options import Command, with_flags
from memoirist.flows.cli.source_commands import rights, withdraw
from memoirist.flows.cli.step_commands import (
    ask,
    compose,
    curate,
    evaluate,
    extract,
    merge,
    train,
)

_STOPPED = "stopped; run the same command again to continue"
# Rows that `train --show` prints by default.
_SHOWN = "3"
_COMMANDS: tuple[Command, ...] = (
    build, plan, extract, ask, curate, compose, train, merge, evaluate, refresh, chat, serve_model,
    web, schedule, serve, withdraw, rights, look, diff, sql, export, validate, calibrate,
    push, doctor,
)  # fmt: skip
COMMANDS = {command.__name__.replace("_", "-"): command for command in _COMMANDS}
# Former names; they go with the next release.
HIDDEN = {"serve"}


class CommandGroup(TyperGroup):
    """List the commands by their first lines; create a command's options when it is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:  # noqa: ANN401
        """Return the name, the command with all its options, and the arguments left for it."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in COMMANDS:
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(name)(with_flags(COMMANDS[name]))
            command = typer.main.get_command(single)
        return name, command, rest


app = typer.Typer(
    name="memoirist",
    cls=CommandGroup,
    help="Turn what a person wrote and said into a chatbot that answers in that person's voice.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
for _name, _command in COMMANDS.items():
    app.command(_name, help=_command.__doc__, hidden=_name in HIDDEN)(lambda: None)
app.add_typer(models, name="models")


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"memoirist {version('memoirist')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Declare the options of the program itself."""


def main() -> None:
    """Run the command line; an error is one line on stderr, with a traceback only for --debug."""
    # Imports create a hundred thousand lasting objects; the default threshold of 700 spends a
    # twentieth of the start on searching them for reference cycles.
    gc.set_threshold(20_000, 20, 20)
    debug = "--debug" in sys.argv
    arguments = as_values([argument for argument in sys.argv[1:] if argument != "--debug"])
    # Exit outside of every `except`: an exception that is held during shutdown keeps a database
    # connection alive, and DuckDB's bindings print a leak.
    sys.exit(_flush(_run(arguments, debug=debug)))


def _flush(code: int) -> int:
    """Write what is left for standard output; return the exit code."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # The reader of a pipe may close it (`memoirist sql ... | head`), which is no error.
        if not isinstance(error, BrokenPipeError):
            return _print_error(f"{error}; check where the output goes", 1, debug=False)
    return code


def as_values(arguments: list[str]) -> list[str]:
    """Return the arguments with a number after a bare `--show`, and no SQL comment as an option.

    A query that begins with a comment, "-- ...", gets a newline before it.
    """
    complete: list[str] = []
    for index, argument in enumerate(arguments):
        complete.append(f"\n{argument}" if argument.startswith("-- ") else argument)
        if argument == "--show" and not "".join(arguments[index + 1 : index + 2]).isdigit():
            complete.append(_SHOWN)
    return complete


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        app(args=arguments)
    except MemoiristError as error:
        return _print_error(str(error), 1, debug=debug)
    except KeyboardInterrupt:
        return _print_error(_STOPPED, 130, debug=debug)
    except SystemExit as exit_:
        # typer turns Ctrl-C into a silent 130, and prints wrong usage and exits with 2.
        if exit_.code == 130:
            return _print_error(_STOPPED, 130, debug=debug)
        # typer and rich turn a closed pipe into a silent 1.
        if not isinstance(exit_.__context__, BrokenPipeError):
            return exit_.code if isinstance(exit_.code, int) else 0
    except BrokenPipeError:
        pass
    except OSError as error:
        if error.errno == errno.ENOSPC:
            full = DiskFull("the disk is full", "free some space and run the same command again")
            return _print_error(str(full), 1, debug=debug)
        return _print_error(f"{error}; check the path and its permissions", 1, debug=debug)
    except Exception as error:  # noqa: BLE001 - the last guard: one line instead of a traceback
        name = type(error).__name__
        message = f"unexpected {name}: {error}; run it again with --debug and report it"
        return _print_error(message, 1, debug=debug)
    return 0


def _print_error(message: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    line = " ".join(visible(message).split())
    sys.stderr.write(f"memoirist: {line}\n")
    return code
