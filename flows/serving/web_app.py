"""`web`: the model server, and the chat page in front of it, until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Gradio reads both when it is imported: no usage statistics, no check for a newer version.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr

from memoirist.data.composition.conversations import estimate_tokens
from memoirist.data.schema.errors import EndpointError, MemoiristError, NothingToDo
from memoirist.data.templates import markdown_text
from memoirist.data.text.sanitizer import neutralise
from memoirist.flows.chat.backends import (
    BASE,
    TUNED,
    Choice,
    ChosenModel,
    base_folder,
    choose_model,
    merged_folder,
    shipped_prompt,
)
from memoirist.flows.chat.chat_session import ChatSession, Message
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.local_server import HOST, free_port
from memoirist.flows.serving.model_server import ServerSettings, ended_by_signal, serving
from memoirist.generators.client.client import Piece, stream_chat
from memoirist.train.inference.request_filter import HOSTS

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from uvicorn import Server


def serve_page(context: Context, choice: Choice, port: int, *, compare: bool) -> None:
    """Serve the page on 127.0.0.1; the model server runs on another free port."""
    model = choose_model(context, choice)
    system = shipped_prompt(context, model)
    page_port = free_port(port)
    # vLLM serves one model per process; the page needs base and tuned from one server.
    # The page alone has the key.
    settings = ServerSettings(
        system=system,
        engine="transformers",
        with_base=compare,
        api_key=secrets.token_urlsafe(32),
    )
    with ended_by_signal(), serving(context, model, choice, settings) as served:
        page = Page(
            context=context,
            chosen=model,
            url=served.url,
            api_key=served.api_key,
            # Sorted, the base stands to the left of the tuned model.
            models=dict(sorted(served.names.items())),
            system=system,
            context_tokens=_context_tokens(context, model, choice),
        )
        address = f"open http://{HOST}:{page_port}/ in a browser; Ctrl-C ends it"
        asyncio.run(
            run_page(
                page,
                page_port,
                lambda _: context.report.step("web", address),
                lambda: served.process.poll() is None,
            )
        )
        if (code := served.process.poll()) is not None:
            raise EndpointError(
                f"the model server stopped with exit code {code}, and the page with it",
                f"read {str(served.log)!r}, and start it again",
            )


async def run_page(
    page: Page,
    port: int,
    on_started: Callable[[Server], None],
    keep_running: Callable[[], bool] = lambda: True,
) -> None:
    """Serve the page until its server is stopped or `keep_running` returns False.

    `on_started` gets the server once it listens. The application is created inside the event loop:
    outside of one, Gradio leaves loops open.
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
        server.should_exit = server.should_exit or not keep_running()
    await served


def _context_tokens(context: Context, model: ChosenModel, choice: Choice) -> int:
    """Return the length of the model's context in tokens, 4096 where its config has none."""
    folder = base_folder(context, model) if choice.checkpoint else merged_folder(model)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config = config.get("text_config", config)
    return int(config.get("max_position_embeddings") or 4096)


# The browser refuses every request to another host. Gradio's own scripts are inline and use eval.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:;"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:;"
    " connect-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
# What the page asks for. Gradio has much more: uploads, files, its API, recordings, statistics.
_ROUTES = {
    "GET": ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt",
            "/gradio_api/queue/data", "/gradio_api/startup-events"),
    "POST": ("/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset"),
}  # fmt: skip
_FOLDERS = ("/assets/", "/static/", "/svelte/", "/gradio_api/heartbeat/")
_STYLE = Path(__file__).with_suffix(".css")
_LABELS = {BASE: "Base model, before training", TUNED: "Tuned on the persona's words"}
Next = Callable[..., Awaitable[Any]]


def application(page: Page) -> FastAPI:
    """Return the page as an ASGI application that answers only under this machine's address.

    Routes that the page does not use are closed.
    """
    from fastapi import FastAPI, Response
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # Refuse another site that points its own name at 127.0.0.1.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)

    @app.middleware("http")
    async def add_headers(request: Request, call_next: Next) -> Response:
        response = await call_next(request) if _is_open(request) else Response(status_code=404)
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
        css=_STYLE.read_text("utf-8"),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
    )
    return mounted


def _is_open(request: Request) -> bool:
    """Tell whether a request is one of the page's own."""
    method = "GET" if request.method == "HEAD" else request.method
    path = request.url.path
    return path in _ROUTES.get(method, ()) or (method == "GET" and path.startswith(_FOLDERS))


