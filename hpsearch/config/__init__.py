"""A study as it is written down: its settings, checked, and the configurations that they span.

Answers: what does the user ask for?
"""

__all__ = ["space", "spec"]
