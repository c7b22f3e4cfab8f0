"""Runs tests on the machine's other Pythons, each in an environment of its own.

``python tests/pythons.py FOLDER`` with a Python where the package is installed makes environments
in FOLDER with the package as it is, ``python tests/pythons.py FOLDER TEST...`` runs tests in them,
which are files. Of libraries only wheels are installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from threading import Lock

ROOT = Path(__file__).parents[1]
TOOLS = ("hypothesis", "pytest", "pytest-xdist", "scipy")
INSTALL = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
PYTHON = Path("bin", "python")
OWN = f"python3.{sys.version_info.minor}{sys.abiflags}"
BUILDING = Lock()
"""The package is built in its own folder."""


def main() -> None:
    """Make environments; or run, say on which, and fail if tests fail on one, or run on none."""
    folder, tests = Path(sys.argv[1]), sys.argv[2:]
    pythons = dict(find())
    if not tests:
        with ThreadPoolExecutor() as pool:
            for _ in pool.map(make, pythons.values(), [folder / name for name in pythons]):
                pass
        return
    passed = [name for name in pythons if (folder / name).exists()]
    for name in passed:
        run(folder / name, tests)
    print(f"Other Pythons tested: {', '.join(passed) or 'none'}")
    if pythons and not passed:
        raise SystemExit("Others are there, but none could be used")


def find() -> Iterator[tuple[str, Path]]:
    """The Pythons of versions that the package supports, one a version; says which don't work."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    folders = [*pyenv.glob("versions/*/bin"), *map(Path, os.get_exec_path())]
    waiting: dict[str, list[Path]] = {}
    for path in (path for folder in folders for path in folder.glob("python3.*")):
        version = re.fullmatch(r"python3\.(\d+)t?", path.name)
        if version and int(version[1]) >= 10 and path.name != OWN:
            waiting.setdefault(path.name, []).append(path)
    for name, paths in sorted(waiting.items()):
        works = (path for path in paths if call(path, "-c", "import ensurepip, venv", quiet=True))
        if found := next(works, None):
            yield name, found
        else:
            print(f"{name}: does not run or makes no environments, not tested")


def make(base: Path, environment: Path) -> None:
    """Make an environment with libraries and package; none where they can't be had for a Python."""
    print(f"{base.name}: {base}", flush=True)
    libraries = [line for line in metadata.requires("chainrule") or () if "extra ==" not in line]
    must(base, "-m", "venv", str(environment))
    if not call(environment / PYTHON, *INSTALL, "--only-binary=:all:", *libraries, *TOOLS):
        print(f"{base.name}: no wheels of the libraries, not tested")
        shutil.rmtree(environment)
        return
    with BUILDING:
        must(environment / PYTHON, *INSTALL, "--no-deps", str(ROOT))


def run(environment: Path, tests: list[str]) -> None:
    """Run the tests in an environment."""
    python = environment / PYTHON
    must(python, "-c", "import chainrule; print(chainrule.build_info())")
    must(python, "-m", "pytest", "-n", "auto", "--dist", "worksteal", *tests)


def call(python: Path, *arguments: str, quiet: bool = False) -> bool:
    """Whether a Python ends well, called in the project's folder."""
    output = subprocess.DEVNULL if quiet else None
    command = [str(python), *arguments]
    return subprocess.run(command, cwd=ROOT, stdout=output, stderr=output).returncode == 0


def must(python: Path, *arguments: str) -> None:
    """Call a Python that has to end well."""
    if not call(python, *arguments):
        raise SystemExit(f"{python}: failed: {' '.join(arguments)}")


if __name__ == "__main__":
    main()
