"""Every snippet and notebook of the documentation runs, and what it lists is complete."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import chainrule.math
from chainrule.rules import OPERATIONS, Operation
from chainrule.tracebacks import SWITCH

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def snippets(page: Path) -> list[str]:
    """The Python of a page, block by block."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def installed(page: Path) -> list[str]:
    """The extras that a page says to install, before its first snippet."""
    head = page.read_text().partition("```python")[0]
    command = re.search(r"Install: `pip install (?:\.|'\.\[([\w,]+)\]')`", " ".join(head.split()))
    assert command, f"{page.name} does not say at its top what to install"
    return (command[1] or "").split(",")


def absent(extras: list[str]) -> list[str]:
    """The modules of this environment that are not there with chainrule and those extras alone."""
    there: set[str] = set()
    waiting = [("chainrule", extra) for extra in ["", *extras]]
    for name, extra in waiting:
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                found = canonicalize_name(needed.name)
                wanted = {(found, inner) for inner in ["", *needed.extras]}
                waiting.extend(wanted - set(waiting))
        there.add(canonicalize_name(name))
    return [
        module
        for module, owners in metadata.packages_distributions().items()
        if there.isdisjoint(map(canonicalize_name, owners))
    ]


RUN = """
import json, sys
from importlib.abc import MetaPathFinder

page, blocks, absent = json.load(sys.stdin)

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
values = {"__name__": "__main__"}
for i, block in enumerate(blocks):
    exec(compile(block, f"{page}, block {i + 1}", "exec"), values)
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run one after the other, with nothing but what it says to install."""
    monkeypatch.delenv(SWITCH, raising=False)
    given = json.dumps([page.name, snippets(page), absent(installed(page))])
    words = [sys.executable, "-W", "error", "-c", RUN]
    done = subprocess.run(words, input=given, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_examples_say_what_to_install() -> None:
    """As every page does; a page that needs more than it says fails above."""
    assert installed(ROOT / "examples" / "README.md") == ["examples"]
    assert {"pytest", "sklearn", "scipy"} <= {*absent([])}
    assert "numpy" not in absent([])
    assert "sklearn" not in absent(["learn"])


def test_there_are_snippets() -> None:
    """The pattern that finds them does find them."""
    assert sum(len(snippets(page)) for page in PAGES) >= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    """Files that a page links to are there."""
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert link.startswith("http") or (page.parent / link).exists(), link


def test_every_operation_is_documented() -> None:
    """Each row says what it computes, and the help of chainrule.math what all of its do."""
    for row in OPERATIONS.values():
        assert row.summary.endswith("."), row
        if row.public and isinstance(getattr(chainrule.math, row.public), Operation):
            assert f"- {row.public}: {row.summary}\n" in (chainrule.math.__doc__ or "")


def test_the_page_of_operations_is_of_the_table() -> None:
    """Its tables name operations that there are."""
    text = (ROOT / "docs" / "operations.md").read_text()
    cells = re.findall(r"(?m)^\| (`[^:|]*)", text)
    named = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert len(named) > 60
    assert set(named) <= set(OPERATIONS)


@pytest.mark.whole
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.ipynb")), ids=lambda p: p.name)
def test_notebooks_run(path: Path) -> None:
    """A notebook runs from top to bottom and prints what is kept in it."""
    kept = nbformat.read(path, as_version=4)
    run = nbformat.read(path, as_version=4)
    NotebookClient(run, timeout=120, kernel_name="python3").execute()
    for before, after in zip(kept.cells, run.cells, strict=True):
        if before.cell_type == "code":
            assert texts(after) == texts(before)


def texts(cell: nbformat.NotebookNode) -> list[str]:
    """The text a cell put out."""
    return [output.get("text") or output["data"]["text/plain"] for output in cell.outputs]


@pytest.mark.whole
def test_pictures_are_the_ones_drawn(tmp_path: Path) -> None:
    """The script that draws the pictures of the documentation runs."""
    script = (ROOT / "docs" / "pictures.py").read_text()
    copy = tmp_path / "pictures.py"
    copy.write_text(script)
    subprocess.run([sys.executable, str(copy)], check=True)
    drawn = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert set(drawn) <= {path.name for path in (ROOT / "docs" / "images").iterdir()}