def blocks(page: Page) -> gr.Blocks:
    """Return the elements of the page with their events."""
    name = escape(page.persona)
    with gr.Blocks(title=f"{page.persona} (AI persona)", analytics_enabled=False) as demo:
        state = gr.State(None)
        gr.HTML(
            f"<h1>{name}</h1><div id='disclosure' role='note'><b>This is an AI persona.</b> It was"
            f" made from what {name} wrote and said. You are not talking to {name}, and what it"
            " says can be wrong.</div>",
            elem_id="head",
        )
        with gr.Row(elem_id="voices"):
            chats = [_chat(page, kind) for kind in page.models]
        question = gr.Textbox(
            placeholder=f"Ask {page.persona} something", show_label=False, elem_id="said",
            autofocus=True, lines=1, max_lines=6,
        )  # fmt: skip
        with gr.Row(elem_id="keys"):
            send = gr.Button("Send", min_width=120, variant="primary", elem_id="send")
            stop = gr.Button("Stop", min_width=120, elem_id="stop")
            again = gr.Button("Answer again", min_width=120, elem_id="again")
            clear = gr.Button("New conversation", min_width=120, elem_id="clear")
        with gr.Row(equal_height=True):
            words = gr.Textbox(
                label="Better words for the tuned answer (optional)", lines=1, max_lines=6,
                scale=4, elem_id="words",
            )  # fmt: skip
            save = gr.Button("Save for training", scale=1, elem_id="save")
        status = gr.Markdown("", elem_id="status")
        controls = _controls(page)
        outputs: list[Any] = [state, *chats, question, status]
        reply, redo = _replies(page)
        inputs = [state, question, *controls]
        events = [
            question.submit(reply, inputs, outputs, show_progress="hidden"),
            send.click(reply, inputs, outputs, show_progress="hidden"),
            again.click(redo, [state, *controls], outputs, show_progress="hidden"),
        ]
        stop.click(None, None, None, cancels=events, show_progress="hidden")
        clear.click(lambda: _outputs(PageChat(page), ""), None, outputs, cancels=events)
        demo.load(lambda: PageChat(page), None, state)
        save.click(
            lambda chat, answer: (chat, markdown_text(_save(chat, answer)), ""),
            [state, words],
            [state, status, words],
        )
    return demo


def _chat(page: Page, kind: str) -> gr.Chatbot:
    return gr.Chatbot(
        label=_LABELS[kind],
        elem_id=kind,
        height=420,
        # The model's words are plain text and no markup.
        render_markdown=False,
        latex_delimiters=[],
        buttons=["copy"],
        feedback_options=None,
        watermark=f"(said by an AI persona of {page.persona})",
        placeholder=f"{_LABELS[kind]} answers here.",
    )


def _controls(page: Page) -> list[Any]:
    from memoirist.train.settings import ChatSettings

    defaults = ChatSettings()
    most_tokens = page.context_tokens // 2
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        return [
            gr.Textbox(
                page.system, label="System prompt", lines=3, elem_id="system",
                info="The default prompt makes the persona say that it is an AI when asked.",
            ),
            gr.Slider(0, 2, defaults.temperature, step=0.05, label="Temperature"),
            gr.Slider(0.05, 1, defaults.top_p, step=0.05, label="Top-p"),
            gr.Slider(16, min(2048, most_tokens), min(512, most_tokens), step=16,
                      label="Most tokens of an answer", elem_id="max-tokens"),
        ]  # fmt: skip


def _replies(page: Page) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the handlers that answer a question, and answer the last one again."""

    async def reply(
        chat: PageChat | None, question: str, system: str, *settings: float
    ) -> AsyncIterator[tuple[Any, ...]]:
        chat = chat or PageChat(page)
        if not question.strip():
            yield _outputs(chat, "")
            return
        temperature, top_p, tokens = settings
        chat.set_controls(system, temperature, top_p, int(tokens))
        try:
            async with aclosing(chat.stream(question.strip())) as updates:  # type: ignore[type-var]
                async for _ in updates:
                    # Keep the status of a save that happened in the meantime.
                    yield *_outputs(chat, "")[:-1], chat.cut_answers() or gr.skip()
        except MemoiristError as error:
            yield _outputs(chat, str(error))

    async def redo(
        chat: PageChat | None, system: str, *settings: float
    ) -> AsyncIterator[tuple[Any, ...]]:
        question = chat.take_back() if chat and chat.question else ""
        async for update in reply(chat, question, system, *settings):
            yield update

    return reply, redo


def _save(chat: PageChat | None, words: str) -> str:
    """Save the last exchange, with `words` as its answer if given; return the status line."""
    if chat is None or chat.question is None:
        return "Nothing has been answered yet."
    try:
        result = chat.save(words)
    except NothingToDo as refused:
        return f"Not saved: {refused}."
    except MemoiristError as error:
        return f"Not saved: {error}"
    return f"{result[0].upper()}{result[1:]}."


def _outputs(chat: PageChat, status: str) -> tuple[Any, ...]:
    """Return the session, each model's turns, an empty question and the status line."""
    # Gradio renders HTML even without Markdown: escape angle brackets.
    chats = [
        [{**message, "content": escape(message["content"], quote=False)} for message in history]
        for history in chat.histories.values()
    ]
    return chat, *chats, "", markdown_text(status)


