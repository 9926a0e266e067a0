"""The SRS cluster: read the config, read the live state, plan the update, run the plan."""

import json
import os
import secrets
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pulumi

from cluster.live import LiveCluster, UnreachableError
from cluster.state import LiveState, read_state
from cluster.terminating import terminating_namespace
from components.manifest import stack_name
from model.config import ConfigError, conf_files, read_settings
from model.settings.stack import StackSettings
from update import report
from update.autoscaling import keep_autoscaled_replicas
from update.ownership import Binding
from update.plan import UpdatePlan, plan
from update.polling import NamespaceTerminatingError, wait_for_namespace
from update.run import run

# The engine interrupts the program when something fails; without this an old language host prints Python's
# KeyboardInterrupt trace above the reason.
signal.signal(signal.SIGINT, signal.SIG_DFL)

PLAN_FILE = "SRS_PLAN_FILE"
"""Environment variable: where to write the plan as JSON; the text is written beside it, with the ending `.txt`."""


CONF_KEY = "confKey"
"""Output of a stack whose srs.conf has secrets: the key of the hashes in the names of its Secrets. With a plain hash,
who may read names could check a guessed secret."""


async def main() -> None:
    """Update the cluster."""
    bound, conf_key = await load_outputs()
    if bound:
        pulumi.export("deployment", bound.to_output())  # also if this update is rejected
    if conf_key:
        pulumi.export(CONF_KEY, pulumi.Output.secret(conf_key))
    try:
        settings = load_settings()
        if settings.has_secret_confs and not conf_key:
            conf_key = secrets.token_hex(16)
            pulumi.export(CONF_KEY, pulumi.Output.secret(conf_key))
        settings = settings.with_conf_key(conf_key)
        live = LiveCluster(settings.kubernetes)
        state = await load_state(live, settings)
        settings = keep_autoscaled_replicas(settings, state)
        update = plan(settings, state, stack_name(), bound)
        if update.rejections:
            raise ConfigError(list(update.rejections))
        show(update, settings, state)
    except (ValueError, NamespaceTerminatingError, UnreachableError) as error:
        write_plan(*report.failure(error))
        raise pulumi.RunError(str(error)) from None
    pulumi.export("deployment", update.binding.to_output())
    await run(update, settings, live, state)


async def load_outputs() -> tuple[Binding | None, str]:
    """The stack's own outputs of the last update: the binding, None before the first one; and CONF_KEY, "" if none."""
    outputs = pulumi.StackReference(stack_name())
    deployment = await outputs.get_output_details("deployment")
    conf_key = await outputs.get_output_details(CONF_KEY)
    return Binding.from_output(deployment.value), str(conf_key.secret_value or "")


def load_settings() -> StackSettings:
    """The stack config. Raises ConfigError."""
    config = pulumi.runtime.config.CONFIG.get()
    secret_keys = [key for key in config if pulumi.runtime.config.is_config_secret(key)]
    files: dict[str, str] = {}
    for path in conf_files(config):
        with suppress(OSError, UnicodeDecodeError):  # the model reports what is missing
            files[path] = Path(path).expanduser().read_text(encoding="utf-8")
    return read_settings(config, secret_keys, files)


async def load_state(live: LiveCluster, settings: StackSettings) -> LiveState:
    """The live state, once the namespace of an earlier stack has terminated.

    A preview does not wait, and works without the cluster.
    """
    try:
        if not pulumi.runtime.is_dry_run():
            on_progress = partial(pulumi.log.info, ephemeral=True)
            await wait_for_namespace(live, settings.kubernetes.namespace_timeout, pulumi.log.info, on_progress)
        elif namespace := terminating_namespace(live):
            pulumi.log.warn(namespace[1])
        return read_state(live, settings.tls.secret_name, other_services=settings.uses_clbs)
    except UnreachableError as error:
        if not pulumi.runtime.is_dry_run():
            raise
        return LiveState(unreachable=str(error))


def show(update: UpdatePlan, settings: StackSettings, state: LiveState) -> None:
    """Write the plan to the file, and print it in a preview; the warnings are printed in an update, too."""
    if PLAN_FILE in os.environ:
        write_plan(report.text(update, settings, state), report.as_json(update, settings, state))
    elif pulumi.runtime.is_dry_run():
        pulumi.log.info(report.text(update, settings, state))
        return
    for warning in update.warnings:
        pulumi.log.warn(warning)


def write_plan(text: str, data: dict[str, Any]) -> None:
    """Write a plan to the file, if there is one."""
    if file := os.environ.get(PLAN_FILE):
        Path(file).write_text(json.dumps(data, indent=1) + "\n")
        Path(file).with_suffix(".txt").write_text(f"{text}\n")


pulumi.run(main)
