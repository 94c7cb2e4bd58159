"""Preparation of raw data: from what a source gives to images that a study reads.

Answers: which tiles of a slide are normal tissue, which are anomalous, and how are they stained?
"""

__all__ = ["camelyon16", "patches", "settings"]
