"""Which dispatch centers are known here: an id that is none of theirs is most often a slip of the pen."""

from __future__ import annotations

from dispatchlake.cli.prefect_api import has_server, prefect_api
from dispatchlake.errors import ConfigError
from dispatchlake.settings import Settings


def refuse_unknown(settings: Settings, center_id: str, *, otherwise: str) -> None:
    """See to it that a center has pages in the archive, or is registered; the first of all may be any.

    Args:
        settings: Where the archive is, and the register.
        center_id: What a person has typed.
        otherwise: What to do where it is right all the same, as a sentence.

    Raises:
        ConfigError: Others are known, and it is not; the text names those that are.
    """
    from dispatchlake.lake.centers import read_archived

    known = set(read_archived(settings.lake_dir))
    if center_id not in known:  # only then: a server may have to be started to be asked
        known |= _registered(settings)
    if known and center_id not in known:
        raise ConfigError(
            f"Unknown dispatch center: {center_id}. Known are: {', '.join(sorted(known))}. {otherwise}"
        )


def _registered(settings: Settings) -> set[str]:
    """Return the ids of the registered centers; where there is no register, none."""
    if not has_server(settings):
        return set()
    with prefect_api(settings):
        from tasks.centers import load_blocks

        return set(load_blocks())
