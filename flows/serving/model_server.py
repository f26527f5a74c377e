"""The OpenAI-compatible server of a run's models: a child process on this machine alone."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from memoirist.data.schema.errors import EndpointError, RecipeError
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
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.local_server import HOST, end_process, free_port

Engine = Literal["auto", "transformers", "vllm"]
# Packages of the extra `serve`: without this check they would fail in the child process.
_REQUIRED = ("openai", "uvicorn", "fastapi")
_START_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What is served: `system` is put before requests that send no system message.

    None stands for the shipped prompt. With an `api_key` the server answers only requests that
    have it.
    """

    system: str | None = None
    port: int = 0
    engine: Engine = "auto"
    with_base: bool = False
    api_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running server: its address with /v1, and the models' names by `tuned` and `base`."""

    url: str
    names: Mapping[str, str]
    engine: str
    process: subprocess.Popen[bytes]
    log: Path
    api_key: str = field(default="", repr=False)


def model_name(persona: str, kind: str = TUNED) -> str:
    """Return the name by which clients request a model: memoirist/ada-marrow, and -base."""
    slug = re.sub(r"[\W_]+", "-", persona.lower()).strip("-")[:60].strip("-") or "persona"
    return f"memoirist/{slug}" + ("" if kind == TUNED else f"-{kind}")


def pick_engine(engine: Engine) -> str:
    """Return the engine to use; EndpointError names the install line of what is missing."""
    vllm = importlib.util.find_spec("vllm") is not None
    if engine == "vllm" and not vllm:
        raise EndpointError(
            "vLLM is not installed", "pip install vllm, or leave --engine at `transformers`"
        )
    if engine == "vllm" or (engine == "auto" and vllm):
        return "vllm"
    missing = [name for name in _REQUIRED if importlib.util.find_spec(name) is None]
    if missing:
        raise EndpointError(
            f"`transformers serve` needs {', '.join(missing)}", "pip install 'memoirist[serve]'"
        )
    return "transformers"


@contextmanager
def serving(
    context: Context, model: ChosenModel, choice: Choice, settings: ServerSettings
) -> Iterator[Served]:
    """Start the server, wait until each model has answered, and end it with the block.

    Raise EndpointError where the port is taken, a package is missing, or the server ends.
    """
    engine = pick_engine(settings.engine)
    port = free_port(settings.port)
    log = context.workspace.root / "serve.log"
    with tempfile.TemporaryDirectory(prefix="memoirist-serve-") as name:
        folder = Path(name)
        models = _link_models(context, model, choice, settings, folder)
        with log.open("wb") as output:
            names = [name for name, _ in models.values()]
            environment = _environment(folder, names, settings.api_key)
            process = _start(_command(engine, models, port), environment, output.fileno())
        served = Served(
            url=f"http://{HOST}:{port}/v1",
            names={kind: name for kind, (name, _) in models.items()},
            engine=engine,
            process=process,
            log=log,
            api_key=settings.api_key,
        )
        try:
            _wait_until_up(served)
            yield served
        finally:
            end_process(process, signal.SIGINT, 10)


def _link_models(
    context: Context, model: ChosenModel, choice: Choice, settings: ServerSettings, folder: Path
) -> dict[str, tuple[str, Path]]:
    """Link the models into a hub cache in `folder`; return each one's name and folder by kind."""
    from memoirist.train.inference.served_models import link_model
    from memoirist.train.merge.adapter_merge import merge_checkpoint
    from memoirist.train.model.model_loader import quiet

    quiet()
    if choice.checkpoint is not None:
        sources = {TUNED: folder / "checkpoint"}
        run_folder = context.workspace.run_folder(model.run.id)
        merge_checkpoint(run_folder, choice.checkpoint, sources[TUNED])
    else:
        sources = {TUNED: merged_folder(model)}
    if settings.with_base:
        sources[BASE] = base_folder(context, model)
    system = shipped_prompt(context, model) if settings.system is None else settings.system
    models = {}
    for kind, source in sources.items():
        name = model_name(model.recipe.persona.name, kind)
        linked = link_model(folder / "hub", name, source, system)
        if system and not linked.system:
            context.report.warn(
                f"the chat template of {name} has no place for a default system prompt: clients"
                " have to send their own"
            )
        models[kind] = (name, linked.folder)
    return models


