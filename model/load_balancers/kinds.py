"""The kinds of load balancers. A new kind is a module with its class, and a line here."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from model.load_balancers.clb import ClbLoadBalancer
from model.load_balancers.interface import LiveService, LoadBalancer
from model.load_balancers.nlb import NlbLoadBalancer
from model.load_balancers.node_port import NodePortLoadBalancer
from model.load_balancers.none import NoLoadBalancer
from model.load_balancers.service import ServiceLoadBalancer

KINDS: tuple[type[LoadBalancer], ...] = (
    NoLoadBalancer,
    NodePortLoadBalancer,
    ClbLoadBalancer,
    NlbLoadBalancer,
    ServiceLoadBalancer,  # the last one: it recognizes what no other kind does
)

if TYPE_CHECKING:
    AnyLoadBalancer = LoadBalancer
    EncoderLoadBalancer = LoadBalancer
else:
    AnyLoadBalancer = Annotated[Union[KINDS], Field(discriminator="kind")]  # noqa: UP007
    """`srs:loadBalancer`: one of the kinds, by the key `kind`."""
    EncoderLoadBalancer = Annotated[
        Union[tuple(kind for kind in KINDS if kind.FOR_ENCODERS)], Field(discriminator="kind")  # noqa: UP007
    ]
    """`srs:publish.loadBalancer`: the same, for encoders alone."""


def live_kind(live: LiveService) -> type[LoadBalancer]:
    """The kind of load balancer of a live Service."""
    return next(kind for kind in KINDS if kind.recognizes(live))


def gate_hint(condition: str) -> str:
    """What opens a readiness gate; "" for one that no kind of load balancer has."""
    return next((kind.GATE_HINT for kind in KINDS if kind.GATE_PREFIX and condition.startswith(kind.GATE_PREFIX)), "")


def leaving_annotations(live: LiveService) -> dict[str, str]:
    """What a live Service that leaves its load balancer keeps (`LoadBalancer.leaving_annotations`)."""
    return {key: value for kind in KINDS for key, value in kind.leaving_annotations(live).items()}


def credentials() -> list[str]:
    """Config keys of Pulumi providers that are credentials."""
    return list(dict.fromkeys(key for kind in KINDS for key in kind.CREDENTIALS))
