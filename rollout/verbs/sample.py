"""`rollout sample`: real viewers measure the share and the quality of each release."""

import argparse
from datetime import timedelta
from typing import Any

from rollout.command import Context, Exit, Verb
from rollout.options import add_viewer_arguments, duration, number


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Let viewers watch, and judge what they saw."""
    # FFmpeg's libraries and SciPy take a second to load; `rollout abort` must not wait for it.
    from rollout.canary.analysis import (
        FALSE_ALARM,
        Audience,
        figures,
        limits_problems,
        quality_findings,
        share_problems,
    )
    from rollout.canary.sampling import Sampling, desired_shares
    from rollout.tables import progress, sample_table

    sampling = Sampling.of(context, arguments)
    sampling.check_identity()
    with progress(arguments.viewers, sampling.seconds, sampling.sources) as on_view, sampling.arrivals() as arrivals:
        views = sampling.round(arrivals, on_view, last=True)
    audiences = sampling.sources.by_release(views)
    shares = sampling.fleet.shares
    error = FALSE_ALARM / 2  # a half for the shares
    problems = share_problems(audiences, shares, error)
    for release in shares:
        others = Audience.of(audience for name, audience in audiences.items() if name not in (release, None))
        findings = quality_findings(release, audiences[release], others, error / len(shares))
        problems += [finding.message for finding in findings]
    problems += limits_problems(
        list(audiences.values()),
        arguments.max_failed,
        arguments.max_stalled,
        arguments.max_first_frame.total_seconds(),
    )
    data: dict[str, Any] = figures(audiences, shares, desired_shares(context.read_file()), error)
    data |= {"acceptable": not problems, "problems": problems}
    context.result(data, sample_table(data))
    return Exit.NOT_ACCEPTED if problems else Exit.DONE


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "stream_urls",
        metavar="URL",
        nargs="+",
        help="of a live stream: rtmp://HOST[:PORT]/APP/STREAM or http[s]://HOST[:PORT]/APP/STREAM.flv; several are "
        "played in turn",
    )
    add_viewer_arguments(parser, 100)
    percent = number(float, 0, 100)
    parser.add_argument(
        "--max-failed", metavar="PERCENT", type=percent, default=1.0, help="viewers that may fail (default: 1)"
    )
    parser.add_argument(
        "--max-stalled", metavar="PERCENT", type=percent, default=5.0, help="viewers that may stall (default: 5)"
    )
    parser.add_argument(
        "--max-first-frame",
        metavar="DURATION",
        type=duration(),
        default=timedelta(seconds=3),
        help="time within which nine tenths of the viewers must have their first frame (default: 3s)",
    )


VERB = Verb(
    "sample",
    "let real viewers measure the share and the quality of each release",
    "Viewers (FFmpeg's libraries) connect to the URL of a live stream, as players do, and watch for some seconds. "
    "The result has, for each release, its share of the viewers with an interval, the time to the first frame, stalls "
    "(more than 1 s without media) and failures. It is acceptable if the shares fit the replicas of the releases, no "
    "release is worse than the other releases, and all viewers together are within the limits. The tests call a good "
    "stack not acceptable with a probability of at most 1 %. Release by RTMP: SRS names the address of its pod; by "
    "HTTP-FLV it names only its version.",
    run,
    _add_arguments,
    exits=(Exit.REJECTED, Exit.NOT_ACCEPTED),
    json="`releases`: by name, `viewers`, `sharePercent` and its `intervalPercent`, `actualPercent` (by replicas), "
    "`desiredPercent` (by weight), `firstFrameSeconds` (`median`, `p90`), `stalled`, `failed` and `failures` by "
    "reason. `unknown`: viewers that reached no release. `acceptable`, and `problems`.",
)
