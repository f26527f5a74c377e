"""What a public feed may lead to: a proxy on this machine stands for the internet."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest

from memoirist.data.schema.errors import PrivateAddress
from memoirist.extractors.transcript.feeds.address_check import (
    AddressCheck,
    is_public,
    resolved,
)
from memoirist.extractors.transcript.feeds.feed_update import FeedUpdate, update_feed
from tests.conftest import run
from tests.extractors.test_feed_update import item, vtt

PUBLIC = "http://93.184.216.34"
FEED = f"{PUBLIC}/feed.xml"
Pages = dict[str, tuple[int, dict[str, str], str]]


class Web:
    """A server that answers for every address that a proxy is asked for, and for its own."""

    def __init__(self) -> None:
        self.pages: Pages = {}
        self.asked: list[str] = []
        web = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                status, headers, body = web.pages.get(self.path, (404, {}, "gone"))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, url: str, body: str = "", **headers: str) -> None:
        self.pages[url] = (302 if "Location" in headers else 200, headers, body)

    def feed(self, url: str, *transcripts: str) -> None:
        items = [item(n, f'url="{each}" type="text/vtt"') for n, each in enumerate(transcripts)]
        self.put(
            url,
            '<rss version="2.0" xmlns:podcast="https://podcastindex.org/namespace/1.0"><channel>'
            f"<title>Talk</title>{''.join(items)}</channel></rss>",
        )


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    shown = Web()
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", shown.url)
    yield shown
    shown.server.shutdown()
    shown.server.server_close()


def look(url: str, folder: Path) -> FeedUpdate:
    return update_feed(url, folder)


PRIVATE = [
    "http://127.0.0.1:9/latest", "http://localhost/x", "http://169.254.169.254/meta-data/",
    "http://10.0.0.1/x", "http://192.168.1.1/x", "http://172.16.0.1/x", "http://100.64.0.1/x",
    "http://0.0.0.0/x", "http://2130706433/x", "http://0x7f.1/x", "http://127.1/x",
    "http://[::1]/x", "http://[::ffff:127.0.0.1]/x", "http://[::ffff:a00:1]/x",
    "http://[fe80::1]/x", "http://[fd00::1]/x", "http://[64:ff9b::7f00:1]/x",
    "http://[2002:7f00:1::]/x", "http://LOCALHOST./x",
]  # fmt: skip


@pytest.mark.parametrize("target", PRIVATE)
def test_a_public_feed_leads_to_no_private_address(web: Web, tmp_path: Path, target: str) -> None:
    web.put(FEED, Location=target)
    with pytest.raises(PrivateAddress, match="an address of this machine or its network"):
        look(FEED, tmp_path)
    assert web.asked == [FEED]  # not even the request was sent
    web.put(f"{PUBLIC}/hop.vtt", Location=target)
    web.feed(FEED, target, f"{PUBLIC}/hop.vtt", f"{PUBLIC}/good.vtt")
    web.put(f"{PUBLIC}/good.vtt", vtt(1))
    update = look(FEED, tmp_path)
    assert [verdict.rule for verdict in update.verdicts] == ["private_address"] * 2
    assert all("name the file as a source" in (v.next_step or "") for v in update.verdicts)
    assert len(update.files) == 1
    assert {url.removeprefix(PUBLIC) for url in web.asked} == {"/feed.xml", "/hop.vtt", "/good.vtt"}


def test_a_name_is_looked_up_at_every_hop(web: Web, tmp_path: Path) -> None:
    own_name = socket.gethostname()
    if not resolved(own_name) or any(map(is_public, resolved(own_name))):
        pytest.skip("this machine's name is no private address")
    web.put(FEED, Location=f"{PUBLIC}/second")
    web.put(f"{PUBLIC}/second", Location=f"http://{own_name}:{web.port}/feed.xml")
    with pytest.raises(PrivateAddress):
        look(FEED, tmp_path)
    assert web.asked == [FEED, f"{PUBLIC}/second"]


def test_public_redirects_are_followed(web: Web, tmp_path: Path) -> None:
    web.put(FEED, Location="http://1.1.1.1/moved.xml")
    web.feed("http://1.1.1.1/moved.xml", f"{PUBLIC}/a.vtt")
    web.put(f"{PUBLIC}/a.vtt", vtt(1))
    assert len(look(FEED, tmp_path).files) == 1


def test_a_feed_of_this_network_is_read_with_all_that_it_names(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("http_proxy")
    for host in ("127.0.0.1", "localhost"):
        web.feed("/feed.xml", f"{web.url}/a.vtt", "/hop.vtt")
        web.put("/a.vtt", vtt(1))
        web.put("/hop.vtt", Location=f"http://127.0.0.1:{web.port}/a.vtt")
        update = look(f"http://{host}:{web.port}/feed.xml", tmp_path)
        assert (len(update.files), update.verdicts) == (2, [])


Lookup = Callable[..., list[Any]]


def _answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have names with a dot resolve to one address after the other, the last for good."""
    lookup: Lookup = socket.getaddrinfo
    left = list(addresses)

    def answer(host: Any, port: Any, *rest: Any, **named: Any) -> list[Any]:
        if not str(host).endswith(".example"):
            return lookup(host, port, *rest, **named)
        address = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def test_a_name_that_changes_its_address_after_the_check_is_refused(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("http_proxy")
    _answers(monkeypatch, "93.184.216.34", "93.184.216.34", "127.0.0.1")
    web.feed("/feed.xml")
    with pytest.raises(PrivateAddress):
        look(f"http://rebound.example:{web.port}/feed.xml", tmp_path)


def test_a_private_name_leads_to_its_own_address_alone(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("http_proxy")
    _answers(monkeypatch, "127.0.0.1")
    url = f"http://feeds.example:{web.port}/feed.xml"
    web.feed("/feed.xml", "/a.vtt", "http://169.254.169.254/x")
    web.put("/a.vtt", vtt(1))
    update = look(url, tmp_path)
    assert [verdict.rule for verdict in update.verdicts] == ["private_address"]
    assert len(update.files) == 1


def _get(url: str) -> httpx.Request:
    return httpx.Request("GET", url)


def test_a_name_with_a_public_address_too_is_a_public_one(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(2, 1, 6, "", (address, 0)) for address in ("93.184.216.34", "127.0.0.1")]
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
        check = AddressCheck("http://evil.example/feed")
    with pytest.raises(PrivateAddress):
        check.check_request(_get("http://127.0.0.1:9/secret"))


def test_own_addresses_count_for_the_own_host_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    _answers(monkeypatch, "127.0.0.1")
    check = AddressCheck("http://nas.example/feed")
    for other in ("http://127.0.0.1/x", "http://nas.example:9/x", "http://b.example/x"):
        with pytest.raises(PrivateAddress):
            check.check_request(_get(other))
    for own in ("http://nas.example:80/x", "https://nas.example/x"):
        check.check_request(_get(own))


class _Peer:
    """A connection to one address."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get_extra_info(self, _: str) -> tuple[str, int]:
        return self.address, 80


def test_a_name_seen_at_a_public_address_is_trusted_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    _answers(monkeypatch, "127.0.0.1")
    feed = _get("http://evil.example/feed")
    check = AddressCheck(str(feed.url))
    stream = {"network_stream": _Peer("93.184.216.34")}
    other = httpx.Response(200, request=_get("http://cdn.example/x"), extensions=stream)
    check.check_response(other)
    check.check_request(feed)
    check.check_response(httpx.Response(302, request=feed, extensions=stream))
    with pytest.raises(PrivateAddress):
        check.check_request(feed)


def test_the_build_has_a_verdict_until_the_feed_is_right(web: Web, tmp_path: Path) -> None:
    proxy = {"http_proxy": web.url, "NO_PROXY": ""}

    def dropped() -> list[str]:
        rows = run(tmp_path, "look", "dropped", "--format", "json").stdout
        return [row["rule"] for row in json.loads(rows) if row["rule"] != "no_persona"]

    extract = ["extract", "--persona", "Ada Marrow", "--set", f"sources.include=['{FEED}']"]
    web.put(FEED, Location="http://169.254.169.254/latest/meta-data/")
    done = run(tmp_path, *extract, **proxy)
    assert "169.254.169.254" in done.stderr
    assert "Traceback" not in done.stderr
    assert dropped() == ["private_address"]
    web.feed(FEED, f"{PUBLIC}/a.vtt")
    web.put(f"{PUBLIC}/a.vtt", vtt(1))
    assert run(tmp_path, *extract, **proxy).returncode == 0
    assert "private_address" not in dropped()
    web.put(FEED, Location="http://127.0.0.1:1/")
    assert "its earlier episodes are kept" in run(tmp_path, *extract, **proxy).stderr
    assert "private_address" in dropped()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True), ("224.0.0.1", False), ("255.255.255.255", False),
        ("fe80::1%eth0", False), ("ff02::1", False), ("::", False), ("198.18.0.1", False),
        ("fec0::1", False), ("::7f00:1", False), ("::ffff:0:7f00:1", False),
        ("168.63.129.16", False), ("192.0.0.192", False), ("::ffff:168.63.129.16", False),
    ],
)  # fmt: skip
def test_addresses_of_the_internet_are_told_from_others(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


@pytest.mark.parametrize("url", ["", "nonsense", "http://", "http://[", "http://no.such.invalid/"])
def test_a_malformed_address_is_not_this_checks_matter(url: str) -> None:
    assert not AddressCheck(url).of_this_network
