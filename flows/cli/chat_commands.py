"""The commands that talk to the persona: `chat`, `web` and `serve-model`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Literal

import typer

from memoirist.flows.cli import options as o
from memoirist.flows.cli.options import WORKSPACE, Flags, recipe_flags

RunOption = Annotated[str | None, typer.Option("--run", help="A run's id or its beginning.")]
CheckpointOption = Annotated[
    int | None,
    typer.Option("--checkpoint", metavar="STEP", help="Answer with the checkpoint of this step."),
]
SystemOption = Annotated[
    str | None, typer.Option("--system", help="Use another system prompt; '' for none.")
]


@recipe_flags(
    "chat.temperature",
    "chat.top_p",
    "chat.repetition_penalty",
    "chat.max_new_tokens",
    "chat.seed",
    "chat.disclose",
)
def chat(
    message: Annotated[
        str | None,
        typer.Option(
            "-m", "--message", help="Answer this message, print the answer alone and exit."
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Show base, base with examples, and tuned side by side."),
    ] = False,
    run: RunOption = None,
    checkpoint: CheckpointOption = None,
    system: SystemOption = None,
    *,
    flags: Flags,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Talk to the persona; /save keeps a good exchange for training, /help lists the rest."""
    from memoirist.data.schema.errors import RecipeError
    from memoirist.flows.chat.backends import Choice
    from memoirist.flows.chat.terminal import TerminalChat, converse, say_once

    if message is not None and not message.strip():
        raise RecipeError("--message is empty", "write what to ask: chat --message 'Who are you?'")
    settings = {key.removeprefix("chat."): value for key, value in flags.items()}
    if settings.get("top_p", 1.0) <= 0:
        raise RecipeError(
            f"--top-p {settings['top_p']} leaves no token to sample from", "give 0.01 to 1"
        )
    if message is not None and not compare:
        # Scripts and checks ask for one answer: give the most probable one.
        settings.setdefault("temperature", 0.0)
    choice = Choice(run=run, checkpoint=checkpoint)
    session = TerminalChat.open(
        o.patient_workspace(workspace), choice, system, settings, compare=compare
    )
    if message is not None:
        say_once(session, message)
    else:
        converse(session)


def serve_model(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: any free port.")
    ] = 8000,
    engine: Annotated[
        Literal["auto", "transformers", "vllm"],
        typer.Option("--engine", help="auto (vLLM if it is installed), transformers or vllm."),
    ] = "auto",
    run: RunOption = None,
    checkpoint: CheckpointOption = None,
    system: Annotated[
        str | None,
        typer.Option("--system", help="System prompt for clients that send none; '' for none."),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="MEMOIRIST_API_KEY",
            help="Answer only requests with this key; set it in the environment, where no other"
            " user can read it.",
        ),
    ] = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Serve the model to OpenAI clients on 127.0.0.1 until Ctrl-C."""
    from memoirist.flows.chat.backends import Choice
    from memoirist.flows.serving import model_server

    settings = model_server.ServerSettings(
        system=system, port=port, engine=engine, api_key=model_server.check_key(api_key)
    )
    choice = Choice(run=run, checkpoint=checkpoint)
    model_server.serve_model(o.patient_workspace(workspace), choice, settings)


def web(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of the page; 0: any free port.")
    ] = 7860,
    compare: Annotated[
        bool, typer.Option("--compare/--no-compare", help="Show the base beside the tuned model.")
    ] = True,
    run: RunOption = None,
    checkpoint: CheckpointOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Open a chat page on 127.0.0.1, base and tuned side by side, until Ctrl-C."""
    from memoirist.data.schema.errors import EndpointError
    from memoirist.flows.chat.backends import Choice

    if find_spec("gradio") is None:
        raise EndpointError("the web page needs Gradio", "pip install 'memoirist[web]'")
    from memoirist.flows.serving.web_app import serve_page

    choice = Choice(run=run, checkpoint=checkpoint)
    serve_page(o.patient_workspace(workspace), choice, port, compare=compare)
