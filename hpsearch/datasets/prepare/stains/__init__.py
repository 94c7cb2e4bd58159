"""Stain normalisation: tiles of differently stained slides as if one laboratory had stained them.

Answers: what would this tile look like in the stains of that one?
"""

__all__ = ["normaliser"]
