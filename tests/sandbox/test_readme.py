"""The README names all there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from starlette.routing import Route

import sandbox
from sandbox.__main__ import parse_arguments
from sandbox.config import (
    CenterConfig,
    Drift,
    Fault,
    FaultKind,
    Order,
    PagingForm,
    Synthetic,
    TimestampForm,
    TokenRules,
)
from sandbox.control import routes
from sandbox.media import MediaFault, MediaFaultKind
from sandbox.webhook_config import (
    OAuthClient,
    RetryRules,
    SendingConfig,
    SlowLoris,
    WebhooksConfig,
    WebhookTarget,
)

FOLDER = Path(sandbox.__file__).parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")

NAMES = {
    *get_args(PagingForm),
    *get_args(FaultKind),
    *get_args(Order),
    *get_args(TimestampForm),
    *get_args(Drift),
    *CenterConfig.model_fields,
    *TokenRules.model_fields,
    *Fault.model_fields,
    *get_args(MediaFaultKind),
    *MediaFault.model_fields,
    *OAuthClient.model_fields,
    *RetryRules.model_fields,
    *SendingConfig.model_fields,
    *SlowLoris.model_fields,
    *WebhooksConfig.model_fields,
    *WebhookTarget.model_fields,
}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_key_form_and_fault_is_named(name: str) -> None:
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", list(Synthetic.model_fields))
def test_every_key_of_made_up_calls_is_named(name: str) -> None:
    assert f'"{name}"' in README


@pytest.mark.parametrize("route", routes(), ids=lambda route: f"{route.path} {sorted(route.methods)}")
def test_every_control_route_is_named_with_its_methods(route: Route) -> None:
    rows = [row for row in README.splitlines() if f"/_sandbox{route.path}` |" in row]
    assert len(rows) == 1
    told = set(re.findall(r"\b(?:GET|POST|PUT|PATCH|DELETE)\b", rows[0].split("|")[1]))
    assert route.methods is not None
    assert route.methods - {"HEAD"} <= told


def test_every_module_but_the_plumbing_is_where_to_change_something() -> None:
    plumbing = {"__init__", "__main__", "app", "state", "center"}
    modules = {path.stem for path in FOLDER.glob("*.py")} - plumbing
    assert {name for name in modules if f"`{name}.py`" not in README} == set()


def test_every_option_of_the_command_is_named() -> None:
    options = {f"--{name.replace('_', '-')}" for name in vars(parse_arguments([]))}
    assert {option for option in options if option not in README} == set()


def test_the_defaults_are_those_of_the_configuration() -> None:
    fields = CenterConfig.model_fields
    for name in ("paging", "order", "filters", "timestamp_form"):
        row = next(row for row in README.splitlines() if row.startswith(f"| `{name}` |"))
        assert row.split("|")[2].strip() == f"`{fields[name].default}`"
    for names in (("page_size", "page_size_cap"), ("since_param", "until_param")):
        row = next(row for row in README.splitlines() if row.startswith(f"| `{names[0]}`, `{names[1]}` |"))
        assert row.split("|")[2].replace("`", "").strip() == ", ".join(str(fields[n].default) for n in names)
