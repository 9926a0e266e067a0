"""The size of a fleet whose replicas autoscalers set."""

import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction

from cluster.live import Object
from model.names import ABORTED_APP, FIELD_MANAGER, SHARE_ANNOTATION, STACK_ANNOTATION


def declared_share(deployment: Object) -> Fraction | None:
    """The share of the fleet that the edges of a release were declared as; None if it is not known."""
    annotations: Mapping[str, str] = deployment["metadata"].get("annotations") or {}
    text = annotations.get(SHARE_ANNOTATION)
    try:
        return None if text is None else Fraction(text)
    except (ValueError, ZeroDivisionError):  # changed by hand
        return None


def is_own(deployment: Object, is_stack: Callable[[str], bool]) -> bool:
    """Whether edges are of a stack. is_stack: whether a name (organization/project/stack) is one of the stack's.

    Foreign edges, such as the article's, run beside the stack's and are no part of its fleet.
    """
    annotations: Mapping[str, str] = deployment["metadata"].get("annotations") or {}
    if owner := annotations.get(STACK_ANNOTATION):
        return is_stack(owner)
    return annotations.get("pulumi.com/patchFieldManager") == FIELD_MANAGER  # the other one was removed by hand


def _is_declared_out_of_rotation(deployment: Object) -> bool:
    """Whether the edge of a release is no part of the fleet (`outOfRotation`); an aborted release still is."""
    template: Object = deployment["spec"].get("template") or {"metadata": {}}
    return (template["metadata"].get("labels") or {}).get("app") == ABORTED_APP


def fleet_size(deployments: Iterable[Object], known: int | None = None) -> int | None:
    """The number of edges that a fleet has, all releases together; None if it has none.

    deployments: of all releases, also of removed ones. known: its size when the running update began.

    Not just their sum: an update that moves weight scales one release up before it scales the other one down, and may
    be interrupted or fail between. Then r5 has 40 edges as the share 1 of an earlier fleet, and r6 20 as the share 1/2
    of the next one; both say that the fleet has 40. So the sum of the edges is divided by the sum of the shares that
    they were declared as: 60 / 1.5 = 40. After a complete update the sum of the shares is 1.

    Between, whole edges are not exactly the shares: 2 edges of 3 as the share 4/5, twice, are 4 / 1.6 = 2.5. So the
    size is the known one, unless a release differs from its share of that by a whole edge: then autoscalers have acted.
    Otherwise it is rounded up: one edge more is removed by the autoscalers, and one less would be a loss of capacity.

    Edges without a share are of a fleet that had a fixed number of them, and are its share 1 together.
    """
    parts: list[tuple[int, Fraction]] = []
    fixed = 0
    for deployment in deployments:
        if _is_declared_out_of_rotation(deployment):
            continue
        replicas = int(deployment["spec"].get("replicas", 1))
        share = declared_share(deployment)
        if share is None:
            fixed += replicas
        else:
            parts.append((replicas, share))
    if fixed:
        parts.append((fixed, Fraction(1)))
    edges, shares = sum(replicas for replicas, _ in parts), sum(share for _, share in parts)
    if not edges:
        return None
    if known and shares not in (0, 1) and all(abs(replicas - share * known) < 1 for replicas, share in parts):
        return known
    return math.ceil(edges / shares) if shares else edges
