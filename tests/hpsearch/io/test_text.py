import pytest

from hpsearch.io.text import printable, redacted, without_secrets_of

HARD = "p%40{x}:/@canary"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to http://user:canary@host:80/a failed", "to http://***@host:80/a failed"),
        (f"to http://user:{HARD}@host/a failed", "to http://***@host/a failed"),
        ("http://canary@host", "http://***@host"),
        (f"postgresql+psycopg://u:{HARD}@h/db", "postgresql+psycopg://***@h/db"),
        ("Failed to parse: 'u:canary@h:1', label empty", "Failed to parse: '***@h:1', label empty"),
        ("http://h/x?a=1&token=canary&b=2", "http://h/x?a=1&token=***&b=2"),
        ("https://h/x?X-Amz-Signature=canary", "https://h/x?X-Amz-Signature=***"),
        ("/x?password=canary (", "/x?password=*** ("),
        ("one http://a:canary@b two http://c:canary@d", "one http://***@b two http://***@d"),
    ],
)
def test_secrets_of_urls_are_hidden_everywhere(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize(
    "text",
    ["http://127.0.0.1:8080/path", "at 12:30 to a@b.c", "/data/a:b@c/d.png", "layers=8:r12 16:r22"],
)
def test_other_text_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    "secret", ["canary", "can@canary/x?", "can ary", "can%2Fary", "canary:canary#canary"]
)
def test_the_parts_of_a_malformed_url_are_hidden_too(secret: str) -> None:
    url = f"http://user:{secret}@127.0.0.1:9"
    text = f"no {url}: host='{secret.split('@')[-1].split('/')[0]}', can/ary"
    told = without_secrets_of(url, text)
    assert "canary" not in told
    assert secret not in told
    assert "127.0.0.1:9" in told
