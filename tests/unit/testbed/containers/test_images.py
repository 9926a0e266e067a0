"""The images of nodes that run containers: archives and their names."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from testbed.containers.images import FAKESRS_VERSIONS, fake_images, image_names, srs_images
from testbed.containers.machine import MachineError
from testbed.toolchain.install import Tools


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    binary = tmp_path / "streaming"
    binary.write_bytes(b"a static binary")
    return Tools({"streaming": binary}, tmp_path / "home", ())


def layers(archive: Path, name: str) -> list[tarfile.TarFile]:
    """The layers of an image, whose digests must be those in its config."""
    with tarfile.open(archive) as content:

        def read(path: str) -> bytes:
            file = content.extractfile(path)
            assert file is not None
            return file.read()

        (entry,) = [image for image in json.loads(read("manifest.json")) if name in image["RepoTags"]]
        config = json.loads(read(entry["Config"]))
        contents = [read(path) for path in entry["Layers"]]
    digests = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in contents]
    assert config["rootfs"]["diff_ids"] == digests
    return [tarfile.open(fileobj=io.BytesIO(layer)) for layer in contents]


def content(layer: tarfile.TarFile, path: str) -> bytes:
    file = layer.extractfile(path)
    assert file is not None
    return file.read()


def test_fake_images_are_used_without_srs_images(tools: Tools, tmp_path: Path) -> None:
    images = srs_images(tools, tmp_path / "images", {})
    assert not images.real
    assert images.names == tuple(f"ossrs/srs:v{version}" for version in FAKESRS_VERSIONS)
    (layer,) = layers(images.archives[0], "ossrs/srs:v4.0.6")
    assert content(layer, "usr/local/srs/objs/srs") == b"a static binary"
    assert layer.getmember("usr/local/srs/objs/srs").mode == 0o755
    assert layer.getmember("tmp").mode == 0o1777
    assert fake_images(tools, tmp_path / "images") == images.archives[0]


def test_another_binary_replaces_the_fake_images(tools: Tools, tmp_path: Path) -> None:
    before = fake_images(tools, tmp_path / "images")
    tools.binaries["streaming"].write_bytes(b"another")
    after = fake_images(tools, tmp_path / "images")
    assert after != before
    assert not before.exists()


def test_srs_images_are_archives_or_names(tools: Tools, tmp_path: Path) -> None:
    archive = fake_images(tools, tmp_path / "images")
    given = {"SRS_IMAGES": f"{archive}, ossrs/srs:v6.0-r0"}
    images = srs_images(tools, tmp_path / "images", given)
    assert images.real
    assert images.archives == (archive,)
    assert images.pulled == ("ossrs/srs:v6.0-r0",)
    assert images.names == (*image_names(archive), "ossrs/srs:v6.0-r0")


def test_a_file_that_is_not_an_archive_is_rejected_by_name(tools: Tools, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.tar"
    wrong.write_text("no tar")
    for path in (wrong, tmp_path / "absent.tar"):
        with pytest.raises(MachineError, match=rf"SRS_IMAGES: {path} is not a docker-archive"):
            srs_images(tools, tmp_path, {"SRS_IMAGES": str(path)})
