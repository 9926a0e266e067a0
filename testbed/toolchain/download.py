"""Official releases: download, compare with the published checksum, unpack."""

import hashlib
import http.client
import json
import shutil
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.toolchain.cache import ToolError

RELEASES: Mapping[str, str] = {
    "kubernetes": "https://dl.k8s.io/release",
    "github": "https://github.com",
    "github-api": "https://api.github.com",
}
"""Where releases are published; mirrors and tests replace the addresses."""

_PROBE_SECONDS = 5
_READ_SECONDS = 60


@dataclass(frozen=True)
class Asset:
    """A published file. `base` is a key of RELEASES, the rest are paths below it.

    `checksum` is one of: a file with the digest alone, a list in the format of sha256sum, or the release in GitHub's
    API (`checksum_base` says where), for projects that publish no checksums of their own.
    `members` are patterns of the files to extract from an archive; none means that the file is the tool itself.
    """

    base: str
    path: str
    checksum: str
    checksum_base: str
    members: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.rpartition("/")[2]


def reachable(url: str) -> bool:
    """Whether the host of `url` answers within a few seconds, with any status."""
    root = urllib.parse.urljoin(url, "/")
    try:
        with urllib.request.urlopen(urllib.request.Request(root, method="HEAD"), timeout=_PROBE_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, http.client.HTTPException):
        return False


def install(
    asset: Asset, releases: Mapping[str, str], folder: Path, name: str, on_progress: Callable[[int, int | None], None]
) -> None:
    """Download the asset's binaries into `folder`; a binary outside of an archive is renamed to `name`.

    on_progress: receives the bytes downloaded so far and the total, None if unknown.

    Raises:
        ToolError: the server returns an error, the transfer is interrupted, or the checksum does not match.
    """
    expected = _published_checksum(asset, releases, name)
    url = f"{releases[asset.base]}/{asset.path}"
    file = folder / asset.name
    actual = _download(url, file, name, on_progress)
    if actual != expected:
        raise ToolError(
            f"{name}: the SHA-256 checksum of {url} is {actual}, but {expected} is published for it. "
            "It was not installed. Try again; if the checksum stays the same, the file was modified on its way"
        )
    if asset.members:
        _unpack(file, asset.members, folder, name)
        file.unlink()
    elif file.name != name:
        file.rename(folder / name)
    for binary in folder.iterdir():
        binary.chmod(0o755)


def _published_checksum(asset: Asset, releases: Mapping[str, str], name: str) -> str:
    url = f"{releases[asset.checksum_base]}/{asset.checksum}"
    with _open(url, name) as answer:
        text = answer.read().decode()
    if asset.checksum_base == "github-api":
        digests = {entry["name"]: entry.get("digest") for entry in json.loads(text).get("assets", [])}
        found = (digests.get(asset.name) or "").removeprefix("sha256:")
    else:
        lines = [line.split() for line in text.splitlines() if line.strip()]
        found = next((line[0] for line in lines if len(line) == 1 or line[1].lstrip("*") == asset.name), "")
    if len(found) != 64:
        raise ToolError(f"{name}: {url} has no SHA-256 checksum of {asset.name}; it is not installed without one")
    return found.lower()


def _download(url: str, target: Path, name: str, on_progress: Callable[[int, int | None], None]) -> str:
    """Download `url` to `target`; returns the SHA-256."""
    total = hashlib.sha256()
    with _open(url, name) as answer, target.open("wb") as file:
        length = answer.headers.get("Content-Length")
        size = int(length) if length else None
        done = 0
        try:
            while chunk := answer.read(1 << 20):
                file.write(chunk)
                total.update(chunk)
                done += len(chunk)
                on_progress(done, size)
        except (OSError, http.client.HTTPException) as error:
            raise ToolError(
                f"{name}: the download of {url} was interrupted after {done} bytes ({error}); try again"
            ) from error
    if size is not None and done != size:
        raise ToolError(f"{name}: the download of {url} was interrupted after {done} of {size} bytes; try again")
    return total.hexdigest()


def _open(url: str, name: str) -> http.client.HTTPResponse:
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(url, timeout=_READ_SECONDS)
    except urllib.error.HTTPError as error:
        raise ToolError(
            f"{name}: {url} answered HTTP {error.code} {error.reason}. SRS_TESTBED_TOOLS=build builds it instead"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ToolError(
            f"{name}: {url} cannot be reached ({reason}). Try again, or build it with SRS_TESTBED_TOOLS=build"
        ) from error
    return answer


def _unpack(archive: Path, members: tuple[str, ...], folder: Path, name: str) -> None:
    """Extract the members from the archive, without their folders."""
    found: dict[str, bool] = dict.fromkeys(members, False)

    def is_member(path: str) -> bool:
        matches = [pattern for pattern in members if Path(path).match(pattern)]
        found.update(dict.fromkeys(matches, True))
        return bool(matches)

    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as files:
                for info in files.infolist():
                    if not info.is_dir() and is_member(info.filename):
                        with files.open(info) as source, (folder / Path(info.filename).name).open("wb") as target:
                            shutil.copyfileobj(source, target)
        else:
            with tarfile.open(archive) as tar:
                for entry in tar:
                    source_file = tar.extractfile(entry) if entry.isfile() and is_member(entry.name) else None
                    if source_file is not None:
                        with source_file, (folder / Path(entry.name).name).open("wb") as target:
                            shutil.copyfileobj(source_file, target)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise ToolError(f"{name}: {archive.name} cannot be unpacked ({error})") from error
    missing = [pattern for pattern, is_found in found.items() if not is_found]
    if missing:
        raise ToolError(f"{name}: {archive.name} contains no {', '.join(missing)}")
