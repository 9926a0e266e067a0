"""The SRS cluster: read the config, read the live state, plan the update, run the plan."""

import os
import signal

import pulumi

from cluster.live import LiveCluster, UnreachableError
from cluster.state import LiveState, read_state
from cluster.terminating import terminating_namespace
from model.config import ConfigError, credentials_warning, read_settings
from model.settings.stack import StackSettings
from update.plan import plan
from update.polling import NamespaceTerminatingError, wait_for_namespace
from update.run import run

# The engine interrupts the program when something fails; without this an old language host prints Python's
# KeyboardInterrupt trace above the reason.
signal.signal(signal.SIGINT, signal.SIG_DFL)


async def main() -> None:
    """Update the cluster."""
    try:
        settings = load_settings()
        live = LiveCluster(settings.kubernetes)
        state = await load_state(live, settings)
        update = plan(settings, state)
        if update.rejections:
            raise ConfigError(list(update.rejections))
    except (ValueError, NamespaceTerminatingError, UnreachableError) as error:
        raise pulumi.RunError(str(error)) from None
    for warning in update.warnings:
        pulumi.log.warn(warning)
    await run(update, settings, live, state)


def load_settings() -> StackSettings:
    """The stack config. Raises ConfigError."""
    config = pulumi.runtime.config.CONFIG.get()
    secrets = [key for key in config if pulumi.runtime.config.is_config_secret(key)]
    settings = read_settings(config, secrets)
    if warning := credentials_warning(settings, config, os.environ):
        pulumi.log.warn(warning)
    return settings


async def load_state(live: LiveCluster, settings: StackSettings) -> LiveState:
    """The live state, once the namespace of an earlier stack has terminated.

    A preview does not wait, and works without the cluster.
    """
    try:
        if not pulumi.runtime.is_dry_run():
            await wait_for_namespace(live, settings.kubernetes.namespace_timeout, pulumi.log.info)
        elif namespace := terminating_namespace(live):
            pulumi.log.warn(namespace[1])
        return read_state(live)
    except UnreachableError as error:
        if not pulumi.runtime.is_dry_run():
            raise
        pulumi.log.warn(f"{error}; this preview omits everything that depends on the live state (order, capacity)")
        return LiveState()


pulumi.run(main)
