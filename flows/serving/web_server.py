"""`web`: the model server, and the chat page in front of it, until Ctrl-C."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from memoirist.data.schema.errors import EndpointError
from memoirist.flows.chat.backends import (
    Choice,
    Chosen,
    base_folder,
    chosen,
    merged_of,
    shipped_prompt,
)
from memoirist.flows.runtime.context import Context
from memoirist.flows.serving.model_server import (
    HOST,
    ServerSettings,
    ended_by_signal,
    free_port,
    serving,
)
from memoirist.flows.serving.web_session import Page

if TYPE_CHECKING:
    from uvicorn import Server


def serve_page(context: Context, choice: Choice, port: int, *, compare: bool) -> None:
    """Serve the page on 127.0.0.1; the models answer on a free port beside it."""
    if importlib.util.find_spec("gradio") is None:
        raise EndpointError("the web page needs Gradio", "pip install 'memoirist[web]'")
    model = chosen(context, choice)
    system = shipped_prompt(context, model)
    place = free_port(port)
    # vLLM holds one model a process: base and tuned come from the other engine.
    settings = ServerSettings(system=system, engine="transformers", with_base=compare)
    with ended_by_signal(), serving(context, model, choice, settings) as served:
        page = Page(
            context=context,
            chosen=model,
            url=served.url,
            # The base stands left of what was made of it.
            models=dict(sorted(served.names.items())),
            system=system,
            room=_room(context, model, choice),
        )
        address = f"open http://{HOST}:{place}/ in a browser; Ctrl-C ends it"
        asyncio.run(
            run_page(
                page,
                place,
                lambda _: context.report.step("web", address),
                lambda: served.process.poll() is None,
            )
        )
        if (code := served.process.poll()) is not None:
            raise EndpointError(
                f"the server of the models ended by itself with code {code}, and the page with it",
                f"read {str(served.log)!r}, and start it again",
            )


async def run_page(
    page: Page,
    port: int,
    on_started: Callable[[Server], None],
    goes_on: Callable[[], bool] = lambda: True,
) -> None:
    """Serve the page until its server is told to end, or `goes_on` no more tells that it may.

    `on_started` gets the server once it listens.

    The page is made where a loop runs: outside of one, Gradio leaves loops open.
    """
    import uvicorn

    from memoirist.flows.serving.web_page import application

    config = uvicorn.Config(
        application(page),
        host=HOST,
        port=port,
        log_level="error",
        # The page keeps a connection open as long as a browser shows it.
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    served = asyncio.create_task(server.serve())
    while not (server.started or served.done()):
        await asyncio.sleep(0.05)
    if server.started:
        on_started(server)
    while not served.done():
        await asyncio.wait([served], timeout=1)
        server.should_exit = server.should_exit or not goes_on()
    await served


def _room(context: Context, model: Chosen, choice: Choice) -> int:
    """Return the tokens that the model's context holds, 4096 where its config does not say."""
    folder = base_folder(context, model) if choice.checkpoint else merged_of(context, model)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config = config.get("text_config", config)
    return int(config.get("max_position_embeddings") or 4096)
