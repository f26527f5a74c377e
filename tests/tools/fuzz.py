"""Feed damaged files to every extractor: each must end as rows or as a SourceError, and soon.

    python -m tests.tools.fuzz --seconds 180 [FILE OR FOLDER OF SEEDS...]

A case that crashes, hangs or eats memory is kept in a folder that is named at the end.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing as mp
import random
import resource
import shutil
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

from memoirist.data.passages.segmentation import split_prose
from memoirist.data.passages.settings import PassageSettings
from memoirist.data.samples import SOURCES
from memoirist.data.schema.errors import SourceError
from memoirist.data.schema.records import Rows, Source
from memoirist.data.store.exchanges import Masking, forget, take
from memoirist.data.store.store import Store
from memoirist.data.text.masking import mask_text
from memoirist.data.text.personal_data import candidate
from memoirist.data.text.secrets import secret_candidate
from memoirist.data.transcripts.question_answer import split_chat
from memoirist.extractors import ExtractSettings, discover, extract, read_source
from memoirist.extractors.detection.format_registry import SUFFIXES
from memoirist.extractors.detection.unpack import SUFFIXES as PACKED

LIMIT_SECONDS = 20.0
LIMIT_BYTES = 3 << 30
_MARKS = [
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\n\n", b"-->", b"<", b">", b"&#x0;", b"&amp;", b"{",
    b"[", b"]}", b'"', b"'", b"99999999999999999999", b"-1", b"0", b"1e999", b"NaN", b"null", b"0x",
    b"\\ud800", b"endobj", b"stream\n", b"/Kids", b"/Length 1", b"obj", b"<!ENTITY a 'b'>", b"]]>",
    "\u202e".encode(), "\u200b".encode(), "第一回".encode("gb18030"),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one case ended: `verdict` is "rows", the name of a SourceError, or what went wrong."""

    verdict: str
    seconds: float
    peak_mb: float

    @property
    def is_fault(self) -> bool:
        """Tell whether the case must be looked at."""
        return self.verdict.startswith("FAULT")


def mutate(content: bytes, chance: random.Random) -> bytes:
    """Return the bytes with one to eight random wounds."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        if not damaged:
            break
        start = chance.randrange(len(damaged))
        length = min(chance.choice((1, 4, 30, 400, 5000)), len(damaged) - start)
        kind = chance.randrange(6)
        if kind == 0:
            for _ in range(chance.choice((1, 3, 20))):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        elif kind == 1:
            del damaged[start : start + length]
        elif kind == 2:
            damaged[start:start] = damaged[start : start + length] * chance.choice((1, 2, 50))
        elif kind == 3:
            damaged[start:start] = chance.choice(_MARKS) * chance.choice((1, 1, 3, 200))
        elif kind == 4:
            other = chance.randrange(len(damaged))
            damaged[start : start + length] = damaged[other : other + length]
        else:
            del damaged[start:]
    return bytes(damaged)


def mutate_zip(content: bytes, chance: random.Random) -> bytes:
    """Return a zip with wounds inside: a damaged member, a lost one, one too many."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as whole,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as damaged,
    ):
        names = [name for name in whole.namelist() if not name.endswith("/")]
        chosen = set(chance.sample(names, min(len(names), chance.choice((1, 1, 2, 5)))))
        for name in names:
            member = whole.read(name)
            if name in chosen:
                kind = chance.randrange(4)
                if kind == 0:
                    continue
                member = b"" if kind == 1 else mutate(member, chance)
            damaged.writestr(name, member)
    return packed.getvalue()


def damaged(seed: Path, chance: random.Random) -> bytes:
    """Return a damaged copy of a seed; half of the archives are damaged inside."""
    content = seed.read_bytes()
    if zipfile.is_zipfile(seed) and chance.random() < 0.6:
        return mutate_zip(content, chance)
    return mutate(content, chance)


def _take(source: Source, rows: Rows) -> None:
    with tempfile.TemporaryDirectory() as folder:
        masking = Masking(lambda text: mask_text(text, "en"), candidate("en"), secret_candidate())
        with Store(Path(folder) / "memoirist.duckdb").writing() as tx:
            forget(tx, source.id)
            take(tx, source, rows, masking, source.added_at)


def attempt(path: Path) -> str:
    """Extract and split one file and tell how that ended."""
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as unpacked:
        return _attempt(path, now, Path(unpacked))


