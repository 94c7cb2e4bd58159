"""`synthetic-histology`: tiles of H&E-like tissue, rendered from a seed, grouped by slide.

Answers: what does the embedded data set look like?
"""

__all__ = ["generate"]
