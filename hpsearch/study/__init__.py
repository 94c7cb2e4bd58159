"""The main job: check everything, search, train the winner, and say how good it is.

Answers: what becomes of a study from its first check to its last figure?
"""

__all__ = ["finish", "inputs", "repair", "result", "run", "scale", "space"]
