"""Hub datasets against a local stand-in: config, split, revision, private, gated, missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from memoirist.data.store.store import Store
from tests.conftest import run_process
from tests.support.hub_server import TOKEN, HubServer, Repository

CARD = """---
license: cc-by-4.0
configs:
- config_name: plain
  default: true
  data_files:
  - split: train
    path: plain/train.jsonl
  - split: validation
    path: plain/validation.jsonl
- config_name: odd
  data_files:
  - split: full
    path: odd/full.jsonl
---
"""


def lines(word: str, n: int = 3) -> bytes:
    rows = (
        {"question": f"What is {word} {k}?", "response": f"It is {word}, {k}."} for k in range(n)
    )
    return "\n".join(map(json.dumps, rows)).encode()


def files(word: str) -> dict[str, bytes]:
    return {
        "README.md": CARD.encode(),
        "plain/train.jsonl": lines(word),
        "plain/validation.jsonl": lines(f"{word} held", 2),
        "odd/full.jsonl": lines(f"{word} odd", 1),
    }


@pytest.fixture
def hub() -> Iterator[HubServer]:
    open_one, private, gated = Repository(), Repository(private=True), Repository(gated=True)
    open_one.commit(files("old"), "v1")
    for each, word in ((open_one, "new"), (private, "secret"), (gated, "guarded")):
        each.commit(files(word))
    with HubServer({"org/open": open_one, "org/private": private, "org/gated": gated}) as server:
        yield server


def extract(folder: Path, hub: HubServer, pointer: str, **extra: str) -> tuple[int, str, list[str]]:
    done = run_process(
        folder, "extract", pointer, "--persona", "Ada",
        HF_ENDPOINT=hub.url, HF_HOME=str(folder / "hf"), **{"HF_TOKEN": "", **extra},
    )  # fmt: skip
    path = folder / "workspace" / "memoirist.duckdb"
    asked = Store(path).rows("SELECT text FROM questions ORDER BY text") if path.exists() else []
    return done.returncode, done.stderr, [each["text"] for each in asked]


@pytest.mark.slow
def test_config_split_and_revision_are_told_apart(hub: HubServer, tmp_path: Path) -> None:
    expected = {
        "hf://org/open": ["What is new 0?", "What is new 1?", "What is new 2?"],
        "hf://org/open/validation": ["What is new held 0?", "What is new held 1?"],
        "hf://org/open:odd": ["What is new odd 0?"],
        "hf://org/open:plain/validation@v1": ["What is old held 0?", "What is old held 1?"],
    }
    for n, (pointer, texts) in enumerate(expected.items()):
        folder = tmp_path / str(n)
        folder.mkdir()
        code, told, found = extract(folder, hub, pointer)
        assert code == 0, told
        assert found == texts
        source = Store(folder / "workspace" / "memoirist.duckdb").rows("FROM sources")[0]
        commit = hub.repositories["org/open"].names["v1" if pointer.endswith("v1") else "main"]
        assert source["location"] == pointer
        assert source["title"] == f"org/open at {commit[:12]}"
        assert source["rights"] == "licence:cc-by-4.0"


@pytest.mark.slow
def test_an_unchanged_revision_is_skipped_and_a_new_one_taken(
    hub: HubServer, tmp_path: Path
) -> None:
    assert extract(tmp_path, hub, "hf://org/open")[0] == 0
    hub.asked.clear()
    _, told, before = extract(tmp_path, hub, "hf://org/open")
    assert "nothing new" in told
    assert not [path for _, path in hub.asked if "/resolve/" in path]
    hub.repositories["org/open"].commit({**files("new"), "plain/train.jsonl": lines("new", 4)})
    code, told, after = extract(tmp_path, hub, "hf://org/open")
    assert code == 0, told
    assert after == [*before, "What is new 3?"]


@pytest.mark.slow
def test_what_is_refused_says_how_to_be_let_in(hub: HubServer, tmp_path: Path) -> None:
    for pointer, words in {
        "hf://org/private": "does not exist, or it is private",
        "hf://org/nowhere": "does not exist, or it is private",
        "hf://org/gated": "is gated",
        "hf://org/open@v9": "has no revision 'v9'",
        "hf://org/open/test": "has no split 'test'; its splits are train, validation",
        "hf://org/open:none": "'none'",
        "hf://open": "is not the address of a hub dataset",
    }.items():
        code, told, found = extract(tmp_path, hub, pointer)
        assert (code, found) == (1, [])
        line = told.strip().splitlines()[-1]
        assert words in line, told
        assert "Traceback" not in told
        assert ("HF_TOKEN" in line) == ("private" in words or "gated" in words)


@pytest.mark.slow
def test_a_token_lets_in_and_is_kept_nowhere(hub: HubServer, tmp_path: Path) -> None:
    code, told, found = extract(tmp_path, hub, "hf://org/private", HF_TOKEN=TOKEN)
    assert code == 0, told
    assert len(found) == 3
    assert TOKEN in hub.tokens
    assert TOKEN not in told
    for path in (tmp_path / "workspace").rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()
    assert extract(tmp_path, hub, "hf://org/gated", HF_TOKEN=TOKEN)[0] == 0


def test_a_hub_out_of_reach_loses_nothing(tmp_path: Path) -> None:
    hub = HubServer({})
    hub._server.server_close()
    code, told, _ = extract(tmp_path, hub, "hf://org/open")
    assert code == 1
    assert "the hub cannot be reached" in told.strip().splitlines()[-1]
