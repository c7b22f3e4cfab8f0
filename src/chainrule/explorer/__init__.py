"""One page in which a person walks through a graph and its gradients."""

from chainrule.explorer.explorer import Explorer, explore
from chainrule.explorer.recording import Recording
from chainrule.explorer.training import TrainingSet

__all__ = ["Explorer", "Recording", "TrainingSet", "explore"]
