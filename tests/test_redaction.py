from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake import redaction
from dispatchlake.redaction import RedactingFilter, is_secret_name, redact

HIDDEN = "hIdDeN-0123"


@pytest.mark.parametrize(
    "text",
    [
        "GET https://center.example/v1/x?token=hIdDeN-0123 HTTP/1.1",
        "wss://center.example/cable?token=hIdDeN-0123",
        "https://center.example/v1/x?phone=hIdDeN-0123&page=2",
        "see <https://center.example/v1/x?cursor=hIdDeN-0123>; rel=next",
        "URL('https://center.example/v1?x=hIdDeN-0123')",
        "http://user:hIdDeN-0123@proxy.example:8080/",
        "socks5://hIdDeN-0123@proxy.example",
        "Authorization: Bearer hIdDeN-0123",
        "authorization: bearer\thIdDeN-0123==",
        "{'authorization': 'Bearer hIdDeN-0123'}",
        "(b'authorization', b'Bearer hIdDeN-0123')",
        "Proxy-Authorization: Basic hIdDeN-0123",
        '{"access_token": "hIdDeN-0123", "expires_in": 7200}',
        '{"access_token":"hIdDeN-0123"}',
        r'"{\"access_token\": \"hIdDeN-0123\"}"',
        r"'{\\\"client_secret\\\":\\\"hIdDeN-0123\\\"}'",
        "{'client_secret': 'hIdDeN-0123'}",
        """{'client_secret': "it's hIdDeN-0123"}""",
        r"""{"client_secret": "a \" quote hIdDeN-0123"}""",
        "client_secret=b'hIdDeN-0123'",
        "client_secret=hIdDeN-0123&grant_type=client_credentials",
        '{"client_secret": "hIdDeN-0123',
        "Client_Secret: hIdDeN-0123",
        "password = hIdDeN-0123;",
        "PREFECT_API_KEY=hIdDeN-0123",
        "my_refresh_token=hIdDeN-0123",
        "x-amz-signature=hIdDeN-0123",
        "X-Amz-Security-Token: hIdDeN-0123",
        "sig=hIdDeN-0123",
        "the token eyJhIdDeN-0123.eyJhIdDeN-0123.abc was refused",
    ],
)
def test_what_may_be_a_secret_is_hidden(text: str) -> None:
    assert HIDDEN not in redact(text)
    assert "[redacted]" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Reading since 2024-03-01 00:00 UTC",
        "center-a: the center answered 404 to incident_events (GET /v1/incident_events): there is no such",
        "Logged in to center-a for cad_incidents",
        "center-a refused token 1a2b3c4d; getting another",
        "with a token that is not a bearer token.",
        "https://center.example/v1/incident_events",
        "signed in; a secret is kept in a block",
        "expires_in: 7200, token_type: x",
        "The stored token 0123.token cannot be read (InvalidToken); logging in anew.",
    ],
)
def test_what_is_none_stays_as_it_is(text: str) -> None:
    assert redact(text).replace("token_type: [redacted]", "token_type: x") == text


def test_what_stands_before_a_query_stays_readable() -> None:
    assert (
        redact("GET https://a.example/v1/x?y=1 HTTP/1.1") == "GET https://a.example/v1/x?[redacted] HTTP/1.1"
    )


@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=30),
    name=st.sampled_from(["access_token", "client_secret", "password"]),
)
def test_any_secret_in_json_or_a_repr_is_hidden(secret: str, name: str) -> None:
    assert redact(json.dumps({name: secret})) == f'{{"{name}": [redacted]}}'
    assert redact(repr({name: secret})) == f"{{'{name}': [redacted]}}"
    assert redact(repr({name: secret.encode()})) == f"{{'{name}': [redacted]}}"


@given(st.text())
def test_any_text_can_be_redacted_and_redacting_twice_changes_nothing(text: str) -> None:
    once = redact(text)

    assert redact(once) == once


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a",
            "a.",
            "a-",
            "\\",
            '"',
            " ",
            "eyJ",
            "eyJ-",
            "https://",
            "wss://a@",
            "bearer ",
            "token",
            "token=",
        ),
        *('token="', "token=\\", "token \\", "secret: ", "?", "://", "x-amz-"),
    ],
)
def test_no_text_takes_long(text: str) -> None:
    """Twice the text takes about twice the time, and not four times: no message can stop a run."""
    spent_s = []
    for times in (20_000, 40_000):
        began_s = time.process_time()
        redact(text * times)
        spent_s.append(time.process_time() - began_s)

    assert spent_s[1] < 3 * spent_s[0] + 0.5


@pytest.mark.parametrize(
    "name", ["token", "Access_Token", "client_secret", "sig", "X-Amz-Signature", "api_key"]
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["page", "cursor", "per_page", "updated_since", "tokens", "next_page_token"])
def test_other_names_are_none_of_secrets(name: str) -> None:
    assert not is_secret_name(name)


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger of its own with one handler that redacts."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter())
    logger = logging.Logger("a logger of its own")  # noqa: LOG001 - not to be found by others
    logger.addHandler(handler)
    yield logger, stream
    handler.close()


def test_arguments_of_a_message_are_redacted(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log

    logger.info("GET %s with %r", f"https://a.example/x?q={HIDDEN}", {"access_token": HIDDEN})

    assert stream.getvalue() == "GET https://a.example/x?[redacted] with {'access_token': [redacted]}\n"


def test_a_traceback_is_redacted(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    error = RuntimeError(f"https://a.example/x?token={HIDDEN}")
    error.__cause__ = ValueError(f"client_secret={HIDDEN}")

    logger.error("It failed", exc_info=error)

    assert stream.getvalue() == (
        "It failed\n"
        "ValueError: client_secret=[redacted]\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        "RuntimeError: https://a.example/x?[redacted]\n"
    )


class _NoText:
    def __str__(self) -> str:
        raise LookupError("no text")


@pytest.mark.parametrize("arguments", [("%s %s", 1), ("%d", "x"), ("%(a)s", {"b": 1}), ("%s", _NoText())])
def test_a_message_that_cannot_be_made_ends_nothing(
    log: tuple[logging.Logger, io.StringIO], arguments: tuple[str, object]
) -> None:
    logger, stream = log

    logger.info(*arguments)

    assert stream.getvalue() == f"{arguments[0]}\n"


def test_installing_reaches_every_handler_once_and_quietens_the_http_libraries() -> None:
    logger, handler = logging.getLogger("tests.redaction.one"), logging.NullHandler()
    logger.addHandler(handler)
    try:
        redaction.install()
        redaction.install()

        assert [type(one) for one in handler.filters] == [RedactingFilter]
        for root_handler in logging.getLogger().handlers:
            assert sum(isinstance(one, RedactingFilter) for one in root_handler.filters) == 1
        assert logging.lastResort is not None
        assert any(isinstance(one, RedactingFilter) for one in logging.lastResort.filters)
        assert logging.getLogger("httpx").level == logging.WARNING
        assert logging.getLogger("httpcore").level == logging.WARNING
    finally:
        logger.removeHandler(handler)
