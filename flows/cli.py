"""The command line: one module of commands each for building, looking and talking."""

from __future__ import annotations

import os
import sys
import traceback

import typer

from data.errors import DiskFull, MemoiristError
from flows import commands_build, commands_look, commands_talk

app = typer.Typer(
    name="memoirist",
    help="Turn what a person wrote and said into a chatbot that answers in that person's voice.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
for _command in (
    commands_build.build,
    commands_look.plan,
    commands_build.extract,
    commands_build.ask,
    commands_build.curate,
    commands_build.compose,
    commands_build.train,
    commands_build.merge,
    commands_build.evaluate,
    commands_build.refresh,
    commands_talk.serve,
    commands_talk.chat,
    commands_look.look,
    commands_look.sql,
    commands_look.export,
    commands_talk.doctor,
):
    app.command()(_command)


def main() -> None:
    """Run the command line; a fault is one line on stderr, with a traceback only for --debug."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments)
    except MemoiristError as error:
        _end(str(error), 1, debug=debug)
    except KeyboardInterrupt:
        _end("stopped; run the same command again to go on where it was", 130, debug=debug)
    except BrokenPipeError:
        # The reader of a pipe has gone (`memoirist sql ... | head`): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno == 28:
            full = DiskFull("the disk is full", "free some space and run the same command again")
            _end(str(full), 1, debug=debug)
        _end(f"{error}; check the path and its permissions", 1, debug=debug)
    except Exception as error:  # noqa: BLE001 - the last guard: one line instead of a traceback
        name = type(error).__name__
        _end(f"unexpected {name}: {error}; run it again with --debug and report it", 1, debug=debug)


def _end(message: str, code: int, *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    line = " ".join(message.split())
    sys.stderr.write(f"memoirist: {line}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
