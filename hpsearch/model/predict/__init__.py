"""Scores of any number of images, written so that a run that was stopped goes on."""
