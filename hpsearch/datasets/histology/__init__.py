"""Drawn tissue: tiles in H&E-like stains, rendered from a seed, grouped by slide.

Answers: what do the embedded data sets look like?
"""

__all__ = ["generate"]
