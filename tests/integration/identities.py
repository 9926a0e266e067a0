"""ServiceAccounts with the documented roles, and the scripts of the workflows with their kubeconfigs."""

import os
import subprocess
from pathlib import Path

import yaml

from stack import ROOT, DevStack, Result

KUBECONFIG = "workflow-kubeconfig"
"""Where the stack file expects the kubeconfig; the scripts write it there, as on a runner."""


def apply_role(stack: DevStack, name: str) -> None:
    """Apply docs/<name>, in the stack's namespace instead of `live`."""
    text = (ROOT / "docs" / name).read_text()
    manifest = stack.folder / name
    manifest.write_text(
        text.replace("namespace: live", f"namespace: {stack.namespace}").replace("[live]", f"[{stack.namespace}]")
    )
    stack.kubectl("apply", "-n", "", "--filename", str(manifest))


def kubeconfig_of(stack: DevStack, account: str, namespace: str) -> str:
    """The kubeconfig of a ServiceAccount, as docs/pull-requests.md makes it."""
    kubeconfig = yaml.safe_load(stack.kubeconfig.read_text())
    token = stack.kubectl("create", "token", account, "-n", namespace).strip()
    kubeconfig["users"][0]["user"] = {"token": token}
    return yaml.safe_dump(kubeconfig)


def write_stack_file(stack: DevStack) -> None:
    """Write the stack's config, with the kubeconfig of the workflow instead of that of the tests."""
    admin = stack.config["kubernetes"]["kubeconfig"]
    stack.config["kubernetes"]["kubeconfig"] = KUBECONFIG
    stack.write()
    stack.config["kubernetes"]["kubeconfig"] = admin


def run_script(stack: DevStack, script: str, kubeconfig: str, **variables: str) -> Result:
    """Run a script of the workflows with this kubeconfig, and the stack's config as it is."""
    assert stack.stack  # created before
    temp = stack.folder / "runner-temp"
    subprocess.run(["rm", "-rf", str(temp)], check=True)
    temp.mkdir()
    write_stack_file(stack)
    # The scripts take an empty variable for one that the environment does not have.
    passphrase = stack.folder / "passphrase"
    passphrase.write_text("")
    done = subprocess.run(
        [str(ROOT / ".github/scripts" / script)],
        cwd=stack.folder,
        env={key: value for key, value in os.environ.items() if key not in ("KUBECONFIG", "PULUMI_CONFIG_PASSPHRASE")}
        | {
            "STACK": stack.stack_name,
            "TIMEOUT": "5m",
            "RUNNER_TEMP": str(temp),
            "KUBECONFIG_DATA": kubeconfig,
            "PULUMI_BACKEND_URL": stack.variables["PULUMI_BACKEND_URL"],
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase),
        }
        | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    return Result(done.returncode == 0, done.stdout + done.stderr, 0)


def is_allowed(stack: DevStack, kubeconfig: Path, *arguments: str) -> bool:
    """Whether `kubectl auth can-i` says yes, in the stack's namespace."""
    command = ["kubectl", "--kubeconfig", str(kubeconfig), "-n", stack.namespace, "auth", "can-i", *arguments]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
