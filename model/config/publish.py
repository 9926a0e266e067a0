"""`srs:publish`: where encoders publish to, and who may."""

import ipaddress
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, StrictBool, StrictStr, StringConstraints, model_validator

from model.config.base import Settings
from model.config.problems import Problem, RuleError
from model.load_balancers.kinds import EncoderLoadBalancer
from model.load_balancers.none import NoLoadBalancer
from model.names import EDGE_APP, ORIGIN
from model.srs.conf import PublishRules

HOOK = "publish.hook"
"""The name that srs.conf has for the URL of the hook, which may be secret."""


def _address_range(value: str) -> str:
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError as error:
        allowed = "must be an IPv4 address or range, such as 203.0.113.7 or 10.0.0.0/8"
        raise ValueError(
            f"{allowed} (the first address of the range)" if "host bits" in str(error) else allowed
        ) from None
    return str(network.network_address) if network.prefixlen == 32 else str(network)


def _word(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[^\s;{}\"'#\\\\\x00-\x20\x7f-\U0010ffff]+", value.get_secret_value()):
        raise ValueError(
            "must be ASCII without spaces, quotes and any of ; { } # \\: srs.conf could not have it as a word"
        )
    return value


def _url(value: SecretStr) -> SecretStr:
    if not re.match(r"https?://[^/?]", value.get_secret_value()):
        raise ValueError("must be a URL that begins with http:// or https://")
    return value


AddressRange = Annotated[StrictStr, AfterValidator(_address_range)]
SecretName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]\w*$")]
SecretValue = Annotated[SecretStr, AfterValidator(_word)]


class PublishTarget(Settings):
    """A load balancer for encoders."""

    to: Literal["edges", "origins"] = Field(
        default="edges",
        description="Where this load balancer leads. An origin that restarts drops its publishers, an edge drains.",
    )
    load_balancer: EncoderLoadBalancer = Field(
        default=NoLoadBalancer(kind="none"),
        description="A load balancer for RTMP alone. With `kind: none` encoders publish through the viewers' one.",
    )


class PublishSettings(PublishTarget):
    """Where encoders publish to, if not through the viewers' load balancer."""

    exclusive: StrictBool = Field(
        default=False,
        description="Whether this load balancer, with `to: origins`, is the only way to publish: edges then reject "
        "encoders.",
    )
    sources: list[AddressRange] = Field(
        default_factory=list[str],
        alias="from",
        description="IPv4 addresses, and ranges such as `10.0.0.0/8` (from SRS 5.0.26 on), that may publish; default: "
        "all.",
    )
    hook: Annotated[SecretStr, AfterValidator(_url), AfterValidator(_word)] | None = Field(
        default=None,
        description="URL that SRS asks whether an encoder may publish (`on_publish`). It can be set with `--secret`.",
    )
    former: PublishTarget | None = Field(
        default=None,
        description="What is being replaced: `to` and `loadBalancer` as they were. It stays unchanged until this key "
        "is removed, so that its connections are not dropped.",
    )

    @model_validator(mode="after")
    def _former_has_a_load_balancer(self) -> Self:
        if self.former and not self.former.load_balancer.is_exposed:
            path = ("former", "loadBalancer")
            raise RuleError(
                [Problem(path, None, "must be the load balancer that is being replaced", reason="NoFormerLoadBalancer")]
            )
        return self

    @model_validator(mode="after")
    def _exclusive_fits(self) -> Self:
        problems: list[Problem] = []
        own = self.load_balancer.is_exposed
        if self.exclusive and not (own and self.to == "origins"):
            allowed = "needs a load balancer of the encoders with to: origins; edges cannot tell encoders of two load "
            problems.append(Problem(("exclusive",), True, f"{allowed}balancers apart", reason="ExclusiveNeedsOrigins"))
        if not self.exclusive and own and self.to == "origins":
            allowed = (
                "needs exclusive: true with to: origins: edges accept encoders too, and publish to the origins under "
            )
            restricted = {"from": self.sources or None, "hook": self.hook}
            for name, value in restricted.items():
                if value:
                    problems.append(
                        Problem((name,), value, f"{allowed}their own address", reason="RestrictionNeedsExclusive")
                    )
        if problems:
            raise RuleError(problems)
        return self

    def rules(self, app: str) -> PublishRules | None:
        """Who may publish to the edges or the origins; None: everyone who reaches them. app: their `app` label."""
        if self.exclusive and app == EDGE_APP:
            return PublishRules(deny=True)
        if app != (ORIGIN if self.exclusive else EDGE_APP):
            return None
        return PublishRules(tuple(self.sources), hook=None if self.hook is None else f"$({HOOK})")
