"""The images of nodes that run containers: archives, their names, and one that is made to crash."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from testbed.containers.images import crashing_image, image_names, srs_images, stand_ins
from testbed.containers.machine import MachineError
from testbed.toolchain.install import Tools


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    binary = tmp_path / "streaming"
    binary.write_bytes(b"a static binary")
    return Tools({"streaming": binary}, tmp_path / "home", ())


def layers(archive: Path, name: str) -> list[tarfile.TarFile]:
    """The layers of an image, after a look at whether the config agrees with them."""
    with tarfile.open(archive) as content:

        def read(path: str) -> bytes:
            file = content.extractfile(path)
            assert file is not None
            return file.read()

        (entry,) = [each for each in json.loads(read("manifest.json")) if name in each["RepoTags"]]
        config = json.loads(read(entry["Config"]))
        contents = [read(path) for path in entry["Layers"]]
    digests = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in contents]
    assert config["rootfs"]["diff_ids"] == digests
    return [tarfile.open(fileobj=io.BytesIO(layer)) for layer in contents]


def content(layer: tarfile.TarFile, path: str) -> bytes:
    file = layer.extractfile(path)
    assert file is not None
    return file.read()


def test_stand_ins_are_used_without_srs_images(tools: Tools, tmp_path: Path) -> None:
    images = srs_images(tools, tmp_path / "images", {})
    assert not images.real
    assert {"ossrs/srs:v4.0.5", "ossrs/srs:v4.0.6"} <= set(images.names)
    (layer,) = layers(images.archives[0], "ossrs/srs:v4.0.6")
    assert content(layer, "usr/local/srs/objs/srs") == b"a static binary"
    assert layer.getmember("usr/local/srs/objs/srs").mode == 0o755
    assert layer.getmember("tmp").mode == 0o1777
    assert stand_ins(tools, tmp_path / "images") == images.archives[0]


def test_another_binary_makes_other_stand_ins(tools: Tools, tmp_path: Path) -> None:
    before = stand_ins(tools, tmp_path / "images")
    tools.binaries["streaming"].write_bytes(b"another")
    after = stand_ins(tools, tmp_path / "images")
    assert after != before
    assert not before.exists()


def test_srs_images_are_archives_or_names(tools: Tools, tmp_path: Path) -> None:
    archive = stand_ins(tools, tmp_path / "images")
    given = {"SRS_IMAGES": f"{archive}, ossrs/srs:v6.0-r0"}
    images = srs_images(tools, tmp_path / "images", given)
    assert images.real
    assert images.archives == (archive,)
    assert images.pulled == ("ossrs/srs:v6.0-r0",)
    assert images.names == (*image_names(archive), "ossrs/srs:v6.0-r0")
    assert images.archive_of("ossrs/srs:v4.0.5") == archive
    assert images.archive_of("ossrs/srs:v6.0-r0") is None


def test_a_file_that_is_no_archive_is_refused_by_name(tools: Tools, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.tar"
    wrong.write_text("no tar")
    for path in (wrong, tmp_path / "absent.tar"):
        with pytest.raises(MachineError, match=rf"SRS_IMAGES: {path} is no docker-archive"):
            srs_images(tools, tmp_path, {"SRS_IMAGES": str(path)})


def test_a_crashing_image_runs_srs_through_the_wrapper(tools: Tools, tmp_path: Path) -> None:
    archive, made = stand_ins(tools, tmp_path / "images"), tmp_path / "crashing.tar"
    wrapper = tmp_path / "wrapper"
    wrapper.write_bytes(b"the wrapper")
    crashing_image(archive, "ossrs/srs:v4.0.6", "crashing/srs:v4.0.6", wrapper, made, seconds=7)
    assert image_names(made) == ["crashing/srs:v4.0.6"]
    below, top = layers(made, "crashing/srs:v4.0.6")
    assert content(below, "usr/local/srs/objs/srs") == b"a static binary"
    assert content(top, "usr/local/srs/objs/srs") == b"the wrapper"
    assert content(top, "usr/local/srs/objs/srs.original") == b"a static binary"
    assert content(top, "usr/local/srs/objs/crash-after") == b"7\n"
