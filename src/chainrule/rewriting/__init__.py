"""Functions of the user's as they are traced: branches compute both their sides and pick."""
