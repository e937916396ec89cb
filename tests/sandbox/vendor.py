"""One center of the sandbox, asked as any HTTP client would: nothing of the product is used."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import httpx

from tests.sandbox_process import SandboxProcess

MAX_PAGES = 60
"""A walk that gets so far goes round in circles."""


def synthetic(count: int = 25, **fields: Any) -> dict[str, Any]:
    """Return a dataset of made-up calls, spread over the first of March 2024."""
    return {"synthetic": {"count": count, "starts_at": "2024-03-01T00:00:00Z", "span_s": 86_400} | fields}


def inline(*records: dict[str, Any], resource: str = "incident_events") -> dict[str, Any]:
    """Return a dataset of the given records, each visible from its `updated_at`."""
    versions = [{"visible_at": record["updated_at"], "record": record} for record in records]
    return {"records": {resource: versions}}


class Vendor:
    """A center that was just put into the sandbox, by default with 25 made-up calls, all of them visible."""

    def __init__(self, sandbox: SandboxProcess, http: httpx.Client, config: dict[str, Any]) -> None:
        self.sandbox = sandbox
        self.http = http
        self.center_id = f"center-{secrets.token_hex(4)}"
        self.credentials = {
            scope: {"client_id": f"{self.center_id}-{scope}", "client_secret": secrets.token_urlsafe(24)}
            for scope in ("incident_events", "cad_incidents")
        }
        defaults: dict[str, Any] = {
            "dataset": synthetic(),
            "epoch": "2024-03-03T00:00:00Z",
            "page_size": 10,
            "credentials": self.credentials,
        }
        self.config: dict[str, Any] = defaults | config
        self._tokens: dict[str, str] = {}
        sandbox.put_center(self.center_id, self.config)

    @property
    def form(self) -> str:
        return str(self.config.get("paging", "link"))

    def log_in(
        self, resource: str = "incident_events", /, *, is_form: bool = False, **changed: Any
    ) -> httpx.Response:
        """Ask for a token; a changed field of None is left out."""
        fields = {
            "grant_type": "client_credentials",
            "scope": resource,
            **self.credentials[resource],
        } | changed
        body = {name: value for name, value in fields.items() if value is not None}
        url = f"{self.sandbox.url}/oauth/token"
        return self.http.post(url, data=body) if is_form else self.http.post(url, json=body)

    def token(self, scope: str = "incident_events") -> str:
        """Return a token, the same as last time if there was a last time."""
        if scope not in self._tokens:
            self._tokens[scope] = str(self.log_in(scope).json()["access_token"])
        return self._tokens[scope]

    def url(self, resource: str = "incident_events") -> httpx.URL:
        return httpx.URL(self.sandbox.url).join(self.config.get("paths", {}).get(resource, f"/v1/{resource}"))

    def get(self, resource: str = "incident_events", /, **params: Any) -> httpx.Response:
        """Ask for one page of a listing."""
        return self.fetch(self.url(resource).copy_merge_params(params), self.token(resource))

    def fetch(self, url: httpx.URL | str, token: str) -> httpx.Response:
        return self.http.get(url, headers={"Authorization": f"Bearer {token}"})

    def pages(self, resource: str = "incident_events", /, **params: Any) -> list[httpx.Response]:
        """Walk a listing to its end, as its form demands."""
        found = list(islice(self._walk(resource, params), MAX_PAGES))
        assert len(found) < MAX_PAGES, "the listing does not end"
        return found

    def _walk(self, resource: str, params: dict[str, Any]) -> Iterator[httpx.Response]:
        url: httpx.URL | None = self.url(resource).copy_merge_params(params)
        while url is not None:
            response = self.fetch(url, self.token(resource))
            assert response.status_code == 200, response.text
            yield response
            url = following(self.form, url, response)

    def listed(self, resource: str = "incident_events", /, **params: Any) -> list[str]:
        """Return the ids of a whole listing, page by page."""
        return [identity for page in self.pages(resource, **params) for identity in ids(page)]

    def truth(self, resource: str = "incident_events") -> dict[str, Any]:
        return self.sandbox.truth(self.center_id, resource)

    def true_ids(self, resource: str = "incident_events") -> set[str]:
        return {record["id"] for record in self.truth(resource)["current"]}

    def fault(self, kind: str, **fields: Any) -> None:
        self.sandbox.add_fault(self.center_id, kind, **fields)

    def patch(self, **keys: Any) -> None:
        self.config |= keys
        self.sandbox.patch_center(self.center_id, keys)

    def raw(self, path: str = "/v1/incident_events", scope: str = "incident_events") -> tuple[bytes, bool]:
        """Return every byte of the answer to a GET, and whether the connection was reset."""
        return raw_request(
            self.sandbox.url,
            f"GET {path} HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Bearer {self.token(scope)}\r\n\r\n",
        )


def records(response: httpx.Response) -> list[dict[str, Any]]:
    """Return a page's records: the body itself, or the one array in it."""
    content = response.json()
    if isinstance(content, dict):
        (content,) = (value for value in content.values() if isinstance(value, list))
    assert isinstance(content, list)
    return content


