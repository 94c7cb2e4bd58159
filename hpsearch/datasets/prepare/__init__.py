"""Preparation of raw data: from what a source gives to images that a study reads."""
