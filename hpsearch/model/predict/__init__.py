"""Scores of any number of images, written so that a run that was stopped goes on.

Answers: which of these files are anomalies, and where?
"""

__all__ = ["heat", "inputs", "predict", "tables"]
