"""Container images for the nodes: real ones, or fake ones where no registry can be reached.

SRS_IMAGES names the SRS images to use, separated by commas: docker-archive files (`docker save`) or names to pull.
Without it, nodes pull the images of the stack; without a registry, fake images are imported under the same names.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from testbed.containers.machine import PAUSE_IMAGE, MachineError
from testbed.toolchain.download import reachable
from testbed.toolchain.install import Tools

REGISTRY = "https://registry-1.docker.io"
SRS = "ossrs/srs"
SRS_HOME = "/usr/local/srs"
FAKESRS_VERSIONS = ("4.0.5", "4.0.6", "4.0.271", "5.0.213", "6.0.156", "6.0.157")
"""The versions of SRS whose behaviour the fake SRS has."""


@dataclass(frozen=True)
class Image:
    """The config of an image to write."""

    name: str
    command: Sequence[str]
    directory: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class SrsImages:
    """The SRS images of the nodes.

    archives: docker-archive files to import. pulled: names that the nodes pull. names: the images in both, in the
    given order. real: False for the fake SRS.
    """

    archives: tuple[Path, ...]
    pulled: tuple[str, ...]
    names: tuple[str, ...]
    real: bool


def srs_images(tools: Tools, folder: Path, environment: Mapping[str, str] = os.environ) -> SrsImages:
    """The SRS images that SRS_IMAGES names, or fake ones, written to `folder`.

    Raises:
        MachineError: SRS_IMAGES names a file that is not a docker-archive.
    """
    given = [item.strip() for item in environment.get("SRS_IMAGES", "").split(",") if item.strip()]
    if not given:
        fakes = tuple(f"{SRS}:v{version}" for version in FAKESRS_VERSIONS)
        return SrsImages((fake_images(tools, folder),), (), fakes, real=False)
    archives: list[Path] = []
    pulled: list[str] = []
    names: list[str] = []
    for item in given:
        if _is_archive(item):
            archive = Path(item).expanduser().absolute()
            archives.append(archive)
            names += image_names(archive)
        else:
            pulled.append(item)
            names.append(item)
    return SrsImages(tuple(archives), tuple(pulled), tuple(names), real=True)


def machine_images(tools: Tools, folder: Path, report: Callable[[str], None]) -> list[Path]:
    """The archives to import on every node before its first pod: the given ones, and fake ones without a registry.

    Raises:
        MachineError: SRS_IMAGES names a file that is not a docker-archive.
    """
    images = srs_images(tools, folder)
    if reachable(REGISTRY):
        return list(images.archives) if images.real else []
    report(f"{REGISTRY} cannot be reached: nodes use {'the images of SRS_IMAGES' if images.real else 'fake images'}")
    return [fake_images(tools, folder), *(images.archives if images.real else ())]


def fake_images(tools: Tools, folder: Path) -> Path:
    """An archive with the pause image and fakes of all images of the dev stack, which share one layer.

    For tests only: the fake SRS speaks RTMP and HTTP-FLV and drains like SRS.
    """
    binary = tools.binaries["streaming"]
    links = [
        f"{SRS_HOME}/objs/srs",
        "/bin/bash",  # for the hooks of origins
        "/bin/kill",
        "/bin/sh",  # for the encoder, whose command is a loop around ffmpeg, and for the cleaner of HLS files
        "/usr/sbin/nginx",
        "/pause",
    ]
    images = [
        Image(PAUSE_IMAGE, ["/pause"]),
        Image(f"{SRS}:encoder", ["/bin/sh"], SRS_HOME),
        Image("nginxinc/nginx-unprivileged:1.28.0", ["/usr/sbin/nginx"]),
        *(
            # The command of the images before 4.0.168.
            Image(f"{SRS}:v{version}", ["./objs/srs", "-c", "conf/srs.conf"], SRS_HOME, {"FAKESRS_VERSION": version})
            for version in FAKESRS_VERSIONS
        ),
    ]
    key = hashlib.sha256(binary.read_bytes() + repr((links, images)).encode()).hexdigest()[:12]
    target = folder / f"fake-images-{key}.tar"
    if not target.exists():
        for old in folder.glob("fake-images-*.tar"):
            old.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        _write_archive(target, images, _layer(binary, links))
    return target


def _layer(binary: Path, links: Sequence[str]) -> bytes:
    """The files of the fake images: one static binary under several names, and the folders that pods need."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        folders = {"/tmp", "/etc", f"{SRS_HOME}/conf", f"{SRS_HOME}/objs/nginx/html", "/usr/share/nginx/html"}
        folders |= {str(PurePosixPath(link).parent) for link in links}
        for folder in sorted(folders | {str(parent) for path in folders for parent in PurePosixPath(path).parents}):
            if folder != "/":
                entry = tarfile.TarInfo(folder.lstrip("/"))
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "/tmp" else 0o755
                layer.addfile(entry)
        entry = tarfile.TarInfo("streaming")
        entry.size, entry.mode = binary.stat().st_size, 0o755
        with binary.open("rb") as content:
            layer.addfile(entry, content)
        for link in links:
            entry = tarfile.TarInfo(link.lstrip("/"))
            entry.type, entry.linkname, entry.mode = tarfile.LNKTYPE, "streaming", 0o755
            layer.addfile(entry)
        _add(layer, "etc/passwd", b"root:x:0:0::/:\nsrs:x:1000:1000::/:\n")
    return buffer.getvalue()


def _write_archive(target: Path, images: Sequence[Image], layer: bytes) -> None:
    """Write a docker-archive of images that all have the same one layer (an uncompressed tar)."""
    digest = hashlib.sha256(layer).hexdigest()
    manifest: list[dict[str, Any]] = []
    files = {"layer.tar": layer}
    for image in images:
        config = {
            "architecture": _architecture(),
            "os": "linux",
            "config": {
                "Cmd": list(image.command),
                "WorkingDir": image.directory,
                "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", *(f"{k}={v}" for k, v in image.environment.items())],
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        content = json.dumps(config).encode()
        name = f"{hashlib.sha256(content).hexdigest()}.json"
        files[name] = content
        manifest.append({"Config": name, "RepoTags": [image.name], "Layers": ["layer.tar"]})
    files["manifest.json"] = json.dumps(manifest).encode()
    scratch = target.with_suffix(".new")
    with tarfile.open(scratch, "w") as archive:
        for name, content in files.items():
            _add(archive, name, content)
    scratch.replace(target)


def image_names(archive: Path) -> list[str]:
    """The names of the images in a docker-archive. Raises MachineError if the file is not one."""
    try:
        with tarfile.open(archive) as content:
            file = content.extractfile("manifest.json")
            manifest = json.load(file) if file else []
        return [name for image in manifest for name in image["RepoTags"] or []]
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        raise MachineError(
            f"SRS_IMAGES: {archive} is not a docker-archive (as `docker save` writes it): {error}"
        ) from error


def _is_archive(text: str) -> bool:
    return text.endswith(".tar") or ("/" in text and Path(text).expanduser().is_file())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    archive.addfile(entry, io.BytesIO(content))


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
