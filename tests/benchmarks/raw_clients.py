"""What a bare client reaches against the stand-in server: aiohttp by itself, and the openai SDK.

Stands alone, since the SDK is installed in the environment of the peers:
`python raw_clients.py aiohttp|sdk-httpx|sdk-aiohttp URL IN_FLIGHT DEADLINE`, prompts as JSON on
stdin; prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

Ask = Callable[[list[dict[str, str]]], Awaitable[str]]
_ATTEMPTS = 5


async def _run(ask: Ask, prompts: list[list[dict[str, str]]], in_flight: int) -> dict[str, Any]:
    waiting: Iterator[list[dict[str, str]]] = iter(prompts)
    answered = 0

    async def work() -> None:
        nonlocal answered
        for prompt in waiting:
            for attempt in range(_ATTEMPTS):
                try:
                    json.loads(await ask(prompt))
                except Exception as error:  # noqa: BLE001 - a plain loop that tries everything again
                    wait = getattr(error, "headers", None) or {}
                    wait = getattr(getattr(error, "response", None), "headers", wait)
                    await asyncio.sleep(float(wait.get("Retry-After") or 0.2 * 2**attempt))
                else:
                    answered += 1
                    break

    began = time.monotonic()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall": time.monotonic() - began,
        "cpu": usage.ru_utime + usage.ru_stime,
        "rows": answered,
        "peak_mb": usage.ru_maxrss / 1024,
    }


async def _aiohttp(url: str, prompts: list[Any], in_flight: int, deadline: float) -> dict[str, Any]:
    import aiohttp

    limits = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=deadline)
    async with aiohttp.ClientSession(connector=limits, timeout=timeout) as session:

        async def ask(messages: list[dict[str, str]]) -> str:
            body = {"model": "interviewer", "messages": messages}
            async with session.post(f"{url}/chat/completions", json=body) as response:
                response.raise_for_status()
                return str((await response.json())["choices"][0]["message"]["content"])

        return await _run(ask, prompts, in_flight)


async def _sdk(
    url: str, prompts: list[Any], in_flight: int, deadline: float, http_client: Any
) -> dict[str, Any]:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(
        base_url=url, api_key="none", timeout=deadline, max_retries=0, http_client=http_client
    ) as client:

        async def ask(messages: list[Any]) -> str:
            reply = await client.chat.completions.create(model="interviewer", messages=messages)
            return reply.choices[0].message.content or ""

        return await _run(ask, prompts, in_flight)


async def main(kind: str, url: str, in_flight: int, deadline: float) -> None:
    prompts = json.load(sys.stdin)
    if kind == "aiohttp":
        told = await _aiohttp(url, prompts, in_flight, deadline)
    else:
        from openai import DefaultAioHttpClient

        own = DefaultAioHttpClient() if kind == "sdk-aiohttp" else None
        told = await _sdk(url, prompts, in_flight, deadline, own)
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
