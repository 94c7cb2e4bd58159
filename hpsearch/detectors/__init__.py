"""Detectors: anything that is fitted on normal images and scores any image.

Answers: how abnormal is this image?
"""

__all__ = ["base", "dpa"]
