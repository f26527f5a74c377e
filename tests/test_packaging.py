"""The wheel: one top-level package that works in an environment and a folder of its own."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import HURRIED, ROOT, environment, sets

FOLDERS = ("data", "extractors", "generators", "train", "flows")
SAMPLES = ("memoir.pdf", "interview.vtt", "exchanges.jsonl")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy of the tracked and new files: a build folder of the checkout would leak into it.
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    source = folder / "source"
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check",
         "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_installs_memoirist_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"memoirist"}


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    missing = [
        name for name in tracked if f"memoirist/{name}" not in names and (ROOT / name).exists()
    ]
    assert not missing


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment that has its dependencies and no checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet",
         "--disable-pip-version-check", "--no-deps", "--no-index", str(wheel)],
        check=True, capture_output=True,
    )  # fmt: skip
    # The dependencies are those of the tests' environment. A path that a .pth file adds is not
    # searched for .pth files itself, so the editable install of the checkout stays out.
    site = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    return folder


@pytest.mark.medium
def test_the_main_job_runs_from_a_folder_with_a_data_package_of_its_own(
    installed: Path, tmp_path: Path
) -> None:
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("raise ImportError('the wrong package')\n")
    sources = [str(ROOT / "data" / "samples" / name) for name in SAMPLES]
    kept = {name: value for name, value in environment().items() if name != "PYTHONPATH"}

    def memoirist(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(installed / "bin" / "memoirist"), *arguments],
            cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip

    where = subprocess.run(
        [str(installed / "bin" / "python"), "-c", "import memoirist.data as d; print(d.__file__)"],
        env=kept, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(installed))
    built = memoirist("build", *sources, "--persona", "Edith Thackwray", *sets(*HURRIED))
    assert built.returncode == 0, built.stderr
    answer = memoirist("chat", "--message", "What did your father do?", "--max-tokens", "8")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip()
