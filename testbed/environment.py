"""The environment in which pulumi, kubectl and the tests use this project's tools and the embedded cluster."""

import os
from collections.abc import Mapping
from pathlib import Path

from testbed.toolchain.install import Tools

PROJECT = Path(__file__).resolve().parent.parent
"""The folder of Pulumi.yaml."""

STATE = PROJECT / ".testbed"
"""The state folder of the cluster of `make up`."""

UNSET = ("PULUMI_ACCESS_TOKEN",)
"""Variables of the user that must not be inherited: with a token the CLI would use Pulumi Cloud."""


def environment(state: Path, tools: Tools) -> dict[str, str]:
    """The variables to add to the user's own, without those in UNSET.

    Kubeconfig, Pulumi login and stacks are the testbed's; those of the user stay untouched.
    """
    stacks = state.resolve() / "pulumi"
    stacks.mkdir(parents=True, exist_ok=True)
    # The virtual environment is first because a Python language host that is built from source ignores the project's
    # `virtualenv` option and runs the first python on PATH.
    folders = [PROJECT / ".venv" / "bin", PROJECT / "bin", *tools.path]
    return {
        "PATH": os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)]),
        "VIRTUAL_ENV": str(PROJECT / ".venv"),
        "KUBECONFIG": str(state.resolve() / "kubeconfig"),
        "PULUMI_HOME": str(tools.pulumi_home),
        "PULUMI_BACKEND_URL": stacks.as_uri(),
        # The stacks of the testbed contain no secrets.
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        # By default each run tries to download the plugins of all Pulumi packages in the virtual environment, also the
        # one for Alibaba Cloud, which the dev stack does not need. `ensure_tools` installs those that are needed.
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }


def child_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child process: the user's own without UNSET, and these variables."""
    return {name: value for name, value in os.environ.items() if name not in UNSET} | dict(variables)
