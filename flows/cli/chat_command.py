"""The commands that talk and watch: `chat` and `doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from memoirist.flows.cli import options as o
from memoirist.flows.cli.options import WORKSPACE

RunOption = Annotated[
    str | None, typer.Option("--run", help="The run meant, by the beginning of its id.")
]
CheckpointOption = Annotated[
    int | None,
    typer.Option("--checkpoint", metavar="STEP", help="Base + adapter as they were at this step."),
]
SystemOption = Annotated[
    str | None, typer.Option("--system", help="Another system prompt; '' for none.")
]


def chat(
    message: Annotated[
        str | None,
        typer.Option("-m", "--message", help="Print one answer to this and nothing else."),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Show base, base with examples, and tuned side by side."),
    ] = False,
    run: RunOption = None,
    checkpoint: CheckpointOption = None,
    system: SystemOption = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            min=0,
            max=2,
            help="0 is the likeliest answer, and --message's default; else .7.",
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option("--top-p", max=1, help="Draw from the likeliest tokens up to this chance."),
    ] = None,
    repetition_penalty: Annotated[
        float | None,
        typer.Option("--repetition-penalty", min=1, max=2, help="Above 1: fewer words twice."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Tokens an answer may have.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the draws.")] = None,
    disclose: Annotated[
        bool,
        typer.Option(
            "--disclose/--no-disclose",
            help="Asked what it is, begin with the disclosure of an AI, or as the model would.",
        ),
    ] = True,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Talk to the persona; /save keeps a good exchange for training, /help lists the rest."""
    from memoirist.data.schema.errors import RecipeError
    from memoirist.flows.chat.backends import Choice
    from memoirist.flows.chat.chat_session import Talk
    from memoirist.flows.chat.terminal import converse, say_once

    if message is not None and not message.strip():
        raise RecipeError("--message is empty", "write what to ask: chat --message 'Who are you?'")
    if top_p is not None and top_p <= 0:
        raise RecipeError(f"--top-p {top_p} leaves nothing to draw from", "give 0.01 to 1")
    if temperature is None and message is not None and not compare:
        # One answer to one question is asked for by scripts and checks: the likeliest it is.
        temperature = 0.0
    wanted = {
        "temperature": temperature,
        "top_p": top_p,
        "repetition_penalty": repetition_penalty,
        "max_new_tokens": max_tokens,
        "seed": seed,
        "disclose": disclose,
    }
    given = {key: value for key, value in wanted.items() if value is not None}
    choice = Choice(run=run, checkpoint=checkpoint)
    talk = Talk.open(o.patient_workspace(workspace), choice, system, given, compare=compare)
    if message is not None:
        say_once(talk, message)
    else:
        converse(talk)


def doctor(
    base_url: o.BaseUrlOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Tell what works on this machine, and what to do about what does not."""
    from memoirist.flows.doctor import examine

    context = o.open_workspace(workspace, None, o.overrides(None, interview__base_url=base_url))
    for line in examine(context):
        typer.echo(line)