def ids(response: httpx.Response) -> list[str]:
    return [record["id"] for record in records(response)]


def following(form: str, asked: httpx.URL, response: httpx.Response) -> httpx.URL | None:
    """Return the request for the next page; None at the end."""
    found = _NEXT[form](asked, response)
    if found is None or isinstance(found, httpx.URL):
        return found
    name, value = found
    return asked.copy_set_param(name, value)


Next = httpx.URL | tuple[str, Any] | None
"""A link, or the parameter that changes; None at the end."""


def _one_page(_asked: httpx.URL, _response: httpx.Response) -> Next:
    return None


def _link(_asked: httpx.URL, response: httpx.Response) -> Next:
    link = response.links.get("next")
    return httpx.URL(link["url"]) if link else None


def _next_url(_asked: httpx.URL, response: httpx.Response) -> Next:
    link = response.json()["links"]["next"]
    return httpx.URL(link) if link else None


def _meta_page(_asked: httpx.URL, response: httpx.Response) -> Next:
    page = response.json()["meta"]["next_page"]
    return None if page is None else ("page", page)


def _cursor(_asked: httpx.URL, response: httpx.Response) -> Next:
    body = response.json()
    assert body["has_more"] is (body["next_cursor"] is not None)
    return ("cursor", body["next_cursor"]) if body["has_more"] else None


def _kaminari(_asked: httpx.URL, response: httpx.Response) -> Next:
    page = response.headers["X-Next-Page"]
    return ("page", page) if page else None


def _pagy(_asked: httpx.URL, response: httpx.Response) -> Next:
    page, pages = (int(response.headers[name]) for name in ("current-page", "total-pages"))
    return ("page", page + 1) if page < pages else None


def _pagy_countless(_asked: httpx.URL, response: httpx.Response) -> Next:
    assert "total-pages" not in response.headers
    return ("page", int(response.headers["current-page"]) + 1) if records(response) else None


def _page_unnamed(asked: httpx.URL, response: httpx.Response) -> Next:
    return ("page", int(asked.params.get("page", "1")) + 1) if records(response) else None


def _offset(asked: httpx.URL, response: httpx.Response) -> Next:
    count = len(records(response))
    return ("offset", int(asked.params.get("offset", "0")) + count) if count else None


_NEXT: dict[str, Callable[[httpx.URL, httpx.Response], Next]] = {
    "array": _one_page,
    "page_ignored": _one_page,
    "link": _link,
    "next_url": _next_url,
    "meta_page": _meta_page,
    "cursor": _cursor,
    "kaminari": _kaminari,
    "pagy": _pagy,
    "pagy_old": _pagy,
    "pagy_countless": _pagy_countless,
    "page_unnamed": _page_unnamed,
    "offset": _offset,
}


def raw_request(url: str, request: str) -> tuple[bytes, bool]:
    """Send a request as it stands; return all that comes, and whether it ended with a reset."""
    address = httpx.URL(url)
    assert address.port is not None
    received = b""
    with socket.create_connection((address.host, address.port), timeout=10) as connection:
        connection.sendall(request.encode())
        try:
            while part := connection.recv(65_536):
                received += part
        except ConnectionResetError:
            return received, True
    return received, False
