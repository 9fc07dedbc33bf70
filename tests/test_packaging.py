"""The wheel, installed where people have packages named ``core``, ``domains`` and ``configs`` of their own."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

SOURCES = ("core", "domains", "configs", "nichenas")
CODE = """
import configs, core, core.space, domains
import nichenas, nichenas.configs, nichenas.core, nichenas.core.space, nichenas.domains
assert (core.NAME, core.space.NAME, domains.NAME, configs.NAME) == ("my core", "my space", "my domains", "my configs")
assert nichenas.core.space.SearchSpace and not hasattr(nichenas.core.space, "NAME")
assert len({module.__file__ for module in (core, nichenas.core, domains, nichenas.domains, nichenas)}) == 5
"""
SCRIPT = f"""{CODE}
import importlib.metadata
from nichenas.core.config_files import read_layers
assert nichenas.__version__ == importlib.metadata.version("nichenas")
assert read_layers("gnn/cora")[1][0]["name"] == "cora"
print("both")
"""
TEST = f"""{CODE}
def test_both(mine):
    assert mine is core
    assert nichenas.core.space.Choice("a", (1, 2)).options == (1, 2)
"""


def run(command: Sequence[str | Path], folder: Path, text: str | None = None) -> str:
    """Returns the standard output of a command that must succeed."""
    done = subprocess.run([str(word) for word in command], cwd=folder, input=text, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: what earlier builds left beside the sources must not end in it."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copyfile(ROOT / name, folder / "source" / name)
    try:
        isolated = int(importlib.metadata.version("setuptools").split(".")[0]) < 77
    except importlib.metadata.PackageNotFoundError:
        isolated = True
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "out", "./source"]
    done = subprocess.run(
        [*command, *([] if isolated else ["--no-build-isolation"])], cwd=folder, capture_output=True, text=True
    )
    if done.returncode and isolated and "setuptools>=77" in done.stderr:
        pytest.skip("no setuptools>=77 to build a wheel with, and none to be downloaded")
    assert done.returncode == 0, done.stderr
    (file,) = (folder / "out").glob("*.whl")
    return file


@pytest.fixture(scope="module")
def programs(wheel: Path) -> Path:
    """The ``bin`` folder of an environment with the wheel; everything else comes from the present environment."""
    environment = wheel.parent / "environment"
    run([sys.executable, "-m", "venv", "--without-pip", environment], wheel.parent)
    python = environment / "bin" / "python"
    run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel], wheel.parent)
    (packages,) = environment.glob("lib/python*/site-packages")
    # Folders that a .pth file names have no .pth files read in them, so editable installs do not count.
    present = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (packages / "present.pth").write_text("".join(f"{path}\n" for path in present))
    return python.parent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's folder."""
    for name, text in (
        ("core/__init__.py", "NAME = 'my core'\n"),
        ("core/space.py", "NAME = 'my space'\n"),
        ("core/cli.py", "raise RuntimeError('not mine to import')\n"),
        ("domains/__init__.py", "NAME = 'my domains'\n"),
        ("domains/gnn/__init__.py", "raise RuntimeError('not mine to import')\n"),
        ("configs/__init__.py", "NAME = 'my configs'\n"),
        ("configs/gnn/cora.yaml", "name: mine\n"),
        ("script.py", SCRIPT),
        ("conftest.py", "import pytest, core\n\n@pytest.fixture\ndef mine():\n    return core\n"),
        ("test_mine.py", TEST),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_the_wheel_holds(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    tops = {name.split("/")[0] for name in held}
    assert len(tops) == 2
    assert "nichenas" in tops
    assert {name.rpartition(".")[2] for name in tops} == {"nichenas", "dist-info"}
    expected = {
        file.relative_to(ROOT).as_posix()
        for name in SOURCES
        for file in (ROOT / name).rglob("*")
        if file.suffix in (".py", ".typed", ".yaml", ".cpp", ".html") and not file.name.startswith(".")
    }
    expected = {name if name.startswith("nichenas/") else f"nichenas/{name}" for name in expected}
    assert {name for name in held if name.startswith("nichenas/")} == expected
    for name in ("py.typed", "core/figures/templates/base.html", "configs/gnn/cora.yaml"):
        assert f"nichenas/{name}" in held
    assert any(name.endswith(".cpp") for name in held)
    metadata = next(name for name in held if name.endswith("/METADATA"))
    text = zipfile.ZipFile(wheel).read(metadata).decode()
    assert "Author: nichenas developers" in text
    assert "Classifier: Typing :: Typed" in text


def test_a_script_beside_packages_of_the_same_names(programs: Path, project: Path) -> None:
    assert run([programs / "python", "script.py"], project) == "both\n"


def test_an_interpreter_that_looks_in_the_working_folder_first(programs: Path, project: Path) -> None:
    assert run([programs / "python", "-c", f"{CODE}\nprint('both')"], project) == "both\n"
    lines = "\n".join(line for line in CODE.splitlines() if line)
    assert run([programs / "python", "-i", "-q"], project, f"{lines}\nprint('both')\n") == "both\n"


def test_a_search_from_the_command_line(programs: Path, project: Path) -> None:
    found = run([programs / "nichenas", "list"], project)
    for word in ("gnn/cora", "tabular", "evolution"):
        assert word in found
    words = ["tabular/learning-curves", "search.trials=3", "search.strategy=random", "retrain.seeds=0", "--quiet"]
    found = run([programs / "nichenas", "search", *words, "run.tensorboard=false", "--out", "run"], project)
    assert "3 trials, 0 failed" in found
    assert "<html" in (project / "run" / "report.html").read_text()


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
def test_tests_of_the_project(programs: Path, project: Path, mode: str) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--import-mode={mode}"]
    assert "1 passed" in run([programs / "python", "-m", "pytest", *options], project)
