"""A trained model as one graph, from an image's pixels to its score, for other runtimes."""
