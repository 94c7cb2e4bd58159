"""Frozen feature networks: their weights by name or file, and the statistics of their channels.

Answers: which features of an image are compared?
"""

__all__ = ["backbone", "statistics", "weight_files"]
