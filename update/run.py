"""Carries out an update plan: declares resources step by step and waits for what must be ready."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from importlib import metadata
from typing import TypeVar, cast

import pulumi

from cluster.aborted import WITHOUT_MARK, is_aborted
from cluster.live import Kind, LiveCluster, Object, UnreachableError
from cluster.run_record import read_run
from cluster.state import LiveState
from components.declare import Declarer
from components.demo_stream import DemoStream
from components.edge_fleet import EdgeFleet
from components.hls import Hls
from components.load_balancer import LoadBalancer
from components.monitoring import Monitoring
from components.origin_cluster import OriginCluster
from model.config.kubernetes import KubernetesSettings
from model.desired.alerts import alert_rules
from model.desired.objects import DesiredObject
from model.desired.render import Desired
from model.desired.workloads import Workload
from model.load_balancers.urls import urls
from model.names import DEMO, HLS, HLS_CLAIM, MONITORING, ORIGIN, hls_service, origin_hosts
from update.addresses import release_addresses, wait_for_addresses
from update.live_fleet import AutoscalerError, follow_fleet, next_releases, retire
from update.object_changes import correction, differences
from update.open_run import is_superseded
from update.origin_rollout import added_strategy, allow_on_delete, bring_up, replace_in_place
from update.plan import UpdatePlan
from update.polling import (
    ClaimError,
    RolloutError,
    wait_for_claim,
)
from update.steps import DELETED_MEANWHILE, Declarations, StepRunner

T = TypeVar("T")

REQUESTS_PER_SECOND, BURST = 200, 1000
"""Limits of the provider, which reads every object twice in an update. With its defaults (50, after the first 120) an
update without changes of 40 releases waits two seconds for them. The API server protects itself (API Priority and
Fairness).
"""


async def run(plan: UpdatePlan, desired: Desired, live: LiveCluster, state: LiveState, run_token: str = "") -> None:
    """Carry out a plan; a preview declares everything and waits for nothing.

    run_token: of the open `rollout run` that this update belongs to, "" for none.

    Raises pulumi.RunError when something is not ready in time, after its reason has been logged with its resource.
    As the program ends there, later steps do not happen and nothing is deleted.
    """
    desired = desired.with_origins_from(plan.origins.start)
    if pulumi.runtime.is_dry_run() and (strategy := added_strategy(state.origins)):
        desired = desired.with_origin_strategy(strategy)  # what the API server would accept before an update
    settings = desired.settings
    if plan.early_scale_downs and not pulumi.runtime.is_dry_run():
        for deployment, replicas in plan.early_scale_downs.items():
            pulumi.log.info(f"removing pods of Deployment {deployment} that are not ready")
            await asyncio.to_thread(live.scale, deployment, replicas)
    opts = pulumi.ResourceOptions(provider=_provider(settings.kubernetes))
    declarer = Declarer(settings.kubernetes.namespace)
    if desired.namespace:
        declarer.declare_namespace(desired.namespace, opts)
        if state.namespace is None:
            await _check_namespace(live, declarer.resource(desired.namespace))
    if desired.registry_secret:
        declarer.declare(desired.registry_secret, opts)
    load_balancers = {
        service.name: LoadBalancer(
            service,
            desired,
            declarer,
            partial(release_addresses, live, state.services, (service.name, hls_service(service.name))),
            opts,
        )
        for service in settings.exposed_services
    }
    hls = Hls(HLS, desired, declarer, load_balancers, opts) if settings.hls.enabled else None
    correct = partial(_correct_objects, live, declarer, _corrections(plan, desired))
    await correct()
    # Before any pod changes: a release cannot become ready behind a load balancer that was never created.
    addresses = await wait_for_addresses(live, list(load_balancers.values()), hls, state.services)
    outputs = {
        "namespace": declarer.namespace,
        "urls": urls(settings, addresses),
        "releases": desired.release_outputs(),
        "origins": origin_hosts(
            plan.origins.ordinals or (), settings.kubernetes.namespace, settings.kubernetes.cluster_domain
        ),
    }
    if desired.monitoring:
        Monitoring(MONITORING, desired, declarer, opts)
    elif settings.monitoring.kind == "annotations":
        outputs["alertRules"] = alert_rules(settings)
    for key, value in outputs.items():
        pulumi.export(key, value)
    fleet = EdgeFleet("srs-edge", desired, declarer, opts)
    declarations = _declarations(plan, live, state.origins, desired, declarer, fleet, hls, opts)
    for name in plan.taken_back if not pulumi.runtime.is_dry_run() else ():
        # Not before: an update in flight must see the mark until it has ended.
        await asyncio.to_thread(live.patch, "Deployment", name, WITHOUT_MARK)
    aborted = {name for name, deployment in state.edges.items() if is_aborted(deployment)}
    marked = frozenset(aborted - set(plan.taken_back))
    check = partial(_check_not_aborted, live, marked, run_token)
    claim = partial(_wait_for_claim, live, desired, hls)
    follow = partial(_follow, plan, live, desired, fleet)
    await StepRunner(plan, live, desired, declarer, declarations, correct, claim, check, follow).run()
    if not pulumi.runtime.is_dry_run():
        await asyncio.to_thread(_delete, plan, live)


def _provider(settings: KubernetesSettings) -> pulumi.ProviderResource:
    """The provider of Kubernetes.

    Not by the SDK's class, which takes some of its settings from variables of the machine (KUBECONFIG, PULUMI_K8S_…):
    they would be in the state, and the next refresh would use them. Providers take values as JSON.
    """
    properties: dict[str, pulumi.Input[str] | None] = {
        "kubeconfig": settings.kubeconfig or "",
        "context": settings.context,
        # Without it, a changed API address of the same cluster would replace every object.
        "clusterIdentifier": settings.cluster_id,
        # A changed password of the image registry is an update; replaced, the Secret would be missing for a moment.
        "enableSecretMutable": "true",
        "kubeClientSettings": json.dumps({"qps": REQUESTS_PER_SECOND, "burst": BURST}),
        # Provider 4.29 and later would not take over objects that exist: after a lost state, or with `adopt`.
        "upsertExistingObjects": "true",
    }
    opts = pulumi.ResourceOptions(version=metadata.version("pulumi-kubernetes"))
    return pulumi.ProviderResource("kubernetes", "kubernetes", properties, opts)


def _delete(plan: UpdatePlan, live: LiveCluster) -> None:
    """Delete what the plan deletes.

    The engine deletes after the program, but only what its state has: after a lost state, or the import of an earlier
    one, a removed release would go on receiving viewers.
    """
    workloads = [(change.workload.kind, change.workload.name) for change in plan.changes if change.action == "delete"]
    objects = [(change.kind, change.name) for change in plan.objects if change.action == "delete"]
    try:
        for kind, name in (*workloads, *objects):
            live.delete(cast("Kind", kind), name)
    except UnreachableError as error:
        raise pulumi.RunError(f"not deleted: {error}. Run `pulumi up` again.") from None


def _declarations(
    plan: UpdatePlan,
    live: LiveCluster,
    live_origins: Object | None,
    desired: Desired,
    declarer: Declarer,
    fleet: EdgeFleet,
    hls: Hls | None,
    opts: pulumi.ResourceOptions,
) -> Declarations:
    """How to declare each workload. live_origins: the live StatefulSet of the origins, None if there is none."""
    declarations: dict[str, Callable[[], object]] = {}
    if hls:
        hls.deploy()  # what mounts the claim depends on it
    for release in desired.releases:
        declarations[desired.edges(release).name] = partial(fleet.release, release)
    for workload in desired.workloads_of(desired.origins):
        declarations[workload.name] = partial(_origins, plan, live, live_origins, desired, declarer, opts)
    for workload in desired.workloads_of(desired.demo):
        declarations[workload.name] = partial(DemoStream, DEMO, desired, declarer, opts)
    return declarations


async def _follow(
    plan: UpdatePlan,
    live: LiveCluster,
    desired: Desired,
    fleet: EdgeFleet,
    left: Sequence[Workload],
    declared: Collection[str],
    wait: Callable[[Sequence[str]], Awaitable[None]],
) -> Sequence[Workload]:
    """Which of the workloads that are left of a step are declared next, for the live fleet of now.

    Autoscalers that their releases have no longer are deleted before. left: none before the engine deletes releases.
    """
    releases = [workload.release for workload in left if workload.release]
    if pulumi.runtime.is_dry_run() or (left and not releases):
        return left
    try:
        if retired := [item for item in plan.retired if item.release in releases]:
            await retire(live, retired)
        if desired.settings.edge.autoscaling is None:
            return left
        current, ready = await follow_fleet(live, desired, plan.binding.stacks, declared, wait)
    except (AutoscalerError, UnreachableError) as error:
        raise pulumi.RunError(f"{error}. No ready edge was removed for it; run `pulumi up` again.") from None
    fleet.follow(current)
    following = next_releases(releases, current, ready)
    return [workload for workload in left if workload.release is None or workload.release in following]


async def _check_namespace(live: LiveCluster, resource: pulumi.CustomResource) -> None:
    """End an update whose namespace was deleted while the engine refreshed, which then creates nothing in it.

    Raises pulumi.RunError.
    """
    if pulumi.runtime.is_dry_run():
        return
    await resource.id.future()  # until the engine has applied it
    with contextlib.suppress(UnreachableError):  # the waits report it
        namespace = await asyncio.to_thread(live.live_namespace)
        if namespace is None or "deletionTimestamp" in namespace["metadata"]:
            raise pulumi.RunError(f"namespace {live.namespace} {DELETED_MEANWHILE}")


async def _check_not_aborted(live: LiveCluster, marked: frozenset[str], run_token: str, workload: Workload) -> None:
    """Read the marks of an abort again before a release is declared: it would bring the release back.

    marked: Deployments that were aborted before; the plan has decided about them. Raises pulumi.RunError.
    """
    if workload.release is None or pulumi.runtime.is_dry_run():
        return
    deployment = await asyncio.to_thread(live.deployment, workload.name)
    if deployment and is_aborted(deployment) and workload.name not in marked:
        raise pulumi.RunError(f"{workload.title} was taken out of rotation meanwhile (rollout abort)")
    if run_token:
        stored = await asyncio.to_thread(read_run, live)
        if is_superseded(stored.record if stored else None, run_token):
            raise pulumi.RunError("the rollout run of this update was aborted or taken over meanwhile")


async def _origins(
    plan: UpdatePlan,
    live: LiveCluster,
    live_origins: Object | None,
    desired: Desired,
    declarer: Declarer,
    opts: pulumi.ResourceOptions,
) -> None:
    """Declare the origins, when new ones are ready next to those that they replace; a preview does not wait."""
    origins = OriginCluster(ORIGIN, desired, declarer, opts)

    def on_progress(message: str) -> None:
        pulumi.log.info(desired.confs.redact(message), origins, ephemeral=True)

    async def carry_out(
        change: Callable[[], Awaitable[T]], applied_before: Sequence[pulumi.CustomResource], effect: str
    ) -> T | None:
        if pulumi.runtime.is_dry_run():
            return None
        for resource in applied_before:
            await resource.id.future()  # until the engine has applied it
        try:
            return await change()
        except (RolloutError, UnreachableError) as error:
            pulumi.log.error(desired.confs.redact(str(error)), origins)
            raise pulumi.RunError(
                f"not ready: new origins. {effect}. "
                "Fix the cause, or restore the earlier stack config, and run `pulumi up` again."
            ) from None

    if live_origins:
        await carry_out(lambda: asyncio.to_thread(allow_on_delete, live, live_origins), (), "No origin was changed")
    if plan.origins.surges:
        edges = [workload for workload in desired.workloads if workload.release is not None]
        unchecked = await carry_out(
            lambda: bring_up(live, desired.origin_set, plan.origins, edges, on_progress),
            origins.needed,
            "The earlier ones serve, and no publisher was dropped",
        )
        if unchecked:
            pulumi.log.info(f"not checked whether the new origins accept a stream: {desired.confs.redact(unchecked)}")
    origins.deploy()
    if plan.origins.in_place:
        await carry_out(
            lambda: replace_in_place(live, desired.origin_set, plan.origins, on_progress),
            [declarer.resource(desired.origin_set)],
            "The other ones serve, and were not replaced",
        )


def _corrections(plan: UpdatePlan, desired: Desired) -> list[DesiredObject]:
    """The objects in which the plan has found changes, except workloads."""
    return [desired.objects[change.kind, change.name] for change in plan.objects if change.action == "update"]


async def _correct_objects(live: LiveCluster, declarer: Declarer, pending: list[DesiredObject]) -> None:
    """Make the changes of declared objects that the provider does not see, such as a key in a Service's selector.

    pending: the objects; those that have been corrected are removed.
    """
    if pulumi.runtime.is_dry_run():
        return
    declared = [item for item in pending if declarer.has(item)]
    for item in declared:
        pending.remove(item)
        resource = declarer.resource(item)
        await resource.id.future()  # until the engine has applied it
        try:
            await asyncio.to_thread(_correct_object, live, item)
        except UnreachableError as error:
            pulumi.log.error(f"{item.kind} {item.name} cannot be corrected: {error}", resource)
            raise pulumi.RunError(f"not corrected: {item.kind} {item.name}. Run `pulumi up` again.") from None


def _correct_object(live: LiveCluster, item: DesiredObject) -> None:
    kind = cast("Kind", item.kind)
    if (current := live.object(kind, item.name)) and (changes := list(differences(item, current))):
        live.correct(kind, item.name, correction(item, current, changes))


async def _wait_for_claim(live: LiveCluster, desired: Desired, hls: Hls | None) -> None:
    """Wait until the claim of HLS is bound; a preview does not wait."""
    if hls is None or pulumi.runtime.is_dry_run():
        return
    await hls.claim.id.future()  # until the engine has applied it
    on_progress = partial(pulumi.log.info, resource=hls.claim, ephemeral=True)
    (nginx,) = desired.workloads_of(desired.hls)
    try:
        await wait_for_claim(live, HLS_CLAIM, nginx, desired.settings.hls.bind_timeout, on_progress)
    except ClaimError as error:
        pulumi.log.error(str(error), hls.claim)
        raise pulumi.RunError(
            f"not bound: claim {HLS_CLAIM}. No origin and no edge was changed. "
            "Fix the cause, or restore the earlier stack config, and run `pulumi up` again."
        ) from None
