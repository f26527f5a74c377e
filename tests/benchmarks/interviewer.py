"""The interviewer against the stand-in server: what the whole command, its client and others take.

Each figure is a run of its own processes: the server's, and the client's. `python -m
tests.benchmarks.interviewer` runs it alone; peers come from .venv-bench where it is made.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from memoirist.data.schema.records import Document, Passage, Source, content_id
from memoirist.data.store.store import FILE, Store
from tests.benchmarks.measure import run
from tests.support.interviews import interview

ROOT = Path(__file__).parent.parent.parent
LATENCY = 0.2
_PROSE = (
    "I had been working in the garden since early morning when my neighbour mark-{n} came by with "
    "news that changed everything we had planned for that summer. We sat down on the wall, and he "
    "told me slowly, choosing each word, that the mill would close before winter came. I remember "
    "that I looked at the beans and thought about who would eat them, on day {n} of that year. "
    "Nobody said a word about it until the harvest was in and the carts had gone to the river, "
    "and by then my father had made up his mind to sell the two fields behind the church."
)
_FAULTS = ("--fault", "429=0.1", "--fault", "500=0.05", "--fault", "malformed=0.02",
           "--fault", "hang=0.01")  # fmt: skip
# Chance decides how long the last passage takes: one seed says little.
_SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One situation: what is asked, how, of which server, and what is wanted."""

    name: str
    passages: int
    in_flight: int
    ideal: float
    server: tuple[str, ...] = ()
    deadline: float | None = None
    most_wall: float
    most_span: float | None = None
    most_requests: int | None = None
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run took, over the ideal; `told` is what else is to be said of it."""

    wall: float
    span: float
    requests: int
    told: str
    failed: str = ""


CASES = (
    Case(name="clean, 1,000 at 64", passages=1000, in_flight=64, ideal=1000 / 64 * LATENCY,
         most_wall=2.0, most_span=1.35),
    Case(name="clean, 10,000 at 256", passages=10_000, in_flight=256, ideal=10_000 / 256 * LATENCY,
         most_wall=1.6),
    Case(name="random faults, deadline 1 s", passages=1000, in_flight=64,
         ideal=1000 / 64 * LATENCY, server=_FAULTS, deadline=1.0, most_wall=3.6,
         most_span=3.0, most_requests=1250, seeds=_SEEDS),
    Case(name="cap 32 for a client of 64", passages=1000, in_flight=64, ideal=1000 / 32 * LATENCY,
         server=("--cap", "32"), most_wall=1.6, most_span=1.35, most_requests=1150),
)  # fmt: skip


def passages(n: int) -> list[Passage]:
    """Return `n` passages, each with a mark of its own."""
    texts = [_PROSE.format(n=number) for number in range(n)]
    return [
        Passage(id=content_id("bench", number, text), source_id="bench", document_id="bench",
                ord=number, group_id="bench", text=text, n_words=len(text.split()))
        for number, text in enumerate(texts)
    ]  # fmt: skip


@contextmanager
def serving(*flags: str) -> Iterator[str]:
    """Run the stand-in server as a process of its own; yield its address."""
    command = [sys.executable, "-m", "tests.support.openai_server", "--port", "0"]
    command += ["--latency", str(LATENCY), *flags]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().split()[1]
        finally:
            server.kill()


def stats(url: str) -> dict[str, Any]:
    """Return what the server has met."""
    with urllib.request.urlopen(f"{url.removesuffix('/v1')}/stats") as answer:  # noqa: S310
        return dict(json.load(answer))


def measure_command(case: Case, seed: int) -> Run:
    """Run `memoirist ask` in a workspace of its own."""
    flags = (*case.server, "--seed", str(seed))
    with tempfile.TemporaryDirectory() as folder, serving(*flags) as url:
        workspace = Path(folder) / "workspace"
        workspace.mkdir()
        store = _filled(workspace / FILE, case.passages)
        command = [sys.executable, "-m", "memoirist.flows.cli", "ask", "-w", str(workspace),
                   "--base-url",
                   url, "--max-concurrency", str(case.in_flight)]  # fmt: skip
        if case.deadline is not None:
            command += ["--request-timeout", str(case.deadline)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ran = run(command, ROOT, {**os.environ, "OPENAI_API_KEY": "none"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        stored = max(path.stat().st_mtime for path in workspace.glob(f"{FILE}*"))
        seen = stats(url)
        rows = Store(store.path).value("SELECT count(DISTINCT passage_id) FROM questions")
        listed = Store(store.path).value(
            "SELECT count(DISTINCT subject_id) FROM verdicts WHERE subject = 'passages'"
        )
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    told = f"{rows:,} rows, {listed:,} verdicts  {cpu:.1f} s CPU  {ran.peak_mb:.0f} MB"
    failed = ran.output.strip()[-300:] if ran.code else ""
    return _run(case, ran.seconds, stored - seen["first"], seen, (told, failed))


def _filled(path: Path, n: int) -> Store:
    """Make a store that lacks nothing but the questions."""
    store = Store(path)
    now = datetime.now(UTC)
    source = Source(id="bench", kind="text", format="text", location="bench.txt", sha256="0" * 64,
                    added_at=now, title="bench")  # fmt: skip
    with store.writing() as tx:
        tx.upsert([source])
        tx.upsert([Document(id="bench", source_id="bench", title="bench", lang="en")])
        tx.upsert(passages(n))
    return store


def measure_client(case: Case, seed: int, kind: str, command: Sequence[str]) -> Run:
    """Run a bare client, or the engine without a store."""
    from memoirist.generators.prompts.prompt_templates import fill_prompt, load_prompt

    prompts = []
    if kind != "the client alone":
        prompt = load_prompt("en", None)
        prompts = [list(fill_prompt(p, "Ada Quill", "en", prompt).messages)
                   for p in passages(case.passages)]  # fmt: skip
    with serving(*case.server, "--seed", str(seed)) as url:
        deadline = case.deadline or 60
        ran = subprocess.run([*command, url, str(case.in_flight), str(deadline)],
                             cwd=ROOT, input=json.dumps(prompts), capture_output=True, text=True,
                             check=False)  # fmt: skip
        seen = stats(url)
    if ran.returncode:
        return Run(wall=0.0, span=0.0, requests=0, told="", failed=ran.stderr.strip()[-200:])
    told = json.loads(ran.stdout)
    more = f"{told['rows']:,} rows  {told['cpu']:.1f} s CPU  {told['peak_mb']:.0f} MB"
    return _run(case, told["wall"], seen["last"] - seen["first"], seen, (more, ""))


def _run(case: Case, wall: float, span: float, seen: dict[str, Any], words: tuple[str, str]) -> Run:
    told, failed = words
    over = {"wall": wall / case.ideal, "span": span / case.ideal}
    return Run(**over, requests=int(seen["requests"]), told=told, failed=failed)


def tell(case: Case, kind: str, measure: Callable[[int], Run]) -> None:
    """Print the run of the case's seed; of several, the median and the worst by wall time."""
    runs = sorted((measure(seed) for seed in case.seeds), key=lambda each: each.wall)
    named = {"": runs[0]} if len(runs) == 1 else {"median": runs[len(runs) // 2], "worst": runs[-1]}
    for name, each in named.items():
        line = f"{case.name:<32} {kind:<18} {name:<6} "
        line += (
            f"failed: {each.failed}"
            if each.failed
            else (
                f"wall {each.wall * case.ideal:6.2f} s = {each.wall:5.2f}x  span {each.span:5.2f}x"
                f"  {each.requests:,} requests  {each.told}"
            )
        )
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _wanted(case: Case) -> str:
    parts = [f"wall <= {case.most_wall:.2f}x"]
    if case.most_span:
        parts.append(f"span <= {case.most_span:.2f}x")
    if case.most_requests:
        parts.append(f"<= {case.most_requests:,} requests")
    return f"{case.name:<32} {'wanted':<18} {', '.join(parts)}; ideal {case.ideal:.2f} s"


async def _engine(n: int, url: str, in_flight: int, deadline: float | None) -> dict[str, Any]:
    from memoirist.generators.settings import InterviewSettings

    given: dict[str, Any] = {} if deadline is None else {"request_timeout_seconds": deadline}
    settings = InterviewSettings(base_url=url, max_concurrency=in_flight, **given)
    began, rows = time.monotonic(), 0
    async for result in interview(passages(n), "Ada Quill", settings, datetime.now(UTC)):
        rows += result.request.status == "ok"
    wall = time.monotonic() - began
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime
    return {"wall": wall, "cpu": cpu, "rows": rows, "peak_mb": usage.ru_maxrss / 1024}


def main() -> None:
    """Measure every case, ours beside the others'."""
    raw = str(Path(__file__).with_name("raw_clients.py"))
    peers = ROOT / ".venv-bench" / "bin" / "python"
    sys.stdout.write("The interviewer, over the ideal of so many in flight at 0.2 s each\n")
    for case in CASES:
        own = [sys.executable, "-m", "tests.benchmarks.interviewer", "engine", str(case.passages)]
        rivals = {"the client alone": own, "bare aiohttp": [sys.executable, raw, "aiohttp"]}
        if peers.exists():
            rivals["SDK, its own httpx"] = [str(peers), raw, "sdk-httpx"]
            rivals["SDK on aiohttp"] = [str(peers), raw, "sdk-aiohttp"]
        sys.stdout.write(_wanted(case) + "\n")
        tell(case, "memoirist ask", partial(measure_command, case))
        for kind, command in rivals.items():
            tell(case, kind, partial(measure_client, case, kind=kind, command=command))


if __name__ == "__main__":
    if sys.argv[1:2] == ["engine"]:
        os.environ.pop("OPENAI_API_KEY", None)
        n, url, in_flight, deadline = sys.argv[2:6]
        told = _engine(int(n), url, int(in_flight), float(deadline) if deadline != "60" else None)
        sys.stdout.write(json.dumps(asyncio.run(told)) + "\n")
    else:
        main()
