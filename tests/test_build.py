"""Building the package: what sdist and wheel contain, and what runs where there is no compiler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import chainrule

ROOT = Path(__file__).parents[1]
EXTENSION = f"chainrule/_engine{sysconfig.get_config_var('EXT_SUFFIX')}"
NOTE = "chainrule/not_compiled.txt"
CC = (sysconfig.get_config_var("CC") or "cl").split()[0]
CAN_COMPILE = bool(shutil.which(CC)) and Path(sysconfig.get_path("include"), "Python.h").is_file()

pytestmark = pytest.mark.whole


def python(code: str, folder: Path, **environment: str) -> str:
    """What a program prints, run in a folder."""
    inherited = {name: value for name, value in os.environ.items() if name != "CHAINRULE_PURE"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=folder, env=inherited | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(kind: str, tree: Path, **environment: str) -> Path:
    """An sdist or a wheel of a source tree."""
    code = f"from setuptools.build_meta import build_{kind} as build; build('dist')"
    shutil.rmtree(tree / "dist", ignore_errors=True)
    python(code, tree, **environment)
    (built,) = (tree / "dist").iterdir()
    return built


def names(wheel: Path) -> set[str]:
    """The files of the package in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.startswith("chainrule/")}


def installed(wheel: Path, folder: Path, **environment: str) -> dict[str, str | bool]:
    """What build_info() says where a wheel is unpacked."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    code = "import json, chainrule; print(json.dumps([chainrule.__file__, chainrule.build_info()]))"
    info: dict[str, str | bool]
    file, info = json.loads(python(code, folder, PYTHONPATH=str(folder), **environment))
    assert Path(file).is_relative_to(folder)
    return info


def sources(tree: Path) -> set[str]:
    """The files of the package, without the engine in C."""
    files = (path for path in (tree / "src/chainrule").rglob("*") if path.is_file())
    return {
        path.relative_to(tree / "src").as_posix() for path in files if path.parent.name != "_engine"
    }


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source tree, as unpacked from an sdist."""
    folder = tmp_path_factory.mktemp("build")
    built = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so", "*.pyd")
    shutil.copytree(ROOT / "src", folder / "copy" / "src", ignore=built)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "copy")
    with tarfile.open(build("sdist", folder / "copy")) as sdist:
        sdist.extractall(folder, filter="data")
    (unpacked,) = folder.glob("chainrule-*")
    return unpacked


def test_wheel_with_and_without_compiler(tree: Path, tmp_path: Path) -> None:
    """Where the compiler fails, the package is whole but for its extension, and says why.

    In the same tree nothing of that is left once it works, nor of an extension once it fails.
    """
    wheel = build("wheel", tree, CC="false")
    assert names(wheel) == sources(tree) | {NOTE}
    info = installed(wheel, tmp_path / "failed")
    assert (info["compiled"], "false" in str(info["reason"])) == (False, True)

    wheel = build("wheel", tree)
    assert names(wheel) == sources(tree) | {EXTENSION if CAN_COMPILE else NOTE}
    info = installed(wheel, tmp_path / "built")
    assert info["compiled"] is CAN_COMPILE
    assert bool(info["reason"]) is not CAN_COMPILE
    info = installed(wheel, tmp_path / "built", CHAINRULE_PURE="1")
    assert (info["compiled"], info["reason"]) == (False, "CHAINRULE_PURE is set")

    (tree / "src/chainrule/_engine/module.c").touch()
    assert names(build("wheel", tree, CC="false")) == sources(tree) | {NOTE}


def test_wheel_without_engine(tree: Path, tmp_path: Path) -> None:
    """CHAINRULE_PURE leaves the extension out, and the wheel is for every machine."""
    wheel = build("wheel", tree, CHAINRULE_PURE="1")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert names(wheel) == sources(tree) | {NOTE}
    info = installed(wheel, tmp_path)
    reason = "CHAINRULE_PURE was set when it was installed"
    assert (info["compiled"], info["reason"]) == (False, reason)


def test_sdist_has_the_sources(tree: Path) -> None:
    """An sdist has the engine's C files, headers too."""
    engine = ROOT / "src/chainrule/_engine"
    expected = {path.name for path in engine.iterdir()}
    assert expected == {path.name for path in (tree / "src/chainrule/_engine").iterdir()}
    assert {".c", ".h"} == {Path(name).suffix for name in expected}


def test_this_installation() -> None:
    """The engine in C runs in these tests, unless it is not wanted or can't be built."""
    pure = bool(os.environ.get("CHAINRULE_PURE"))
    assert chainrule.build_info()["compiled"] is (CAN_COMPILE and not pure)
