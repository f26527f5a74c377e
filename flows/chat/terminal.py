"""The talk in the terminal: streamed answers, side by side under --compare, and its commands."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

from memoirist.data.composition.saved_exchanges import Ended, cut
from memoirist.data.schema.errors import MemoiristError, RecipeError
from memoirist.flows.chat.backends import TUNED
from memoirist.flows.chat.chat_session import Talk

HELP = """\
/save           keep the last exchange for the next training
/save WORDS     keep the last question with these better words as its answer
/regen          have the last question answered by another draw
/tokens N       let an answer have N tokens
/reset          forget the conversation
/system         show the system prompt; /system WORDS sets another, /system - none
/quit           end the talk (Ctrl-D does so as well); Ctrl-C ends an answer"""

_QUIT = {"/quit", "/exit", "/q"}


def say_once(talk: Talk, said: str) -> None:
    """Print one answer to stdout as it is made, and nothing else; all voices' under --compare.

    That an answer was cut is told on stderr.
    """
    console, aside = Console(highlight=False), Console(stderr=True, highlight=False)
    if len(talk.voices) > 1:
        _side_by_side(talk, said, console, aside)
    else:
        _stream(talk, said, aside)


def converse(talk: Talk) -> None:
    """Talk until /quit or the end of the input; a pipe gets the answers and nothing else."""
    if not sys.stdin.isatty():
        for line in sys.stdin:
            if line.strip() in _QUIT:
                return
            _heed(
                talk, line.strip(), Console(highlight=False), Console(stderr=True, highlight=False)
            )
        return
    console = Console(highlight=False)
    _prepare_editing()
    console.print(
        f"This is an AI persona of {talk.name}, and not {talk.name}. /help lists what else you"
        " can type.",
        style="dim",
        markup=False,
    )
    warned = False
    while True:
        try:
            said = console.input("[bold green]you[/] > ").strip()
        except EOFError:
            console.print()
            return
        except KeyboardInterrupt:
            console.print()
            if warned:
                return
            warned = True
            console.print("Ctrl-C again, Ctrl-D or /quit ends the talk", style="dim")
            continue
        warned = False
        if said in _QUIT:
            return
        _heed(talk, said, console, console)


def _prepare_editing() -> None:
    """Let arrow keys edit and recall lines, where this Python has readline."""
    try:
        import readline  # noqa: F401 - input() uses it once it is there
    except ImportError:
        return


def _heed(talk: Talk, said: str, console: Console, aside: Console) -> None:
    """Do what a line asks for; a fault is told in one line and ends nothing."""
    command, _, words = said.partition(" ")
    try:
        if command == "/regen":
            _answer(talk, talk.take_back(), console, aside)
        elif said.startswith("/"):
            aside.print(
                _obey(talk, command, words.strip()), style="dim", markup=False, soft_wrap=True
            )
        elif said:
            _answer(talk, said, console, aside)
    except MemoiristError as error:
        aside.print(str(error), style="dim", markup=False, soft_wrap=True)


def _obey(talk: Talk, command: str, words: str) -> str:
    """Return what a command has to say."""
    if command == "/save":
        return talk.save(words)
    if command == "/reset":
        talk.forget()
        return "forgotten"
    if command == "/system":
        if words:
            talk.tell("" if words == "-" else words)
        return talk.system or "(no system prompt)"
    if command == "/tokens":
        if words:
            talk.allow(_number(words))
        return f"an answer may have {talk.settings.max_new_tokens:,} tokens"
    return HELP if command == "/help" else f"there is no {command!r}\n{HELP}"


def _number(words: str) -> int:
    if not words.isdecimal() or not int(words):
        raise RecipeError(f"/tokens {words!r} is no number of tokens", "write /tokens 1024")
    return int(words)


def _answer(talk: Talk, said: str, console: Console, aside: Console) -> None:
    if len(talk.voices) > 1:
        _side_by_side(talk, said, console, aside)
        return
    if sys.stdin.isatty():
        console.print(f"[bold magenta]{escape(talk.name)}[/] > ", end="")
    _stream(talk, said, aside)


def _stream(talk: Talk, said: str, aside: Console) -> None:
    """Write the tuned voice's answer piece by piece; Ctrl-C ends it and not the talk."""
    answer = ""
    coming = talk.answer(TUNED, said)
    try:
        for piece in coming:
            answer += piece
            sys.stdout.write(_printable(piece))
            sys.stdout.flush()
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
    sys.stdout.write("\n")
    sys.stdout.flush()
    _tell_ends(talk, {TUNED: coming.ended}, aside)
    talk.remember(said, {TUNED: answer}, coming.ended)


def _tell_ends(talk: Talk, ends: Mapping[str, Ended], aside: Console) -> None:
    """Say which answers did not come to their end, and why."""
    for name, ended in ends.items():
        fault = cut(ended, talk.settings.max_new_tokens)
        if fault:
            who = "the answer" if len(talk.voices) == 1 else f"the answer of {name!r}"
            aside.print(f"[{who} {fault}]", style="dim", markup=False, soft_wrap=True)


def _printable(text: str) -> str:
    """Return text that moves no cursor: a model may have learnt escape sequences."""
    return "".join(c for c in text if c in "\n\t" or (ord(c) >= 32 and not 127 <= ord(c) < 160))


def _side_by_side(talk: Talk, said: str, console: Console, aside: Console) -> None:
    """Show every voice's answer as it grows; one after the other where no terminal is."""
    answers = dict.fromkeys(talk.voices, "")
    ends: dict[str, Ended] = dict.fromkeys(talk.voices, "stopped")
    try:
        if console.is_terminal:
            with Live(_panels(answers, console), console=console, refresh_per_second=8) as live:
                for name in talk.voices:
                    coming = talk.answer(name, said)
                    for piece in coming:
                        answers[name] += piece
                        live.update(_panels(answers, console))
                    ends[name] = coming.ended
        else:
            for name in talk.voices:
                coming = talk.answer(name, said)
                answers[name] = "".join(coming)
                ends[name] = coming.ended
                sys.stdout.write(f"{name}: {_printable(answers[name])}\n")
                sys.stdout.flush()
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
    _tell_ends(talk, ends, aside)
    talk.remember(said, answers, ends[TUNED])


def _panels(answers: Mapping[str, str], console: Console) -> RenderableType:
    width = max(24, console.width // len(answers) - 1)
    return Columns(
        [
            Panel(Text(_printable(answer)), title=name, width=width, border_style=_colour(name))
            for name, answer in answers.items()
        ]
    )


def _colour(name: str) -> str:
    return "magenta" if name == TUNED else "dim"
