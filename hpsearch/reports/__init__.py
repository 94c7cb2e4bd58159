"""Figures from stored results: each file turns what was computed elsewhere into a picture."""
