"""What the API server would store of the changes of an update, asked by dry runs before anything changes.

A cluster may change what an update declares, or deny it: by admission policies and webhooks that write images with
another registry, add labels or tolerations, or set resources (Kyverno, Gatekeeper, GKE Autopilot; Kubernetes docs,
"Dynamic Admission Control").
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from cluster.live import CONNECTIONS, DeniedError, ForbiddenError, Kind, LiveCluster, Object

ObjectKey = tuple[Kind, str]
"""Kind and name of an object."""


@dataclass(frozen=True)
class Admission:
    """The answers of the API server.

    stored: what it would store. denied: the message of the policy or webhook that denies an object. unknown: objects
    that the user must not create or update.
    """

    stored: Mapping[ObjectKey, Object] = field(default_factory=dict[ObjectKey, Object])
    denied: Mapping[ObjectKey, str] = field(default_factory=dict[ObjectKey, str])
    unknown: tuple[ObjectKey, ...] = ()


def review(live: LiveCluster, objects: Mapping[ObjectKey, Object]) -> Admission:
    """Ask the API server. objects: as an update would leave them; live ones with their UID. Raises UnreachableError."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        kinds = [kind for kind, _ in objects]
        answers = pool.map(partial(_answer, live), kinds, objects.values())
        found = dict(zip(objects, answers, strict=True))
    return Admission(
        {key: answer for key, answer in found.items() if isinstance(answer, dict)},
        {key: str(answer) for key, answer in found.items() if isinstance(answer, DeniedError)},
        tuple(key for key, answer in found.items() if isinstance(answer, ForbiddenError)),
    )


def _answer(live: LiveCluster, kind: Kind, content: Object) -> Object | DeniedError | ForbiddenError | None:
    try:
        return live.dry_run(kind, content)
    except (DeniedError, ForbiddenError) as error:
        return error
