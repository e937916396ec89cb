"""The version that is shown says which code runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import dispatchlake
from dispatchlake.release import build_step, find_version


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_clone_says_its_commit_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "one")
    commit = git(tmp_path, "rev-parse", "--short", "HEAD")

    clean = find_version(tmp_path)
    (tmp_path / "file").write_text("two")

    assert clean == f"{dispatchlake.__version__}+{commit}"
    assert find_version(tmp_path) == f"{clean}.dirty"


def test_without_a_clone_it_is_the_packages_version(tmp_path: Path) -> None:
    git(tmp_path, "init")
    site_packages = tmp_path / "site-packages"
    site_packages.mkdir()

    assert find_version(site_packages) == dispatchlake.__version__, "not the repository that it lies in"


def test_a_clone_without_a_commit_says_the_packages_version(tmp_path: Path) -> None:
    git(tmp_path, "init")

    assert find_version(tmp_path) == dispatchlake.__version__


def test_deployments_get_it_from_their_build_step() -> None:
    assert build_step() == {"version": find_version()}
