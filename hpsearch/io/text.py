"""Text for people: on one line, without secrets of a URL, and no cell that is run as a formula."""

import re
from typing import TypeVar
from urllib.parse import unquote

# To the last `@` of the word: a password that nobody quoted may hold any character.
_URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)\S*@")
_WITHOUT_SCHEME = re.compile(r"(?<![^\s'\"(=])[^\s:/@'\"(=]+:(?!//)\S+@(?=[\w.\[-])")
_QUERY = re.compile(
    r"\b([\w.-]*(?:password|passwd|pwd|token|secret|credential|api_?key|access_?key|signature))="
    r"[^\s&'\")]+",
    re.IGNORECASE,
)
_SHORTEST = 2  # letters of a part of a password that would be hidden in every word
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # OWASP, CSV injection

_Cell = TypeVar("_Cell")


def printable(thing: object) -> str:
    """`str(thing)` on one line, for people: what is not printable escaped, secrets of URLs hidden.

    All that is shown goes through here; the same text twice is the same.
    """
    return redacted(
        "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode()
            for character in str(thing)
        )
    )


def redacted(text: str) -> str:
    """`text` with `***` for user and password of every URL, and for the secrets of its query."""
    text = _URL.sub(r"\1***@", text)
    text = _WITHOUT_SCHEME.sub("***@", text)
    return _QUERY.sub(r"\1=***", text)


def without_secrets_of(url: str, text: str) -> str:
    """`text` without the password of `url`, also where a malformed one was taken apart."""
    user_info = url.partition("://")[2].rpartition("@")[0]
    secret = user_info.partition(":")[2] or user_info
    parts = [secret, *re.split(r"[:/@?#\s]+", secret)]
    for part in sorted({*parts, *map(unquote, parts)}, key=len, reverse=True):
        if len(part) > _SHORTEST:
            text = text.replace(part, "***")
    return redacted(text)


def guarded(cell: _Cell) -> _Cell | str:
    """Text that a spreadsheet would take for a formula, after a `'`; anything else as it is."""
    if not isinstance(cell, str) or not cell.startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
