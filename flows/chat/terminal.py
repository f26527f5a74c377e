"""The chat in the terminal: streamed answers, side by side under --compare, and its commands."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

from memoirist.data.schema.errors import MemoiristError, RecipeError
from memoirist.data.text.sanitizer import neutralise
from memoirist.flows.chat.backends import (
    FEW_SHOT,
    TUNED,
    Choice,
    chosen,
    few_shot_of,
    load_models,
    shipped_prompt,
)
from memoirist.flows.chat.chat_session import ChatSession
from memoirist.flows.runtime.context import Context

if TYPE_CHECKING:
    from memoirist.train.inference.chat_model import Answer, ChatModel


HELP = """\
/save           keep the last exchange for the next training
/save WORDS     keep the last question with these better words as its answer
/regen          have the last question answered by another draw
/tokens N       let an answer have N tokens
/reset          forget the conversation
/system         show the system prompt; /system WORDS sets another, /system - none
/quit           end the talk (Ctrl-D does so as well); Ctrl-C ends an answer"""

_QUIT = {"/quit", "/exit", "/q"}


class TerminalChat(ChatSession):
    """A session whose models are loaded into this process."""

    ADVICE = {  # noqa: RUF012 - a constant
        "limit": "/tokens {more}, then /regen, or ",
        "context": "/reset and ask again, or ",
        "words": "give the words: /save What it should say",
    }
    models: dict[str, ChatModel]

    @classmethod
    def open(
        cls,
        context: Context,
        choice: Choice,
        system: str | None,
        wanted: Mapping[str, object],
        *,
        compare: bool,
    ) -> TerminalChat:
        """Load the models; NothingToDo before the first build, TrainError for a missing step."""
        from memoirist.train.settings import ChatSettings

        model = chosen(context, choice)
        models = load_models(context, model, choice, compare=compare)
        settings = ChatSettings.model_validate(wanted)
        chat = cls(context, model, dict.fromkeys(models, ""), settings)
        chat.models = models
        chat.set_system(shipped_prompt(context, model) if system is None else system)
        return chat

    def set_system(self, system: str) -> None:
        """Set the system prompt of all models; the examples of the prompted base stay."""
        self.systems = dict.fromkeys(self.models, neutralise(system))
        if FEW_SHOT in self.systems:
            room = self.models[FEW_SHOT].room
            self.systems[FEW_SHOT] = few_shot_of(
                self.context, self.chosen, self.systems[FEW_SHOT], room
            )

    def answer(self, name: str, question: str) -> Answer:
        """Return a model's answer in pieces; what exceeds its context is left out in front."""
        begun = self.opening(name, question)
        return self.models[name].answer(self.prompt(name, question), self.settings, begun)


def say_once(chat: TerminalChat, question: str) -> None:
    """Print one answer to stdout as it is made, and nothing else; all voices' under --compare.

    Whether an answer was cut goes to stderr.
    """
    console, aside = Console(highlight=False), Console(stderr=True, highlight=False)
    if len(chat.models) > 1:
        _side_by_side(chat, question, console, aside)
    else:
        _stream(chat, question, aside)


def converse(chat: TerminalChat) -> None:
    """Talk until /quit or the end of the input; a pipe gets the answers and nothing else."""
    if not sys.stdin.isatty():
        aside = Console(stderr=True, highlight=False)
        for line in map(str.strip, sys.stdin):
            if line in _QUIT:
                return
            _heed(chat, line, Console(highlight=False), aside)
        return
    console = Console(highlight=False)
    _prepare_editing()
    console.print(
        f"This is an AI persona of {chat.persona}, and not {chat.persona}. /help lists what else"
        " you can type.",
        style="dim",
        markup=False,
    )
    warned = False
    while True:
        try:
            line = console.input("[bold green]you[/] > ").strip()
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
        if line in _QUIT:
            return
        _heed(chat, line, console, console)


