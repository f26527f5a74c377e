"""Decide whether a command may write to a path that its user named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from errno import ELOOP
from fnmatch import fnmatch
from pathlib import Path

from memoirist.data.schema.errors import MemoiristError
from memoirist.data.store.store import FILE
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.workspace import Workspace


def check_output_file(
    context: Context, path: Path, *, force: bool, inputs: Sequence[Path | None] = ()
) -> None:
    """Raise MemoiristError unless a file may be written at `path`.

    A folder, the files of a workspace, the sources and the command's own `inputs` are always
    refused; another file that is not empty is refused without `force`.
    """
    target = _target(path)
    _refuse_protected(context, path, target)
    if any(_same(target, _target(read)) for read in inputs if read is not None):
        raise MemoiristError(f"this command reads {str(path)!r}", "choose another path to write to")
    # An empty file, such as one from mktemp, may be overwritten.
    if not force and target.exists() and target.stat().st_size:
        raise MemoiristError(
            f"{str(path)!r} exists already", "choose another path, or give --force to overwrite it"
        )


def check_export_folder(context: Context, path: Path, files: Iterable[str], *, force: bool) -> None:
    """Raise MemoiristError unless `files` may be written into the folder `path`.

    A file, a folder that holds a workspace or sources or lies in theirs is always refused, also
    where only one of the files does; another folder that is not empty is refused without `force`.
    """
    name = repr(str(path))
    target = _target(path)
    if target.exists() and not target.is_dir():
        raise MemoiristError(f"{name} is a file", "name a folder")
    root = context.workspace.root.resolve()
    if _same(target, root) or _inside(root, target) is not None:
        is_root = _same(target, root)
        raise MemoiristError(
            f"{name} {'is the workspace itself' if is_root else 'contains the workspace'}",
            f"choose another folder, such as {str(context.workspace.exports / 'dataset')!r}",
        )
    if any(_inside(source, target) is not None for source in _source_paths(context)):
        raise MemoiristError(f"{name} contains sources", "choose another folder")
    for file in files:
        _refuse_protected(context, path / file, _target(path / file))
        place = (path / file).parent
        if (place.exists() or place.is_symlink()) and not place.is_dir():
            raise MemoiristError(f"{str(place)!r} is a file", "choose another folder")
    if not force and target.is_dir() and any(target.iterdir()):
        raise MemoiristError(
            f"the folder {name} is not empty",
            "choose another folder, or give --force to overwrite a former export",
        )


def check_output_folder(context: Context, *, force: bool) -> None:
    """Raise MemoiristError unless the workspace may be created in its folder.

    An existing workspace is accepted, and a folder with nothing but a recipe; one with other files
    is refused without `force`, and one among another workspace's own files always.
    """
    root = context.workspace.root
    name = repr(str(root))
    if root.exists() and not root.is_dir():
        raise MemoiristError(f"{name} is a file", "name a folder with -o or -w")
    if _owner(context.workspace, _target(root)) is not None:
        raise MemoiristError(f"{name} belongs to a workspace itself", "choose another folder")
    # The lock is there from the first step on; `runs` and `reports` may be anybody's.
    names = {path.name for path in root.iterdir()} if root.is_dir() else set()
    if names - {"recipe.toml"} and not names & {FILE, ".lock"} and not force:
        raise MemoiristError(
            f"the folder {name} contains other files",
            "choose another folder, or give --force to add to them",
        )


def _target(path: Path) -> Path:
    """Return the path that a write would reach, through any link.

    Raise MemoiristError for a link that leads to itself.
    """
    try:
        path.stat()
    except OSError as error:
        if error.errno == ELOOP:
            raise MemoiristError(
                f"{str(path)!r} is a link to itself", "choose another path"
            ) from None
    return path.resolve()


def _refuse_protected(context: Context, path: Path, target: Path) -> None:
    """Raise MemoiristError for a folder, a device, a workspace's own file and a source."""
    name = repr(str(path))
    if target.is_dir():
        raise MemoiristError(f"{name} is a folder", f"name a file in it, such as {path / 'NAME'}")
    if target.exists() and not target.is_file():
        raise MemoiristError(f"{name} is not a regular file", "name a file, such as train.jsonl")
    if (owner := _owner(context.workspace, target)) is not None:
        raise MemoiristError(
            f"{name} belongs to the workspace itself",
            f"choose another path, such as {str(owner.exports / path.name)!r}",
        )
    if _is_source(context, target):
        raise MemoiristError(
            f"{name} is a source, or is in a folder of sources", "choose another path"
        )


def _owner(workspace: Workspace, target: Path) -> Workspace | None:
    """Return the workspace that a path belongs to: this one, or any whose folder it lies in."""
    others = [Workspace(parent) for parent in target.parents if (parent / FILE).is_file()]
    for owner in (workspace, *others):
        root = owner.root.resolve()
        inside = _inside(target, root)
        if inside and owner.owns(inside[0]):
            return owner
        # A folder of the workspace may be a link to another disk.
        own = [path.resolve() for path in root.glob("*") if owner.owns(path.name)]
        if any(_same(target, path) or _inside(target, path) for path in own):
            return owner
        if _is_hard_link(target, own):
            return owner
    return None


def _is_source(context: Context, target: Path) -> bool:
    sources = list(_source_paths(context))
    return _is_hard_link(target, sources) or any(
        _same(target, source) or _inside(target, source) or fnmatch(str(target), str(source))
        for source in sources
    )


def _source_paths(context: Context) -> Iterator[Path]:
    """Yield the files and folders of the sources, and their patterns with what these match."""
    recipe, store = context.recipe.sources, context.workspace.store
    pointers = [*recipe.include, *(mixed.source for mixed in recipe.mix)]
    if store.path.exists():
        pointers += [str(row["location"]) for row in store.rows("SELECT location FROM sources")]
    for pointer in pointers:
        if "://" not in pointer:
            path = _target(Path(pointer).expanduser())
            yield path
            if not path.exists():
                yield from Path(path.anchor).glob(str(path.relative_to(path.anchor)))


def _same(first: Path, second: Path) -> bool:
    """Tell whether two paths are one, also where the disk tells no capitals from small letters."""
    return first == second or (first.exists() and second.exists() and first.samefile(second))


def _inside(path: Path, folder: Path) -> tuple[str, ...] | None:
    """Return the names that lead from a folder to a path in it, None for a path elsewhere."""
    for parent in path.parents:
        if _same(parent, folder):
            return path.parts[len(parent.parts) :]
    return None


def _is_hard_link(target: Path, places: Iterable[Path]) -> bool:
    """Tell whether a file has another name that is one of the places or lies in one of them."""
    if not target.is_file() or target.stat().st_nlink < 2:
        return False
    return any(
        file.is_file() and file.samefile(target)
        for place in places
        for file in (place.rglob("*") if place.is_dir() else [place])
    )
