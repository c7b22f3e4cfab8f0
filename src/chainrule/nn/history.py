"""What training tells: its history, and the error of one that diverged."""

from __future__ import annotations

from dataclasses import dataclass, field


class DivergenceError(ArithmeticError):
    """Training whose loss is no longer finite, or 100,000 times as large as at the start."""


@dataclass
class History:
    """What happened in training.

    Attributes:
        loss: the mean loss of each epoch, as it was during the epoch.
        validation_loss: the loss on the validation data after each epoch; empty without such data.
        seconds: the time from the call, compiling included, to the end of each epoch.
        steps: how many updates there were.
        best_epoch: the epoch, from 0, with the lowest validation loss (without validation, loss).
        stopped: why it ended: "epochs", "patience", "callback" or "interrupted".
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    steps: int = 0
    best_epoch: int = -1
    stopped: str = "epochs"

    def __repr__(self) -> str:
        last = f", loss {self.loss[-1]:.4g}" if self.loss else ""
        if self.validation_loss:
            last += f", validation loss {self.validation_loss[-1]:.4g}"
        return f"History({len(self.loss)} epochs{last}, stopped by {self.stopped})"