def _command(engine: str, models: Mapping[str, tuple[str, Path]], port: int) -> list[str]:
    """Return the server's command line. vLLM takes a folder, and one model a process."""
    address = ["--host", HOST, "--port", str(port)]
    if engine == "vllm":
        name, folder = models[TUNED]
        middleware = ["--middleware", "memoirist.train.inference.request_filter.RequestFilter"]
        return ["vllm", "serve", str(folder), "--served-model-name", name, *address, *middleware]
    command = [sys.executable, "-m", "memoirist.train.inference.served_models"]
    # With one model given, requests need not name it; with two each request has to.
    command += [name for name, _ in models.values()] if len(models) == 1 else []
    return [*command, *address, "--model-timeout", "-1"]


def _environment(folder: Path, names: Sequence[str], api_key: str) -> dict[str, str]:
    """Return the environment of the server; the key is in no command line, which all can read."""
    from memoirist.train.inference.request_filter import KEY_VARIABLE, MODELS_VARIABLE

    return {
        **os.environ,
        "MEMOIRIST_PARENT": str(os.getpid()),
        MODELS_VARIABLE: json.dumps(names),
        KEY_VARIABLE: api_key,
        # The server sees the linked models alone: no download, no other model, no telemetry.
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }


def _start(
    command: Sequence[str], environment: Mapping[str, str], output: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment,
        # Ctrl-C reaches a whole session; this process ends the server once.
        start_new_session=True,
    )


def _wait_until_up(served: Served) -> None:
    """Wait until every model has generated a token, which shows that it is loaded and works.

    Raise EndpointError where the server would answer for a model that it was not started with.
    """
    deadline = time.monotonic() + _START_SECONDS
    for name in served.names.values():
        while (status := _status(served, name)) is None:
            if served.process.poll() is not None or time.monotonic() > deadline:
                raise EndpointError(
                    f"the server of {name} did not start: {_last_line(served.log)}",
                    f"read {str(served.log)!r}",
                )
            time.sleep(0.2)
        if status != 200:
            raise EndpointError(
                f"the server refused the model that it serves (status {status})",
                f"read {str(served.log)!r}",
            )
    if _status(served, "memoirist/another") != 404:
        raise EndpointError(
            f"the server ({served.engine}) accepts requests for models that it does not serve",
            "install the version of transformers or vLLM that Memoirist requires, or report it",
        )


def _status(served: Served, model: str) -> int | None:
    """Return the status of a request for one token, None while the server is not up."""
    import httpx

    body = {"model": model, "messages": [{"role": "user", "content": "."}], "max_tokens": 1}
    try:
        # A proxy from the environment cannot reach this machine's own address.
        reply = httpx.post(
            f"{served.url}/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {served.api_key}"} if served.api_key else {},
            timeout=_START_SECONDS,
            trust_env=False,
        )
    except httpx.TransportError:
        return None
    return reply.status_code


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "its log is empty"


def check_key(api_key: str | None) -> str:
    """Return the key, "" for none; raise RecipeError for one that no header holds."""
    if api_key is None and "MEMOIRIST_API_KEY" in os.environ:
        api_key = ""  # the command line takes an empty variable for none
    if api_key is None:
        return ""
    if not re.fullmatch(r"[!-~]+", api_key):
        raise RecipeError(
            "the API key is empty, or contains characters that an HTTP header cannot contain",
            "choose another: MEMOIRIST_API_KEY=$(openssl rand -hex 16)",
        )
    return api_key


def serve_model(context: Context, choice: Choice, settings: ServerSettings) -> None:
    """Serve the chosen model until Ctrl-C or SIGTERM, which end the server as well."""
    model = choose_model(context, choice)
    with ended_by_signal(), serving(context, model, choice, settings) as served:
        context.report.step(
            "serve",
            f"{served.url} answers, model {served.names[TUNED]} ({served.engine}); Ctrl-C ends it",
        )
        code = served.process.wait()
        raise EndpointError(
            f"the server stopped with exit code {code}", f"read {str(served.log)!r}"
        )


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the block without an error."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, previous)
