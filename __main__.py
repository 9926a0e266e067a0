"""The SRS cluster: read the config, look at the live cluster, declare things in an order that hurts nobody."""

import asyncio
import os
import signal

import pulumi
import pulumi_kubernetes as k8s

from cluster.live import LiveCluster, Unreachable
from cluster.namespace import StillTerminating, terminating, wait_until_gone
from cluster.rollout_status import Workload
from cluster.state import LiveState, consequences, read_state, refusals
from components.demo_stream import DemoStream
from components.edge_fleet import EdgeFleet
from components.hls import Hls
from components.load_balancer import LoadBalancer, urls
from components.manifest import metadata
from components.origin_cluster import OriginCluster
from components.pull_secret import registry_secret
from model.config import BadConfig, open_credentials, read_settings
from model.names import DEMO, HLS, ORIGIN, edge_deployment, edge_run
from model.replicas import update_order
from model.settings import StackSettings
from update.run import Rollout, wait_for, wait_for_addresses

# The engine interrupts the program when something fails; without this an old language host prints Python's
# KeyboardInterrupt trace over the reason.
signal.signal(signal.SIGINT, signal.SIG_DFL)


async def main() -> None:
    """Declare the cluster."""
    try:
        config = pulumi.runtime.config.CONFIG.get()
        secrets = [key for key in config if pulumi.runtime.config.is_config_secret(key)]
        settings = read_settings(config, secrets)
        if said := open_credentials(settings, config, os.environ):
            pulumi.log.warn(said)
        live = LiveCluster(settings.kubernetes)
        state = await asyncio.to_thread(look_at, live, settings)
    except (ValueError, StillTerminating, Unreachable) as error:
        raise pulumi.RunError(str(error)) from None

    provider = k8s.Provider(
        "kubernetes",
        kubeconfig=settings.kubernetes.kubeconfig,
        context=settings.kubernetes.context,
        # Else another API address of the same cluster would replace every object.
        cluster_identifier=settings.kubernetes.cluster_id,
        # Another password of the image registry is an update; replaced, the Secret would be away for a moment.
        enable_secret_mutable=True,
    )
    opts = pulumi.ResourceOptions(provider=provider)
    namespace = declare_namespace(settings, opts)
    if settings.images.registry:
        registry_secret(settings.images.registry, namespace, opts)
    load_balancers = [
        LoadBalancer(front.service, front, namespace, f"{settings.kubernetes.namespace}-{front.service}", opts)
        for front in settings.fronts
    ]
    # Before any pod is touched: a release cannot get ready behind a load balancer that never came to be.
    addresses = await wait_for_addresses(live, load_balancers, state.services)
    fleet = EdgeFleet("srs-edge", settings, namespace, opts)
    pull = settings.images.secret_names
    hls = Hls(HLS, settings.hls, namespace, load_balancers[0], pull, opts) if settings.hls.enabled else None
    demo = DemoStream(DEMO, settings.demo, namespace, pull, opts) if settings.demo.enabled else None

    for key, value in {
        "namespace": namespace,
        "urls": urls(settings.front, settings.publish_front or settings.front, addresses),
        "releases": settings.outputs(),
        "origins": settings.origins,
    }.items():
        pulumi.export(key, value)

    def origins() -> Rollout:
        cluster = OriginCluster(ORIGIN, settings, namespace, hls.claim if hls else None, opts)
        workload = Workload("StatefulSet", ORIGIN, f"app={ORIGIN}", "origins")
        return Rollout(cluster.stateful_set, workload, settings.origin.rollout_timeout)

    def edges(release: str) -> Rollout:
        workload = Workload(
            "Deployment", edge_deployment(release), f"run={edge_run(release)}", f"edge release {release}"
        )
        return Rollout(fleet.release(release).deployment, workload, settings.edge.rollout_timeout)

    # Edges name the origins: an origin that is new must be there before edges ask for it, one that goes must
    # go after they have stopped.
    fewer_origins = settings.origin.replicas < state.origin_replicas
    waiting = [] if fewer_origins else [origins()]
    if 0 < state.origin_replicas < settings.origin.replicas:
        await wait_for(live, *waiting)

    replicas = {release: share.replicas for release, share in settings.edge.shares.items()}
    held = {release for release, this in settings.edge.releases.items() if this.paused}
    growing, others = update_order(replicas, state.ready(settings))
    grown = [edges(release) for release in growing if release not in held]
    if others:
        await wait_for(live, *grown)
    waiting += grown + [edges(release) for release in others if release not in held]
    for release in held:
        hold(edges(release), release)

    if fewer_origins:
        await wait_for(live, *waiting)
        waiting.append(origins())
    for name, component in ((HLS, hls), (DEMO, demo)):
        if component:
            workload = Workload("Deployment", f"{name}-deploy", f"app={name}", name)
            waiting.append(Rollout(component.deployment, workload, settings.edge.rollout_timeout))
    await wait_for(live, *waiting)


def look_at(live: LiveCluster, settings: StackSettings) -> LiveState:
    """The live state, after the config has been held against it.

    A preview says what would happen, where the cluster is away too; an up stops here when the config asks for
    what this cluster cannot do now, or when the namespace of an earlier stack is still going.
    """
    preview = pulumi.runtime.is_dry_run()
    try:
        if preview:
            if found := terminating(live):
                pulumi.log.warn(found[1])
        else:
            wait_until_gone(live, settings.kubernetes.namespace_timeout, pulumi.log.info)
        state = read_state(live)
    except Unreachable as error:
        if not preview:
            raise
        pulumi.log.warn(f"{error}; what depends on the live state (order, capacity) is left out of this preview")
        return LiveState()
    if problems := refusals(settings, state):
        raise BadConfig(problems)
    for consequence in consequences(settings, state):
        pulumi.log.warn(consequence)
    return state


def declare_namespace(settings: StackSettings, opts: pulumi.ResourceOptions) -> pulumi.Input[str]:
    """The namespace of the stack; its name carries the dependency on it."""
    name = settings.kubernetes.namespace
    if not settings.kubernetes.create_namespace:
        return name
    labels = {
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/warn": "restricted",
    }
    namespace = k8s.core.v1.Namespace(name, metadata=metadata(name, None, labels), opts=opts)
    return namespace.metadata["name"]


def hold(rollout: Rollout, release: str) -> None:
    """Say that a release is held; nothing waits for it."""
    pulumi.log.info(
        f"release {release} is held: its rolling update stays where it is until paused is false",
        rollout.resource,
    )


pulumi.run(main)
