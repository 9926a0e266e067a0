"""What the program changes in the origins' StatefulSet itself."""

from typing import Any, cast

import pytest

from cluster.live import LiveCluster
from update.origin_rollout import added_strategy, allow_on_delete


class Cluster:
    """Records the patches."""

    def __init__(self) -> None:
        self.patches: list[Any] = []

    def correct(self, kind: str, name: str, patch: Any) -> None:
        self.patches.append((kind, name, patch))


@pytest.mark.parametrize(
    ("strategy", "patched"),
    [
        ({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}, True),
        ({"type": "RollingUpdate"}, False),
        ({"type": "OnDelete"}, False),
        (None, False),
    ],
    ids=["created without a strategy", "RollingUpdate", "OnDelete", "none"],
)
def test_what_the_api_server_has_added_to_another_strategy_is_removed(strategy: Any, patched: bool) -> None:
    """With it, it rejects OnDelete: `only allowed for updateStrategy 'RollingUpdate'`."""
    cluster = Cluster()
    existing = {"metadata": {"name": "srs-origin"}, "spec": {"updateStrategy": strategy} if strategy else {}}
    assert added_strategy(existing) == (strategy if patched else None), "what a preview declares"
    allow_on_delete(cast("LiveCluster", cluster), existing)
    patch = {"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}}}
    assert cluster.patches == [("StatefulSet", "srs-origin", patch)] * patched
