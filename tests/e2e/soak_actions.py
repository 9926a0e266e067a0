"""What a soak does to a stack: random legal edits that must not drop anybody.

Values of config keys are those of tests/edit_sequences.py. Left out are edits that are allowed to drop connections, or
that need what these nodes have not: other images, hooks, HLS, a cloud.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from e2e.versions import version_of
from edit_sequences import (
    CONNECTIONS,
    DIRECTIVES,
    REMOVE,
    VALUES,
    Changes,
    Config,
    changed,
    is_legal,
    replicas_of,
)

STEADY, MINIMUM = "r5", 2
"""The release that no edit rolls, and its minimum of edges: a pod that serves new connections for the whole soak."""

CANARIES = ("r6", "r7")
RELEASES = "edge.releases"

VHOST_DIRECTIVES = st.sampled_from(["tcp_nodelay on;", "play { gop_cache off; }", "play { mw_latency 100; }", REMOVE])
SRS = {
    "srs.maxConnections": CONNECTIONS,
    "srs.directives": DIRECTIVES,
    "srs.vhostDirectives": VHOST_DIRECTIVES,
    "podAnnotations": st.sampled_from([{"team": "video"}, {"team": "web"}, REMOVE]),
    "resources.memory": st.sampled_from(["128Mi", "192Mi"]),
}
STACK = {  # none of them rolls the steady release
    "edge.replicas": st.integers(4, 6),
    "edge.minReady": st.sampled_from(["1s", "2s"]),
    "edge.maxSurge": VALUES["edge.maxSurge"],
    "origin.drain.deregister": VALUES["origin.drain.deregister"],
    "loadBalancer.annotations": VALUES["loadBalancer(nodePort).annotations"],
}

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class Action:
    """An edit of the config; or the abort of a release, and the config is what `rollout abort` makes of it."""

    title: str
    config: Config
    aborted: str | None = None


@st.composite
def actions(draw: Draw, config: Config, earlier: Config, images: tuple[str, str]) -> Action:
    """One action. earlier: the config before the last action. images: of the releases."""
    names = sorted(config["edge"]["releases"])
    canaries = [name for name in names if name != STEADY]
    served = [name for name in canaries if replicas_of(config)[name]]
    kinds = ["stack", "conf", "weights", "origin conf", "origin image", "origins", "rollback"]
    kinds += ["image"] * 3 * bool(canaries) + ["add"] * 2 * (len(names) < 3) + ["remove"] * (len(canaries) > 1)
    kind = draw(st.sampled_from([*kinds, *["abort"] * bool(served)]))
    release = f"{RELEASES}.{draw(st.sampled_from(canaries))}" if canaries else ""
    changes: Changes = ()
    match kind:
        case "abort":
            name = draw(st.sampled_from(served))
            return Action(f"rollout abort {name}", config, name)
        case "rollback":
            return Action("rollback", earlier)
        case "add":
            name = draw(st.sampled_from([name for name in CANARIES if name not in names]))
            settings = copy.deepcopy(config["edge"]["releases"][STEADY]) | {"weight": draw(st.integers(1, 3))}
            changes = ((f"{RELEASES}.{name}", settings | {"image": draw(st.sampled_from(images))}),)
        case "remove":
            changes = ((release, REMOVE),)
        case "weights":
            changes = tuple((f"{RELEASES}.{name}.weight", draw(st.integers(0, 4))) for name in names)
        case "image":
            changes = ((f"{release}.image", draw(st.sampled_from(images))),)
        case "origin image":
            changes = (("origin.image", draw(st.sampled_from(images))),)
        case "origins":
            changes = (("origin.replicas", draw(st.integers(1, 3))),)
        case "stack":
            key = draw(st.sampled_from(sorted(STACK)))
            changes = ((key, draw(STACK[key])),)
        case _:
            key = draw(st.sampled_from(sorted(SRS)))
            changes = ((f"{release if kind == 'conf' and release else 'origin'}.{key}", draw(SRS[key])),)
    return Action("; ".join(f"{path}: {_short(value)}" for path, value in changes), changed(config, changes))


def action(config: Config, earlier: Config, images: tuple[str, str], number: int) -> Action:
    """An action that changes the config and keeps the steady release; the same for the same number."""
    found: list[Action] = []

    def collect(drawn: Action) -> None:
        after = drawn.config
        if drawn.aborted or (after != config and is_legal(after) and replicas_of(after)[STEADY] >= MINIMUM):
            found.append(drawn)

    options = settings(
        max_examples=20,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
    )
    options(seed(number)(given(actions(config, earlier, images))(collect)))()
    return found[number % len(found)]


def _short(value: Any) -> str:
    if isinstance(value, dict) and "image" in value:
        return f"{version_of(value['image'])}, weight {value['weight']}"
    return version_of(value) if isinstance(value, str) and ":v" in value else str(value).replace("\n", " ")
