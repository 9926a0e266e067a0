import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from testbed.toolchain.cache import ToolError
from testbed.toolchain.download import RELEASES, Asset, install, reachable
from testbed.toolchain.install import TOOLS, ToolSettings, ensure_tools
from unit.testbed.fakes import FileServer, Listener, fake_tool, script

PATH = "v1.2.3/fake"


def settings(server: FileServer, cache: Path, way: str | None = "download") -> ToolSettings:
    releases = {**RELEASES, "github": server.url, "github-api": server.url, "kubernetes": server.url}
    return ToolSettings(cache, way=way, releases=releases, platform=("linux", "amd64"))


def left(cache: Path) -> list[str]:
    return [each.name for each in cache.iterdir() if each.name != "lock"]


def test_a_release_is_installed_and_found_again_without_asking(
    server: FileServer, tmp_path: Path, listener: Listener
) -> None:
    server.publish(PATH, script("fake v1.2.3"))
    tools = ensure_tools(settings(server, tmp_path), listener.report, [fake_tool()], plugin=False)
    place = tools.binaries["fake"]
    assert place.stat().st_mode & 0o111
    assert tools.path == (place.parent,)
    assert tools.pulumi_home == tmp_path / "pulumi-home"
    assert "[1/1] download fake v1.2.3: done in" in listener.text
    asked = len(server.asked)
    assert ensure_tools(settings(server, tmp_path), listener.report, [fake_tool()], plugin=False) == tools
    assert len(server.asked) == asked


def test_the_release_comes_first_where_it_can_be_reached(
    server: FileServer, tmp_path: Path, listener: Listener
) -> None:
    server.publish(PATH, script("fake v1.2.3"))
    ensure_tools(settings(server, tmp_path, way=None), listener.report, [fake_tool(build="kwok")], plugin=False)
    assert "fake (download)" in listener.text


def test_another_checksum_leaves_nothing_behind(server: FileServer, tmp_path: Path, listener: Listener) -> None:
    body = script("fake v1.2.3")
    server.publish(PATH, body, checksum="0" * 64)
    with pytest.raises(ToolError) as caught:
        ensure_tools(settings(server, tmp_path), listener.report, [fake_tool()], plugin=False)
    assert "0" * 64 in str(caught.value)
    assert hashlib.sha256(body).hexdigest() in str(caught.value)
    assert left(tmp_path) == []


def test_a_download_that_breaks_off_leaves_nothing_behind(
    server: FileServer, tmp_path: Path, listener: Listener
) -> None:
    body = script("fake v1.2.3") + b"#" * 3_000_000
    server.publish(PATH, body)
    server.answers[f"/{PATH}"].cut = 1_500_000
    with pytest.raises(ToolError, match=r"fake: the download of .* broke off after \d+ (of \d+ )?bytes"):
        ensure_tools(settings(server, tmp_path), listener.report, [fake_tool()], plugin=False)
    assert left(tmp_path) == []


def test_a_refusal_names_the_address_and_the_way_out(server: FileServer, tmp_path: Path, listener: Listener) -> None:
    with pytest.raises(ToolError, match=r"fake: http://.*/v1\.2\.3/fake\.sha256 answered HTTP 404.*TOOLS=build"):
        ensure_tools(settings(server, tmp_path), listener.report, [fake_tool()], plugin=False)
    assert left(tmp_path) == []


def test_a_release_that_does_not_run_here_is_an_error(server: FileServer, tmp_path: Path, listener: Listener) -> None:
    server.publish(PATH, b"\x7fELF of another machine")
    with pytest.raises(ToolError, match=r"fake: fake does not run as v1\.2\.3 here"):
        ensure_tools(settings(server, tmp_path), listener.report, [fake_tool()], plugin=False)
    assert left(tmp_path) == []


def test_no_server_is_not_reachable_and_any_answer_is(server: FileServer) -> None:
    assert reachable(f"{server.url}/some/where")
    assert not reachable("http://127.0.0.1:9/")


def tarball(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "system", "files", "wanted"),
    [
        (
            "pulumi",
            "linux",
            {
                "pulumi/pulumi": b"cli",
                "pulumi/pulumi-language-python": b"host",
                "pulumi/pulumi-language-python-exec": b"exec",
                "pulumi/pulumi-language-go": b"not wanted",
            },
            {"pulumi", "pulumi-language-python", "pulumi-language-python-exec"},
        ),
        ("etcd", "linux", {"etcd-v3.6.4-linux-amd64/etcd": b"etcd", "etcd-v3.6.4-linux-amd64/etcdctl": b""}, {"etcd"}),
        (
            "etcd",
            "darwin",
            {"etcd-v3.6.4-darwin-amd64/etcd": b"etcd", "etcd-v3.6.4-darwin-amd64/README": b""},
            {"etcd"},
        ),
    ],
)
def test_only_the_wanted_files_come_out_of_an_archive(
    server: FileServer, tmp_path: Path, name: str, system: str, files: dict[str, bytes], wanted: set[str]
) -> None:
    asset = next(each for each in TOOLS if each.name == name).asset(system, "amd64")
    assert asset is not None
    body = zipped(files) if asset.name.endswith(".zip") else tarball(files)
    sums = f"{'1' * 64}  other.tar.gz\n{hashlib.sha256(body).hexdigest()}  {asset.name}\n"
    server.publish(asset.path, body)
    server.publish(asset.checksum, sums.encode())
    releases = dict.fromkeys(RELEASES, server.url)
    install(asset, releases, tmp_path, name, lambda _done, _total: None)
    assert {each.name for each in tmp_path.iterdir()} == wanted


def test_an_archive_without_the_tool_is_an_error(server: FileServer, tmp_path: Path) -> None:
    asset = Asset("github", "x.tar.gz", "x.tar.gz.sha256", "github", ("*/etcd",))
    server.publish(asset.path, tarball({"x/README": b""}))
    with pytest.raises(ToolError, match=r"etcd: x\.tar\.gz holds no \*/etcd"):
        install(asset, dict.fromkeys(RELEASES, server.url), tmp_path, "etcd", lambda _done, _total: None)


def test_kwok_is_compared_with_the_digest_that_github_keeps(server: FileServer, tmp_path: Path) -> None:
    asset = next(each for each in TOOLS if each.name == "kwok").asset("linux", "amd64")
    assert asset is not None
    body = b"kwok"
    digests = [
        {"name": "kwokctl-linux-amd64", "digest": "sha256:" + "1" * 64},
        {"name": "kwok-linux-amd64", "digest": f"sha256:{hashlib.sha256(body).hexdigest()}"},
    ]
    server.publish(asset.path, body)
    server.publish(asset.checksum, json.dumps({"assets": digests}).encode())
    install(asset, dict.fromkeys(RELEASES, server.url), tmp_path, "kwok", lambda _done, _total: None)
    assert (tmp_path / "kwok").read_bytes() == body
    digests[1]["digest"] = None  # type: ignore[assignment]
    server.publish(asset.checksum, json.dumps({"assets": digests}).encode())
    with pytest.raises(ToolError, match="no SHA-256 checksum of kwok-linux-amd64"):
        install(asset, dict.fromkeys(RELEASES, server.url), tmp_path, "kwok", lambda _done, _total: None)


def test_kubernetes_publishes_its_servers_for_linux_only() -> None:
    on_mac = {each.name: each.asset("darwin", "arm64") is not None for each in TOOLS}
    assert {name for name, published in on_mac.items() if not published} == {
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
    }
