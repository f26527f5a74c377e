"""Podcast feeds, against a server on this machine: what is taken, what is left, what fails."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from memoirist.data.schema.errors import SourceMissing, SourceUnreadable
from memoirist.extractors.transcript.feeds import download
from memoirist.extractors.transcript.feeds.feed_update import (
    FeedUpdate,
    feed_folder,
    parse_feed,
    update_feed,
)
from memoirist.flows.recipe import load
from memoirist.flows.rights_ledger import restore, withdraw
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import Report
from memoirist.flows.runtime.workspace import Workspace
from memoirist.flows.steps.extract import extract_sources
from memoirist.flows.steps.split import split_documents

ANSWER = (
    "I went down to the yard of number {n} every morning before the others were awake, and I"
    " looked at the planks and chose the one that I would work on until the evening came."
)
LATER = (
    "And what did you do in the winter?",
    "In the winter the yard was frozen, so I sat by the stove with the drawings and reckoned how"
    " much oak we would want, and what the mill would ask of us for every cart of it in March.",
)


@dataclass
class Site:
    """What the server shows, and what it was asked for."""

    address: str = ""
    pages: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    etag: str | None = None

    def url(self, path: str) -> str:
        return f"{self.address}{path}"

    def put(self, path: str, body: str, status: int = 200, **headers: str) -> None:
        self.pages[path] = (status, headers, body.encode())

    def episodes(self, *items: str) -> None:
        self.put(
            "/feed.xml",
            '<?xml version="1.0"?><rss version="2.0"'
            ' xmlns:podcast="https://podcastindex.org/namespace/1.0"><channel>'
            f"<title>Yard talk</title><language>en-us</language>{''.join(items)}</channel></rss>",
            **({"ETag": self.etag} if self.etag else {}),
        )


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    shown = Site()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.asked.append(self.path)
            status, headers, body = shown.pages.get(self.path, (404, {}, b"gone"))
            if headers.get("ETag") and self.headers.get("If-None-Match") == headers["ETag"]:
                status, body = 304, b""
            elif self.path.startswith("/t/") and status == 200:
                shown.sent[self.path] += 1
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "_PAUSE_SECONDS", 0.01)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    shown.address = f"http://127.0.0.1:{server.server_port}"
    yield shown
    server.shutdown()
    server.server_close()
    thread.join(timeout=5)


def vtt(n: int) -> str:
    return (
        "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ben Host>What did you do first?\n\n"
        f"00:03.000 --> 00:09.000\n<v Ada Marrow>{ANSWER.format(n=n)}\n"
    )


def item(n: int, *transcripts: str) -> str:
    told = "".join(f"<podcast:transcript {each}/>" for each in transcripts)
    day = formatdate(1_600_000_000 + n * 86_400)
    return (
        f"<item><title>Episode {n}: oak &amp; ash</title><guid>g{n}</guid>"
        f"<pubDate>{day}</pubDate>{told}</item>"
    )


def named(n: int, suffix: str = "vtt", kind: str = "text/vtt") -> str:
    return f'url="/t/{n}.{suffix}" type="{kind}"'


def look(site: Site, tmp_path: Path, limit: int | None = None) -> FeedUpdate:
    return update_feed(site.url("/feed.xml"), tmp_path, limit)


def test_newest_first_up_to_the_limit_and_only_new_ones_next_time(
    site: Site, tmp_path: Path
) -> None:
    for n in range(6):
        site.put(f"/t/{n}.vtt", vtt(n))
    site.episodes(*(item(n, named(n)) for n in range(4)), item(9))
    taken = look(site, tmp_path, limit=2)
    assert site.asked == ["/feed.xml", "/t/3.vtt", "/t/2.vtt"]
    assert (taken.n_new, taken.source.title) == (2, "Yard talk")
    assert sorted(path.name[:28] for path in taken.files) == [
        "2020-09-15-Episode-2-oak-ash",
        "2020-09-16-Episode-3-oak-ash",
    ]
    assert [(v.rule, v.keep) for v in taken.verdicts] == [("no_transcript", False)]

    site.asked.clear()
    assert look(site, tmp_path, limit=2).n_new == 0
    assert site.asked == ["/feed.xml", "/t/3.vtt", "/t/2.vtt"]  # whether they have changed

    site.asked.clear()
    site.episodes(*(item(n, named(n)) for n in range(5)))
    again = look(site, tmp_path, limit=2)
    assert site.asked == ["/feed.xml", "/t/4.vtt", "/t/3.vtt"]
    assert (again.n_new, len(again.files)) == (1, 3)
    assert not list(tmp_path.rglob("*.partial"))


def test_an_unchanged_feed_is_not_read_again(site: Site, tmp_path: Path) -> None:
    site.etag = '"one"'
    site.put("/t/1.vtt", vtt(1))
    site.episodes(item(1, named(1)), item(2))
    first = look(site, tmp_path)
    again = look(site, tmp_path)
    assert site.asked == ["/feed.xml", "/t/1.vtt", "/feed.xml", "/t/1.vtt"]
    assert again.files == first.files
    assert [v.rule for v in again.verdicts] == [v.rule for v in first.verdicts]
    # A file that was deleted, or another limit, needs the feed itself.
    first.files[0].unlink()
    assert look(site, tmp_path).n_new == 1
    assert look(site, tmp_path, limit=5).n_new == 0


def test_the_best_of_several_forms_is_taken(site: Site, tmp_path: Path) -> None:
    site.put("/t/1.txt", "words and words without any speaker")
    site.put("/t/1.html", "<cite>Ben:</cite><time>0:01</time><p>Who?</p>")
    site.put("/t/1.srt", "1\n00:00:01,000 --> 00:00:02,000\nno names in here\n")
    site.put("/t/1.fr.vtt", vtt(1))
    site.episodes(
        item(
            1,
            named(1, "txt", "text/plain"),
            named(1, "html", "text/html"),
            named(1, "srt", "application/x-subrip"),
            'url="/t/1.fr.vtt" type="text/vtt" language="fr"',
        )
    )
    taken = look(site, tmp_path)
    # The captions come before the page, but they name nobody; the page does.
    assert site.asked == ["/feed.xml", "/t/1.srt", "/t/1.html"]
    assert [path.suffix for path in taken.files] == [".html"]


def test_captions_without_names_are_better_than_nothing(site: Site, tmp_path: Path) -> None:
    site.put("/t/1.srt", "1\n00:00:01,000 --> 00:00:02,000\nno names in here\n")
    site.put("/t/1.txt", "words and words without any speaker")
    site.episodes(item(1, named(1, "srt", "application/srt"), named(1, "txt", "text/plain")))
    assert [path.suffix for path in look(site, tmp_path).files] == [".srt"]


def test_what_is_missing_is_told_and_tried_again(site: Site, tmp_path: Path) -> None:
    site.etag = '"one"'
    site.put("/t/2.vtt", "this is no transcript at all")
    site.put("/t/3.vtt", "busy", 503)
    site.episodes(item(1, named(1)), item(2, named(2)), item(3, named(3)))
    taken = look(site, tmp_path)
    assert not taken.files
    assert [v.rule for v in taken.verdicts] == ["transcript_missing"] * 3
    reasons = " ".join(v.reason for v in taken.verdicts)
    assert "answered 404" in reasons
    assert "answered 503" in reasons
    assert "is not a transcript" in reasons
    assert site.asked.count("/t/3.vtt") == 3
    site.put("/t/1.vtt", vtt(1))
    again = look(site, tmp_path)
    assert (again.n_new, len(again.verdicts)) == (1, 2)


def test_a_changed_address_replaces_the_transcript(site: Site, tmp_path: Path) -> None:
    site.put("/t/1.srt", "1\n00:00:01,000 --> 00:00:02,000\nno names in here\n")
    site.put("/t/1.vtt", vtt(1))
    site.episodes(item(1, named(1, "srt", "text/srt")))
    look(site, tmp_path)
    site.episodes(item(1, named(1)))
    taken = look(site, tmp_path)
    assert [path.suffix for path in taken.files] == [".vtt"]
    folder = feed_folder(tmp_path, site.url("/feed.xml"))
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".vtt"]


def test_a_transcript_that_changes_at_its_address_is_taken_again(
    site: Site, tmp_path: Path
) -> None:
    site.put("/t/1.vtt", vtt(1), ETag='"a"')
    site.put("/t/2.vtt", vtt(2))
    site.episodes(*(item(n, named(n)) for n in (1, 2)))
    first = look(site, tmp_path)
    held = {path.name: path.read_bytes() for path in first.files}
    again = look(site, tmp_path)
    assert (again.n_new, again.n_changed) == (0, 0)
    assert site.sent == {"/t/1.vtt": 1, "/t/2.vtt": 2}  # one has a mark, the other is compared

    site.put("/t/1.vtt", vtt(7), ETag='"b"')
    site.put("/t/2.vtt", vtt(8))
    again = look(site, tmp_path)
    assert (again.n_new, again.n_changed, again.files) == (0, 2, first.files)
    assert {path.read_text() for path in again.files} == {vtt(7), vtt(8)}
    assert look(site, tmp_path).n_changed == 0
    assert site.sent["/t/1.vtt"] == 2
    assert {path.name for path in again.files} == set(held)

    # What is no transcript, or cannot be had, takes nothing away.
    site.put("/t/1.vtt", "<html><body>We are moving house.</body></html>")
    site.put("/t/2.vtt", "", 503)
    site.asked.clear()
    again = look(site, tmp_path)
    assert (again.n_changed, again.fault) == (0, None)
    assert {path.read_text() for path in again.files} == {vtt(7), vtt(8)}
    assert site.asked.count("/t/2.vtt") == 1
    folder = feed_folder(tmp_path, site.url("/feed.xml"))
    assert len(list(folder.iterdir())) == 3


def test_only_the_newest_are_asked_again(site: Site, tmp_path: Path) -> None:
    site.etag = '"one"'
    for n in range(25):
        site.put(f"/t/{n}.vtt", vtt(n))
    site.episodes(*(item(n, named(n)) for n in range(25)))
    assert look(site, tmp_path).n_new == 25
    site.asked.clear()
    look(site, tmp_path)
    assert site.asked == ["/feed.xml", *(f"/t/{n}.vtt" for n in range(24, 4, -1))]
    site.asked.clear()
    look(site, tmp_path, limit=3)
    assert site.asked == ["/feed.xml", "/t/24.vtt", "/t/23.vtt", "/t/22.vtt"]


def test_a_shelf_of_an_older_version_is_compared_by_its_files(site: Site, tmp_path: Path) -> None:
    site.put("/t/1.vtt", vtt(1))
    site.episodes(item(1, named(1)))
    (path,) = look(site, tmp_path).files
    listed = path.parent / "feed.json"
    told = json.loads(listed.read_text())
    for each in told["episodes"]:
        for key in ("sha256", "etag", "last_modified"):
            del each[key]
    listed.write_text(json.dumps(told))
    assert look(site, tmp_path).n_changed == 0
    site.put("/t/1.vtt", vtt(2))
    assert look(site, tmp_path).n_changed == 1


def test_a_feed_that_is_down_keeps_its_episodes(site: Site, tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="answered 404"):
        look(site, tmp_path)
    site.put("/t/1.vtt", vtt(1))
    site.episodes(item(1, named(1)))
    files = look(site, tmp_path).files
    site.put("/feed.xml", "", 500)
    down = look(site, tmp_path)
    assert down.files == files
    assert "answered 500" in str(down.fault)
    site.put("/feed.xml", "<html><body>Sorry</body></html>")
    assert "not an RSS or Atom feed" in str(look(site, tmp_path).fault)


def test_only_the_web_is_read(site: Site, tmp_path: Path) -> None:
    secret = tmp_path / "secret.vtt"
    secret.write_text(vtt(1))
    site.put("/t/2.vtt", "", 302, Location=secret.as_uri())
    site.put("/t/3.vtt", "", 302, Location="/t/3.vtt")
    site.put("/moved.vtt", vtt(4))
    site.put("/t/4.vtt", "", 301, Location="/moved.vtt")
    site.episodes(
        item(1, f'url="{secret.as_uri()}" type="text/vtt"'),
        *(item(n, named(n)) for n in (2, 3, 4)),
    )
    taken = look(site, tmp_path / "ws")
    assert len(taken.files) == 1
    assert {v.rule for v in taken.verdicts} == {"no_transcript", "transcript_missing"}
    assert len(taken.verdicts) == 3


def test_a_transcript_of_any_size_ends(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("/t/1.vtt", "x" * (3 << 20))
    site.episodes(item(1, named(1)))
    monkeypatch.setattr(
        "memoirist.extractors.transcript.feeds.feed_update.MAX_TRANSCRIPT_BYTES", 1 << 20
    )
    assert "larger than 1 MB" in look(site, tmp_path).verdicts[0].reason


def test_entities_are_not_resolved(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    bomb = (
        f'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY x SYSTEM "{secret.as_uri()}">'
        '<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
        "<rss><channel><title>T &x; &b;</title><item><title>E &x;</title></item></channel></rss>"
    )
    feed = parse_feed(bomb.encode(), "http://127.0.0.1/f")
    assert "secret" not in repr(feed)
    assert "aaaa" not in repr(feed)


def test_atom_and_junk() -> None:
    atom = (
        '<feed xmlns="http://www.w3.org/2005/Atom" xmlns:p="https://podcastindex.org/namespace/1.0">'
        "<title>T</title><entry><id>urn:1</id><title>One</title>"
        '<published>2024-05-06T07:08:09Z</published><p:transcript url="a.json"/></entry></feed>'
    )
    (episode,) = parse_feed(atom.encode(), "https://example.org/pod/feed").episodes
    assert (episode.guid, str(episode.published)) == ("urn:1", "2024-05-06")
    assert [(o.url, o.suffix) for o in episode.offers] == [
        ("https://example.org/pod/a.json", ".json")
    ]
    for junk in (b"", b"\x00\x01", b"{}", b"<html/>"):
        with pytest.raises(SourceUnreadable, match="not an RSS or Atom"):
            parse_feed(junk, "https://example.org/feed")


def test_a_feed_is_a_source_that_refresh_looks_at_again(site: Site, tmp_path: Path) -> None:
    site.put("/t/1.vtt", vtt(1))
    site.put("/t/2.vtt", vtt(2))
    site.episodes(item(1, named(1)), item(3))
    context = Context(
        Workspace(tmp_path / "ws"), load(None, {"persona.name": "Ada Marrow"}), Report(quiet=True)
    )
    url = site.url("/feed.xml")
    extract_sources(context, [url], [url])
    split_documents(context)
    store = context.workspace.store
    (document,) = store.rows("SELECT title, published::VARCHAR AS day FROM documents")
    assert document == {"title": "Episode 1: oak & ash", "day": "2020-09-14"}
    assert store.value("SELECT count(*) FROM passages") == 1
    assert store.value("SELECT text FROM questions") == "What did you do first?"
    coverage = store.rows("SELECT * FROM coverage WHERE source = 'Yard talk'")
    assert {row["subject"]: (row["found"], row["dropped"]) for row in coverage} == {
        "sources": (1, 0),
        "documents": (1, 1),
    }

    site.episodes(*(item(n, named(n)) for n in (1, 2)))
    extract_sources(context, [url], ())
    split_documents(context)
    assert store.value("SELECT count(*) FROM passages") == 2
    assert store.value("SELECT count(*) FROM verdicts WHERE rule = 'no_transcript'") == 0

    site.put("/feed.xml", "", 500)
    context.changed.clear()
    extract_sources(context, [url], [url])
    split_documents(context)
    assert context.changed == {}
    assert store.value("SELECT count(*) FROM passages") == 2

    withdraw(context, [url])
    n_asked = len(site.asked)
    extract_sources(context, [url], ())
    assert len(site.asked) == n_asked
    kinds = store.rows("SELECT DISTINCT withdrawn_at IS NULL AS live FROM sources")
    assert kinds == [{"live": False}]
    restore(context, [url])
    assert store.value("SELECT count(*) FROM sources WHERE withdrawn_at IS NULL") == 3


def test_a_corrected_transcript_replaces_only_what_was_corrected(
    site: Site, tmp_path: Path
) -> None:
    for n in (1, 2):
        site.put(f"/t/{n}.vtt", vtt(n))
    site.episodes(*(item(n, named(n)) for n in (1, 2)))
    context = Context(
        Workspace(tmp_path / "ws"), load(None, {"persona.name": "Ada Marrow"}), Report(quiet=True)
    )
    url = site.url("/feed.xml")
    rows = context.workspace.store.rows

    def ids(table: str) -> set[str]:
        extract_sources(context, [url], ())
        split_documents(context)
        return {row["id"] for row in rows(f"SELECT id FROM {table}")}

    sources, passages = ids("sources"), ids("passages")
    asked, said = (
        f"\n00:{at}.000 --> 00:{at + 9}.000\n<v {who}>{text}\n"
        for at, who, text in zip((10, 20), ("Ben Host", "Ada Marrow"), LATER, strict=True)
    )
    site.put("/t/1.vtt", vtt(1) + asked + said)
    later = ids("passages")
    assert passages < later
    assert len(later - passages) == 1
    assert ids("sources") == sources
