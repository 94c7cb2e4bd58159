"""What a handful of labelled anomalies can decide, computed from stored scores alone.

Answers: which configuration is best, how sure is that, and from which score on is an image flagged?
"""

__all__ = ["auroc", "averaging", "delong", "heads", "selection", "stored_scores", "threshold"]
