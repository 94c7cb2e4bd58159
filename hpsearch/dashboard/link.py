"""A link that lets one browser in, once."""

import secrets
from hmac import compare_digest
from http.cookies import CookieError, SimpleCookie
from threading import Lock
from urllib.parse import parse_qs, urlencode


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
