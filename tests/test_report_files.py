"""Reports on disk: the ending decides, a file is written whole or not at all, links are not followed."""

from __future__ import annotations

import os

import pytest

import unstuck as us
from hostile_names import sample
from unstuck.atomic_file import write_atomically


def test_save_by_ending(tmp_path):
    report = sample("name")
    for ending, content in [(".html", report.html()), (".json", report.json()), (".txt", report.text())]:
        path = tmp_path / f"r{ending}"
        path.write_text("old")
        assert report.save(path) == path
        assert path.read_text(encoding="utf-8") == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.html", "r.json", "r.txt"]
    with pytest.raises(us.errors.ArgumentError, match="must end in"):
        report.save(tmp_path / "r.exe")
    with pytest.raises(us.errors.ArgumentTypeError, match="`path`"):
        report.save(3)  # type: ignore[arg-type]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "r.txt"
    path.write_bytes(b"old")
    with pytest.raises(us.errors.ArgumentError, match="cannot write"):
        write_atomically(tmp_path / "none" / "r.txt", b"x")
    with pytest.raises(us.errors.ArgumentError, match="folder"):
        write_atomically(tmp_path, b"x")

    def fails(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fails)
        with pytest.raises(us.errors.ArgumentError, match="No space left"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["r.txt"]


def test_links_are_not_followed(tmp_path):
    victim, link = tmp_path / "victim", tmp_path / "r.txt"
    victim.write_bytes(b"keep")
    link.symlink_to(victim)
    write_atomically(link, b"new")
    assert victim.read_bytes() == b"keep"
    assert link.read_bytes() == b"new"
    assert not link.is_symlink()


def test_the_mode_is_the_umasks(tmp_path):
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "r.txt", b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "r.txt").stat().st_mode & 0o777 == 0o640
