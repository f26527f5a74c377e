"""Decide whether a command may write to a path that its user named."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from memoirist.data.schema.errors import MemoiristError
from memoirist.data.store.store import FILE
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.workspace import Workspace


def check_output_file(context: Context, path: Path, *, force: bool) -> None:
    """Raise MemoiristError unless a file may be written at `path`.

    A folder, the workspace's own files and the sources are always refused; another file that is not
    empty is refused without `force`.
    """
    name = repr(str(path))
    target = path.expanduser().resolve()
    if target.is_dir():
        raise MemoiristError(f"{name} is a folder", f"name a file in it, such as {path / 'NAME'}")
    if target.exists() and not target.is_file():
        raise MemoiristError(f"{name} is no ordinary file", "name a file, such as train.jsonl")
    _refuse_owned(context.workspace, path, target)
    if _is_source(context, target):
        raise MemoiristError(
            f"{name} is one of the sources, or lies in a folder of sources", "choose another path"
        )
    # An empty file, such as one from mktemp, may be overwritten.
    if not force and target.exists() and target.stat().st_size:
        raise MemoiristError(
            f"{name} exists already", "choose another path, or give --force to overwrite it"
        )


def check_export_folder(context: Context, path: Path, files: Iterable[str], *, force: bool) -> None:
    """Raise MemoiristError unless `files` may be written into the folder `path`.

    A file, the workspace's own folders and the sources are always refused; another folder that is
    not empty is refused without `force`.
    """
    name = repr(str(path))
    target = path.expanduser().resolve()
    if target.exists() and not target.is_dir():
        raise MemoiristError(f"{name} is a file", "name a folder")
    _refuse_owned(context.workspace, path, target)
    if target == context.workspace.root.resolve():
        raise MemoiristError(
            f"{name} is the workspace itself",
            f"choose another folder, such as {str(context.workspace.exports / 'dataset')!r}",
        )
    if any(_is_source(context, target / file) for file in files):
        raise MemoiristError(
            f"{name} holds sources, or lies in a folder of sources", "choose another folder"
        )
    if not force and target.is_dir() and any(target.iterdir()):
        raise MemoiristError(
            f"the folder {name} is not empty",
            "choose another folder, or give --force to write into it, over a former export",
        )


def check_output_folder(context: Context, *, force: bool) -> None:
    """Raise MemoiristError unless the workspace may be created in its folder.

    An existing workspace is accepted, and a folder with nothing but a recipe; one with other files
    is refused without `force`.
    """
    root = context.workspace.root
    name = repr(str(root))
    if root.exists() and not root.is_dir():
        raise MemoiristError(f"{name} is a file", "name a folder with -o or -w")
    # The lock is there from the first step on; `runs` and `reports` may be anybody's.
    names = {path.name for path in root.iterdir()} if root.is_dir() else set()
    if names - {"recipe.toml"} and not names & {FILE, ".lock"} and not force:
        raise MemoiristError(
            f"the folder {name} holds other files",
            "choose another folder, or give --force to write beside them",
        )


def _refuse_owned(workspace: Workspace, path: Path, target: Path) -> None:
    """Raise MemoiristError for a file of the workspace itself, also if it is reached by a link."""
    root = workspace.root.resolve()
    inside = target.relative_to(root).parts if target.is_relative_to(root) else ()
    store = workspace.store.path
    linked = target.exists() and any(
        own.exists() and target.samefile(own) for own in (store, workspace.recipe)
    )
    if linked or (inside and workspace.owns(inside[0])):
        raise MemoiristError(
            f"{str(path)!r} belongs to the workspace itself",
            f"choose another path, such as {str(workspace.exports / path.name)!r}",
        )


def _is_source(context: Context, target: Path) -> bool:
    store = context.workspace.store
    pointers = list(_source_pointers(context))
    if store.path.exists():
        pointers += [str(row["location"]) for row in store.rows("SELECT location FROM sources")]
    for pointer in pointers:
        if "://" in pointer:
            continue
        source = Path(pointer).expanduser().resolve()
        if source.is_file() and target.exists() and target.samefile(source):
            return True
        if source in target.parents or fnmatch(str(target), str(source)):
            return True
    return False


def _source_pointers(context: Context) -> Iterable[str]:
    yield from context.recipe.sources.include
    yield from (mixed.source for mixed in context.recipe.sources.mix)
