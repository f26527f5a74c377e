"""The conversation in the terminal: streamed answers, history, base and tuned side by side."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from data.errors import NothingToDo
from data.text import neutralise
from flows.champions import champion
from flows.context import Context
from flows.recipe import Recipe
from flows.splitting import persona_language

if TYPE_CHECKING:
    from train.chat import Talker
    from train.settings import ChatSettings

_HELP = "/reset forgets the conversation, /quit ends it"


@dataclass(slots=True)
class Talk:
    """One conversation with one model, or with two side by side."""

    name: str
    system: str
    talkers: Mapping[str, Talker]
    settings: ChatSettings
    histories: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    @classmethod
    def open(
        cls, context: Context, system: str | None, wanted: Mapping[str, object], *, compare: bool
    ) -> Talk:
        """Load the champion, and its base for `compare`; NothingToDo before the first build."""
        store = context.workspace.store
        if not store.path.exists():
            raise NothingToDo(
                f"there is no workspace at {str(context.workspace.root)!r}",
                "make one with `memoirist build SOURCE --persona NAME`, or name it with -w",
            )
        model, run = champion(context)
        recipe = Recipe.model_validate_json(run.recipe)
        if system is None:
            system = recipe.persona.system_prompt(persona_language(context))
        from train.base import prepare_base
        from train.chat import load
        from train.settings import ChatSettings

        paths = {"tuned": context.workspace.root / str(model.merged_path)}
        if compare:
            base = prepare_base(run.base_model, context.workspace.bases, recipe.train.template)
            paths = {"base": Path(base.path), **paths}
        talkers = {name: load(path) for name, path in paths.items()}
        return cls(recipe.persona.name, system, talkers, ChatSettings.model_validate(wanted))

    def messages(self, which: str, said: str) -> list[dict[str, str]]:
        """Return the messages that lead to the next answer."""
        opening = [{"role": "system", "content": self.system}] if self.system else []
        asked = {"role": "user", "content": neutralise(said)}
        return [*opening, *self.histories.get(which, []), asked]

    def remember(self, which: str, said: str, answer: str) -> None:
        """Add an exchange to the history."""
        history = self.histories.setdefault(which, [])
        history.append({"role": "user", "content": neutralise(said)})
        history.append({"role": "assistant", "content": answer})


def say_once(talk: Talk, said: str) -> None:
    """Print one answer to stdout as it is made, and nothing else; two under --compare."""
    if len(talk.talkers) > 1:
        _side_by_side(talk, said, Console())
        return
    talker = talk.talkers["tuned"]
    for piece in talker.answer(talk.messages("tuned", said), talk.settings):
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


def converse(talk: Talk) -> None:
    """Talk until /quit, the end of the input or Ctrl-C."""
    console = Console()
    console.print(f"Talking with the AI persona of {talk.name}; {_HELP}.", style="dim")
    while True:
        try:
            said = console.input("[bold green]you[/] > ").strip()
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        if said in {"/quit", "/exit", "/q"}:
            return
        if said == "/reset":
            talk.histories.clear()
            console.print("forgotten", style="dim")
        elif said.startswith("/"):
            console.print(_HELP, style="dim")
        elif said:
            _answer(talk, said, console)


def _answer(talk: Talk, said: str, console: Console) -> None:
    if len(talk.talkers) > 1:
        _side_by_side(talk, said, console)
        return
    console.print(f"[bold magenta]{talk.name}[/] > ", end="")
    answer = ""
    try:
        for piece in talk.talkers["tuned"].answer(talk.messages("tuned", said), talk.settings):
            answer += piece
            console.print(piece, end="", markup=False, highlight=False, soft_wrap=True)
    except KeyboardInterrupt:
        # Ctrl-C ends this answer, not the conversation; what was said stays in its history.
        console.print(" [stopped]", style="dim", markup=False, end="")
    console.print()
    talk.remember("tuned", said, answer)


def _side_by_side(talk: Talk, said: str, console: Console) -> None:
    panels = []
    width = max(30, console.width // len(talk.talkers) - 2)
    for name, talker in talk.talkers.items():
        answer = "".join(talker.answer(talk.messages(name, said), talk.settings))
        talk.remember(name, said, answer)
        panels.append(Panel(Text(answer), title=name, width=width))
    console.print(Columns(panels))
