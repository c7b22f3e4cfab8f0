"""One page in which a person walks through a graph and its gradients."""

from chainrule.explorer.explore import Explorer, explore
from chainrule.explorer.history import History

__all__ = ["Explorer", "History", "explore"]
