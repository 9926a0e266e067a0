"""An operator of a stack, who uses `rollout` and git."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config

from model.names import EDGE_SERVICE
from stack import ROOT, DevStack, repeated


class Operator:
    """Runs `rollout` and git in the folder of a stack."""

    def __init__(self, stack: DevStack) -> None:
        self.stack = stack
        self.file = stack.folder / f"Pulumi.{stack.stack_name}.yaml"

    def run(self, *arguments: str, code: int = 0) -> str:
        """The output of a verb; the errors and the progress are in it."""
        return self._run(*arguments, code=code, stderr=subprocess.STDOUT)

    def json(self, *arguments: str, code: int = 0, folder: Path | None = None) -> Any:
        """What a verb prints with --json. folder: another checkout."""
        return json.loads(self._run(*arguments, "--json", code=code, stderr=subprocess.PIPE, folder=folder))

    def timed_abort(self, *arguments: str) -> tuple[Any, float]:
        """`rollout abort`, and the seconds from the start of its process until no new viewer reaches its edges."""
        discovery = client.DiscoveryV1Api(config.new_client_from_config(str(self.stack.kubeconfig)))
        samples: list[tuple[float, set[str]]] = []

        def sample() -> None:
            slices: Any = discovery.list_namespaced_endpoint_slice(
                self.stack.namespace, label_selector=f"kubernetes.io/service-name={EDGE_SERVICE}"
            )
            ready = {
                endpoint.target_ref.name
                for endpoint_slice in slices.items
                for endpoint in endpoint_slice.endpoints or []
                if endpoint.conditions.ready
            }
            samples.append((time.monotonic(), ready))

        with repeated(sample, pause=0.02):
            started = time.monotonic()
            aborted = self.json("abort", *arguments)
        out = max(moment for moment, ready in samples if ready & set(aborted["edges"]))
        print(f"out of rotation {out - started:.2f} s after the start of the command, {aborted['seconds']} s by itself")
        return aborted, out - started

    def _run(self, *arguments: str, code: int, stderr: int, folder: Path | None = None) -> str:
        process = self.start(*arguments, stderr=stderr, folder=folder)
        output, errors = process.communicate()
        assert process.returncode == code, f"{output}{errors or ''}"
        assert "Traceback" not in output
        return output

    def start(
        self, *arguments: str, stderr: int = subprocess.PIPE, folder: Path | None = None
    ) -> "subprocess.Popen[str]":
        """A verb that runs. folder: another checkout."""
        return subprocess.Popen(
            [str(ROOT / "bin/rollout"), *arguments, "--stack", self.stack.stack_name],
            cwd=folder or self.stack.folder,
            env={**os.environ, **self.stack.variables},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=Operator", "-c", "user.email=operator@example.com"]
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=self.stack.folder, check=True, capture_output=True, text=True).stdout

    def commit_first(self, message: str, *more: str) -> None:
        """Begin a repository with the stack file. more: other files."""
        self.git("init", "--quiet")
        self.git("config", "user.name", "Operator")
        self.git("config", "user.email", "operator@example.com")
        self.git("add", self.file.name, *more)
        self.git("commit", "--quiet", "-m", message)

    def weights(self) -> dict[str, int]:
        return {name: settings["weight"] for name, settings in self.edge()["releases"].items()}

    def edge(self) -> dict[str, Any]:
        """The edges in the stack file."""
        return yaml.safe_load(self.file.read_text())["config"]["srs:edge"]
