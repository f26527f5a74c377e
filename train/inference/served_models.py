"""Serve models to OpenAI clients by `transformers serve`, from a hub cache made of links.

In that cache each model has a name, its template and its limits: the server lists our models only,
and needs neither the network nor a path in a model's name (an @ or a colon in a path would be taken
for a revision or a file).

`python -m memoirist.train.inference.served_models ARGUMENTS` takes the arguments of
`transformers serve`. The application is called directly, because its command first asks a package
index for a newer version.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memoirist.train.disk import read_json
from memoirist.train.loop.launch import end_with_parent
from memoirist.train.settings import ChatSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# Any 40 digits do: the reference `main` points at them.
_REVISION = "0" * 40
_OWN = {"chat_template.jinja", "generation_config.json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model's name and folder; `system` tells whether its template adds a system prompt."""

    name: str
    folder: Path
    system: bool


def link_model(cache: Path, name: str, model_folder: Path, system: str) -> ServedModel:
    """Link a merged model or a prepared base into a hub cache under `name` (OWNER/NAME).

    A conversation without a system message gets `system`, so that the disclosure of an AI does not
    depend on the client. Sampling is switched on: servers use a request's temperature only then.
    """
    from transformers import AutoTokenizer

    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / _REVISION
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(_REVISION, "ascii")
    for path in sorted(model_folder.iterdir()):
        if path.is_file() and path.name not in _OWN:
            (snapshot / path.name).symlink_to(path.resolve())
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    template = with_default_system(tokenizer, system) if system else None
    (snapshot / "chat_template.jinja").write_text(template or tokenizer.chat_template, "utf-8")
    (snapshot / "generation_config.json").write_text(
        json.dumps(_generation(model_folder), indent=1), "utf-8"
    )
    return ServedModel(name=name, folder=snapshot, system=template is not None)


def with_default_system(tokenizer: PreTrainedTokenizerBase, system: str) -> str | None:
    """Return the template with a system message for conversations that bring none.

    None where the model's own template has no place for one.
    """
    from jinja2.exceptions import TemplateError

    # JSON's escapes are Jinja's as well, as long as no character is split into surrogates.
    message = f"{{'role': 'system', 'content': {json.dumps(system, ensure_ascii=False)}}}"
    template = (
        "{%- if not messages or messages[0]['role'] != 'system' -%}"
        f"{{%- set messages = [{message}] + messages -%}}"
        f"{{%- endif -%}}{tokenizer.chat_template}"
    )
    try:
        text: Any = tokenizer.apply_chat_template(
            [{"role": "user", "content": "x"}], chat_template=template, tokenize=False
        )
    except TemplateError:
        return None
    return template if system.strip() in str(text) else None


def _generation(model_folder: Path) -> dict[str, Any]:
    """Return the model's own generation settings, drawing as `chat` does."""
    known = read_json(model_folder / "generation_config.json")
    usual = ChatSettings()
    drawn = {"do_sample": True, "temperature": usual.temperature, "top_p": usual.top_p, "top_k": 0}
    return {**known, **drawn, "max_new_tokens": usual.max_new_tokens}


def serve(arguments: Sequence[str]) -> None:
    """Serve until SIGINT, or until the parent process ends.

    The parent serves nobody before it has seen that the filter refuses an unknown model.
    """
    from transformers.cli.serving import server
    from transformers.cli.transformers import app

    from memoirist.train.inference.request_filter import RequestFilter

    end_with_parent()
    build = server.build_server

    def build_filtered(*parts: Any, **named: Any) -> Any:
        application = build(*parts, **named)
        application.add_middleware(RequestFilter)
        return application

    server.build_server = build_filtered
    app(["serve", *arguments])


if __name__ == "__main__":
    serve(sys.argv[1:])
