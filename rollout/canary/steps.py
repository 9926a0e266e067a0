"""The steps of `rollout run` as edits of the stack file, and their inverse. Pure.

A canary moves weights, step by step. The only release is updated in place: one edit, and its rolling update is paused
at the number of new edges of each step (`RunRecord.pause_at`).
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from model.config.values import natural_key, plural
from model.desired.replicas import shares
from model.run_record import RunRecord, settings_hash
from rollout.command import CommandRejectedError
from rollout.stack.stack_file import ReleasePatch, StackFile

CONTROL_PERCENT = 10
"""Per cent of the edges that the last step keeps for the other releases, at least one for each, until its analysis has
passed: what happens to the stream happens to them, too, and the way back is as fast as in the steps before."""


def new_record(file: StackFile, release: str, image: str | None, conf: str | None, steps: tuple[int, ...]) -> RunRecord:
    """The record of a run that begins with this stack file. Raises CommandRejectedError."""
    patch = canary_patch(file, release, image, conf)
    settings = file.releases.get(release)
    before: dict[str, Any] = {}
    if settings is not None:
        before = {key: settings[key] for key in ("image", "version") if key in settings}
        if "conf" in settings.get("srs", {}):
            before["conf"] = settings["srs"]["conf"]
    record = RunRecord(
        release=release,
        image=image,
        conf=conf,
        is_new=settings is None,
        before=before,
        weights_before=file.edges.weights,
        steps=steps,
    )
    if record.in_place and settings is not None and all(settings.get(key) == value for key, value in patch.items()):
        raise CommandRejectedError(
            f"{release} is the only release, and would stay as it is: --image or --conf, or the name of a new release, "
            "is required"
        )
    return record


def edges_at_pause(edges: int, percent: int) -> int:
    """At how many new edges the update of a step in place is paused; at 100 %, `control_edges` earlier ones are left.

    edges: of the fleet. Raises CommandRejectedError if there are too few for that.
    """
    most = edges - _kept(edges, 1)
    return min(most, max(1, round(edges * percent / 100)))


def canary_patch(file: StackFile, release: str, image: str | None, conf: str | None) -> dict[str, Any]:
    """The settings of the canary: a new one is like the other release with the largest weight.

    Raises CommandRejectedError if a new release has neither an image nor an srs.conf of its own.
    """
    patch: dict[str, Any] = {}
    if release not in file.releases:
        if not (image or conf):
            raise CommandRejectedError(f"there is no release {release}; --image or --conf is required for a new one")
        weights = file.edges.weights
        patch = dict(file.releases[max(sorted(weights, key=natural_key), key=weights.__getitem__)])
    if image:
        patch |= {"image": image, "version": None}
    if conf:
        patch["srs"] = {**patch.get("srs", {}), "conf": conf}
    return {key: value for key, value in patch.items() if key not in ("weight", "paused")}


def control_edges(edges: int, releases: int = 1) -> int:
    """How many edges the last step keeps for the other releases. edges: of the fleet. releases: the number of these."""
    return max(releases, edges * CONTROL_PERCENT // 100)


def step_weights(before: Mapping[str, int], release: str, percent: int) -> dict[str, int]:
    """The weights of all releases in a step. before: the weights before the run; the other ones keep their ratio.

    Raises CommandRejectedError if there is no other release with a weight.
    """
    others = _others(before, release)
    total = sum(others.values())
    weights = {name: weight * (100 - percent) for name, weight in others.items()} | {release: percent * total}
    # As small as possible, and per cent where that is a whole number.
    divisor = math.gcd(*weights.values())
    weights = {name: weight // divisor for name, weight in weights.items()}
    scale, rest = divmod(100, sum(weights.values()))
    return {name: weight * (scale if not rest else 1) for name, weight in weights.items()}


def observed_weights(before: Mapping[str, int], edges: int, release: str, percent: int) -> dict[str, int]:
    """The weights while a step is observed: at 100 %, the other releases keep `control_edges`. edges: of all releases.

    The weights of 4 edges are then 3 and 1. Raises CommandRejectedError if there are too few edges for that.
    """
    if percent < 100:
        return step_weights(before, release, percent)
    others = _others(before, release)
    control = _kept(edges, len(others))
    kept = {name: share.replicas for name, share in shares(control, others).items()}
    return kept | {release: edges - control}


def _kept(edges: int, releases: int) -> int:
    """The control of the last step. Raises CommandRejectedError if no edge would be left for the canary."""
    control = control_edges(edges, releases)
    if control >= edges:
        raise CommandRejectedError(
            f"the fleet has {plural(edges, 'edge')}: a canary needs one edge besides {plural(releases, 'edge')} of the "
            "other releases, or of its earlier revision, which serve until it has passed"
        )
    return control


def _others(before: Mapping[str, int], release: str) -> dict[str, int]:
    others = {name: weight for name, weight in before.items() if name != release and weight}
    if not others:
        raise CommandRejectedError(
            f"no release besides {release} has a weight: there is nothing to compare it with, and no fast way back"
        )
    return others


def step_file(file: StackFile, record: RunRecord, index: int, live: int | None = None) -> StackFile:
    """The stack file while a step is observed: the present one with the weights of the step.

    live: see `rollout.edges.fleet.live_edges`.
    Raises CommandRejectedError if a release that the run began with is not in the file any more.
    """
    percent = record.steps[index]
    total = file.edges.total(live)
    if record.in_place:
        edges_at_pause(total, percent)  # rejects what is too small
        return _with_weights(file, record, {})
    return _with_weights(file, record, observed_weights(record.weights_before, total, record.release, percent))


def last_file(file: StackFile, record: RunRecord) -> StackFile:
    """The stack file after the last step has passed: without a control."""
    if record.in_place:
        return _with_weights(file, record, {})
    return _with_weights(file, record, step_weights(record.weights_before, record.release, record.steps[-1]))


def preview_file(file: StackFile, record: RunRecord) -> StackFile:
    """The stack file of step 0: the canary has one edge out of rotation, and nothing else changes."""
    name = record.preview_release
    settings = {} if name == record.release else _without_weight(file.releases[record.release])
    patch = canary_patch(file, record.release, record.image, record.conf)
    return file.with_releases({name: {**settings, **patch, "weight": 0, "outOfRotation": True}})


def _without_weight(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in ("weight", "paused")}


def _with_weights(file: StackFile, record: RunRecord, weights: Mapping[str, int]) -> StackFile:
    """The stack file with the settings of the canary and these weights, and without the release of step 0."""
    began_with = {*weights, record.release} - ({record.release} if record.is_new else set())
    missing = sorted(began_with - file.releases.keys())
    if missing:
        raise CommandRejectedError(f"{file.name} has no release {', '.join(missing)}, which the run began with")
    patches: dict[str, ReleasePatch | None] = {name: {"weight": weight} for name, weight in weights.items()}
    patch = canary_patch(file, record.release, record.image, record.conf)
    patches[record.release] = {**patch, **(patches.get(record.release) or {}), "outOfRotation": None}
    if record.preview_release != record.release and record.preview_release in file.releases:
        patches[record.preview_release] = None
    return file.with_releases(patches)


def written(file: StackFile, record: RunRecord) -> dict[str, Any]:
    """What the record keeps of a step that was written, so that its inverse finds what was changed since."""
    names = [name for name in record.releases if name in file.releases]
    weights = file.edges.weights
    return {
        "weights": {name: weights[name] for name in names},
        "written": settings_hash(file.releases[record.release]) if record.release in file.releases else "",
    }


def reverted(file: StackFile, record: RunRecord) -> tuple[StackFile, list[str]]:
    """The inverse of what a run has written, on the present stack file; and what it has left alone.

    A value that was changed since stays. The canary has the weight of before in any case.
    """
    patches: dict[str, ReleasePatch | None] = {}
    notes: list[str] = []
    weights = file.edges.weights
    for name, before in record.weights_before.items():
        if name not in weights or name == record.release or weights[name] == before:
            continue
        if weights[name] == record.weights.get(name):
            patches[name] = {"weight": before}
        else:
            notes.append(f"the weight of release {name} stays {weights[name]}: it was changed during the run")
    if record.preview_release != record.release and record.preview_release in file.releases:
        patches[record.preview_release] = None
    if record.release not in file.releases:
        return file.with_releases(patches), notes
    settings = file.releases[record.release]
    if not record.is_new:
        patches[record.release] = dict(_own_changes(settings, record))
    elif record.written and settings_hash(settings) == record.written:
        patches[record.release] = None
    else:
        patches[record.release] = {"weight": 0}
        notes.append(
            f"release {record.release} stays in the file with weight 0: its settings were changed during the run"
        )
    return file.with_releases(patches), notes


def _own_changes(settings: Mapping[str, Any], record: RunRecord) -> Iterator[tuple[str, Any]]:
    """The inverse of the run's changes of a release that existed before."""
    yield "weight", record.weights_before.get(record.release, 0)
    yield "outOfRotation", None
    if record.image and settings.get("image") == record.image:
        yield "image", record.before.get("image")
        if "version" not in settings:
            yield "version", record.before.get("version")
    if record.conf and settings.get("srs", {}).get("conf") == record.conf:
        conf = record.before.get("conf")
        only_conf = conf is None and set(settings["srs"]) == {"conf"}
        yield "srs", None if only_conf else {"conf": conf}


