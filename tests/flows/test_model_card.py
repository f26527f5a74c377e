"""The model card, with everything that a source or a recipe may say."""

from __future__ import annotations

import re

import pytest
import yaml
from markdown_it import MarkdownIt

from memoirist.flows.models.model_card import card

EVIL = (
    "x | y\n\n# <img src=a onerror=b> [l](javascript:c) `d`\n---\nlicense: mit\n\n"
    "<script>e</script> https://f.example ![g](h)\u202e"
)


@pytest.mark.parametrize("adapter", [False, True])
def test_what_comes_from_sources_cannot_write_into_the_card(adapter: bool) -> None:
    facts = {
        "name": EVIL,
        "persona": EVIL,
        "languages": [EVIL],
        "base_model": EVIL,
        "run_id": "r1",
        "dataset": {"id": "d1", "created_at": "2026-01-01", "n_train": 1},
        "sources": [{"title": EVIL, "author": EVIL, "kind": EVIL, "rights": EVIL, "pairs": 3}],
        "origins": {"spoken": 5},
        "drops": [{"subject": "pairs", "rule": EVIL, "n": 17}],
        "settings": {"template": EVIL},
        "figures": {},
        "merge": {},
        "system": EVIL,
        "prepared_base": EVIL,
    }
    text = card(facts, adapter=adapter)
    _, head, body = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    front = yaml.safe_load(head)
    assert (front["license"], front["base_model"], front["language"]) == (
        "other",
        "unknown",
        [EVIL],
    )
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    assert not re.search("<(img|script|a|hr|pre)[ >]", html)
    assert html.count("<h1>") == 1
    # What is code is shown as code; elsewhere the text itself holds no tag and no address.
    words = re.sub("`[^`]*`", "", body)
    assert not re.search(r"<img|<script|\]\(|://", words)
