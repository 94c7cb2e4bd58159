"""Example images of a final model: the clearest and the most wrong, with their maps."""
