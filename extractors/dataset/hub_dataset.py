"""Read datasets of the Hugging Face hub: the revision of a pointer, and its rows as Arrow."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from memoirist.data.schema.errors import (
    SourceEncrypted,
    SourceError,
    SourceMissing,
    SourceUnreadable,
)
from memoirist.data.schema.records import Source, content_id

if TYPE_CHECKING:
    import pyarrow as pa


_POINTER = re.compile(
    r"hf://(?:datasets/)?(?P<name>[\w.\-]+/[\w.\-]+)(?::(?P<config>[\w.\-]+))?"
    r"(?:/(?P<split>[\w.\-]+))?(?:@(?P<revision>[\w./\-]+))?"
)
_BATCH_ROWS = 10_000
_LOG_IN = "set HF_TOKEN to a token that may read it, or log in once with `hf auth login`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """The parts of `hf://org/name[:config][/split][@revision]`."""

    name: str
    config: str | None = None
    split: str | None = None
    revision: str | None = None


def parse(pointer: str) -> Pointer:
    """Return the parts of a hub pointer; raise SourceMissing for one in another form."""
    match = _POINTER.fullmatch(pointer)
    if match is None:
        raise SourceMissing(
            f"{pointer!r} is not the address of a hub dataset",
            "write hf://org/name[:config][/split][@revision]",
        )
    return Pointer(**match.groupdict())


def hub_source(pointer: str, added_at: datetime) -> Source:
    """Return the source of a hub dataset, whose hash stands for the pointer's commit of today.

    Raise SourceMissing, SourceEncrypted (private or gated) or SourceUnreadable (no connection).
    """
    parts = parse(pointer)
    from huggingface_hub import HfApi

    with _one_line_errors(parts):
        info = HfApi().dataset_info(parts.name, revision=parts.revision)
    commit = str(info.sha)
    sha256 = hashlib.sha256(
        f"{parts.name}:{parts.config}/{parts.split}@{commit}".encode()
    ).hexdigest()
    licence = info.card_data.get("license") if info.card_data else None
    return Source(
        id=content_id("hub", pointer),
        kind="dataset",
        format="dataset",
        location=pointer,
        sha256=sha256,
        added_at=added_at,
        title=f"{parts.name} at {commit[:12]}",
        author=parts.name.split("/")[0],
        rights=f"licence:{licence}" if isinstance(licence, str) else None,
        rights_basis="the hub's dataset card" if isinstance(licence, str) else None,
    )


def hub_tables(pointer: str) -> Iterator[pa.Table]:
    """Yield the rows of a hub dataset; what is downloaded stays in the hub's own cache.

    Without a split it is `train`, else the first one. No code of the dataset is run.
    """
    parts = parse(pointer)
    import datasets
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    # The libraries' progress bars would break our own lines.
    disable_progress_bars()
    datasets.disable_progress_bars()
    with _one_line_errors(parts):
        commit = HfApi().dataset_info(parts.name, revision=parts.revision).sha
        parts = replace(parts, revision=commit)
        splits = datasets.get_dataset_split_names(parts.name, parts.config, revision=commit)
        split = parts.split or ("train" if "train" in splits else splits[0])
        if split not in splits:
            raise SourceMissing(
                f"the hub dataset {parts.name!r} has no split {split!r}",
                f"its splits are {', '.join(splits)}",
            )
        rows = datasets.load_dataset(parts.name, parts.config, split=split, revision=commit)
    # Pictures and sounds would be decoded for nothing.
    media = (datasets.Image, datasets.Audio, datasets.Video)
    is_media = {name: isinstance(kind, media) for name, kind in rows.features.items()}
    rows = rows.select_columns([name for name, media_ in is_media.items() if not media_])
    yield from rows.with_format("arrow").iter(_BATCH_ROWS)


@contextmanager
def _one_line_errors(parts: Pointer) -> Iterator[None]:
    """Turn what the hub's libraries raise into one line of ours; a token is never in it."""
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    what = f"the hub dataset {parts.name!r}"
    try:
        yield
    except (GatedRepoError, RevisionNotFoundError, RepositoryNotFoundError) as fault:
        raise _absent(what, parts, fault) from fault
    except DatasetNotFoundError as fault:
        raise _absent(what, parts, fault.__cause__ or fault) from fault
    except HfHubHTTPError as fault:
        code = getattr(fault.response, "status_code", None)
        if code in {401, 403}:
            raise SourceEncrypted(f"the hub refused {what} ({code})", _LOG_IN) from fault
        raise SourceUnreadable(f"the hub answered {code} for {what}", "try again later") from fault
    except (DatasetsError, ValueError, RuntimeError) as fault:
        raise SourceUnreadable(
            f"{what} cannot be read: {str(fault)[:300]}",
            "name its config, as in hf://org/name:config, or download it and give its files",
        ) from fault
    except Exception as fault:
        # The hub's client has changed its HTTP library twice, and does not catch its errors.
        library = type(fault).__module__.split(".")[0]
        if not isinstance(fault, OSError) and library not in {"httpx", "httpx2", "requests"}:
            raise
        raise SourceUnreadable(
            f"the hub cannot be reached for {what}: {str(fault)[:160]}",
            "check the connection and HF_ENDPOINT; what was read before is kept",
        ) from fault


def _absent(what: str, parts: Pointer, fault: BaseException) -> SourceError:
    """Return the error for what the hub does not show to us, by the hub's own reason."""
    from huggingface_hub.errors import GatedRepoError, RevisionNotFoundError

    if isinstance(fault, GatedRepoError) or "is a gated dataset" in str(fault):
        return SourceEncrypted(
            f"{what} is gated: its owner grants access on request",
            f"request it on its page, then {_LOG_IN}",
        )
    if isinstance(fault, RevisionNotFoundError):
        return SourceMissing(
            f"{what} has no revision {parts.revision!r}", "name a branch, a tag or a commit of it"
        )
    # The hub does not say to strangers whether a private dataset exists.
    return SourceMissing(
        f"{what} does not exist, or it is private", f"check the spelling; if private, {_LOG_IN}"
    )
