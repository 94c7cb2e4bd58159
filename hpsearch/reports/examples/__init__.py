"""Example images of a final model: the clearest and the most wrong, with their maps.

Answers: what does the model see in an image?
"""

__all__ = ["make", "store"]
