"""Secrets in text that people read: what a URL holds beside its place."""

import re

# To the last `@` of the word: a password that nobody quoted may hold any character.
_URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)\S*@")
_WITHOUT_SCHEME = re.compile(r"(?<![^\s'\"(=])[^\s:/@'\"(=]+:(?!//)\S+@(?=[\w.\[-])")
_QUERY = re.compile(
    r"\b([\w.-]*(?:password|passwd|pwd|token|secret|credential|api_?key|access_?key|signature))="
    r"[^\s&'\")]+",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """`text` with `***` for user and password of every URL, and for the secrets of its query."""
    text = _URL.sub(r"\1***@", text)
    text = _WITHOUT_SCHEME.sub("***@", text)
    return _QUERY.sub(r"\1=***", text)
