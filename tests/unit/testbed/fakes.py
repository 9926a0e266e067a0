"""Fake tools (shell scripts), a fake file server, and a reporter whose output a test can read."""

import hashlib
import io
from dataclasses import dataclass, field

from testbed.toolchain.catalog import Tool
from testbed.toolchain.download import Asset
from testbed.toolchain.progress import Reporter


@dataclass
class Answer:
    """The answer to requests of one path; `cut` closes the connection after that many bytes of the body."""

    body: bytes
    status: int = 200
    cut: int | None = None


@dataclass
class FileServer:
    url: str
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def publish(self, path: str, body: bytes, checksum: str | None = None) -> None:
        """Serve `body`, and beside it its SHA-256 (or another `checksum`)."""
        self.answers[f"/{path}"] = Answer(body)
        self.answers[f"/{path}.sha256"] = Answer((checksum or hashlib.sha256(body).hexdigest()).encode())


@dataclass
class Log:
    """A reporter and what it printed."""

    reporter: Reporter
    output: io.StringIO

    @property
    def text(self) -> str:
        return self.output.getvalue()


def script(output: str) -> bytes:
    return f"#!/bin/sh\necho '{output}'\n".encode()


def fake_tool(name: str = "fake", build: str = "kwok") -> Tool:
    """A tool of which any version 1.x is accepted, published as `<name>` with `<name>.sha256` beside it."""
    return Tool(
        name=name,
        version="v1.2.3",
        binaries=(name,),
        version_arguments=("--version",),
        accepts=lambda version: version[0] == 1,
        accepted_versions="1.x",
        asset=lambda _system, _processor: Asset("github", f"v1.2.3/{name}", f"v1.2.3/{name}.sha256", "github"),
        build=build,
        download_megabytes=1,
    )