Pieces = asyncio.Queue[tuple[str, Piece] | MemoiristError]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The persona of the page, the model server, and the served names of the models by kind.

    `context_tokens` is the length of the models' context.
    """

    context: Context
    chosen: ChosenModel
    url: str
    models: Mapping[str, str]
    system: str
    context_tokens: int
    api_key: str = field(default="", repr=False)

    @property
    def persona(self) -> str:
        """Return the persona's name."""
        return self.chosen.recipe.persona.name


class PageChat(ChatSession):
    """A session whose models answer over HTTP."""

    ADVICE = {  # noqa: RUF012 - a constant
        "limit": "allow more tokens in the settings and press Answer again, or ",
        "words": "write better words",
    }

    def __init__(self, page: Page) -> None:
        """Begin with the page's system prompt."""
        from memoirist.train.settings import ChatSettings

        systems = dict.fromkeys(page.models, page.system)
        super().__init__(page.context, page.chosen, systems, ChatSettings())
        self.page = page

    def set_controls(self, system: str, temperature: float, top_p: float, tokens: int) -> None:
        """Apply the settings from the page."""
        self.systems = dict.fromkeys(self.systems, neutralise(system.strip()))
        self.configure(temperature=temperature, top_p=top_p, max_new_tokens=tokens)

    def cut_answers(self) -> str:
        """Return which answers were cut at the limit of tokens, "" for none."""
        faults = self.faults().items()
        return " ".join(
            f"The answer of {name} {fault}." for name, fault in faults if self.ends[name] == "limit"
        )

    async def stream(self, question: str) -> AsyncIterator[None]:
        """Request all answers at once; yield each time that one of them has grown.

        Raise EndpointError where the server fails; the answers keep what they have.
        """
        length = self.page.context_tokens
        room = length - min(self.settings.max_new_tokens, length // 2)
        prompts = {name: fit_messages(self.prompt(name, question), room) for name in self.systems}
        self.ask(question)
        pieces: Pieces = asyncio.Queue()
        tasks = [asyncio.create_task(self._request(n, p, pieces)) for n, p in prompts.items()]
        try:
            unfinished = len(tasks)
            while unfinished:
                received = await pieces.get()
                if isinstance(received, MemoiristError):
                    raise received
                name, piece = received
                self._append(name, question, piece.words)
                if piece.finish:
                    self.end(name, "limit" if piece.finish == "length" else "end")
                    unfinished -= 1
                yield
        finally:
            # After Stop, or when the visitor has left, the server stops generating.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _append(self, name: str, question: str, words: str) -> None:
        """Add words to an answer, with the disclosure before the first ones where it is due.

        No server continues a given beginning, so the disclosure is a paragraph of its own; an
        answer that never comes stays empty.
        """
        start = self.opening(name, question) if words and not self.answers[name] else ""
        self.extend(name, f"{start}\n\n{words}" if start else words)

    async def _request(self, name: str, messages: Sequence[Message], pieces: Pieces) -> None:
        """Put the pieces of one model's answer into the queue, or the error that ended it."""
        options = {
            "temperature": self.settings.temperature,
            "top_p": self.settings.top_p,
            "max_tokens": self.settings.max_new_tokens,
            "extra_headers": {"Authorization": f"Bearer {self.page.api_key or 'none'}"},
        }
        try:
            answer = stream_chat(self.page.url, self.page.models[name], messages, options)
            async with aclosing(answer) as stream:  # type: ignore[type-var]
                async for piece in stream:
                    await pieces.put((name, piece))
        except MemoiristError as error:
            await pieces.put(error)


def fit_messages(messages: Sequence[Message], room: int) -> list[Message]:
    """Return the system prompt and as many of the latest exchanges as `room` tokens hold.

    The estimate of tokens is raised by half, for small vocabularies.
    """
    kept = list(messages)
    first = 1 if kept and kept[0]["role"] == "system" else 0
    while len(kept) > first + 2 and 1.5 * estimate_tokens(kept) > room:
        del kept[first : first + 2]
    return kept
