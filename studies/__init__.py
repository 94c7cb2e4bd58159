"""Experiment definitions: one YAML a study. No code that trains."""
