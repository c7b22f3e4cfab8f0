"""Functions of the user's as they are traced: run from rewritten syntax trees, so that picks and
branches are computed by ``where`` instead of being paths."""
