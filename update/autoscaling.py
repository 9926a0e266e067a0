"""HorizontalPodAutoscalers on the edges: rejected, or respected where a release is `autoscaled`."""

from collections.abc import Iterator, Mapping

from cluster.state import LiveState
from model import workloads
from model.problems import Problem
from model.settings.stack import StackSettings


def keep_autoscaled_replicas(settings: StackSettings, state: LiveState) -> StackSettings:
    """Settings in which autoscaled releases have the replicas of their live Deployments.

    The replicas cannot just be left out: a field that a server-side apply no longer has is removed, and the default is
    one replica (Kubernetes docs, "Server-Side Apply", "Transferring ownership").
    """
    replicas = {
        workloads.release_of(name): int(deployment["spec"].get("replicas", 1))
        for name, deployment in state.edges.items()
    }
    edge = settings.edge.keep_autoscaled_replicas(replicas)
    return settings.model_copy(update={"edge": edge})


def autoscaler_problems(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    """Replicas that an autoscaler and the weights would both set, again and again (argo-rollouts #2857)."""
    for release, name in _autoscalers(settings, state).items():
        if not settings.edge.releases[release].autoscaled:
            yield Problem(
                ("edge", "releases", release, "autoscaled"),
                False,
                f"must be true, because HorizontalPodAutoscaler {name} scales the release; or delete the autoscaler "
                f"(kubectl -n {settings.kubernetes.namespace} delete hpa {name}), and the weight decides",
            )


def autoscaler_warnings(settings: StackSettings, state: LiveState) -> Iterator[str]:
    """Releases that wait for an autoscaler which does not exist."""
    autoscalers = _autoscalers(settings, state)
    for release, release_settings in settings.edge.releases.items():
        deployment = workloads.edges(settings, release).name
        if release_settings.autoscaled and release not in autoscalers and deployment in state.edges:
            yield (
                f"release {release} is autoscaled, but no HorizontalPodAutoscaler has Deployment {deployment} as its "
                "target: updates keep its replicas, whatever its weight"
            )


def _autoscalers(settings: StackSettings, state: LiveState) -> Mapping[str, str]:
    """The names of the autoscalers by the release that they scale."""
    releases = {workloads.edges(settings, release).name: release for release in settings.edge.releases}
    return {
        releases[target["name"]]: name
        for name, autoscaler in state.objects.get("HorizontalPodAutoscaler", {}).items()
        if (target := autoscaler["spec"]["scaleTargetRef"]).get("kind") == "Deployment" and target["name"] in releases
    }
