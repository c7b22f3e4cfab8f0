"""Pictures of computational graphs, with every value and gradient on them."""

from chainrule.drawing.frames import Frames, backward_frames
from chainrule.drawing.graph import GraphDrawing, draw_graph
from chainrule.drawing.selection import trace

__all__ = ["Frames", "GraphDrawing", "backward_frames", "draw_graph", "trace"]
