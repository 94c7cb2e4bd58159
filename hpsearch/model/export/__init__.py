"""A trained model as one graph, from an image's pixels to its score.

Answers: how do other runtimes use it?
"""

__all__ = ["export", "format_names"]
