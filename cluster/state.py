"""The state of the live cluster that decides the order of an update, and what may not be asked of it now."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cluster.live import LiveCluster, Object
from model.names import EDGE_APP, ORIGIN, config_hash, edge_deployment
from model.problems import Problem
from model.settings import StackSettings


@dataclass(frozen=True)
class LiveState:
    """The origins' StatefulSet and the releases' Deployments as they are; empty where there are none."""

    origins: Object | None = None
    edges: Mapping[str, Object] = field(default_factory=dict[str, Object])
    """Deployments by name."""

    @property
    def origin_replicas(self) -> int:
        """Wanted replicas of the live StatefulSet; 0 if there is none."""
        return int(self.origins["spec"].get("replicas", 1)) if self.origins else 0

    def ready(self, settings: StackSettings) -> dict[str, int]:
        """Ready replicas of each release's live Deployment."""
        return {
            release: self.edges[name].get("status", {}).get("readyReplicas", 0)
            for release in settings.edge.releases
            if (name := edge_deployment(release)) in self.edges
        }


def read_state(live: LiveCluster) -> LiveState:
    """Read the state. Raises Unreachable."""
    # The shared label stands on the pods, so the Deployments are found by the label that all objects have.
    return LiveState(
        origins=live.stateful_set(ORIGIN),
        edges={
            name: deployment
            for name, deployment in live.deployments("app.kubernetes.io/part-of=srs").items()
            if deployment["spec"]["template"]["metadata"].get("labels", {}).get("app") == EDGE_APP
        },
    )


def refusals(settings: StackSettings, state: LiveState) -> list[Problem]:
    """What the config asks for and this cluster cannot do now."""
    problems: list[Problem] = []
    for release, this in settings.edge.releases.items():
        if not this.paused:
            continue
        path = ("edge", "releases", release, "paused")
        deployment = state.edges.get(edge_deployment(release))
        wanted = settings.edge.shares[release].replicas
        if deployment is None:
            problems.append(
                Problem(path, True, "must be false on a release that does not exist yet: it would get no pods")
            )
        elif (now := deployment["spec"].get("replicas", 1)) != wanted:
            problems.append(
                Problem(
                    path,
                    True,
                    f"must not come together with a change of the release's replicas (now {now}, wanted {wanted}): "
                    "Kubernetes would spread the change over the old and the new pods; do one after the other",
                )
            )
    return problems


def consequences(settings: StackSettings, state: LiveState) -> Iterator[str]:
    """What an operator should know before this is done, a line each."""
    for release, share in settings.edge.shares.items():
        if share.off > 10:
            yield (
                f"release {release} gets {share.replicas} of {settings.edge.replicas} edges, {share.real:.0f} % of new "
                f"viewers, {share.off:.0f} points off the wished {share.wished:.0f} %; more edges come closer"
            )
    if state.origins is None:
        return
    if state.origin_replicas != settings.origin.replicas:
        first = "origins first" if state.origin_replicas < settings.origin.replicas else "edges first"
        yield (
            f"the number of origins changes from {state.origin_replicas} to {settings.origin.replicas} ({first}): "
            "the origins restart one by one, and every release rolls, because edges name the origins"
        )
    elif _changed(state.origins, settings.origin.image, f"{ORIGIN}-{config_hash(settings.origin_conf)}"):
        yield (
            "the origins change and restart one by one: each drops its publishers once, which reconnect; "
            "viewers stay connected and see a few seconds of silence"
        )


def _changed(workload: Object, image: str, config: str) -> bool:
    pod = workload["spec"]["template"]["spec"]
    configs = [volume["configMap"]["name"] for volume in pod.get("volumes", []) if "configMap" in volume]
    return bool(pod["containers"][0]["image"] != image or config not in configs)
