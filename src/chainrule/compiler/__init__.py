"""From the graph to machine code: trace, tape, lowering, kernel."""
