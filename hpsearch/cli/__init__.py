"""The command line: parse, call the library, print. Nothing else in the project prints.

Answers: what does a user type, and what is shown?
"""

__all__ = ["main"]
