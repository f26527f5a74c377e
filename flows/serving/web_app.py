"""`web`: the model server, and the chat page in front of it, until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from html import escape
from typing import TYPE_CHECKING, Any

# Gradio reads both when it is imported: no usage statistics, no check for a newer version.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr

from memoirist.data.schema.errors import EndpointError, MemoiristError, NothingToDo
from memoirist.flows.chat.backends import (
    BASE,
    TUNED,
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
from memoirist.flows.serving.web_session import Page, PageChat

if TYPE_CHECKING:
    from fastapi import FastAPI
    from uvicorn import Server


def serve_page(context: Context, choice: Choice, port: int, *, compare: bool) -> None:
    """Serve the page on 127.0.0.1; the models answer on a free port beside it."""
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


# Whatever a library's page may ask of other hosts, the browser refuses. Gradio's own scripts
# are inline and make functions of strings.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:;"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:;"
    " connect-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
_CSS = """
.gradio-container { max-width: 1100px !important; margin: 0 auto !important; }
#head h1 { margin: 0; font-size: 1.5rem; }
#disclosure { border-left: 4px solid var(--color-accent); padding: .4rem .8rem; margin-top: .4rem;
  background: var(--background-fill-secondary); border-radius: 4px; }
#voices { gap: 12px; }
/* It would empty what is shown and not what the model is told: "New talk" does both. */
#voices .icon-button-wrapper.top-panel, #voices button[title="Clear"] { display: none; }
#status p { margin: 0; color: var(--body-text-color-subdued); }
@media (max-width: 640px) {
  #voices { flex-direction: column; }
  #keys { flex-wrap: wrap; }
}
"""
_LABELS = {BASE: "Base model, before the training", TUNED: "Tuned on the persona's words"}
Next = Callable[..., Awaitable[Any]]


def application(page: Page) -> FastAPI:
    """Return the page as an ASGI application for this machine's own address alone."""
    from fastapi import FastAPI, Request, Response
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # Another site may point a name of its own at 127.0.0.1: it is not served.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])

    @app.middleware("http")
    async def guarded(request: Request, call_next: Next) -> Response:
        response: Response = await call_next(request)
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    mounted: FastAPI = gr.mount_gradio_app(
        app,
        blocks(page),
        path="/",
        server_name="127.0.0.1",
        theme=gr.themes.Soft(
            font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ),
        css=_CSS,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
    )
    return mounted


def blocks(page: Page) -> gr.Blocks:
    """Return the page's parts and what they do."""
    name = escape(page.persona)
    with gr.Blocks(title=f"{page.persona} (AI persona)", analytics_enabled=False) as demo:
        state = gr.State(None)
        gr.HTML(
            f"<h1>{name}</h1><div id='disclosure' role='note'><b>This is an AI persona.</b> It was"
            f" made from what {name} wrote and said. You are not talking with {name}, and what it"
            " says can be wrong.</div>",
            elem_id="head",
        )
        with gr.Row(elem_id="voices"):
            chats = [_chat(page, voice) for voice in page.models]
        said = gr.Textbox(
            placeholder=f"Ask {page.persona} something", show_label=False, elem_id="said",
            autofocus=True, lines=1, max_lines=6,
        )  # fmt: skip
        with gr.Row(elem_id="keys"):
            send = gr.Button("Send", min_width=120, variant="primary", elem_id="send")
            stop = gr.Button("Stop", min_width=120, elem_id="stop")
            again = gr.Button("Answer again", min_width=120, elem_id="again")
            clear = gr.Button("New talk", min_width=120, elem_id="clear")
        with gr.Row(equal_height=True):
            words = gr.Textbox(
                label="Better words for the tuned answer (optional)", lines=1, max_lines=6,
                scale=4, elem_id="words",
            )  # fmt: skip
            save = gr.Button("Save for training", scale=1, elem_id="save")
        status = gr.Markdown("", elem_id="status")
        controls = _controls(page)
        shown: list[Any] = [state, *chats, said, status]
        reply, redo = _replies(page)
        asked = [state, said, *controls]
        events = [
            said.submit(reply, asked, shown, show_progress="hidden"),
            send.click(reply, asked, shown, show_progress="hidden"),
            again.click(redo, [state, *controls], shown, show_progress="hidden"),
        ]
        stop.click(None, None, None, cancels=events, show_progress="hidden")
        clear.click(lambda: _shown(PageChat(page), ""), None, shown, cancels=events)
        demo.load(lambda: PageChat(page), None, state)
        save.click(
            lambda chat, better: (chat, _save(chat, better), ""),
            [state, words],
            [state, status, words],
        )
    return demo


def _chat(page: Page, voice: str) -> gr.Chatbot:
    return gr.Chatbot(
        label=_LABELS[voice],
        elem_id=voice,
        height=420,
        # Shown as it stands: a model's words are no markup.
        render_markdown=False,
        latex_delimiters=[],
        buttons=["copy"],
        feedback_options=None,
        watermark=f"(said by an AI persona of {page.persona})",
        placeholder=f"{_LABELS[voice]} answers here.",
    )


def _controls(page: Page) -> list[Any]:
    from memoirist.train.settings import ChatSettings

    usual = ChatSettings()
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        return [
            gr.Textbox(
                page.system, label="System prompt", lines=3, elem_id="system",
                info="The shipped one has the persona say that it is an AI when it is asked.",
            ),
            gr.Slider(0, 2, usual.temperature, step=0.05, label="Temperature"),
            gr.Slider(0.05, 1, usual.top_p, step=0.05, label="Top-p"),
            gr.Slider(16, min(2048, page.room // 2), min(512, page.room // 2), step=16,
                      label="Tokens an answer may have", elem_id="max-tokens"),
        ]  # fmt: skip


def _replies(page: Page) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return what answers a question, and what answers the last one again."""

    async def reply(
        chat: PageChat | None, question: str, system: str, *settings: float
    ) -> AsyncIterator[tuple[Any, ...]]:
        chat = chat or PageChat(page)
        if not question.strip():
            yield _shown(chat, "")
            return
        temperature, top_p, tokens = settings
        chat.set_controls(system, temperature, top_p, int(tokens))
        try:
            async with aclosing(chat.stream(question.strip())) as growing:  # type: ignore[type-var]
                async for _ in growing:
                    # The status of a save in the meantime stays.
                    yield *_shown(chat, "")[:-1], chat.cut_answers() or gr.skip()
        except MemoiristError as error:
            yield _shown(chat, str(error))

    async def redo(
        chat: PageChat | None, system: str, *settings: float
    ) -> AsyncIterator[tuple[Any, ...]]:
        question = chat.take_back() if chat and chat.question else ""
        async for shown in reply(chat, question, system, *settings):
            yield shown

    return reply, redo


def _save(chat: PageChat | None, words: str) -> str:
    """Save the last exchange, or better words for it; tell what was done or why not."""
    if chat is None:
        return "Nothing has been answered yet."
    try:
        done = chat.save(words)
    except NothingToDo as refused:
        if chat.question is None:
            return "Nothing has been answered yet."
        return f"Not saved: {refused}."
    except MemoiristError as error:
        return f"Not saved: {error}"
    return f"{done[0].upper()}{done[1:]}."


def _shown(chat: PageChat, status: str) -> tuple[Any, ...]:
    """Return the session, each model's turns, an empty question and a line of status."""
    # Without Markdown, HTML is still taken as such: words in angle brackets stay words.
    chats = [
        [{**message, "content": escape(message["content"], quote=False)} for message in history]
        for history in chat.histories.values()
    ]
    return chat, *chats, "", status
