import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from testbed.toolchain.cache import ToolError
from testbed.toolchain.catalog import TOOLS
from testbed.toolchain.download import RELEASES, Asset, install, reachable
from unit.testbed.fakes import FileServer


def quiet(_done: int, _total: int | None) -> None:
    pass


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


def asset_of(name: str, system: str) -> Asset:
    asset = next(tool for tool in TOOLS if tool.name == name).asset(system, "amd64")
    assert asset is not None
    return asset


def test_a_host_is_reachable_if_it_answers_with_any_status(server: FileServer) -> None:
    assert reachable(f"{server.url}/some/where")
    assert not reachable("http://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("name", "system", "files", "members"),
    [
        (
            "pulumi",
            "linux",
            {
                "pulumi/pulumi": b"cli",
                "pulumi/pulumi-language-python": b"host",
                "pulumi/pulumi-language-python-exec": b"exec",
                "pulumi/pulumi-language-go": b"",
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
def test_only_the_members_are_extracted_from_an_archive(
    server: FileServer, tmp_path: Path, name: str, system: str, files: dict[str, bytes], members: set[str]
) -> None:
    asset = asset_of(name, system)
    body = zipped(files) if asset.name.endswith(".zip") else tarball(files)
    checksums = f"{'1' * 64}  other.tar.gz\n{hashlib.sha256(body).hexdigest()}  {asset.name}\n"
    server.publish(asset.path, body)
    server.publish(asset.checksum, checksums.encode())
    install(asset, dict.fromkeys(RELEASES, server.url), tmp_path, name, quiet)
    assert {file.name for file in tmp_path.iterdir()} == members


def test_an_archive_without_the_tool_is_an_error(server: FileServer, tmp_path: Path) -> None:
    asset = Asset("github", "x.tar.gz", "x.tar.gz.sha256", "github", ("*/etcd",))
    server.publish(asset.path, tarball({"x/README": b""}))
    with pytest.raises(ToolError, match=r"etcd: x\.tar\.gz contains no \*/etcd"):
        install(asset, dict.fromkeys(RELEASES, server.url), tmp_path, "etcd", quiet)


def test_kwok_is_verified_with_the_digest_in_githubs_api(server: FileServer, tmp_path: Path) -> None:
    asset = asset_of("kwok", "linux")
    body = b"kwok"
    digests = {"kwokctl-linux-amd64": "sha256:" + "1" * 64}

    def publish_digests() -> None:
        assets = [{"name": name, "digest": digest} for name, digest in digests.items()]
        server.publish(asset.checksum, json.dumps({"assets": assets}).encode())

    server.publish(asset.path, body)
    publish_digests()
    with pytest.raises(ToolError, match="no SHA-256 checksum of kwok-linux-amd64"):
        install(asset, dict.fromkeys(RELEASES, server.url), tmp_path, "kwok", quiet)
    digests["kwok-linux-amd64"] = f"sha256:{hashlib.sha256(body).hexdigest()}"
    publish_digests()
    install(asset, dict.fromkeys(RELEASES, server.url), tmp_path, "kwok", quiet)
    assert (tmp_path / "kwok").read_bytes() == body