def preview_title(record: RunRecord) -> str:
    """`step 0 of 4: one edge of r6 out of rotation`."""
    return f"step 0 of {len(record.steps)}: one edge of {record.preview_release} out of rotation"


def last_title(record: RunRecord) -> str:
    """`all edges to r6: its last analysis has passed`."""
    if record.in_place:
        return f"all edges of {record.release} in place: its last analysis has passed"
    return f"all edges to {record.release}: its last analysis has passed"


def title(file: StackFile, record: RunRecord, index: int, live: int | None = None) -> str:
    """`step 1 of 4: 10 % of new viewers to r6 (1 of 4 edges, 25 %)`. live: see `rollout.edges.fleet.live_edges`."""
    total = file.edges.total(live)
    percent = record.steps[index]
    head = f"step {index + 1} of {len(record.steps)}: {percent} % of new viewers to {record.release}"
    if record.in_place:
        paused = edges_at_pause(total, percent)
        return f"{head} in place (paused at {paused} or more new edges of {total})"
    try:
        share = shares(total, observed_weights(record.weights_before, total, record.release, percent))
    except ValueError as error:
        return f"{head} ({error})"
    actual = share[record.release]
    until = " until its analysis has passed" if percent == 100 else ""
    return f"{head} ({actual.replicas} of {plural(total, 'edge')}, {actual.actual:.0f} %{until})"
