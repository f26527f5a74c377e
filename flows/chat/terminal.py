"""The chat in the terminal: streamed answers, side by side with --compare, and its commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
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
    choose_model,
    few_shot_system,
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
/regen          answer the last question again, with another seed
/tokens N       limit an answer to N tokens
/reset          forget the conversation
/system         show the system prompt; /system WORDS sets another, /system - none
/quit           end the chat (as Ctrl-D does); Ctrl-C stops an answer"""

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
        values: Mapping[str, object],
        *,
        compare: bool,
    ) -> TerminalChat:
        """Load the models, with `values` as their settings.

        Raise NothingToDo before the first build, TrainError for an unknown checkpoint.
        """
        from memoirist.train.settings import ChatSettings

        model = choose_model(context, choice)
        models = load_models(context, model, choice, compare=compare)
        settings = ChatSettings.model_validate(values)
        chat = cls(context, model, dict.fromkeys(models, ""), settings)
        chat.models = models
        chat.set_system(shipped_prompt(context, model) if system is None else system)
        return chat

    def set_system(self, system: str) -> None:
        """Set the system prompt of all models; the base with examples keeps its examples."""
        self.systems = dict.fromkeys(self.models, neutralise(system))
        if FEW_SHOT in self.systems:
            self.systems[FEW_SHOT] = few_shot_system(
                self.context, self.chosen, self.systems[FEW_SHOT], self.models[FEW_SHOT].room
            )

    def answer(self, name: str, question: str) -> Answer:
        """Return a model's answer in pieces; the oldest turns are cut to fit its context."""
        start = self.opening(name, question)
        return self.models[name].answer(self.prompt(name, question), self.settings, start)


def say_once(chat: TerminalChat, question: str) -> None:
    """Print one answer to stdout and nothing else; with several models, the answer of each.

    Answers that were cut are reported on stderr.
    """
    _answer(chat, question, Console(highlight=False), Console(stderr=True, highlight=False))


def converse(chat: TerminalChat) -> None:
    """Chat until /quit or the end of the input; a pipe gets the answers and nothing else."""
    if not sys.stdin.isatty():
        messages = Console(stderr=True, highlight=False)
        for line in map(str.strip, sys.stdin):
            if line in _QUIT:
                return
            _handle_line(chat, line, Console(highlight=False), messages)
        return
    console = Console(highlight=False)
    with suppress(ImportError):
        import readline  # noqa: F401 - input() edits and recalls lines once it is loaded
    console.print(
        f"This is an AI persona of {chat.persona}, not {chat.persona}. /help lists the commands.",
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
            console.print("Ctrl-C again, Ctrl-D or /quit ends the chat", style="dim")
            continue
        warned = False
        if line in _QUIT:
            return
        _handle_line(chat, line, console, console)


def _handle_line(chat: TerminalChat, line: str, console: Console, messages: Console) -> None:
    """Answer a question or run a command; an error is one line and does not end the chat."""
    command, _, words = line.partition(" ")
    try:
        if command == "/regen":
            _answer(chat, chat.take_back(), console, messages)
        elif line.startswith("/"):
            _print_message(messages, _run_command(chat, command, words.strip()))
        elif line:
            _answer(chat, line, console, messages)
    except MemoiristError as error:
        _print_message(messages, str(error))


def _print_message(console: Console, message: str) -> None:
    console.print(message, style="dim", markup=False, soft_wrap=True)


def _run_command(chat: TerminalChat, command: str, words: str) -> str:
    """Run a command and return its message."""
    if command == "/save":
        return chat.save(words)
    if command == "/reset":
        chat.reset()
        return "the conversation is forgotten"
    if command == "/system":
        if words:
            chat.set_system("" if words == "-" else words)
        return chat.systems[TUNED] or "(no system prompt)"
    if command == "/tokens":
        if words:
            chat.configure(max_new_tokens=_parse_tokens(words))
        return f"an answer is limited to {chat.settings.max_new_tokens:,} tokens"
    return HELP if command == "/help" else f"there is no command {command!r}\n{HELP}"


def _parse_tokens(words: str) -> int:
    if not words.isdecimal() or not int(words):
        raise RecipeError(f"/tokens {words!r} is not a number of tokens", "write /tokens 1024")
    return int(words)


def _answer(chat: TerminalChat, question: str, console: Console, messages: Console) -> None:
    """Print the answer of every model as it grows; Ctrl-C stops it and does not end the chat."""
    answers = {name: chat.answer(name, question) for name in chat.models}
    show = _print_stream
    if len(answers) > 1:
        show = _show_panels if console.is_terminal else _print_named
    elif console is messages:  # in a terminal; otherwise stdout holds answers alone
        console.print(f"[bold magenta]{escape(chat.persona)}[/] > ", end="")
    chat.ask(question)
    try:
        show(chat, answers, console)
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
    for name, fault in chat.faults().items():
        subject = "the answer" if len(chat.models) == 1 else f"the answer of {name!r}"
        _print_message(messages, f"[{subject} {fault}]")


def _pieces(chat: TerminalChat, answers: Mapping[str, Answer]) -> Iterator[str]:
    """Generate the answers one after another into the chat; yield each new piece."""
    for name, answer in answers.items():
        for piece in answer:
            chat.extend(name, piece)
            yield piece
        chat.end(name, answer.ended)


def _print_stream(chat: TerminalChat, answers: Mapping[str, Answer], console: Console) -> None:
    try:
        for piece in _pieces(chat, answers):
            _write(piece)
    finally:
        _write("\n")


def _print_named(chat: TerminalChat, answers: Mapping[str, Answer], console: Console) -> None:
    for name, answer in answers.items():
        for _ in _pieces(chat, {name: answer}):
            pass
        _write(f"{name}: {chat.answers[name]}\n")


def _show_panels(chat: TerminalChat, answers: Mapping[str, Answer], console: Console) -> None:
    with Live(_panels(chat.answers, console), console=console, refresh_per_second=8) as live:
        for _ in _pieces(chat, answers):
            live.update(_panels(chat.answers, console))


def _panels(answers: Mapping[str, str], console: Console) -> RenderableType:
    width = max(24, console.width // len(answers) - 1)
    return Columns(
        [
            Panel(
                Text(_printable(answer)),
                title=name,
                width=width,
                border_style="magenta" if name == TUNED else "dim",
            )
            for name, answer in answers.items()
        ]
    )


def _write(text: str) -> None:
    sys.stdout.write(_printable(text))
    sys.stdout.flush()


def _printable(text: str) -> str:
    """Return text without control characters: a model may have learnt escape sequences."""
    return "".join(c for c in text if c in "\n\t" or (ord(c) >= 32 and not 127 <= ord(c) < 160))
