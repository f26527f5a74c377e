"""Complete the folder of an adapter, and upload a folder to a hub repository in one commit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from memoirist.data.schema.errors import TrainError
from memoirist.train.disk import write_json

if TYPE_CHECKING:
    from memoirist.train.model.prepared_base import PreparedBase

Kind = Literal["model", "dataset"]
# What belongs to a model or an adapter; logs, checkpoints and reports are not uploaded.
_UPLOADED = (".safetensors", ".json", ".jinja", ".md", ".model", ".txt")


def complete_adapter(adapter: Path, base: PreparedBase) -> None:
    """Let other tools load the PEFT folder `adapter`: name its base, add tokenizer and template.

    The base is the hub id that it came from where no row was added to it, else the prepared base,
    without which the adapter's token rows mean nothing. A second call changes nothing.
    """
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text("utf-8"))
    on_hub = "/" in base.name and not base.new_ids and not trains_tokens(adapter)
    name = base.name if on_hub else str(base.path.resolve())
    if config.get("base_model_name_or_path") != name:
        write_json(path, {**config, "base_model_name_or_path": name})
    if not (adapter / "tokenizer.json").exists():
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(base.path).save_pretrained(adapter)


def trains_tokens(adapter: Path) -> bool:
    """Tell whether the adapter trains rows of single tokens, which vLLM does not load."""
    config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    return bool(config.get("trainable_token_indices"))


def refuse_name(repository: str) -> None:
    """Raise TrainError for what is not the OWNER/NAME of a hub repository."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    reason = "an owner and a name are needed"
    if repository.count("/") == 1 and "\\" not in repository:
        try:
            validate_repo_id(repository)
        except HFValidationError as error:
            reason = _line(error)
        else:
            return
    raise TrainError(f"{repository!r} is not a repository name ({reason})", "give OWNER/NAME")


def push(folder: Path, repository: str, *, public: bool, message: str, kind: Kind = "model") -> str:
    """Upload the folder of a model or a dataset and return the address of its commit.

    The address of the hub is HF_ENDPOINT's and the token that of `hf auth login` or HF_TOKEN.
    Raises TrainError when the name is not valid, the hub refuses or cannot be reached, or the
    repository is public and `public` is not set.
    """
    refuse_name(repository)
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        HfHubHTTPError,
        HTTPError,
        LocalTokenNotFoundError,
    )

    api = HfApi()
    try:
        api.create_repo(repository, private=not public, exist_ok=True, repo_type=kind)
        if not public and not api.repo_info(repository, repo_type=kind).private:
            raise TrainError(
                f"the repository {repository!r} is public",
                "give another name, or say --public if everyone may read it",
            )
        operations = [
            CommitOperationAdd(
                path_in_repo=path.relative_to(folder).as_posix(), path_or_fileobj=path
            )
            for path in _files(folder, kind)
        ]
        commit = api.create_commit(repository, operations, commit_message=message, repo_type=kind)
    except LocalTokenNotFoundError as error:
        raise TrainError("there is no token for the hub", "log in: `hf auth login`") from error
    # RuntimeError: what the library raises when a large file's upload breaks off.
    except (HfHubHTTPError, HTTPError, OSError, ValueError, RuntimeError) as error:
        raise TrainError(
            f"the hub refused the upload to {repository!r} ({_line(error)})",
            "check the name, your token's rights (`hf auth whoami`) and the network; nothing was"
            " uploaded in part, since all files are one commit",
        ) from error
    return str(commit.commit_url)


def _files(folder: Path, kind: Kind) -> Iterator[Path]:
    if kind == "dataset":
        yield from sorted(path for path in folder.rglob("*") if path.is_file())
        return
    for path in sorted(folder.iterdir()):
        if path.is_file() and (path.suffix in _UPLOADED or path.name == "Modelfile"):
            yield path


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return " ".join(lines)[:300] if lines else type(error).__name__
