"""The attributes that Graphviz knows, and which of them a drawing lets its user set for all."""

from __future__ import annotations

import difflib
from typing import Final

_EVERY: Final = " class colorscheme comment fontcolor fontname fontsize href id label nojustify"
_SHOWN: Final = _EVERY + " color fillcolor gradientangle layer penwidth style target tooltip URL"
KNOWN: Final = {
    "graph": _SHOWN + " _background area bb beautify bgcolor center charset clusterrank compound"
    " concentrate Damping defaultdist dim dimen diredgeconstraints dpi epsilon esep fontnames"
    " fontpath forcelabels imagepath inputscale K label_scheme labeljust labelloc landscape"
    " layerlistsep layers layerselect layersep layout levels levelsgap lheight linelength lp"
    " lwidth margin maxiter mclimit mindist mode model newrank nodesep normalize notranslate"
    " nslimit nslimit1 oneblock ordering orientation outputorder overlap overlap_scaling"
    " overlap_shrink pack packmode pad page pagedir pencolor peripheries quadtree quantum rankdir"
    " ranksep ratio remincross repulsiveforce resolution root rotate rotation scale searchsize"
    " sep showboxes size smoothing sortv splines start stylesheet TBbalance truecolor viewport"
    " voro_margin xdotversion",
    "node": _SHOWN + " distortion fixedsize group height image imagepos imagescale labelloc margin"
    " ordering orientation peripheries pin pos rects regular root samplepoints shape shapefile"
    " showboxes sides skew sortv vertices width xlabel xlp z",
    "edge": _SHOWN + " arrowhead arrowsize arrowtail constraint decorate dir edgehref edgetarget"
    " edgetooltip edgeURL head_lp headclip headhref headlabel headport headtarget headtooltip"
    " headURL labelangle labeldistance labelfloat labelfontcolor labelfontname labelfontsize"
    " labelhref labeltarget labeltooltip labelURL len lhead lp ltail minlen pos samehead sametail"
    " showboxes tail_lp tailclip tailhref taillabel tailport tailtarget tailtooltip tailURL weight"
    " xlabel xlp",
}
OWN: Final[dict[str, tuple[str, ...]]] = {
    "graph": (),
    "node": ("label", "shape", "tooltip"),
    "edge": ("label",),
}
"""What each box or arrow has of its own, so that it can't be set for all."""


def check_attribute(kind: str, name: str) -> None:
    """Raise ValueError for an attribute that would be without effect, saying why."""
    if name in OWN[kind]:
        raise ValueError(
            f"each {kind} has a {name} of its own, and none for all; change one with"
            f' drawing.{kind}("n0", …), by its name in drawing.source'
        )
    known = KNOWN[kind].split()
    if name in known:
        return
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; do you mean {near[0]}?" if near else ""
    if name == "transparent":
        hint = '; write bgcolor="transparent", or draw_graph(…, transparent=True)'
    raise ValueError(f"Graphviz knows no attribute {name!r} of a {kind}{hint}")
