"""The receiver does what its OpenAPI document says, whatever is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck
from schemathesis.checks import CHECKS
from starlette.routing import Route

from tests.examples import examples
from tests.webhooks.receiving import CENTER, Receiving

DOCUMENT = yaml.safe_load((Path(__file__).parents[2] / "docs" / "webhooks-openapi.yaml").read_text())

schema = schemathesis.openapi.from_dict(DOCUMENT)

NOT_MEANT = ("positive_data_acceptance", "negative_data_rejection", "ignored_auth", "missing_required_header")
"""That a body of any kind is taken is the point; who is let in is tested on its own."""


def test_every_route_is_documented_and_no_other(receiving: Receiving) -> None:
    routes = [route for route in receiving.receiver.build().routes if isinstance(route, Route)]

    served = {
        (route.path, method.lower()) for route in routes for method in route.methods or () if method != "HEAD"
    }

    assert served == {(path, method) for path, item in DOCUMENT["paths"].items() for method in item}


@schema.parametrize()
@examples(25, suppress_health_check=list(HealthCheck))
def test_it_answers_as_documented(receiving: Receiving, case: Any) -> None:
    if "center_id" in case.path_parameters:
        case.path_parameters["center_id"] = CENTER
        case.headers["Authorization"] = f"Bearer {receiving.token}"
    case.call_and_validate(
        base_url=f"http://127.0.0.1:{receiving.port}",
        excluded_checks=[check for check in CHECKS.get_all() if check.__name__ in NOT_MEANT],
    )


@schema.include(path_regex="webhooks").parametrize()
@examples(10, suppress_health_check=list(HealthCheck))
def test_it_refuses_as_documented(receiving: Receiving, case: Any) -> None:
    response = case.call_and_validate(
        base_url=f"http://127.0.0.1:{receiving.port}",
        excluded_checks=[check for check in CHECKS.get_all() if check.__name__ in NOT_MEANT],
    )

    assert response.status_code in (401, 404, 405, 429)


@pytest.mark.parametrize("path", sorted(DOCUMENT["paths"]))
def test_no_other_method_is_there(receiving: Receiving, path: str) -> None:
    answer = receiving.send("PATCH", path.replace("{center_id}", CENTER), b"{}")

    assert answer.status == 405
    assert answer.header("allow")
