"""Container images for the nodes: real ones that were given, or stand-ins where none can be pulled.

SRS_IMAGES names the SRS images to use, separated by commas: docker-archive files (`docker save`) or names to pull.
Without it, nodes pull what the stack names; where no registry can be reached, they get stand-ins made here.
"""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from testbed.containers.machine import PAUSE_IMAGE, MachineError
from testbed.toolchain.download import reachable
from testbed.toolchain.install import Tools

REGISTRY = "https://registry-1.docker.io"
SRS = "ossrs/srs"
SRS_HOME = "/usr/local/srs"
STAND_IN_VERSIONS = ("4.0.5", "4.0.6", "4.0.271", "5.0.213", "6.0.156", "6.0.157")
"""Versions of SRS that the stand-in knows how to behave like."""

CRASH_AFTER = "crash-after"
"""What the binary of `testbed/tools/streaming` is called when it is to end another one after a while."""


@dataclass(frozen=True)
class Image:
    """An image to be written: its name, its command, and what else an image's config holds."""

    name: str
    command: Sequence[str]
    directory: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class SrsImages:
    """The SRS images that pods get.

    archives: docker-archive files to import. pulled: names for the nodes to pull. names: the images in both, in
    the order in which they were given. real: False for stand-ins.
    """

    archives: tuple[Path, ...]
    pulled: tuple[str, ...]
    names: tuple[str, ...]
    real: bool

    def archive_of(self, name: str) -> Path | None:
        """The archive that an image is in; None if it is pulled."""
        return next((archive for archive in self.archives if name in image_names(archive)), None)


def srs_images(tools: Tools, folder: Path, environment: Mapping[str, str] = os.environ) -> SrsImages:
    """The SRS images that SRS_IMAGES names, or stand-ins made in `folder`.

    Raises:
        MachineError: SRS_IMAGES names a file that is no docker-archive.
    """
    given = [each.strip() for each in environment.get("SRS_IMAGES", "").split(",") if each.strip()]
    if not given:
        names = tuple(f"{SRS}:v{version}" for version in STAND_IN_VERSIONS)
        return SrsImages((stand_ins(tools, folder),), (), names, real=False)
    archives = tuple(Path(each).expanduser().absolute() for each in given if _is_archive(each))
    pulled = tuple(each for each in given if not _is_archive(each))
    names = [name for each in given for name in (image_names(Path(each).expanduser()) if _is_archive(each) else [each])]
    return SrsImages(archives, pulled, tuple(names), real=True)


