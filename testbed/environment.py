"""The environment in which pulumi, kubectl and the tests meet this project's tools and the embedded cluster."""

import os
from collections.abc import Mapping
from pathlib import Path

from testbed.toolchain.install import Tools

PROJECT = Path(__file__).resolve().parent.parent
"""The folder of Pulumi.yaml."""

STATE = PROJECT / ".testbed"
"""The state folder of the cluster that `make up` starts."""

UNSET = ("PULUMI_ACCESS_TOKEN",)
"""What must not be taken over from the user: with a token the CLI would ask Pulumi's service."""


def environment(state: Path, tools: Tools) -> dict[str, str]:
    """The variables to add to the user's own (and see UNSET).

    Nothing of the user's is touched: kubeconfig, Pulumi login and stacks of this environment are the testbed's own.
    """
    stacks = state.resolve() / "pulumi"
    stacks.mkdir(parents=True, exist_ok=True)
    # The virtual environment comes first because the Python language host that is built from source ignores the
    # project's `virtualenv` option and runs the first python on PATH.
    folders = [PROJECT / ".venv" / "bin", *tools.path]
    return {
        "PATH": os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)]),
        "VIRTUAL_ENV": str(PROJECT / ".venv"),
        "KUBECONFIG": str(state.resolve() / "kubeconfig"),
        "PULUMI_HOME": str(tools.pulumi_home),
        "PULUMI_BACKEND_URL": stacks.as_uri(),
        # The stacks of the testbed hold no secrets.
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        # Else each run tries to fetch the plugins of all Pulumi packages in the virtual environment, the one for
        # Alibaba Cloud included, which the dev stack has no use for. What is needed, `ensure_tools` has put there.
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }


def with_users(variables: Mapping[str, str]) -> dict[str, str]:
    """The user's own environment with these variables in it, less what must not be taken over: for a child process."""
    return {name: value for name, value in os.environ.items() if name not in UNSET} | dict(variables)
