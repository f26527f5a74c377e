"""The OpenAI-compatible server of a run's models: a child process on this machine alone."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal, cast, get_args

from memoirist.data.schema.errors import EndpointError, RecipeError
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

Engine = Literal["auto", "transformers", "vllm"]
HOST = "127.0.0.1"
# The neighbours of an install line that would only be found missing in the child.
_NEEDS = ("openai", "uvicorn", "fastapi")
_START_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What is served: under which prompt where a client sends none, and the base beside it."""

    system: str
    port: int = 0
    engine: Engine = "auto"
    with_base: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that answers: its address with /v1, and the name of each voice's model."""

    url: str
    names: Mapping[str, str]
    engine: str
    process: subprocess.Popen[bytes]
    log: Path


def model_name(persona: str, voice: str = TUNED) -> str:
    """Return the name by which clients ask for a model: memoirist/ada-marrow, and -base."""
    slug = re.sub(r"[\W_]+", "-", persona.lower()).strip("-")[:60].strip("-") or "persona"
    return f"memoirist/{slug}" + ("" if voice == TUNED else f"-{voice}")


def pick_engine(wanted: Engine) -> str:
    """Return the engine to use; EndpointError names the install line of what is missing."""
    vllm = importlib.util.find_spec("vllm") is not None
    if wanted == "vllm" and not vllm:
        raise EndpointError(
            "vLLM is not installed", "pip install vllm, or leave --engine at `transformers`"
        )
    if wanted == "vllm" or (wanted == "auto" and vllm):
        return "vllm"
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise EndpointError(
            f"`transformers serve` needs {', '.join(missing)}", "pip install 'memoirist[serve]'"
        )
    return "transformers"


@contextmanager
def serving(
    context: Context, model: Chosen, choice: Choice, settings: ServerSettings
) -> Iterator[Served]:
    """Start the server, wait until each model has answered, and end it with the block.

    Raises EndpointError where the port is taken, something is not installed, or the server ends.
    """
    engine = pick_engine(settings.engine)
    port = free_port(settings.port)
    log = context.workspace.root / "serve.log"
    with tempfile.TemporaryDirectory(prefix="memoirist-serve-") as folder:
        shelf = Path(folder)
        shelved = _shelve(context, model, choice, settings, shelf)
        with log.open("wb") as output:
            process = _start(_command(engine, shelved, port), shelf, output.fileno())
        served = Served(
            url=f"http://{HOST}:{port}/v1",
            names={voice: name for voice, (name, _) in shelved.items()},
            engine=engine,
            process=process,
            log=log,
        )
        try:
            _wait_until_up(served)
            yield served
        finally:
            _end(process)


def _shelve(
    context: Context, model: Chosen, choice: Choice, settings: ServerSettings, shelf: Path
) -> dict[str, tuple[str, Path]]:
    """Lay out the models; returns name and folder of each voice."""
    from memoirist.train.inference.served_models import link_model
    from memoirist.train.merge.adapter_merge import merge_checkpoint
    from memoirist.train.model.model_loader import quiet

    quiet()
    if choice.checkpoint is not None:
        folders = {TUNED: shelf / "checkpoint"}
        run_folder = context.workspace.run_folder(model.run.id)
        merge_checkpoint(run_folder, choice.checkpoint, folders[TUNED])
    else:
        folders = {TUNED: merged_of(context, model)}
    if settings.with_base:
        folders[BASE] = base_folder(context, model)
    by_voice = {}
    for voice, folder in folders.items():
        name = model_name(model.recipe.persona.name, voice)
        shelved = link_model(shelf / "hub", name, folder, settings.system)
        if settings.system and not shelved.system:
            context.report.warn(
                f"the template of {name} has no place for a system prompt: clients send their own"
            )
        by_voice[voice] = (name, shelved.folder)
    return by_voice


def _command(engine: str, shelved: Mapping[str, tuple[str, Path]], port: int) -> list[str]:
    """Return the server's command line. vLLM takes a folder, and one model a process."""
    if engine == "vllm":
        name, folder = shelved[TUNED]
        place = ["--host", HOST, "--port", str(port)]
        return ["vllm", "serve", str(folder), "--served-model-name", name, *place]
    command = [sys.executable, "-m", "memoirist.train.inference.served_models"]
    # Pinned, a server takes requests that name no model; with two of them each has to be named.
    command += [name for name, _ in shelved.values()] if len(shelved) == 1 else []
    return [*command, "--host", HOST, "--port", str(port), "--model-timeout", "-1"]


def _start(command: Sequence[str], shelf: Path, output: int) -> subprocess.Popen[bytes]:
    own = {
        "MEMOIRIST_PARENT": str(os.getpid()),
        # Our shelf is all that there is: no download, no other model, no telemetry.
        "HF_HUB_CACHE": str(shelf / "hub"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    return subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env={**os.environ, **own},
        # Ctrl-C reaches a whole session; the server is ended once, by us.
        start_new_session=True,
    )


def free_port(wanted: int) -> int:
    """Return `wanted`, or any free port for 0; EndpointError where somebody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise EndpointError(
                f"port {wanted} cannot be used: {error.strerror}", "choose another with --port"
            ) from error
        return int(probe.getsockname()[1])


def _wait_until_up(served: Served) -> None:
    """Wait until every model has said a token: only then is it loaded, and known to work."""
    end = time.monotonic() + _START_SECONDS
    for name in served.names.values():
        asked = {"model": name, "messages": [{"role": "user", "content": "."}], "max_tokens": 1}
        while not _answers(f"{served.url}/chat/completions", asked):
            if served.process.poll() is not None or time.monotonic() > end:
                raise EndpointError(
                    f"the server of {name} did not start: {_last_line(served.log)}",
                    f"read {str(served.log)!r}",
                )
            time.sleep(0.2)


def _answers(url: str, body: Mapping[str, object]) -> bool:
    """Tell whether a request is answered; a refusal is an answer of another kind and ends it."""
    request = urllib.request.Request(  # noqa: S310 - our own child's address
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    # A proxy of the environment has no business with this machine's own address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_START_SECONDS) as reply:
            return bool(reply.status == 200)
    except urllib.error.HTTPError as error:
        raise EndpointError(
            f"the server refuses its own model: {error.code} {error.reason}",
            "read serve.log in the workspace",
        ) from error
    except (urllib.error.URLError, OSError):
        return False


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, and make it after ten seconds."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def engine_named(name: str) -> Engine:
    """Return the engine of that name; RecipeError for another."""
    if name not in get_args(Engine):
        raise RecipeError(f"--engine {name!r} is unknown", f"one of: {', '.join(get_args(Engine))}")
    return cast("Engine", name)


def serve_model(
    context: Context, choice: Choice, system: str | None, port: int, engine: str
) -> None:
    """Serve the chosen model until Ctrl-C or SIGTERM, which end the server as well."""
    model = chosen(context, choice)
    prompt = shipped_prompt(context, model) if system is None else system
    settings = ServerSettings(system=prompt, port=port, engine=engine_named(engine))
    with ended_by_signal(), serving(context, model, choice, settings) as served:
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