def _attempt(path: Path, now: datetime, unpacked: Path) -> str:
    try:
        source: Source = read_source(discover([str(path)], unpacked)[0], now)
        rows = extract(source, ExtractSettings(workers=1, anonymise=source.kind == "chat"))
        if rows.exchanges is not None:
            _take(source, rows)
        for document in rows.documents:
            mine = [block for block in rows.blocks if block.document_id == document.id]
            settings = PassageSettings.model_validate({})
            if source.kind == "chat":
                mine = [block for block in mine if block.kind == "turn"]
                speaker = next((block.speaker for block in mine if block.speaker), "")
                split_chat(document, mine, speaker or "", settings, now)
            else:
                split_prose(document, mine, settings, now)
    except SourceError as error:
        told = str(error)
        return type(error).__name__ if "\n" not in told and error.next_step else f"FAULT {told!r}"
    except BaseException as error:  # noqa: BLE001 - the very thing that is looked for
        return f"FAULT {type(error).__name__}: {str(error)[:200]}"
    return "rows"


def _serve(pipe: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    while True:
        path = pipe.recv()
        began = time.monotonic()
        verdict = attempt(path)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        pipe.send(Outcome(verdict=verdict, seconds=time.monotonic() - began, peak_mb=peak))


class Worker:
    """A child process that extracts one file after the other and is replaced when it fails."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def run(self, path: Path) -> Outcome:
        """Extract a file in the child; a child that hangs or dies is a fault."""
        self.pipe.send(path)
        try:
            if self.pipe.poll(LIMIT_SECONDS):
                outcome: Outcome = self.pipe.recv()
                return outcome
            verdict = f"FAULT no end after {LIMIT_SECONDS:.0f} s"
        except (EOFError, ConnectionResetError):
            self.process.join()
            verdict = f"FAULT the process ended with {self.process.exitcode}"
        self.close()
        self._start()
        return Outcome(verdict=verdict, seconds=LIMIT_SECONDS, peak_mb=0)

    def close(self) -> None:
        """End the child."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def cases(seeds: Sequence[Path], seed: int) -> Iterator[tuple[Path, bytes]]:
    """Give (seed file, damaged content) without end, every format as often as the others."""
    chance = random.Random(seed)
    by_suffix: dict[str, list[Path]] = {}
    for path in seeds:
        by_suffix.setdefault(path.suffix.lower(), []).append(path)
    while True:
        for suffix in sorted(by_suffix):
            path = chance.choice(by_suffix[suffix])
            yield path, damaged(path, chance)


def fuzz(
    seeds: Sequence[Path], go_on: Callable[[int], bool], seed: int, folder: Path
) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Return how many cases of each suffix ended how, and a line for each fault.

    `go_on` gets the number of cases done. The files of faults stay in `folder`.
    """
    ended: Counter[tuple[str, str]] = Counter()
    faults: list[str] = []
    worker = Worker()
    try:
        for n, (path, content) in enumerate(cases(seeds, seed)):
            if not go_on(n):
                break
            case = folder / f"{seed}-{n}-{path.stem[:30]}{path.suffix}"
            case.write_bytes(content)
            outcome = worker.run(case)
            ended[path.suffix, outcome.verdict.split(":")[0]] += 1
            if outcome.is_fault:
                faults.append(f"{case.name}: {outcome.verdict} ({outcome.seconds:.1f} s)")
            else:
                case.unlink()
    finally:
        worker.close()
    return ended, faults


def _seeds(pointers: Sequence[str], largest: int = 400_000) -> list[Path]:
    paths = [Path(pointer) for pointer in pointers] or list(SOURCES)
    files = [f for p in paths for f in (sorted(p.rglob("*")) if p.is_dir() else [p])]
    return [
        f
        for f in files
        if f.suffix.lower() in (*SUFFIXES, *PACKED) and f.is_file() and f.stat().st_size <= largest
    ]


def main() -> None:
    """Fuzz for some time and print what came of it; end with 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="*", help="files and folders; default: the samples")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    told = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="memoirist-fuzz-"))
    end = time.monotonic() + told.seconds
    ended, faults = fuzz(_seeds(told.seeds), lambda _: time.monotonic() < end, told.seed, folder)
    for (suffix, verdict), n in sorted(ended.items()):
        sys.stdout.write(f"{suffix:<10} {verdict:<24} {n:>6}\n")
    sys.stdout.write(f"{ended.total()} cases, {len(faults)} faults, seed {told.seed}\n")
    for fault in faults:
        sys.stdout.write(f"  {fault}\n")
    if faults:
        sys.exit(f"the files lie in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
