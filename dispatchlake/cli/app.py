"""The `dispatchlake` command: one line per thing a person does, and one way to say what went wrong."""

from __future__ import annotations

import os
import sys

from cyclopts import App, Parameter
from rich.markup import escape

import dispatchlake
from dispatchlake.cli.terminal import errors
from dispatchlake.errors import DispatchLakeError

app = App(
    name="dispatchlake",
    help="Emergency-dispatch records: from the Prepared partner API to Parquet and SQL, without loss.",
    version=dispatchlake.__version__,
    default_parameter=Parameter(negative=()),
)
# Named by import path, so that `dispatchlake sql` does not pay for importing Prefect, nor `check` for DuckDB.
app.command("dispatchlake.cli.demo:demo", help="Show the whole way with real records, on this machine alone.")
app.command(
    "dispatchlake.cli.up:up", help="Run everything here: Prefect with its UI, a worker, all schedules."
)
app.command("dispatchlake.cli.down:down", help="End what `up` runs, or what a killed one has left.")
app.command(
    "dispatchlake.cli.centers:app", name="centers", help="Register dispatch centers: add, import, list."
)
app.command("dispatchlake.cli.check:check", help="Try centers: login, paging, filters; say what to fix.")
app.command("dispatchlake.cli.ingest:ingest", help="Land what each center changed since the last run.")
app.command(
    "dispatchlake.cli.fetch_media:fetch_media", help="Download the media files that deliveries link to."
)
app.command("dispatchlake.cli.land:land", help="Land the webhook deliveries that wait; --every S runs on.")
app.command(
    "dispatchlake.cli.backfill:backfill", help="Read days of the past, and skip what is complete already."
)
app.command(
    "dispatchlake.cli.status:status", help="Show which center is late or failing, why, and what to press."
)
app.command(
    "dispatchlake.cli.status:metrics", help="Print the same figures for Prometheus, or write them to a file."
)
app.command(
    "dispatchlake.cli.alerts:app", name="alerts", help="Say where messages about troubles go, and try it."
)
app.command("dispatchlake.cli.receive:receive", help="Take what the vendor delivers, until Ctrl-C.")
app.command(
    "dispatchlake.cli.webhooks:app", name="webhooks", help="Say who may deliver: issue, rotate, revoke, list."
)
app.command("dispatchlake.cli.sql:sql", help="Ask the lake in SQL; read-only; exports to CSV and Parquet.")
app.command(
    "dispatchlake.cli.publish:publish", help="Bring the open zone up to date; give its tokens a new key."
)
app.command(
    "dispatchlake.cli.dictionary:dictionary", help="Say what the lake's tables, views and columns mean."
)
app.command(
    "dispatchlake.cli.export:export", help="Write tables, views or answers to files, as of one moment."
)
app.command(
    "dispatchlake.cli.opening:opening_sql", help="Print the SQL that opens the lake in any other DuckDB."
)
app.command(
    "dispatchlake.cli.explore:explore", help="Show the lake in pictures, in a browser on this machine."
)
app.command("dispatchlake.cli.quarantine:quarantine", help="Show why records were set aside, and what to do.")
app.command("dispatchlake.cli.replay:replay", help="Read archived pages again with today's parser.")
app.command("dispatchlake.cli.verify:verify", help="Prove that no archived page was changed or removed.")
app.command(
    "dispatchlake.cli.erase:erase", help="Erase one call everywhere, and prove that nothing of it is left."
)
app.command("dispatchlake.cli.erase:erasures", help="List what was erased: when, why, by whom, how much.")
app.command(
    "dispatchlake.cli.hold:app", name="hold", help="Keep incidents from being erased: add, remove, list."
)
app.command(
    "dispatchlake.cli.retention:app",
    name="retention",
    help="Say how long things are kept, and remove what is older: set, unset, show, run.",
)
app.command(
    "dispatchlake.cli.maintain:maintain", help="Keep the lake small: merge, expire, remove; any time."
)
app.command("dispatchlake.cli.recover:recover", help="End runs whose process is gone; resume those that do.")
app.command("dispatchlake.cli.backup:backup", help="Write the lake's catalog to one file, as of one moment.")
app.command("dispatchlake.cli.backup:restore", help="Put a backup of the catalog back in its place.")
app.command(
    "dispatchlake.cli.sandbox:sandbox",
    help="Serve real dispatch records as the vendor would; options: see its --help.",
    help_flags=[],  # its own answers
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a known failure is one message on stderr and exit status 1."""
    _keep_loopback_off_proxies()
    try:
        app(arguments)
    except DispatchLakeError as error:
        _tell(str(error))
        sys.exit(1)
    except PermissionError as error:
        _tell(
            f"This user may not read or write {error.filename}. Run it as who owns the data folder, or name "
            "another one in DISPATCHLAKE_DATA_DIR."
        )
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _tell(sentence: str) -> None:
    # What a person typed, or a database said, may look like markup.
    errors.print(f"[bold red]dispatchlake:[/] {escape(sentence)}", highlight=False, markup=True)


def _keep_loopback_off_proxies() -> None:
    """Let no proxy of the environment come between us and the servers we run on this machine."""
    for name in ("no_proxy", "NO_PROXY"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost"]))
