"""What stands between a browser and the dashboard: who may ask, and for what.

Optuna's dashboard asks nobody who they are. Any page in the same browser could reach it, by a name
that it binds to 127.0.0.1 anew or by a form that it posts; so could any user of the machine. Hence
only our own `Host` and `Origin`, only the browser that used the link, only reading; and answers
that are inert wherever they are not the dashboard's own page. No library for WSGI does all of this.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from hmac import compare_digest
from http.cookies import CookieError, SimpleCookie
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlencode
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

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


class OneTimeLink:
    """The token of a link, and the cookie that a browser gets for it.

    Args:
        port: of the server. It is part of the cookie's name, for a browser sends the cookies of
            one host to all of its ports.
    """

    def __init__(self, port: int) -> None:
        self.name = f"hpsearch_dashboard_{port}"
        self._token = secrets.token_urlsafe(32)
        self._session = secrets.token_urlsafe(32)
        self._lock = Lock()  # requests come in threads
        self._used = False

    @property
    def query(self) -> str:
        """The query string of the link."""
        return urlencode({"token": self._token})

    def redeem(self, query: str) -> str | None:
        """The `Set-Cookie` header for the right query string; None the second time."""
        given = parse_qs(query).get("token", [""])[-1]
        with self._lock:
            if self._used or not _same(given, self._token):
                return None
            self._used = True
        return f"{self.name}={self._session}; Path=/; HttpOnly; SameSite=Strict"

    def admits(self, cookies: str) -> bool:
        """Whether the `Cookie` header is that of the browser that was let in."""
        try:
            found = SimpleCookie(cookies).get(self.name)
        except CookieError:
            return False
        return found is not None and _same(found.value, self._session)


def _same(given: str, secret: str) -> bool:
    return compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())


_READING = ("GET", "HEAD")
# Notes, and files of the study. Trials and the study itself are the search's: the dashboard would
# delete or rename what the run directory still holds.
_WRITABLE = re.compile(r"PUT /api/studies/\d+(/\d+)?/note|POST /api/artifacts/\d+")
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._~-]*")
_HTTP_PORT = 80
_LONGEST_BODY = 1 << 16  # bytes of a refused request that are read


class _Refused(Exception):
    """A request that is not passed on."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guard:
    """A WSGI application around the dashboard's.

    Args:
        app: the dashboard.
        port: of the server.
        link: by which one browser is let in.
        landing: path that the link leads to.
        allow_write: whether notes and files may be added.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        port: int,
        link: OneTimeLink,
        landing: str,
        allow_write: bool,
    ) -> None:
        names = ("localhost", "127.0.0.1", "[::1]")
        self.hosts = {f"{name}:{port}" for name in names}
        if port == _HTTP_PORT:  # which browsers leave out
            self.hosts |= set(names)
        self.app, self.link = app, link
        self.landing, self.allow_write = landing, allow_write

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path = environ.get("PATH_INFO", "")
        try:
            self._require_own_page(environ)
            cookie = None
            if (environ["REQUEST_METHOD"], path) == ("GET", "/"):
                cookie = self.link.redeem(environ.get("QUERY_STRING", ""))
            if cookie is not None:
                # Not a redirect: where another page holds the link, the browser would call that
                # page the sender still, and keep a strict cookie to itself.
                more = (("Set-Cookie", cookie), ("Refresh", f"0; url={self.landing}"))
                return _answer(start_response, "200 OK", "the dashboard opens", *more)
            self._require_session(environ)
            _require_plain(path)
            self._require_allowed(environ["REQUEST_METHOD"], path)
        except _Refused as refusal:
            # Read the body, or the sender would see a broken connection in place of the answer.
            length = environ.get("CONTENT_LENGTH") or "0"
            if length.isdecimal():
                environ["wsgi.input"].read(min(int(length), _LONGEST_BODY))
            return _answer(start_response, refusal.status, str(refusal))
        return self.app(environ, hardened(start_response, path))

    def _require_own_page(self, environ: WSGIEnvironment) -> None:
        if environ.get("HTTP_HOST", "").lower() not in self.hosts:
            raise _Refused("403 Forbidden", "this host is not the dashboard's; use its own link")
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and origin.lower() not in {f"http://{host}" for host in self.hosts}:
            raise _Refused("403 Forbidden", "another page may not ask the dashboard")

    def _require_session(self, environ: WSGIEnvironment) -> None:
        if not self.link.admits(environ.get("HTTP_COOKIE", "")):
            raise _Refused(
                "401 Unauthorized",
                "the link of `hpsearch dashboard` lets one browser in, once; go on in that one, "
                "or start the command again",
            )

    def _require_allowed(self, method: str, path: str) -> None:
        if method in _READING:
            return
        if not self.allow_write:
            raise _Refused(
                "405 Method Not Allowed",
                "this dashboard only reads; start it with --allow-write to add notes and files",
            )
        if not _WRITABLE.fullmatch(f"{method} {path.rstrip('/')}"):
            raise _Refused(
                "403 Forbidden", "notes and files may be added; studies and trials are the search's"
            )


def _require_plain(path: str) -> None:
    """Refuse what the dashboard would read as another path than the one that is checked here."""
    inner = path.removeprefix("/").removesuffix("/")
    if path != "/" and not all(_SEGMENT.fullmatch(part) for part in inner.split("/")):
        raise _Refused("404 Not Found", "the dashboard has no such path")


def _answer(
    start_response: StartResponse, status: str, message: str, *more: tuple[str, str]
) -> Iterable[bytes]:
    headers = [("Content-Type", "text/plain; charset=utf-8"), *ALWAYS, *more]
    if status.startswith("405"):
        headers.append(("Allow", ", ".join(_READING)))
    start_response(status, headers)
    return [f"{message}\n".encode()]
