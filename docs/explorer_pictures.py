"""Takes the pictures of the explorer for the documentation, in Chromium, into docs/images."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from chainrule import Node, backward_frames, explore

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from explorer_graphs import dense_unit, loop, network, practised

IMAGES = Path(__file__).parent / "images"


@contextmanager
def opened(
    browser: Browser,
    root: Node,
    title: str,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Page]:
    """The page of a graph in the browser."""
    wanted: dict[str, Any] = {"viewport": {"width": 1280, "height": 720}} | settings
    with tempfile.TemporaryDirectory() as folder:
        page_of = explore(root, title=title, **(options or {}))
        path = Path(page_of.save(Path(folder, "page.html")))
        context = browser.new_context(**wanted)
        page = context.new_page()
        page.goto(path.as_uri())
        yield page
        context.close()


def take(page: Page, name: str) -> None:
    """Keep what the page shows."""
    page.mouse.move(2, 2)
    page.wait_for_timeout(300)
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(IMAGES / name, optimize=True)


def walk(page: Page, name: str) -> None:
    """A moving picture of the whole walk."""
    frames: list[Image.Image] = []
    times = []
    page.click("#first")
    steps = int(page.evaluate("walk.length"))
    for step in range(steps + 1):
        page.wait_for_timeout(120)
        image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        frames.append(image)
        times.append(2600 if step == steps else 700 if step < steps // 2 else 1300)
        page.click("#next")
    # The colours of the last frame, which has them all, serve for every one.
    palette = frames[-1].quantize(256)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    frames[0].save(
        IMAGES / name,
        save_all=True,
        append_images=frames[1:],
        duration=times,
        loop=0,
        optimize=True,
    )


def main() -> None:
    """Take them all."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        with opened(browser, dense_unit(), "A dense unit") as page:
            page.evaluate("go(walk.seedStep + 1)")
            take(page, "explorer-unit.png")
            walk(page, "explorer.gif")
        with opened(browser, network((2, 16, 16, 1), 0.7), "A 2-16-16-1 network") as page:
            page.click("#last")
            take(page, "explorer-folded.png")
            page.locator(".box.group", has_text="layer 1").click()
            page.locator(".box.group", has_text="neuron 5").click()
            take(page, "explorer-unfolded.png")
        with opened(browser, loop(), "A price after 252 days") as page:
            page.locator(".box.group").click()
            page.click("#last")
            page.evaluate("changeView(() => picture.reveal(findings.search('price₁₇')[0]))")
            take(page, "explorer-loop.png")
        with opened(browser, network((2, 3, 1), 8.0), "Saturated") as page:
            page.evaluate("for (const id of ['leaves', 'find']) byId(id).open = false")
            page.click("#last")
            page.click("#health summary")
            page.wait_for_selector("#health-body p")
            page.evaluate("mark(findings.quiet().saturated, ''); picture.begin()")
            page.evaluate("byId('health').scrollIntoView()")
            take(page, "explorer-saturated.png")
        loss, points = practised()
        with opened(browser, loss, "Training", {"training": points}) as page:
            page.evaluate("trainBy(200); byId('practice').scrollIntoView()")
            take(page, "explorer-training.png")
        with opened(browser, dense_unit(), "A dense unit", color_scheme="dark") as page:
            page.evaluate("go(walk.seedStep + 2)")
            take(page, "explorer-dark.png")
        phone: dict[str, Any] = {
            "viewport": {"width": 390, "height": 844},
            "is_mobile": True,
            "has_touch": True,
        }
        with opened(browser, dense_unit(), "A dense unit", **phone) as page:
            page.evaluate("go(walk.seedStep + 1)")
            take(page, "explorer-phone.png")
        browser.close()
    backward_frames(dense_unit()).save(IMAGES / "backward.gif", dpi=96)


if __name__ == "__main__":
    main()
