import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.toolchain.build import Build, GoBuilder
from testbed.toolchain.cache import ToolError, digest
from testbed.toolchain.on_path import search_path

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")

MAIN = """package main

import "fmt"

var version = "unset"

func main() { fmt.Println("hello", version) }
"""
HELLO = Build("hello", "v1.2.3", ".", "hello", minutes=1, variables={"main.version": "1.2.3"}, links=("hi",))


def quiet(_line: str) -> None:
    pass


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    folder = tmp_path / "modules" / "hello"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module hello\n\ngo 1.26\n")
    (folder / "main.go").write_text(MAIN)
    return folder.parent


@pytest.fixture
def builder(modules: Path, tmp_path: Path) -> GoBuilder:
    # The shared build cache: compiling the standard library anew would take the test's whole time.
    return GoBuilder(modules, tmp_path / "cache", shared=True, path=search_path([]))


@needs_go
def test_a_module_is_built_once_into_a_folder_of_binaries(builder: GoBuilder, tmp_path: Path) -> None:
    folder = builder.install(HELLO, quiet)
    assert folder.parent == tmp_path / "cache"
    assert sorted(file.name for file in folder.iterdir()) == ["hello", "hi"]
    output = subprocess.run([folder / "hi"], capture_output=True, text=True, check=True).stdout
    assert output == "hello 1.2.3\n"
    stamp = folder.stat().st_mtime_ns
    assert builder.install(HELLO, quiet) == folder
    assert folder.stat().st_mtime_ns == stamp


@needs_go
def test_binaries_that_belong_beside_are_built_too(builder: GoBuilder, modules: Path) -> None:
    shutil.copytree(modules / "hello", modules / "other")
    other = Build("other", "v1", ".", "other", minutes=1)
    folder = builder.install(replace(HELLO, beside=(other,)), quiet)
    assert sorted(file.name for file in folder.iterdir()) == ["hello", "hi", "other"]


@needs_go
def test_a_compiler_error_is_in_the_message_and_installs_nothing(
    builder: GoBuilder, modules: Path, tmp_path: Path
) -> None:
    (modules / "hello" / "main.go").write_text(MAIN.replace("fmt.Println", "fmt.Printn"))
    with pytest.raises(ToolError, match=r"hello: `go build` failed.*\n(.*\n)*.*undefined: fmt\.Printn"):
        builder.install(HELLO, quiet)
    assert list((tmp_path / "cache").iterdir()) == []


@needs_go
def test_a_binary_that_fails_its_check_is_not_installed(builder: GoBuilder, tmp_path: Path) -> None:
    def reject(folder: Path) -> None:
        assert (folder / "hello").exists()
        raise ToolError("does not run here")

    with pytest.raises(ToolError, match="does not run here"):
        builder.install(HELLO, quiet, reject)
    assert list((tmp_path / "cache").iterdir()) == []


@needs_go
def test_a_build_does_not_write_to_the_checkout(builder: GoBuilder, modules: Path) -> None:
    before = digest(modules)
    builder.install(HELLO, quiet)
    assert digest(modules) == before


def test_the_folder_is_named_after_everything_that_determines_the_binaries(builder: GoBuilder, modules: Path) -> None:
    folders = [builder.folder(HELLO)]
    (modules / "hello" / "go.sum").write_text("example.com/x v1.0.0 h1:abc=\n")
    folders.append(builder.folder(HELLO))
    (modules / "hello" / "main.go").write_text(MAIN + "// changed\n")
    folders.append(builder.folder(HELLO))
    folders.append(builder.folder(replace(HELLO, variables={"main.version": "2"})))
    assert len(set(folders)) == len(folders)
    assert builder.folder(replace(HELLO, minutes=99, memory_gib=9)) == builder.folder(HELLO)
    assert all(folder.name.startswith("hello-v1.2.3-") for folder in folders)


def test_a_full_disk_is_an_error_before_the_build(
    modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = GoBuilder(modules, tmp_path / "cache", shared=False, path="")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=3 * 2**30))
    with pytest.raises(ToolError, match=r"need about 20 GiB .* has 3\.0 GiB free.*SRS_TESTBED_CACHE"):
        private.check_disk()
    (tmp_path / "cache" / "go").mkdir()
    private.check_disk()  # continues an interrupted build


def test_too_little_memory_is_an_error_before_the_build(builder: GoBuilder, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"hello: its build needs 1000000 GiB of memory, and [\d.]+ GiB are available"):
        builder.install(replace(HELLO, memory_gib=1_000_000), quiet)
    assert not (tmp_path / "cache").exists()


def test_without_go_and_pip_the_error_says_what_to_install(
    modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ToolError, match=r"hello: Go 1\.26 or newer is needed(.*\n)*.*Install Go"):
        GoBuilder(modules, tmp_path / "cache", shared=False, path="").install(HELLO, quiet)
    assert list((tmp_path / "cache").iterdir()) == []