def machine_images(tools: Tools, folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Archives that every node needs before its first pod: none where images can be pulled, else stand-ins.

    Raises:
        MachineError: SRS_IMAGES names a file that is no docker-archive.
    """
    images = srs_images(tools, folder)
    if reachable(REGISTRY):
        return list(images.archives) if images.real else []
    say(f"{REGISTRY} cannot be reached: nodes get {'the images of SRS_IMAGES' if images.real else 'stand-in images'}")
    return [stand_ins(tools, folder), *(each for each in images.archives if images.real)]


def stand_ins(tools: Tools, folder: Path) -> Path:
    """An archive with the pause image and stand-ins for all images of the dev stack. They share one layer.

    For tests only: the stand-in for SRS speaks RTMP and drains as SRS does, and serves no picture worth seeing.
    """
    binary = tools.binaries["streaming"]
    links = [
        f"{SRS_HOME}/objs/srs",
        f"{SRS_HOME}/etc/init.d/srs",
        "/bin/kill",
        "/bin/sh",  # of the encoder, whose command is a loop around ffmpeg
        "/usr/sbin/nginx",
        "/pause",
    ]
    images = [
        Image(PAUSE_IMAGE, ["/pause"]),
        Image(f"{SRS}:encoder", ["/bin/sh"], SRS_HOME),
        Image("nginxinc/nginx-unprivileged:1.28.0", ["/usr/sbin/nginx"]),
        *(
            Image(f"{SRS}:v{version}", ["./objs/srs"], SRS_HOME, {"SRS_STAND_IN_VERSION": version})
            for version in STAND_IN_VERSIONS
        ),
    ]
    key = hashlib.sha256(binary.read_bytes() + repr((links, images)).encode()).hexdigest()[:12]
    target = folder / f"stand-ins-{key}.tar"
    if not target.exists():
        for old in folder.glob("stand-ins-*.tar"):
            old.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        write_archive(target, images, _layer(binary, links))
    return target


def _layer(binary: Path, links: Sequence[str]) -> bytes:
    """The files of the stand-ins: one static binary under many names, and the folders that pods expect."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        folders = {"/tmp", "/etc", f"{SRS_HOME}/conf", f"{SRS_HOME}/objs/nginx/html", "/usr/share/nginx/html"}
        folders |= {str(PurePosixPath(link).parent) for link in links}
        for folder in sorted(folders | {str(parent) for each in folders for parent in PurePosixPath(each).parents}):
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


def write_archive(target: Path, images: Sequence[Image], layer: bytes) -> None:
    """Write a docker-archive with images that all consist of one layer (an uncompressed tar)."""
    digest = hashlib.sha256(layer).hexdigest()
    manifest: list[dict[str, Any]] = []
    configs: dict[str, bytes] = {}
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
        configs[name] = content
        manifest.append({"Config": name, "RepoTags": [image.name], "Layers": ["layer.tar"]})
    _write(target, {**configs, "layer.tar": layer, "manifest.json": json.dumps(manifest).encode()})


def image_names(archive: Path) -> list[str]:
    """The names of the images in a docker-archive. Raises MachineError if it is none."""
    try:
        with tarfile.open(archive) as content:
            manifest = json.loads(_read(content, "manifest.json"))
        return [name for image in manifest for name in image["RepoTags"] or []]
    except (OSError, tarfile.TarError, KeyError, ValueError) as problem:
        raise MachineError(
            f"SRS_IMAGES: {archive} is no docker-archive (as `docker save` writes it): {problem}"
        ) from problem


def crashing_image(archive: Path, name: str, crashing: str, binary: Path, target: Path, seconds: float = 5) -> None:
    """Write `target`, an image that is `name` of `archive` but crashes some seconds after it is ready.

    crashing: its name. binary: the one of `testbed/tools/streaming`, which is put in the place of SRS and runs SRS,
    so it works with every image whose SRS is `/usr/local/srs/objs/srs`.
    """
    with tarfile.open(archive) as content:
        (entry,) = [each for each in json.loads(_read(content, "manifest.json")) if name in each["RepoTags"]]
        config = json.loads(_read(content, entry["Config"]))
        layers = [_read(content, each) for each in entry["Layers"]]
    srs = _find_file(layers, f"{SRS_HOME}/objs/srs".lstrip("/"))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        folder = f"{SRS_HOME}/objs".lstrip("/")
        _add(layer, f"{folder}/srs.original", srs, 0o755)
        _add(layer, f"{folder}/{CRASH_AFTER}", f"{seconds}\n".encode())
        _add(layer, f"{folder}/srs", binary.read_bytes(), 0o755)
    top = buffer.getvalue()
    config["rootfs"]["diff_ids"].append(f"sha256:{hashlib.sha256(top).hexdigest()}")
    config.pop("history", None)
    text = json.dumps(config).encode()
    paths = [f"layer-{number}.tar" for number in range(len(layers) + 1)]
    name_of_config = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = [{"Config": name_of_config, "RepoTags": [crashing], "Layers": paths}]
    files = dict(zip(paths, [*layers, top], strict=True))
    _write(target, {**files, name_of_config: text, "manifest.json": json.dumps(manifest).encode()})


def _find_file(layers: Sequence[bytes], path: str) -> bytes:
    """The content of a file in the topmost layer that has it, through links."""
    for layer in reversed(layers):
        with tarfile.open(fileobj=io.BytesIO(layer)) as content:
            names = {each.name.removeprefix("./").lstrip("/"): each for each in content.getmembers()}
            entry = names.get(path)
            if entry is None:
                continue
            if entry.issym() or entry.islnk():
                target = entry.linkname.removeprefix("./")
                if entry.issym() and not target.startswith("/"):
                    target = os.path.normpath(PurePosixPath(path).parent / target)
                return _find_file(layers, target.lstrip("/"))
            file = content.extractfile(entry)
            assert file is not None
            return file.read()
    raise MachineError(f"the image has no /{path}")


def _is_archive(text: str) -> bool:
    return text.endswith(".tar") or ("/" in text and Path(text).expanduser().is_file())


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(name)
    with closing(file):
        content = file.read()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def _write(target: Path, files: Mapping[str, bytes]) -> None:
    scratch = target.with_suffix(".new")
    with tarfile.open(scratch, "w") as archive:
        for name, content in files.items():
            _add(archive, name, content)
    scratch.replace(target)


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
