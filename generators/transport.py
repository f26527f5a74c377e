"""The bare way to one server: bytes out, bytes back, over kept connections."""

from __future__ import annotations

import asyncio
import os
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from memoirist.data.schema.errors import EndpointError
from memoirist.generators.faults import Fault, connection_fault

if TYPE_CHECKING:
    import aiohttp

_CONNECT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back over the wire, whole: status, headers in lower case, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Transport:
    """Keep-alive connections to one address; the key goes into a header and nowhere else."""

    def __init__(self, base_url: str) -> None:
        """Remember the address; nothing is opened yet."""
        self._base_url = base_url
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Open the session: as many connections as requests, the proxy of the environment."""
        import aiohttp

        headers = {"Accept": "application/json"}
        key = os.environ.get("OPENAI_API_KEY", "").strip()
        if key:
            if not (key.isascii() and key.isprintable()):
                raise EndpointError(
                    "OPENAI_API_KEY holds a character that no key has", "set it again"
                )
            headers["Authorization"] = f"Bearer {key}"
        self._session = aiohttp.ClientSession(
            # The gate counts the requests in flight; a limit here would be a second one.
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, connect=_CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=proxy_of(self._base_url),
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self, path: str, body: bytes | None, seconds: float, *, kind: str = "application/json"
    ) -> Answer | Fault:
        """POST `body`, GET where it is None; return the answer or what came in its place.

        `kind` is the media type of the body.
        """
        import aiohttp

        if self._session is None:
            raise RuntimeError("Transport is used before it was opened")
        method = "GET" if body is None else "POST"
        try:
            async with asyncio.timeout(seconds):
                async with self._session.request(
                    method,
                    self._base_url + path,
                    data=body,
                    headers={"Content-Type": kind},
                    allow_redirects=False,
                ) as response:
                    received = await response.read()
                    headers = {name.lower(): value for name, value in response.headers.items()}
                    return Answer(response.status, headers, received)
        except aiohttp.ConnectionTimeoutError:
            said = f"nothing answers: no connection within {_CONNECT_SECONDS:g} seconds"
            return Fault("again", said, cause="gone")
        except TimeoutError:
            return Fault("again", f"no reply within {seconds:g} seconds", cause="timeout")
        except (aiohttp.ClientError, OSError) as error:
            return connection_fault(error)
        except ValueError as error:  # an answer that is no HTTP
            return Fault("again", f"a broken reply: {error}", cause="broken")


def proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for an address (HTTPS_PROXY, NO_PROXY)."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    if parts.hostname is None or urllib.request.proxy_bypass(parts.hostname):
        return None
    return proxies.get(parts.scheme) or proxies.get("all")
