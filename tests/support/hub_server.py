"""A small real stand-in for the hub: datasets with revisions, private and gated ones, over HTTP."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_a_test"


@dataclass(slots=True)
class Repository:
    """A dataset: the files of each revision, by commit; `names` leads from branches to commits."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Add a revision under a branch and return its commit."""
        told = json.dumps({name: hashlib.sha1(body).hexdigest() for name, body in files.items()})  # noqa: S324
        commit = hashlib.sha1(told.encode()).hexdigest()  # noqa: S324 - as git names commits
        self.files[commit] = dict(files)
        self.names[branch] = commit
        return commit


class HubServer:
    """Serves repositories at `url` and remembers what was asked, with which token."""

    def __init__(self, repositories: Mapping[str, Repository]) -> None:
        self.repositories = dict(repositories)
        self.asked: list[tuple[str, str]] = []
        self.tokens: set[str] = set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_GET  # noqa: N815 - the names that http.server calls
            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request of the hub's protocol."""
        path = unquote(urlsplit(request.path).path)
        self.asked.append((request.command, path))
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        token = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.tokens.add(token)
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "datasets"] and len(parts) >= 4:
            name, rest, is_file = "/".join(parts[2:4]), parts[4:], False
        elif parts[0] == "datasets" and len(parts) >= 6 and parts[3] == "resolve":
            name, rest, is_file = "/".join(parts[1:3]), parts[4:], True
        else:
            _reply(request, 404, b"{}")
            return
        found = self.repositories.get(name)
        if found is None or (found.private and token != TOKEN):
            # The hub answers a stranger alike for what is private and what is not there.
            _reply(request, 401, b'{"error": "no"}', {"X-Error-Code": "RepoNotFound"})
        elif found.gated and is_file and token != TOKEN:
            _reply(request, 403, b'{"error": "ask"}', {"X-Error-Code": "GatedRepo"})
        elif is_file:
            _file(request, found, rest)
        else:
            _api(request, name, found, rest, body)


def _commit_of(found: Repository, revision: str) -> str | None:
    return found.names.get(revision) or (revision if revision in found.files else None)


def _file(request: BaseHTTPRequestHandler, found: Repository, rest: list[str]) -> None:
    commit = _commit_of(found, rest[0])
    if commit is None:
        _reply(request, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        return
    body = found.files[commit].get("/".join(rest[1:]))
    if body is None:
        _reply(request, 404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        return
    etag = f'"{hashlib.sha1(body).hexdigest()}"'  # noqa: S324
    _reply(request, 200, body, {"ETag": etag, "X-Repo-Commit": commit, "Accept-Ranges": "none"})


def _api(
    request: BaseHTTPRequestHandler, name: str, found: Repository, rest: list[str], body: bytes
) -> None:
    kind = rest[0] if rest else "revision"
    commit = _commit_of(found, rest[1] if len(rest) > 1 else "main")
    if commit is None:
        _reply(request, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        return
    files = found.files[commit]
    told: object
    if kind == "revision":
        told = {
            "id": name,
            "sha": commit,
            "private": found.private,
            "gated": "auto" if found.gated else False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": each} for each in files],
            "cardData": {"license": "cc-by-4.0"},
        }
    elif kind == "tree":
        folder = "/".join(rest[2:])
        told = [_entry(each, files[each]) for each in files if each.startswith(folder)]
    elif kind == "paths-info":
        sent = body.decode()
        asked = json.loads(sent)["paths"] if sent.startswith("{") else _form(sent)
        told = [_entry(each, files[each]) for each in asked if each in files]
    else:
        _reply(request, 404, b"{}")
        return
    _reply(request, 200, json.dumps(told).encode())


def _form(sent: str) -> list[str]:
    return [unquote(each.partition("=")[2]) for each in sent.split("&") if each[:5] == "paths"]


def _entry(name: str, body: bytes) -> dict[str, object]:
    oid = hashlib.sha1(body).hexdigest()  # noqa: S324
    return {"type": "file", "path": name, "size": len(body), "oid": oid}


def _reply(
    request: BaseHTTPRequestHandler,
    code: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
) -> None:
    request.send_response(code)
    for key, value in (headers or {}).items():
        request.send_header(key, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)
