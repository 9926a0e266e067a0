"""Installing tools: from PATH, from a release, once for all processes, and with which settings."""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.locking import exclusive
from testbed.toolchain.cache import ToolError
from testbed.toolchain.catalog import ALICLOUD_PLUGIN
from testbed.toolchain.download import RELEASES
from testbed.toolchain.install import Tools, ToolSettings, clean_tools, ensure_tools
from unit.testbed.fakes import FileServer, Log, fake_tool, script

PATH = "v1.2.3/fake"


def settings_for(server: FileServer, cache: Path, method: str | None = "download") -> ToolSettings:
    releases = dict.fromkeys(RELEASES, server.url)
    return ToolSettings(cache, method=method, releases=releases, platform=("linux", "amd64"))


def ensure(settings: ToolSettings, log: Log) -> Tools:
    return ensure_tools(settings, log.reporter, [fake_tool()], plugin=False)


def leftovers(cache: Path) -> list[str]:
    return [file.name for file in cache.iterdir() if file.name != "lock"]


def test_a_compatible_tool_on_path_is_used_in_place(
    tmp_path: Path, write_tool: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_tool(tmp_path / "bin", "fake", "1.9.0")
    monkeypatch.setenv("PATH", str(file.parent), prepend=os.pathsep)
    tools = ensure_tools(ToolSettings(tmp_path / "cache"), tools=[fake_tool()], plugin=False)
    assert tools.binaries == {"fake": file}
    assert tools.path == ()
    assert not (tmp_path / "cache").exists()


def test_an_incompatible_tool_on_path_is_reported(
    tmp_path: Path, write_tool: Callable[..., Path], log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write_tool(tmp_path / "bin", "fake", "2.0.0")
    monkeypatch.setenv("PATH", str(old.parent), prepend=os.pathsep)
    with pytest.raises(ToolError, match=r"fake 1\.x is not on PATH"):
        ensure(ToolSettings(tmp_path / "cache", method="path"), log)
    assert f"fake: {old} is 2.0.0, needed is 1.x; it is not used" in log.text


def test_a_release_is_installed_once(server: FileServer, tmp_path: Path, log: Log) -> None:
    server.publish(PATH, script("fake v1.2.3"))
    settings = settings_for(server, tmp_path)
    tools = ensure(settings, log)
    file = tools.binaries["fake"]
    assert file.stat().st_mode & 0o111
    assert tools.path == (file.parent,)
    assert tools.pulumi_home == tmp_path / "pulumi-home"
    assert "[1/1] download fake v1.2.3: done in" in log.text
    requests = len(server.requests)
    assert ensure(settings, log) == tools
    assert len(server.requests) == requests


def test_the_cli_keeps_no_logs(server: FileServer, tmp_path: Path, log: Log) -> None:
    server.publish(PATH, script("fake v1.2.3"))
    logs = tmp_path / "pulumi-home/logs"
    logs.mkdir(parents=True)
    (logs / "pulumi-1.log").touch()
    ensure(settings_for(server, tmp_path), log)
    assert logs.is_file(), "a folder of this name cannot be created"


def test_a_reachable_release_has_precedence_over_a_build(server: FileServer, tmp_path: Path, log: Log) -> None:
    server.publish(PATH, script("fake v1.2.3"))
    ensure(settings_for(server, tmp_path, method=None), log)
    assert "fake (download)" in log.text


def test_a_wrong_checksum_installs_nothing(server: FileServer, tmp_path: Path, log: Log) -> None:
    body = script("fake v1.2.3")
    server.publish(PATH, body, checksum="0" * 64)
    with pytest.raises(ToolError) as caught:
        ensure(settings_for(server, tmp_path), log)
    assert "0" * 64 in str(caught.value)
    assert hashlib.sha256(body).hexdigest() in str(caught.value)
    assert leftovers(tmp_path) == []


def test_an_interrupted_download_installs_nothing(server: FileServer, tmp_path: Path, log: Log) -> None:
    server.publish(PATH, script("fake v1.2.3") + b"#" * 3_000_000)
    server.answers[f"/{PATH}"].cut = 1_500_000
    with pytest.raises(ToolError, match=r"fake: the download of .* was interrupted after \d+ (of \d+ )?bytes"):
        ensure(settings_for(server, tmp_path), log)
    assert leftovers(tmp_path) == []


def test_an_http_error_names_the_url_and_the_alternative(server: FileServer, tmp_path: Path, log: Log) -> None:
    with pytest.raises(ToolError, match=r"fake: http://.*/v1\.2\.3/fake\.sha256 answered HTTP 404.*TOOLS=build"):
        ensure(settings_for(server, tmp_path), log)
    assert leftovers(tmp_path) == []


def test_a_release_that_does_not_run_is_not_installed(server: FileServer, tmp_path: Path, log: Log) -> None:
    server.publish(PATH, b"\x7fELF of another processor")
    with pytest.raises(ToolError, match=r"fake: fake does not run as v1\.2\.3 here"):
        ensure(settings_for(server, tmp_path), log)
    assert leftovers(tmp_path) == []


def test_concurrent_runs_download_a_tool_once(server: FileServer, tmp_path: Path, log: Log) -> None:
    server.publish(PATH, script("fake v1.2.3"))
    settings = settings_for(server, tmp_path / "cache")
    results: list[Tools] = []
    threads = [threading.Thread(target=lambda: results.append(ensure(settings, log))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == [results[0]] * 4
    assert server.requests.count(f"/{PATH}") == 1
    assert log.text.count("tools to install") == 1


def test_no_run_waits_for_the_build_of_a_provider_that_it_does_not_need(
    server: FileServer, tmp_path: Path, log: Log
) -> None:
    server.publish(PATH, script("fake v1.2.3"))
    build = tmp_path / f".partial-{ALICLOUD_PLUGIN.name}-3.0.0-abc"
    build.mkdir()
    with exclusive(tmp_path / "lock-alicloud", print):
        assert ensure(settings_for(server, tmp_path), log).binaries["fake"].exists()
    assert build.exists(), "it goes on"


def test_clean_tools_removes_the_cache(tmp_path: Path, log: Log) -> None:
    cache = tmp_path / "cache"
    (cache / "kwok-1").mkdir(parents=True)
    clean_tools(ToolSettings(cache), log.reporter)
    assert not cache.exists()
    clean_tools(ToolSettings(cache), log.reporter)
    assert f"nothing to remove: {cache} does not exist" in log.text


def test_settings_are_read_from_the_environment(tmp_path: Path) -> None:
    settings = ToolSettings.from_environment(
        {
            "SRS_TESTBED_CACHE": str(tmp_path),
            "SRS_TESTBED_TOOLS": "build",
            "SRS_TESTBED_GO_CACHE": "shared",
            "SRS_TESTBED_RELEASES": "github=http://127.0.0.1:1/ kubernetes=http://127.0.0.1:2",
        }
    )
    assert settings.cache == tmp_path
    assert settings.method == "build"
    assert settings.shared_go_cache
    assert settings.releases["github"] == "http://127.0.0.1:1"
    assert settings.releases["kubernetes"] == "http://127.0.0.1:2"
    xdg = ToolSettings.from_environment({"XDG_CACHE_HOME": str(tmp_path), "SRS_TESTBED_TOOLS": "auto"})
    assert xdg.cache == tmp_path / "srs-testbed"
    assert xdg.method is None


@pytest.mark.parametrize("wrong", [{"SRS_TESTBED_TOOLS": "brew"}, {"SRS_TESTBED_RELEASES": "gitlab=http://x"}])
def test_invalid_settings_are_rejected(wrong: dict[str, str]) -> None:
    with pytest.raises(ToolError, match=next(iter(wrong))):
        ToolSettings.from_environment(wrong)
