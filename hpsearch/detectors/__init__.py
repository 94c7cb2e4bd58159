"""Detectors: anything that is fitted on normal images and scores any image."""
