"""Where a base comes from: a hub that may be out of reach, and files that only others read."""

from __future__ import annotations

import shutil
from pathlib import Path

PIECES = "sentencepiece.model"


def unreachable(model_id: str) -> bool:
    """Ask the hub once: loading would ask for each file, six times, for a minute without a net."""
    from huggingface_hub import HfApi

    # Of httpx or httpx2, whichever this hub client was built on.
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    try:
        HfApi().model_info(model_id, timeout=10)
    except HfHubHTTPError:
        # It answered, if only that there is no such model; loading says so in its own words.
        return False
    except (HTTPError, OSError):
        return True
    return False


def keep_pieces(source: str, making: Path, *, cached: bool) -> None:
    """Copy the sentencepiece model of families that have one, under a name that nothing loads.

    llama.cpp converts Gemma and Phi by it alone; its own name would have tokenizers read it, and
    with it the vocabulary without the tokens that were renamed.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    found = Path(source) / "tokenizer.model"
    if not Path(source).is_dir():
        try:
            found = Path(hf_hub_download(source, "tokenizer.model", local_files_only=cached))
        except (EntryNotFoundError, LocalEntryNotFoundError):
            return
    if found.is_file():
        shutil.copyfile(found, making / PIECES)
