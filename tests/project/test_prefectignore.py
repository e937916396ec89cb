"""What Prefect copies for a run where it copies a working folder: never records, never the environment."""

import shutil
from pathlib import Path

from prefect.filesystems import LocalFileSystem

ROOT = Path(__file__).parents[2]


def test_a_copied_working_folder_has_no_records_in_it(tmp_path: Path) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    for kept_out in ("data/lake", ".venv/lib", ".git", "bench/.data"):
        (home / kept_out).mkdir(parents=True)
        (home / kept_out / "file").write_text("not for the copy")
    (home / "flows").mkdir()
    (home / "flows" / "ingest.py").write_text("pass")
    shutil.copy(ROOT / ".prefectignore", home)

    LocalFileSystem(basepath=str(home)).get_directory(str(home), str(copy))

    copied = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert copied == {"flows/ingest.py", ".prefectignore"}
