"""Every snippet and notebook of the documentation runs, and what it lists is complete."""

from __future__ import annotations

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
from pages import PAGES, ROOT, run, snippets, with_outputs, with_tables

import chainrule.math
from chainrule.rules import OPERATIONS, Operation
from chainrule.tracebacks import SWITCH


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its blocks run with nothing but what it says to install, and print what it shows."""
    monkeypatch.delenv(SWITCH, raising=False)
    printed = run(page, tmp_path, absent(installed(page)))
    text = page.read_text()
    assert with_outputs(text, printed) == text, "make pages writes what is printed"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables(page: Path) -> None:
    """Tables of files and of programs are up to date."""
    text = page.read_text()
    assert with_tables(text) == text, "make pages writes them"


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
