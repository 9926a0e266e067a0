"""Stand-ins: tools that are shell scripts, and what a file server publishes."""

import hashlib
import io
from dataclasses import dataclass, field

from testbed.toolchain.download import Asset
from testbed.toolchain.install import Tool
from testbed.toolchain.progress import Report


@dataclass
class Answer:
    """What the file server says for a path; `cut` closes the connection after so many bytes of the body."""

    body: bytes
    status: int = 200
    cut: int | None = None


@dataclass
class FileServer:
    url: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def publish(self, path: str, body: bytes, checksum: str | None = None) -> None:
        """Serve `body`, and beside it its SHA-256 (or `checksum`, to tell a lie)."""
        self.answers[f"/{path}"] = Answer(body)
        self.answers[f"/{path}.sha256"] = Answer((checksum or hashlib.sha256(body).hexdigest()).encode())


@dataclass
class Listener:
    """A report, and what it said."""

    report: Report
    output: io.StringIO

    @property
    def text(self) -> str:
        return self.output.getvalue()


def script(says: str) -> bytes:
    return f"#!/bin/sh\necho '{says}'\n".encode()


def fake_tool(name: str = "fake", build: str = "kwok") -> Tool:
    """A tool of which 1.x will do, published as `<name>` with `<name>.sha256` beside it."""
    return Tool(
        name=name,
        version="v1.2.3",
        binaries=(name,),
        version_arguments=("--version",),
        accepts=lambda version: version[0] == 1,
        wanted="1.x",
        asset=lambda _system, _processor: Asset("github", f"v1.2.3/{name}", f"v1.2.3/{name}.sha256", "github"),
        build=build,
        download_megabytes=1,
    )
