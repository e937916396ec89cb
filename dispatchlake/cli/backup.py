"""`dispatchlake backup` and `dispatchlake restore`: the lake's catalog, in one file and back."""

from __future__ import annotations

from pathlib import Path

from dispatchlake.cli.erase import erase
from dispatchlake.cli.terminal import console, waiting
from dispatchlake.settings import Settings, load_settings


def backup(file: Path, /, *, overwrite: bool = False) -> None:
    """Write the catalog as of this moment to a file, also while loads run; back up data/ after it.

    Args:
        file: Where to write it.
        overwrite: Replace one of that name once the new one is whole.
    """
    from dispatchlake.lake.backup import back_up

    with waiting("Copying and checking the catalog ..."):
        manifest = back_up(load_settings(), file, overwrite=overwrite)
    console.print(
        f"Backed up to {file}: snapshot {manifest.snapshot:,}, which needs {manifest.files:,} data files "
        f"({manifest.bytes:,} bytes). Now copy the lake's data folder.",
        soft_wrap=True,
        markup=False,
    )


def restore(file: Path, /) -> None:
    """Put a backup in the place of the lake's catalog, which is kept; first put the data files back.

    Nothing may have the lake open for writing. The next ingest reads again what came after the backup.

    Args:
        file: Written by `dispatchlake backup`, of this version or an older one.
    """
    from dispatchlake.lake.backup import restore as put_back

    settings = load_settings()
    with waiting("Checking the backup and the data files it needs ..."):
        restored = put_back(settings, file)
    made = restored.manifest
    console.print(
        f"Restored: snapshot {made.snapshot:,}, of {made.created_at}. What came later is read again by the "
        "next ingest.",
        soft_wrap=True,
        markup=False,
    )
    if restored.replaced:
        console.print(
            f"The catalog that was there is kept: {restored.replaced}", soft_wrap=True, markup=False
        )
    _erase_again(settings)


def _erase_again(settings: Settings) -> None:
    """Erase what was erased after the backup was made, and is in the lake again."""
    from dispatchlake.erasure import undone

    if undone(settings):
        console.print(
            "Calls that were erased since are in it again: they are erased now, and the catalog that was "
            "kept goes with them.",
            soft_wrap=True,
        )
        erase(unfinished=True)
