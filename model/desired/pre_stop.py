"""The hook `preStop` of pods that keep serving until their last client or publisher has left: SIGTERM comes after that.

SRS closes all its listeners when it begins to quit. A pod that waits in `preStop` keeps them, so its probes and the
health checks of a load balancer go on succeeding, and the pod stays `serving` in the EndpointSlices.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from model.config.values import seconds
from model.names import API_PORT

if TYPE_CHECKING:
    from model.config.edge import DrainSettings

REFUSED = 15
"""Attempts, a second apart, after which a pod whose API refuses connections has nothing to wait for: SRS does not run.
A full one accepts connections and closes them."""

LOG = "/proc/1/fd/1"
"""The log of the container: SRS is its first process."""


CLIENTS = (
    r"      while [[ $answer =~ \"clients\":([0-9]+)(.*) ]]; do",
    "        clients=$((clients + BASH_REMATCH[1])) answer=${BASH_REMATCH[2]}",
    "      done",
    "      ((clients)) || exit 0",
    f'      [[ $clients == "$last" ]] || echo "wait for $clients conns to quit" >{LOG}',
    "      last=$clients",
)
"""Ends the script when SRS has no client: it counts players and publishers in `clients` of a stream (measured with
4.0.6). Their number goes to the log, in the words of an SRS that drains (cluster/terminating.py)."""

PUBLISHERS = ("""      [[ $answer != *'"active":true'* ]] && exit 0""",)
"""Ends the script when SRS has no publisher."""


def wait_script(deregister: timedelta, timeout: timedelta, decide: Sequence[str] = CLIENTS) -> str:
    """A bash script that ends when SRS has nothing left to wait for, or after the timeout.

    deregister: how long it waits in any case, while load balancers remove the pod. decide: what ends it.

    No answer of SRS's API is no reason to end, and neither is the first part of one: bash keeps what it has read when
    `read` times out. The script needs nothing but bash and sleep, because the images have no HTTP client.
    """
    request = f"GET /api/v1/streams/?count=10000 HTTP/1.0\\r\\nHost: localhost:{API_PORT}\\r\\n\\r\\n"
    return "\n".join(
        [
            f"{_SLEEP}{seconds(deregister)}",
            f"end=$((SECONDS + {seconds(timeout)})) refused=0 last=",
            f"while ((SECONDS < end && refused < {REFUSED})); do",
            f"  if {{ exec 3<>/dev/tcp/127.0.0.1/{API_PORT}; }} 2>/dev/null; then",
            "    refused=0 answer= clients=0",
            f"    printf '{request}' >&3",
            "    read -r -d '' -t 5 answer <&3",
            "    exec 3>&-",
            """    if [[ $answer == *'"streams":['*']}' ]]; then""",
            *decide,
            "    fi",
            "  else",
            "    refused=$((refused + 1))",
            "  fi",
            "  sleep 1",
            "done",
            "exit 0",
        ]
    )


_SLEEP = "sleep "


def hooks(pre_stop: str) -> dict[str, Any]:
    """The hooks of the SRS container. pre_stop: a bash script.

    postStart fails in an image without bash: the container does not become ready, and replaces nothing.
    """
    scripts = {"postStart": "type sleep", "preStop": pre_stop}
    return {name: {"exec": {"command": ["bash", "-c", script]}} for name, script in scripts.items()}


def keep_serving(drain: "DrainSettings") -> dict[str, Any]:
    """The hooks of the SRS container of an edge."""
    return hooks(wait_script(drain.deregister, drain.timeout))


def deregister_seconds(container: Mapping[str, Any]) -> float:
    """How long a terminating container of a live pod template waits in any case while load balancers remove it."""
    lifecycle: Mapping[str, Any] = container.get("lifecycle") or {}
    hook: Mapping[str, Any] = lifecycle.get("preStop") or {}
    if "exec" in hook:
        first = str(hook["exec"]["command"][-1]).partition("\n")[0]
        return float(first.removeprefix(_SLEEP)) if first.startswith(_SLEEP) else 0
    return float(hook.get("sleep", {}).get("seconds", 0))
