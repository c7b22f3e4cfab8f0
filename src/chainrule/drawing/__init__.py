"""Pictures of computational graphs, with every value and gradient on them."""

from chainrule.drawing.graph import GraphDrawing, draw_graph
from chainrule.drawing.selection import trace

__all__ = ["GraphDrawing", "draw_graph", "trace"]
