"""`dispatchlake centers`: the register of dispatch centers. Secrets come from a file or stdin, never argv."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from pydantic import SecretStr

from dispatchlake.cli.prefect_api import prefect_api
from dispatchlake.cli.terminal import console, table
from dispatchlake.errors import ConfigError
from dispatchlake.model import PRODUCTION_URL, Credentials, DispatchCenter, Scope, configure_center
from dispatchlake.settings import load_settings

CSV_COLUMNS = ("center_id", "scope", "client_id", "client_secret")
"""Columns a CSV must have; `name`, `time_zone` and `base_url` may follow."""

app = App(name="centers", help="Register dispatch centers and see which are registered.")


@app.command(name="list")
def list_() -> None:
    """Show the registered dispatch centers; no secret is ever shown."""
    with prefect_api(load_settings()):
        from tasks.centers import load_blocks

        blocks = load_blocks()
    if not blocks:
        console.print("No dispatch center is registered. Register one: dispatchlake centers add --help")
        return
    rows = [
        [
            center_id,
            block.display_name,
            block.time_zone,
            block.base_url,
            ", ".join(block.resource_names()) or "no credentials",
            "yes" if block.enabled else "no",
        ]
        for center_id, block in blocks.items()
    ]
    console.print(table(["center", "name", "time zone", "base URL", "can read", "enabled"], rows))


@app.command
def add(  # noqa: PLR0913 - one option per thing a person registers
    center_id: str,
    /,
    *,
    scope: Scope,
    client_id: str,
    secret_file: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    name: str | None = None,
    time_zone: str | None = None,
    base_url: str | None = None,
) -> None:
    """Register a dispatch center, or add a scope's credentials to one.

    Args:
        center_id: Short id of the center: lower-case letters, digits, hyphens. It is in every row.
        scope: What the credentials open.
        client_id: As issued by the vendor.
        secret_file: File with the client secret, or - to read it from standard input.
        name: The center's name for people; its id if not given.
        time_zone: IANA name of its local time, such as America/Chicago; UTC if not given.
        base_url: Origin of the partner API; the vendor's own if not given.
    """
    row = {
        "center_id": center_id,
        "scope": str(scope),
        "client_id": client_id,
        "client_secret": _read_text(secret_file).strip(),
        "name": name or "",
        "time_zone": time_zone or "",
        "base_url": base_url or "",
    }
    _register([row], ["--secret-file"])


@app.command(name="import")
def import_(file: Annotated[Path, Parameter(allow_leading_hyphen=True)], /) -> None:
    """Register many centers from a CSV file, or none if any row cannot be used.

    Args:
        file: CSV with the columns center_id, scope, client_id, client_secret and, if wanted, name,
            time_zone, base_url; one row per center and scope; - reads standard input.
    """
    reader = csv.DictReader(io.StringIO(_read_text(file)))
    columns = reader.fieldnames or []
    if missing := [column for column in CSV_COLUMNS if column not in columns]:
        raise ConfigError(f"The CSV has no column {', '.join(missing)}. It needs: {', '.join(CSV_COLUMNS)}.")
    rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    if not rows:
        raise ConfigError("The CSV has a header and no rows: nothing was registered.")
    _register(rows, [f"row {number}" for number in range(2, len(rows) + 2)])


@app.command
def remove(center_id: str, /) -> None:
    """Forget a center's registration and credentials; its records stay in the lake."""
    with prefect_api(load_settings()):
        from tasks.centers import delete_center
        from tasks.choices import offer_centers

        delete_center(center_id)
        offer_centers()
    console.print(f"Forgotten: {center_id}. Its records stay in the lake.")


def _register(rows: list[dict[str, str]], places: list[str]) -> None:
    """Validate every row, then save: all or nothing."""
    with prefect_api(load_settings()):
        from tasks.centers import load_blocks, save_center
        from tasks.choices import offer_centers

        registered = load_blocks()
        centers: dict[str, DispatchCenter] = {}
        for row, place in zip(rows, places, strict=True):
            center_id = row["center_id"]
            known = centers.get(center_id)
            if known is None and center_id in registered:
                known = registered[center_id].to_center(center_id)
            try:
                centers[center_id] = _merge(known, row)
            except ConfigError as error:
                raise ConfigError(f"{place}: {error} Nothing was registered.") from None
        for center in centers.values():
            save_center(center)
            opens = ", ".join(resource.name for resource in center.allowed_resources())
            console.print(f"Registered {center.center_id} ({center.name}): can read {opens}.")
        offer_centers()
    console.print(f"Try it: dispatchlake check {' '.join(centers) if len(centers) == 1 else ''}".rstrip())


def _merge(known: DispatchCenter | None, row: dict[str, str]) -> DispatchCenter:
    try:
        scope = Scope(row["scope"])
    except ValueError:
        raise ConfigError(f"scope {row['scope']!r} is not one of {', '.join(Scope)}.") from None
    if not row["client_id"]:
        raise ConfigError(f"client_id is empty for dispatch center {row['center_id']}.")
    if not row["client_secret"]:
        raise ConfigError(f"The client secret is empty for dispatch center {row['center_id']}.")
    credentials = Credentials(client_id=row["client_id"], client_secret=SecretStr(row["client_secret"]))
    fields: dict[str, Any] = {
        name: getattr(known, name) for name in (DispatchCenter.model_fields if known else ())
    }
    fields.setdefault("name", row["center_id"])
    fields.setdefault("base_url", PRODUCTION_URL)
    fields |= {name: row[name] for name in ("name", "time_zone", "base_url") if row.get(name)}
    fields["center_id"] = row["center_id"]
    fields["credentials"] = {**(known.credentials if known else {}), scope: credentials}
    return configure_center(**fields)


def _read_text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{file} cannot be read: {reason}.") from None
