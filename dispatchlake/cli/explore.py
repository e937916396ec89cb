"""`dispatchlake explore`: the lake in pictures, in a browser on this machine."""

from __future__ import annotations

import importlib.util
import os
import webbrowser
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from dispatchlake.cli.terminal import console
from dispatchlake.errors import ConfigError
from dispatchlake.settings import load_settings

PORT = 4212


def explore(
    *,
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = PORT,
    no_browser: Annotated[bool, Parameter(name="--no-browser")] = False,
) -> None:
    """Show the lake in a browser until Ctrl-C: volumes, a map, response times, completeness, one incident.

    It answers on this machine only, and only to who has the address that is printed: it shows callers' data.

    Args:
        port: Loopback port; 0 takes a free one.
        no_browser: Print the address and open no browser.
    """
    if missing := [name for name in ("marimo", "altair") if importlib.util.find_spec(name) is None]:
        raise ConfigError(
            f"The explorer needs {' and '.join(missing)}, which the pipeline does not: run make explore, or "
            "install the extra explore of dispatchlake."
        )
    _choose_lake()
    from dispatchlake.explore.server import serve

    def tell(address: str) -> None:
        console.print(f"The lake in pictures, until Ctrl-C: {address}", soft_wrap=True, markup=False)
        if not no_browser:
            webbrowser.open(address)

    serve(port=port, told=tell)


def _choose_lake() -> None:
    """Take the demo's lake where this installation has none of its own; of either the open zone is shown."""
    settings = load_settings()
    if _has_lake(settings.open_dir):
        return
    if _has_lake(settings.lake_dir):
        raise ConfigError(
            f"There is no open zone in {settings.open_dir} yet, which the explorer shows. Have it published: "
            "dispatchlake publish"
        )
    demo = settings.data_dir / "demo"
    if "DISPATCHLAKE_DATA_DIR" in os.environ or not _has_lake(demo / "open"):
        raise ConfigError(
            f"There is no lake in {settings.lake_dir} yet. Make one (dispatchlake ingest, or make demo), or "
            "name its home in DISPATCHLAKE_DATA_DIR."
        )
    os.environ["DISPATCHLAKE_DATA_DIR"] = str(demo)
    console.print("There is no lake of your own yet: this is the demo's.")


def _has_lake(folder: Path) -> bool:
    return (folder / "catalog.sqlite").exists()  # named by hand: DuckDB takes a while to import
