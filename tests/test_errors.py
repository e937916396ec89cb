from __future__ import annotations

import copy
import inspect
import pickle
from itertools import pairwise

import pytest

from dispatchlake import errors
from dispatchlake.errors import (
    AuthRejected,
    CatalogBusy,
    CenterError,
    CenterUnavailable,
    ConfigError,
    ContractBroken,
    DispatchLakeError,
    LakeError,
    LakeTooNew,
    RateLimited,
    RequestRejected,
    SpoolBusy,
    SpoolError,
    is_transient,
    iter_causes,
)

TREE = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, DispatchLakeError)
]
OF_A_CENTER = [kind for kind in TREE if issubclass(kind, CenterError)]


def test_the_tree_in_the_docstring_names_every_error_once() -> None:
    assert errors.__doc__ is not None
    drawn = [
        line.split("\u2500\u2500 ")[-1].split()[0]
        for line in errors.__doc__.splitlines()
        if "\u2500\u2500" in line or line == "DispatchLakeError"
    ]

    assert sorted(drawn) == sorted(kind.__name__ for kind in TREE)


@pytest.mark.parametrize("kind", OF_A_CENTER)
def test_an_error_of_a_center_survives_pickling_with_its_fields(kind: type[CenterError]) -> None:
    error = kind("the sentence", "center-a", 429, 1.5)

    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert str(twin) == "the sentence"
        assert (twin.center_id, twin.status, twin.retry_after_s) == ("center-a", 429, 1.5)


@pytest.mark.parametrize("kind", OF_A_CENTER)
def test_fields_may_be_left_out(kind: type[CenterError]) -> None:
    twin = pickle.loads(pickle.dumps(kind("the sentence")))

    assert (twin.center_id, twin.status, twin.retry_after_s) == ("", None, None)


@pytest.mark.parametrize("kind", [kind for kind in TREE if kind not in OF_A_CENTER])
def test_every_other_error_survives_pickling_too(kind: type[DispatchLakeError]) -> None:
    twin = pickle.loads(pickle.dumps(kind("the sentence")))

    assert type(twin) is kind
    assert str(twin) == "the sentence"


@pytest.mark.parametrize(
    "error", [CenterUnavailable("x"), RateLimited("x"), SpoolBusy("x"), CatalogBusy("x")]
)
def test_what_passes_by_itself_is_transient(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("x"),
        AuthRejected("x"),
        RequestRejected("x"),
        ContractBroken("x"),
        LakeError("x"),
        LakeTooNew("x"),
        SpoolError("x"),
        CenterError("x"),
        DispatchLakeError("x"),
        ValueError("x"),
        TimeoutError("x"),
        KeyboardInterrupt(),
    ],
)
def test_everything_else_is_not(error: BaseException) -> None:
    assert not is_transient(error)


def chain(*links: BaseException) -> BaseException:
    """Return the first of errors that each were caused by the next."""
    for error, cause in pairwise(links):
        error.__cause__ = cause
    return links[0]


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ((RuntimeError("x"), CenterUnavailable("x")), True),
        ((RuntimeError("x"), ValueError("x"), RateLimited("x")), True),
        ((RuntimeError("x"), AuthRejected("x"), CenterUnavailable("x")), False),
        ((CenterUnavailable("x"), ConfigError("x")), True),
        ((ConfigError("x"), CenterUnavailable("x")), False),
        ((RuntimeError("x"), ValueError("x")), False),
    ],
)
def test_the_nearest_error_of_ours_decides(links: tuple[BaseException, ...], expected: bool) -> None:
    assert is_transient(chain(*links)) is expected


def test_causes_in_a_circle_end() -> None:
    one, two = ValueError("one"), ValueError("two")
    chain(one, two, one)

    assert list(iter_causes(one)) == [one, two]
    assert not is_transient(one)
