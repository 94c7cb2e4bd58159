"""Response headers that make an answer inert wherever it is not the dashboard's own page."""

from collections.abc import Callable, Sequence
from typing import Any
from wsgiref.types import StartResponse

Headers = list[tuple[str, str]]

ALWAYS: Sequence[tuple[str, str]] = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)
_REMOVED = {"access-control-allow-origin"} | {name.lower() for name, _ in ALWAYS}
_INERT = ("Content-Security-Policy", "default-src 'none'; sandbox")
_ARTIFACTS = "/artifacts/"
_SHOWN = "image/png"  # what the dashboard shows within its page, and no browser runs


def hardened(start_response: StartResponse, path: str) -> StartResponse:
    """A `start_response` that hardens the headers of the answer to a request for `path`."""

    def start(status: str, headers: Headers, exc_info: Any = None, /) -> Callable[[bytes], object]:
        return start_response(status, harden(headers, path), exc_info)

    return start


def harden(headers: Headers, path: str) -> Headers:
    """The headers of an answer, those of ours in place of the dashboard's.

    Whatever brings no policy of its own, as the dashboard's page does, may neither run nor load
    anything if it is opened as a page. An artifact is a download unless it is a PNG.
    """
    kept = [(name, value) for name, value in headers if name.lower() not in _REMOVED]
    values = {name.lower(): value for name, value in kept}
    added = list(ALWAYS)
    is_artifact = path.startswith(_ARTIFACTS)
    if is_artifact or "content-security-policy" not in values:
        added.append(_INERT)
    if is_artifact and values.get("content-type", "").lower() != _SHOWN:
        added.append(("Content-Disposition", "attachment"))
    return kept + added
