"""This program, and a bare Pulumi program that declares the same objects."""

import json
from abc import abstractmethod
from pathlib import Path

import yaml

from bench.objects import State, stack_config
from bench.tools.tool import Tool, wait_for_pods
from testbed.environment import PROJECT

STACK = "dev"
"""The committed stack file has a salt; `pulumi stack init` of another one would write one into the checkout."""

UPDATE = ("up", "--yes", "--skip-preview")

BARE_PROGRAM = """\
import json
from pathlib import Path

import pulumi
import pulumi_kubernetes as k8s

provider = k8s.Provider("kubernetes", kubeconfig={kubeconfig!r}, context="testbed", cluster_identifier="testbed")
namespace = None
for item in json.loads(Path(__file__).with_name("objects.json").read_text()):
    group, _, version = item["apiVersion"].rpartition("/")
    token = f"kubernetes:{{group or 'core'}}/{{version}}:{{item['kind']}}"
    opts = pulumi.ResourceOptions(provider=provider, depends_on=namespace)
    resource = pulumi.CustomResource(token, item["kind"] + "/" + item["metadata"]["name"], item, opts)
    namespace = namespace or resource
"""
"""It declares the objects with the class that is fastest to import, as this program does."""


class PulumiTool(Tool):
    """A Pulumi program with a backend of its own."""

    def prepare(self) -> None:
        """Create the stack."""
        (self.place.folder / "backend").mkdir()
        self.write("canary")
        self.pulumi("stack", "init", STACK)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its commands."""
        return {**self.place.variables, "PULUMI_BACKEND_URL": (self.place.folder / "backend").as_uri()}

    @property
    @abstractmethod
    def program(self) -> Path:
        """The folder of Pulumi.yaml."""

    @property
    def config(self) -> Path:
        """The stack file."""
        return self.place.folder / f"Pulumi.{STACK}.yaml"

    @abstractmethod
    def write(self, state: State) -> None:
        """Write what the program reads."""

    def pulumi(self, *arguments: str) -> str:
        """Run the CLI."""
        options = [] if arguments[0] == "stack" else ["--stack", STACK, "--config-file", str(self.config)]
        command = ["env", *[f"{name}={value}" for name, value in self.environment.items()], "pulumi"]
        return self.place.run(*command, *arguments, *options, "--non-interactive", cwd=self.program)

    def preview(self) -> None:
        """`pulumi preview`."""
        self.pulumi("preview")


class Product(PulumiTool):
    """This program."""

    title = "this program"

    @property
    def program(self) -> Path:
        """The checkout."""
        return PROJECT

    def write(self, state: State) -> None:
        """Write the stack file."""
        content = stack_config(self.place.namespace, self.place.kubeconfig, state)
        self.config.write_text(yaml.safe_dump(content))

    def deploy(self, state: State) -> None:
        """`pulumi up`, which waits itself."""
        self.write(state)
        self.pulumi(*UPDATE)


class Bare(PulumiTool):
    """A program without anything but the objects."""

    title = "bare Pulumi"
    notes = (
        "Bare Pulumi is a program of ten lines that declares the same objects by the provider's fastest class, with "
        "the same `refresh: always`. It checks nothing. It does not wait for pods; first deployment, weight move and "
        "rollback include the wait of kubectl that kubectl's column has, the other rows do not.",
    )

    @property
    def program(self) -> Path:
        """The generated program."""
        return self.place.folder

    def prepare(self) -> None:
        """Write the program."""
        runtime = {"name": "python", "options": {"toolchain": "pip", "virtualenv": str(PROJECT / ".venv")}}
        project = {"name": "bare", "runtime": runtime, "options": {"refresh": "always"}}
        (self.place.folder / "Pulumi.yaml").write_text(yaml.safe_dump(project))
        (self.place.folder / "__main__.py").write_text(BARE_PROGRAM.format(kubeconfig=str(self.place.kubeconfig)))
        salt = stack_config("", self.place.kubeconfig, "canary")["encryptionsalt"]
        self.config.write_text(yaml.safe_dump({"encryptionsalt": salt, "config": {}}))
        super().prepare()

    def write(self, state: State) -> None:
        """Write the objects."""
        (self.place.folder / "objects.json").write_text(json.dumps(self.objects[state]))

    def deploy(self, state: State) -> None:
        """`pulumi up`, and the wait of kubectl."""
        self.write(state)
        self.pulumi(*UPDATE)
        wait_for_pods(self.place, self.objects[state])

    def unchanged(self) -> None:
        """`pulumi up`."""
        self.write("canary")
        self.pulumi(*UPDATE)
