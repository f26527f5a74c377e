"""`serve-model`: one line that tells where it answers, then nothing until it is ended."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import cast, get_args

from memoirist.data.schema.errors import EndpointError, RecipeError
from memoirist.flows.chat.backends import TUNED, Choice, chosen, shipped_prompt
from memoirist.flows.runtime.context import Context
from memoirist.flows.serving.model_server import Engine, ServerSettings, serving


def engine_named(name: str) -> Engine:
    """Return the engine of that name; RecipeError for another."""
    if name not in get_args(Engine):
        raise RecipeError(f"--engine {name!r} is unknown", f"one of: {', '.join(get_args(Engine))}")
    return cast("Engine", name)


def serve_model(
    context: Context, choice: Choice, system: str | None, port: int, engine: str
) -> None:
    """Serve the chosen model until Ctrl-C or SIGTERM, which end the server as well."""
    meant = chosen(context, choice)
    prompt = shipped_prompt(context, meant) if system is None else system
    settings = ServerSettings(system=prompt, port=port, engine=engine_named(engine))
    with ended_by_signal(), serving(context, meant, choice, settings) as served:
        context.report.step(
            "serve",
            f"{served.url} answers, model {served.names[TUNED]} ({served.engine}); Ctrl-C ends it",
        )
        code = served.process.wait()
        raise EndpointError(
            f"the server ended by itself with code {code}", f"read {str(served.log)!r}"
        )


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM alike end the block without a fault."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