def _prepare_editing() -> None:
    """Let arrow keys edit and recall lines, where this Python has readline."""
    try:
        import readline  # noqa: F401 - input() uses it once it is there
    except ImportError:
        return


def _heed(chat: TerminalChat, line: str, console: Console, aside: Console) -> None:
    """Do what a line asks for; a fault is told in one line and ends nothing."""
    command, _, words = line.partition(" ")
    try:
        if command == "/regen":
            _answer(chat, chat.take_back(), console, aside)
        elif line.startswith("/"):
            aside.print(
                _obey(chat, command, words.strip()), style="dim", markup=False, soft_wrap=True
            )
        elif line:
            _answer(chat, line, console, aside)
    except MemoiristError as error:
        aside.print(str(error), style="dim", markup=False, soft_wrap=True)


def _obey(chat: TerminalChat, command: str, words: str) -> str:
    """Return what a command has to say."""
    if command == "/save":
        return chat.save(words)
    if command == "/reset":
        chat.reset()
        return "forgotten"
    if command == "/system":
        if words:
            chat.set_system("" if words == "-" else words)
        return chat.systems[TUNED] or "(no system prompt)"
    if command == "/tokens":
        if words:
            chat.configure(max_new_tokens=_number(words))
        return f"an answer may have {chat.settings.max_new_tokens:,} tokens"
    return HELP if command == "/help" else f"there is no {command!r}\n{HELP}"


def _number(words: str) -> int:
    if not words.isdecimal() or not int(words):
        raise RecipeError(f"/tokens {words!r} is no number of tokens", "write /tokens 1024")
    return int(words)


def _answer(chat: TerminalChat, question: str, console: Console, aside: Console) -> None:
    if len(chat.models) > 1:
        _side_by_side(chat, question, console, aside)
        return
    if sys.stdin.isatty():
        console.print(f"[bold magenta]{escape(chat.persona)}[/] > ", end="")
    _stream(chat, question, aside)


def _stream(chat: TerminalChat, question: str, aside: Console) -> None:
    """Write the tuned model's answer piece by piece; Ctrl-C ends it and not the chat."""
    answer = chat.answer(TUNED, question)
    chat.ask(question)
    try:
        for piece in answer:
            chat.extend(TUNED, piece)
            sys.stdout.write(_printable(piece))
            sys.stdout.flush()
        chat.end(TUNED, answer.ended)
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
    sys.stdout.write("\n")
    sys.stdout.flush()
    _print_faults(chat, aside)


def _print_faults(chat: TerminalChat, aside: Console) -> None:
    """Say which answers did not come to their end, and why."""
    for name, fault in chat.faults().items():
        who = "the answer" if len(chat.models) == 1 else f"the answer of {name!r}"
        aside.print(f"[{who} {fault}]", style="dim", markup=False, soft_wrap=True)


def _printable(text: str) -> str:
    """Return text that moves no cursor: a model may have learnt escape sequences."""
    return "".join(c for c in text if c in "\n\t" or (ord(c) >= 32 and not 127 <= ord(c) < 160))


def _side_by_side(chat: TerminalChat, question: str, console: Console, aside: Console) -> None:
    """Show every model's answer as it grows; one after the other where no terminal is."""
    coming = {name: chat.answer(name, question) for name in chat.models}
    chat.ask(question)
    try:
        if console.is_terminal:
            with Live(
                _panels(chat.answers, console), console=console, refresh_per_second=8
            ) as live:
                for name, answer in coming.items():
                    for piece in answer:
                        chat.extend(name, piece)
                        live.update(_panels(chat.answers, console))
                    chat.end(name, answer.ended)
        else:
            for name, answer in coming.items():
                for piece in answer:
                    chat.extend(name, piece)
                chat.end(name, answer.ended)
                sys.stdout.write(f"{name}: {_printable(chat.answers[name])}\n")
                sys.stdout.flush()
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
    _print_faults(chat, aside)


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
