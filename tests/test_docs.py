"""Every snippet and notebook of the documentation runs, and what it lists is complete."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from chainrule.rules import OPERATIONS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def snippets(page: Path) -> list[str]:
    """The Python of a page, block by block."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run one after the other, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    values: dict[str, object] = {"__name__": "__main__"}
    for i, block in enumerate(snippets(page)):
        exec(compile(block, f"{page.name}, block {i + 1}", "exec"), values)


def test_there_are_snippets() -> None:
    """The pattern that finds them does find them."""
    assert sum(len(snippets(page)) for page in PAGES) >= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    """Files that a page links to are there."""
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert link.startswith("http") or (page.parent / link).exists(), link


def test_every_operation_is_documented() -> None:
    """The list of operations names the whole table."""
    text = (ROOT / "docs" / "operations.md").read_text()
    missing = [name for name in OPERATIONS if f"`{name}`" not in text]
    assert not missing


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
