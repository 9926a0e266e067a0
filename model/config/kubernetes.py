"""`srs:kubernetes`: the cluster and the namespace of the stack."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StrictBool, model_validator

from model.config.base import NonEmpty, Settings, one_line
from model.config.problems import Problem, RuleError
from model.config.values import DnsLabel, Duration, Subdomain


def _path(value: str) -> str:
    if "\n" in value or "apiVersion" in value:
        raise ValueError("must be the path of a kubeconfig, never its content: the content includes credentials")
    return value


class KubernetesSettings(Settings):
    """The cluster that the stack is deployed to."""

    kubeconfig: Annotated[NonEmpty, AfterValidator(_path), one_line] | None = Field(
        default=None,
        description="Path of the kubeconfig file, relative to the project. Never its content: "
        "a path keeps credentials out of the stack's state. The path is in the state, and the engine uses it before "
        "the program runs, so it must be the same on every machine. Default: the variable KUBECONFIG, or "
        "`~/.kube/config`, as for kubectl, and nothing of the machine is in the state; then `context` is required.",
    )
    context: Annotated[NonEmpty, one_line] | None = Field(
        default=None, description="Context in that file; default: the file's current context."
    )
    cluster_id: Annotated[NonEmpty, one_line] = Field(
        description="A name for the cluster that never changes, such as ACK's cluster id. With it, a changed API "
        "address of the same cluster changes nothing. Changing it later replaces every object."
    )
    namespace: DnsLabel = Field(default="live", description="Namespace of all objects.")
    create_namespace: StrictBool = Field(
        default=True, description="Whether the stack creates (and deletes) the namespace or expects it to exist."
    )
    adopt: StrictBool = Field(
        default=False,
        description="Takes over Services and the claim of HLS that were created with kubectl under the stack's names "
        "(docs/migration.md). Remove it after the first update.",
    )
    cluster_domain: Subdomain = Field(default="cluster.local", description="DNS domain of the cluster.")
    namespace_timeout: Duration = Field(
        default=timedelta(minutes=1),
        description="How long an update waits for a namespace that is still terminating before it fails.",
    )

    @model_validator(mode="after")
    def _names_its_cluster(self) -> Self:
        """The current context of the file that everything else uses may be any cluster."""
        if self.kubeconfig is None and self.context is None:
            allowed = "is required, or context, which is then looked up as kubectl does, by KUBECONFIG"
            raise RuleError([Problem(("kubeconfig",), None, allowed, reason="NoCluster")])
        return self
