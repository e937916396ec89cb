"""`dispatchlake publish`: the open zone brought up to what the restricted zone holds."""

from __future__ import annotations

from dispatchlake.cli.terminal import console, waiting
from dispatchlake.errors import ConfigError
from dispatchlake.settings import load_settings


def publish(*, rebuild: bool = False, rotate_key: bool = False) -> None:
    """Bring the open zone up to what the restricted zone holds, at the cost of what changed.

    Each ingest run, landing, backfill and replay does so too. It is safe at any time, and beside any other.

    Args:
        rebuild: Make all its tables anew, whatever it holds, and all of it where it is damaged.
        rotate_key: Make a new key, with it all tokens, and remove every old one: also what older snapshots
            held. A query at work on the open zone may fail meanwhile.
    """
    if rebuild and rotate_key:
        raise ConfigError("A new key makes the open zone anew by itself: give --rotate-key alone.")
    from dispatchlake.lake import publishing

    settings = load_settings()
    with waiting("Publishing the open zone ..."):
        publication = (
            publishing.rotate_key(settings) if rotate_key else publishing.publish(settings, rebuild=rebuild)
        )
    console.print(f"{publication.sentence()}.", soft_wrap=True)
