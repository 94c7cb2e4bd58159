"""Files, text, caches, child processes and faults of the system: what every room stands on.

Answers: how is a file written whole or not at all, how are children run, and how is a fault told?
"""

__all__ = ["cache", "faults", "files", "processes", "text"]
