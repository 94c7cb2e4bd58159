"""Choices made again with fewer or more labelled anomalies.

Answers: how many are enough?
"""

__all__ = ["curves", "simulation", "study_curves"]
