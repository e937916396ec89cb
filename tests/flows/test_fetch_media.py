"""Whose API the command asks for a fresh link: the centers that are registered on the Prefect server."""

from __future__ import annotations

import pytest

from dispatchlake.cli.fetch_media import _find_center
from dispatchlake.errors import ConfigError
from dispatchlake.model import Scope
from dispatchlake.settings import Settings
from tasks.centers import delete_center, save_center
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.xdist_group("prefect")


def test_a_registered_center_is_found_with_its_credentials(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    center = put_center(sandbox)
    save_center(center)

    found = _find_center(settings, center.center_id)
    delete_center(center.center_id)

    assert found.base_url == center.base_url
    assert found.credentials[Scope.INCIDENT_EVENTS] == center.credentials[Scope.INCIDENT_EVENTS]
    assert found.resource("incident_events").item_path == "/v1/incident_events/{id}"
    with pytest.raises(ConfigError):
        _find_center(settings, center.center_id)


def test_a_server_that_fails_on_the_way_is_one_sentence(
    prefect_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not an error of Prefect's: the process goes on, and asks again later."""
    from tasks import centers

    def fail(_center_id: str) -> None:
        raise ConnectionResetError("http://127.0.0.1:4200/api?secret")

    monkeypatch.setattr(centers, "load_center", fail)
    with pytest.raises(ConfigError, match=r"could not be asked for houston-tx \(ConnectionResetError\)\.$"):
        _find_center(settings, "houston-tx")


def test_a_server_that_does_not_answer_is_one_sentence(
    prefect_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(ConfigError, match="does not answer"):
        _find_center(settings, "houston-tx")
