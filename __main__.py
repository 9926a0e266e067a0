"""The SRS cluster: read the config, read the live state, plan the update, run the plan."""

import gc

# The imports create most objects of a run, and none of them is garbage.
gc.disable()

import asyncio
import json
import os
import secrets
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pulumi

from cluster.admission import Admission, ObjectKey, review
from cluster.live import LiveCluster, Object, UnreachableError
from cluster.state import LiveState, read_state
from cluster.terminating import terminating_namespace
from model.config.read import ConfigError, conf_files, read_settings
from model.config.stack import StackSettings
from model.desired.confs import mounted_confs
from model.desired.render import Desired, render
from model.names import PLAN_FILE, RUN_TOKEN
from update import plan_json, plan_text
from update.kept import read_kept
from update.ownership import Binding
from update.plan import UpdatePlan, plan
from update.polling import NamespaceTerminatingError, wait_for_namespace
from update.review import reviewed_objects
from update.run import run

gc.freeze()
gc.enable()

# The engine interrupts the program when something fails; without this an old language host prints Python's
# KeyboardInterrupt trace above the reason.
signal.signal(signal.SIGINT, signal.SIG_DFL)

if "SRS_SDK_DEBUG" not in os.environ:
    # The SDK waits for the engine at each of its debug messages, of which a resource has five (pulumi/pulumi #7292,
    # #7146). For those that `pulumi up --debug` prints, set the variable.
    pulumi.log.debug = lambda *_arguments, **_options: None  # pyright: ignore[reportUnknownLambdaType]

READ_ATTEMPTS = 10
"""How often the outputs are read while the state is being written."""

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
        if not conf_key and mounted_confs(settings, "").have_secrets:
            conf_key = secrets.token_hex(16)
            pulumi.export(CONF_KEY, pulumi.Output.secret(conf_key))
        live = LiveCluster(settings.kubernetes)
        state = await load_state(live, settings)
        names = (*(bound.stacks if bound else ()), stack_name())
        desired = render(settings, read_kept(settings, state, conf_key, names), stack_name())
        decide = partial(plan, desired, bound=bound, run_token=os.environ.get(RUN_TOKEN, ""))
        update = decide(state)
        if objects := reviewed_objects(update, desired, state):
            state = replace(state, admission=load_admission(live, objects))
            update = decide(state)
        if update.rejections:
            raise ConfigError(list(update.rejections))
        show(update, desired, state)
    except (ValueError, NamespaceTerminatingError, UnreachableError) as error:
        write_plan(*plan_json.failure(error))
        raise pulumi.RunError(str(error)) from None
    pulumi.export("deployment", update.binding.to_output())
    await run(update, desired, live, state, os.environ.get(RUN_TOKEN, ""))


def stack_name() -> str:
    """The name of the stack with its organization and project, which all its objects carry."""
    return f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"


async def load_outputs() -> tuple[Binding | None, str]:
    """The stack's own outputs of the last update: the binding, None before the first one; and CONF_KEY, "" if none.

    Not by a StackReference, which would be in the state with the stack's name: a refresh of it fails after the stack
    was renamed, or its state has moved.
    """
    answer: Any = None
    for attempt in range(READ_ATTEMPTS):
        try:
            answer = await pulumi.runtime.invoke_async("pulumi:pulumi:readStackOutputs", {"name": stack_name()})
            break
        except Exception as error:
            # The engine may be writing the state, which a backend in a folder does not do at once.
            if "failed to load checkpoint" not in str(error) or attempt == READ_ATTEMPTS - 1:
                raise
            await asyncio.sleep(0.5)
    outputs: dict[str, Any] = answer["outputs"]
    return Binding.from_output(outputs.get("deployment")), str(outputs.get(CONF_KEY, ""))


def load_settings() -> StackSettings:
    """The stack config. Raises ConfigError."""
    config = pulumi.runtime.config.CONFIG.get()
    secret_keys = [key for key in config if pulumi.runtime.config.is_config_secret(key)]
    files: dict[str, str] = {}
    for path in conf_files(config):
        with suppress(OSError, ValueError, RuntimeError):  # the model reports what is missing; ~user has no home
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
        return read_state(
            live,
            settings.tls.secret_name,
            other_services=settings.can_share_load_balancers,
            nodes=any(service.load_balancer.limits_backends for service in settings.exposed_services),
        )
    except UnreachableError as error:
        if not pulumi.runtime.is_dry_run():
            raise
        return LiveState(unreachable=str(error))


def load_admission(live: LiveCluster, objects: Mapping[ObjectKey, Object]) -> Admission:
    """What the API server would store of these objects. A preview goes on without its answer, and may not ask."""
    try:
        answers = review(live, objects)
        return replace(answers, unknown=()) if pulumi.runtime.is_dry_run() else answers
    except UnreachableError:
        if not pulumi.runtime.is_dry_run():
            raise
        return Admission()


def show(update: UpdatePlan, desired: Desired, state: LiveState) -> None:
    """Write the plan to the file, and print it in a preview; the warnings are printed in an update, too."""
    if PLAN_FILE in os.environ:
        write_plan(plan_text.text(update, desired, state), plan_json.document(update, desired, state))
    elif pulumi.runtime.is_dry_run():
        pulumi.log.info(plan_text.text(update, desired, state))
        return
    for warning in update.warnings:
        pulumi.log.warn(warning)


def write_plan(text: str, data: plan_json.RejectedPlan) -> None:
    """Write a plan to the file, if there is one."""
    if file := os.environ.get(PLAN_FILE):
        Path(file).write_text(json.dumps(data, indent=1) + "\n")
        Path(file).with_suffix(".txt").write_text(f"{text}\n")


pulumi.run(main)
