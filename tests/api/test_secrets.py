"""No token, secret or query of a URL in a log, an error or a repr, whatever happens."""

from __future__ import annotations

import logging
import pickle
import re
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatchlake import redaction
from dispatchlake.api import CenterClient
from dispatchlake.api.paging import next_request
from dispatchlake.errors import CenterError, DispatchLakeError
from dispatchlake.model import DispatchCenter, Scope
from tests.api.reading import EVERYTHING, IMPATIENT, LISTING, open_client, read, secrets_of
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess

THREE_PAGES: dict[str, Any] = {"page_size_cap": 100, "paging": "cursor"}

QUERY = re.compile(r"https?://[^\s'\"]+\?(?!\[redacted\])|cursor=|updated_since=2")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Everything that anybody logs, with the redaction of a run; the HTTP libraries are made to talk."""
    redaction.install()
    talkative = [
        logging.getLogger(name) for name in ("httpx", "httpcore", "hpack", "dispatchlake", "filelock")
    ]
    for logger in talkative:
        logger.setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    yield caplog
    for logger in talkative:
        logger.setLevel(logging.NOTSET)
    redaction.install()


def said(log: pytest.LogCaptureFixture) -> str:
    """Return all that was logged: as written, and what the records hold for other handlers."""
    records = [(r.getMessage(), r.args, r.exc_text, str(r.exc_info)) for r in log.records]
    return f"{log.text}\n{records}"


def assert_clean(text: str, sandbox: SandboxProcess, center: DispatchCenter) -> None:
    for secret in secrets_of(sandbox, center):
        assert secret not in text
    assert QUERY.search(text) is None


def test_a_whole_reading_leaves_no_secret_and_no_query_in_the_log(
    sandbox: SandboxProcess, state_dir: Path, log: pytest.LogCaptureFixture
) -> None:
    center = put_center(sandbox, sandbox_side=THREE_PAGES, override={"since_param": "updated_since"})
    for page, kind in enumerate(["revoke_token", "reset", "html_200"], 1):
        sandbox.add_fault(center.center_id, kind, page=page)
    sandbox.add_fault(center.center_id, "status", on="token", status=503)

    read(center, state_dir)

    text = said(log)
    assert "HTTP Request: GET" in text
    assert "Logged in to" in text
    assert "Trying again" in text
    assert_clean(text, sandbox, center)


FAILURES: dict[str, dict[str, Any]] = {
    "401": {"kind": "status", "status": 401, "times": 9},
    "403": {"kind": "status", "status": 403},
    # Of a cursor that is refused once the listing is read from its beginning again.
    "404": {"kind": "status", "status": 404, "body": "<p>not to be quoted</p>", "times": 2},
    "422": {"kind": "status", "status": 422, "times": 2},
    "429": {"kind": "status", "status": 429, "retry_after_s": 9999},
    "503": {"kind": "status", "status": 503, "times": 99},
    "html": {"kind": "html_200", "times": 99},
    "reset": {"kind": "reset", "times": 99},
    "truncated": {"kind": "truncated_body", "times": 99},
    "foreign link": {"kind": "next_foreign"},
    "foreign redirect": {"kind": "redirect_foreign"},
    "redirects": {"kind": "redirect_same", "times": 99},
    "circle": {"kind": "repeated_page", "times": 99},
}


@pytest.mark.parametrize("fault", FAILURES.values(), ids=FAILURES)
def test_no_error_of_a_reading_shows_a_secret_a_query_or_a_body(
    sandbox: SandboxProcess, state_dir: Path, log: pytest.LogCaptureFixture, fault: dict[str, Any]
) -> None:
    center = put_center(sandbox, sandbox_side=THREE_PAGES)
    sandbox.add_fault(center.center_id, page=2, **fault)

    with pytest.raises(CenterError) as caught:
        read(center, state_dir, replace(IMPATIENT, retry_budget_s=0.05))

    error = caught.value
    shown = "\n".join(
        [str(error), repr(error), str(error.args), *traceback.format_exception(error), said(log)]
    )
    assert_clean(shown, sandbox, center)
    assert "not to be quoted" not in shown
    assert "caller_phone_number" not in shown
    assert error.center_id == center.center_id
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), str(twin)) == (type(error), str(error))
    assert (twin.center_id, twin.status, twin.retry_after_s) == (
        error.center_id,
        error.status,
        error.retry_after_s,
    )


@pytest.mark.parametrize("status", [400, 401, 429, 503])
def test_no_error_of_a_login_shows_a_secret(
    sandbox: SandboxProcess, state_dir: Path, log: pytest.LogCaptureFixture, status: int
) -> None:
    center = put_center(sandbox)
    sandbox.add_fault(center.center_id, "status", on="token", status=status, times=99)

    with pytest.raises(DispatchLakeError) as caught:
        read(center, state_dir, replace(IMPATIENT, retry_budget_s=0.05))

    assert_clean("".join(traceback.format_exception(caught.value)) + said(log), sandbox, center)


def test_a_vendor_that_repeats_the_secret_in_its_refusal_is_not_quoted(
    sandbox: SandboxProcess, state_dir: Path, log: pytest.LogCaptureFixture
) -> None:
    center = put_center(sandbox)
    secret = center.credentials[Scope.INCIDENT_EVENTS].client_secret.get_secret_value()
    body = f'{{"error": "{secret}", "error_description": "{secret}"}}'
    sandbox.add_fault(center.center_id, "status", on="token", status=401, body=body)

    with pytest.raises(DispatchLakeError) as caught:
        read(center, state_dir)

    assert_clean("".join(traceback.format_exception(caught.value)) + said(log), sandbox, center)


def objects_of(client: CenterClient) -> Iterator[object]:
    """Yield everything of ours that a reading makes, and what it holds."""
    yield from (client, client.center, client._rate, client._retry, *client._auths.values())
    for auth in client._auths.values():
        yield from vars(auth).values()
        yield from vars(auth._login).values()
    resource = client.center.resource(LISTING)
    fetched = client.fetch(resource, client.first_url(resource, EVERYTHING))
    yield from (fetched, fetched.payload, fetched.response, fetched.response.request)
    yield next_request(resource.paging, fetched.url, fetched.response, fetched.payload, is_first=True)


def test_no_object_of_ours_shows_a_secret_a_query_or_a_record(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    center = put_center(sandbox, sandbox_side=THREE_PAGES)

    with open_client(center, state_dir) as client:
        for page in client.iter_pages(center.resource(LISTING), EVERYTHING):
            assert "caller_phone_number" not in repr(page)
            assert_clean(repr(page), sandbox, center)
        shown = [(repr(one), str(one)) for one in objects_of(client)]

    for texts in shown:
        # httpx's own request names its URL: the reason why it is never logged without the filter.
        if not texts[0].startswith("<Request("):
            assert_clean(" ".join(texts), sandbox, center)
            assert "caller_phone_number" not in " ".join(texts)


def test_no_file_of_a_reading_holds_a_secret(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put_center(sandbox, sandbox_side=THREE_PAGES)
    sandbox.add_fault(center.center_id, "revoke_token", page=2)

    read(center, state_dir)

    files = [path for path in state_dir.rglob("*") if path.is_file()]
    assert len(files) == 3
    for path in files:
        content = path.read_bytes()
        for secret in secrets_of(sandbox, center):
            assert secret.encode() not in content


def test_no_secret_leaves_in_a_url(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put_center(sandbox, sandbox_side=THREE_PAGES)

    read(center, state_dir)

    seen = str(sandbox.requests(center.center_id))
    for secret in secrets_of(sandbox, center):
        assert secret not in seen
