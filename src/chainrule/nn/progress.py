"""The bar that shows how far training is."""

from __future__ import annotations

import sys
from typing import Any

from .history import History


def progress_bar(epochs: int, progress: bool | None) -> Any:
    """A progress bar, or None where none is wanted."""
    if progress is None:
        progress = sys.stderr.isatty() or _in_notebook()
        if not progress:
            return None
        try:
            from tqdm.auto import tqdm
        except ModuleNotFoundError:
            return None
    elif not progress:
        return None
    else:
        try:
            from tqdm.auto import tqdm
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "the progress bar needs tqdm: pip install 'chainrule[learn]'", name="tqdm"
            ) from None
    return tqdm(total=epochs, unit="epoch", leave=True)


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def show(bar: Any, history: History) -> None:
    """Go on by one epoch."""
    text = f"loss {history.loss[-1]:.4g}"
    if history.validation_loss:
        text += f", validation {history.validation_loss[-1]:.4g}"
    bar.set_postfix_str(text, refresh=False)
    bar.update()
