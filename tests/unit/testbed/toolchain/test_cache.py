from pathlib import Path

import pytest

from testbed.toolchain.cache import digest, new_folder, remove_partial


def test_a_folder_is_complete_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "tool-1"
    with new_folder(target) as scratch:
        (scratch / "binary").touch()
        assert not target.exists()
    assert [file.name for file in target.iterdir()] == ["binary"]
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "tool-2"):
        raise KeyboardInterrupt
    assert [folder.name for folder in tmp_path.iterdir()] == ["tool-1"]


def test_scratch_folders_of_killed_runs_are_removed(tmp_path: Path) -> None:
    for name in (".partial-tool-1-abc", ".partial-other-1-abc", "tool-1"):
        (tmp_path / name).mkdir()
    remove_partial(tmp_path, lambda name: name.startswith("tool-"))
    assert sorted(folder.name for folder in tmp_path.iterdir()) == [".partial-other-1-abc", "tool-1"]


def test_a_digest_depends_on_names_contents_and_values(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module a")
    first = digest(tmp_path, "linux")
    assert digest(tmp_path, "linux") == first
    assert digest(tmp_path, "darwin") != first
    (tmp_path / "go.mod").write_text("module b")
    assert digest(tmp_path, "linux") != first
    (tmp_path / "go.mod").write_text("module a")
    (tmp_path / "go.mod").rename(tmp_path / "go.sum")
    assert digest(tmp_path, "linux") != first
