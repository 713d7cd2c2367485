"""Watches until the version runs, surely fails, or the time is over; then says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gitops_nb.argo import Expectation, Judgement, State, operation_state
from gitops_nb.argo.status import identifiers, is_left_alone, split_out_of_sync
from gitops_nb.errors import UnavailableError
from gitops_nb.model import Applied, Fact, Outcome, Plan, Result, Table
from gitops_nb.ports import Snapshot, View
from gitops_nb.promotion.asked import changed_since
from gitops_nb.promotion.before import before_in_words, replaced, version_back
from gitops_nb.promotion.judging import Release, judge_release
from gitops_nb.promotion.observe import earlier, keys_at, spells_of
from gitops_nb.promotion.placements import release_of, shown_keys
from gitops_nb.promotion.request import Promotion
from gitops_nb.promotion.state import lacking_in_words, runs_in_words
from gitops_nb.promotion.unattended import by_itself

BLIND = timedelta(seconds=15)
"""A watch shows something every five seconds; where it did not for so long, the API server was away."""
ASKS_GIT_EVERY = timedelta(seconds=30)
"""How often a watch asks whether the branch still holds what was promoted; it is asked at the end in any case."""


LOOK_S = 120.0
"""How long one look may take: longer than a watch puts up with an API server that is away."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The last judgement of one placement, whether it is a failure by our patience, and how long it took."""

    cluster: str
    name: str
    judgement: Judgement
    gave_up: str = ""
    seconds: int = 0
    pods: tuple[tuple[str, str, str, str], ...] = ()
    look: Callable[[], Judgement] | None = None


def verify(view: View, request: Promotion, plan: Plan, applied: Applied) -> Outcome:
    """Judges every placement at the promoted revision.

    Returns:
        Deployed, failed (with the pod, its reason and the command back), in doubt when the time is over, or
        nothing to do.
    """
    arguments = plan.arguments
    version = str(arguments["version_after"])
    if plan.is_empty and not arguments["placements"]:
        return Outcome(
            result=Result.IN_DOUBT,
            title=f"{request.application} {version} is in Git; nobody watches {request.target}",
            sentence=f"Nothing was changed. fleet.yaml names no cluster for {request.target}, so nobody looked whether it runs.",
            next_step=f"Name a cluster of {request.target} in fleet.yaml, or look there yourself.",
            unwatched=True,
        )
    if plan.is_empty:
        return Outcome(
            result=Result.NOTHING,
            title=f"{request.application} {version} {runs_in_words(by_field=bool(arguments.get('by_field')), already=True)} in {request.target}{_lacking(plan)}",
            sentence="It was seen there before anything was planned; nothing was changed, and nobody had to approve.",
            next_step="Nothing to do.",
        )
    commit = applied.results.get("commit")
    seen = [
        _watch(view, request, plan, applied, placement) for placement in arguments["placements"]
    ]
    if not seen:
        return Outcome(
            result=Result.IN_DOUBT,
            title=f"{request.application} {version} is in Git; nobody watches {request.target}",
            sentence=f"fleet.yaml names no cluster for {request.target}.",
            facts=_commit_facts(commit),
            undo=request.command(back) if (back := version_back(plan)) else "",
            next_step=f"Name a cluster of {request.target} in fleet.yaml, or look there yourself.",
            unwatched=True,
        )
    if len(seen) > 1 and all(_rank(one) == 2 for one in seen):
        seen = [_looked_again(one) for one in seen]
    worst = min(seen, key=_rank)
    changed = _changed(view, plan, is_needed=_rank(worst) == 2)
    if changed:
        outcome = _taken_back(request, plan, seen, commit, changed, by=_changed_by(view, plan))
    elif _rank(worst) == 2:
        return _deployed(request, plan, seen, commit)
    elif _rank(worst) == 0:
        outcome = _failed(request, plan, worst, seen, commit)
    else:
        outcome = _in_doubt(request, plan, worst, seen, commit)
    told = {
        p["cluster"]: by_itself(view, request.fleet, request.target, p)
        for p in arguments["placements"]
    }
    return replace(outcome, by_itself={cluster: said for cluster, said in told.items() if said})


def _looked_at_now(
    view: View, release: Release, expectation: Expectation, cluster: str, name: str
) -> Judgement:
    snapshot = _first(view, cluster, name)
    versions = release.expectation(snapshot.application).versions
    wanted = replace(expectation, versions=versions)
    return judge_release(view, release, snapshot, expectation=wanted)


def _looked_again(seen: _Seen) -> _Seen:
    """One that ran when it was watched, judged once more: others were watched after it, for minutes perhaps."""
    assert seen.look is not None  # what was judged can be judged again
    now = seen.look()
    if now.state is State.DEPLOYED:
        return replace(seen, judgement=now)
    sentence = f"it ran, and does not any more: {now.sentence}"
    return replace(seen, judgement=replace(now, sentence=sentence))


def _watch(
    view: View, request: Promotion, plan: Plan, applied: Applied, placement: Mapping[str, Any]
) -> _Seen:
    cluster, name = placement["cluster"], placement["name"]
    release = _release(view, request, plan, applied, placement)
    sync = applied.results.get(f"sync {cluster}")
    application = _first(view, cluster, name).application
    expectation = replace(
        release.expectation(application),
        identifier=str(sync["identifier"]) if sync and "identifier" in sync else None,
    )
    begun = view.clock.now()
    trouble_since: datetime | None = None
    unseen_since: datetime | None = None
    alone_since: datetime | None = None
    stable_since: datetime | None = None
    looked_at = asked_git_at = begun
    judgement = Judgement(State.IN_DOUBT, "not seen yet")
    snapshot: Snapshot | None = None

    def seen(gave_up: str = "") -> _Seen:
        took = int((view.clock.now() - begun).total_seconds())
        known = expectation
        return _Seen(
            cluster,
            name,
            judgement,
            gave_up,
            took,
            _pods(snapshot),
            look=lambda: _looked_at_now(view, release, known, cluster, name),
        )

    for snapshot in view.argo[cluster].watch(name, timeout_s=request.timeout.total_seconds()):
        now = view.clock.now()
        if now - looked_at > BLIND:
            # Nobody saw what was between: neither that it stayed so, nor that it did not recover.
            trouble_since = stable_since = None
        looked_at = now
        expectation = _with_start(expectation, snapshot)
        # A parent may just have changed what its child asks for.
        versions = release.expectation(snapshot.application).versions
        expectation = replace(expectation, versions=versions)
        judgement = judge_release(view, release, snapshot, expectation=expectation)
        trouble_since = (trouble_since or now) if judgement.failing else None
        unseen_since = (unseen_since or now) if judgement.unseen else None
        stable_since = (stable_since or now) if judgement.state is State.DEPLOYED else None
        if now - asked_git_at >= ASKS_GIT_EVERY:
            asked_git_at = now
            if _changed(view, plan):
                return seen()
        if judgement.state is State.FAILED:
            return seen()
        if stable_since and now - stable_since >= request.stable_for:
            return seen()
        if unseen_since and now - unseen_since >= request.patience:
            return seen()
        is_alone = not placement.get("parent") and is_left_alone(snapshot.application)
        alone_since = (alone_since or now) if is_alone and judgement.sync == "OutOfSync" else None
        if (
            judgement.state is not State.DEPLOYED
            and alone_since
            and now - alone_since >= request.patience
        ):
            missing = _sync_is_missing(request, plan, snapshot)
            judgement = replace(judgement, unseen=missing)
            return seen()
        if trouble_since and now - trouble_since >= request.patience:
            return seen(f"still so after {_took(int(request.patience.total_seconds()))}")
    return seen()


def _sync_is_missing(request: Promotion, plan: Plan, snapshot: Snapshot) -> str:
    """What a person can do about an Application that nothing moves: the sync that this run asked for is not repeated."""
    name = snapshot.name
    again = request.command(str(plan.arguments["version_after"]))
    differing, left = split_out_of_sync(snapshot.application or {})
    if left and not differing:
        return (
            f"{name} stays OutOfSync by {', '.join(left)}: not in Git any more, and a sync by gitops-nb prunes nothing. Prune it in "
            f"Argo CD (`argocd app sync {name} --prune`) or put it back into Git, then `{again}` sees whether the version runs"
        )
    return (
        f"{name} is OutOfSync and is synced when somebody asks: a sync is missing. Ask for it in Argo CD, or by "
        f"`{again}`, which plans it"
    )


def _changed(view: View, plan: Plan, *, is_needed: bool = False) -> str:
    """What the branch does not ask for any more, in words; where Git does not answer "", unless a green sentence rests on it."""
    try:
        return changed_since(view, plan)
    except UnavailableError:
        if is_needed:
            raise
        return ""


def _changed_by(view: View, plan: Plan) -> tuple[str, str]:
    """Which commit changed it, and which run that says it is of; "" for what nobody can tell."""
    arguments = plan.arguments
    if not arguments["edits"]:
        return "", ""
    repository, path = str(arguments["repository"]), str(arguments["edits"][0]["path"])
    try:
        tip = view.git.tip(repository, arguments["branch"])
        newest = view.git.log(repository, tip, path=path, limit=1)
    except UnavailableError:
        return "", ""
    return (newest[0].sha[:8], newest[0].trailers.get("Gitops-Nb-Run", "")) if newest else ("", "")


def _with_start(expectation: Expectation, snapshot: Snapshot) -> Expectation:
    """Remembers when our operation began, as first seen with our identifier."""
    if expectation.identifier is None or expectation.started_at:
        return expectation
    state = operation_state(snapshot.application or {})
    if expectation.identifier not in identifiers(state.get("operation") or {}):
        return expectation
    return replace(expectation, started_at=str(state.get("startedAt") or ""))


def _first(view: View, cluster: str, name: str) -> Snapshot:
    """An Application as it is now, also where the API server is away for a minute just then.

    Raises:
        UnavailableError: It stays away.
    """
    watched = view.argo[cluster].watch(name, timeout_s=LOOK_S)
    return next(iter(watched), None) or view.argo[cluster].snapshot(name)


def _release(
    view: View, request: Promotion, plan: Plan, applied: Applied, placement: Mapping[str, Any]
) -> Release:
    """What should run now: the keys as they stand at the commit that was asked for."""
    arguments = plan.arguments
    cluster, repository = placement["cluster"], str(arguments["repository"])
    parent = str((placement.get("parent") or {}).get("name", ""))
    role = "parent " if parent else ""
    synced = applied.results.get(f"sync {role}{cluster}") or {}
    asked = applied.results[f"refresh {role}{cluster}"]["revision"]
    revision = str(synced.get("brought_by") or asked)
    keys = keys_at(view.git, request, (arguments["folder"],), repository, revision)[0]
    spells = spells_of(view.git, keys, repository, revision)
    return release_of(
        view,
        request,
        _first(view, cluster, parent or placement["name"]),
        cluster=cluster,
        parent=parent,
        revision=revision,
        tip=view.git.tip(repository, arguments["branch"]),
        folder=arguments["folder"],
        shown=shown_keys(
            request,
            keys,
            [key.value for key in keys],
            [earlier(spells[key], key.value) for key in keys],
        ),
        where=str(placement.get("where") or ""),
    )


def _lacking(plan: Plan) -> str:
    return lacking_in_words(plan.arguments.get("lacking") or ())


def _rank(seen: _Seen) -> int:
    if seen.judgement.state is State.FAILED or seen.gave_up:
        return 0
    return 2 if seen.judgement.state is State.DEPLOYED else 1


def _deployed(request: Promotion, plan: Plan, seen: list[_Seen], commit: Any) -> Outcome:
    after, back, instead = plan.arguments["version_after"], version_back(plan), replaced(plan)
    longest = max(s.seconds for s in seen)
    stable = _took(int(request.stable_for.total_seconds()))
    later = [s for s in seen if s.judgement.sync != "Synced"]
    how = "In force" if later else "Synced"
    by_now = "".join(
        f" {s.name} is {s.judgement.sync or 'not compared'} by now: Git has more than this run brought."
        for s in later
    )
    return Outcome(
        result=Result.DEPLOYED,
        title=f"{request.application} {after} {runs_in_words(by_field=bool(plan.arguments.get('by_field')))} in {request.target}{_lacking(plan)}",
        sentence=(f"{instead} " if instead else "")
        + f"{how} and healthy after {_took(longest)}, and stayed so for {stable}.{by_now}"
        + "".join(f" {_sentence(note)}" for s in seen for note in s.judgement.notes),
        facts=(*_commit_facts(commit), *_placement_facts(seen)),
        tables=_tables(seen),
        next_step="Nothing to do.",
        undo=request.command(back) if back else "",
    )


def _failed(
    request: Promotion, plan: Plan, worst: _Seen, seen: list[_Seen], commit: Any
) -> Outcome:
    after, back = str(plan.arguments["version_after"]), version_back(plan)
    judgement = worst.judgement
    # What a hook runs is not what was promoted: its pod is told where nothing else fails.
    pods = sorted(judgement.failing, key=lambda one: bool(one.hook))
    pod = pods[0] if pods else None
    hook = pod.hook if pod else next(iter(judgement.hooks), "")
    verb = (
        f"was synced, and hook {hook} failed"
        if hook
        else "crashes"
        if pod and "Crash" in pod.reason
        else "does not start"
        if pod
        else "was not deployed"
    )
    sentence = judgement.trouble or judgement.sentence
    facts: tuple[Fact, ...] = ()
    if pod:
        more = len(judgement.failing) - 1
        facts = (
            Fact("Pod", pod.pod + (f", and {more} more" if more else "")),
            Fact("Container", pod.container),
            Fact("Reason", pod.reason + (f", {pod.restarts} restarts" if pod.restarts else "")),
            Fact("Message", pod.message or "none given"),
            Fact("Image", pod.image),
        )
    way_back = request.command(back) if back else ""
    return Outcome(
        result=Result.FAILED,
        title=f"{request.application} {after} {verb} in {request.target}",
        sentence=f"{_sentence(sentence)}{' ' + _sentence(worst.gave_up) if worst.gave_up else ''}",
        facts=(
            *facts,
            Fact("Version before", before_in_words(plan)),
            *_commit_facts(commit),
            *_placement_facts(seen),
        ),
        tables=_tables(seen),
        next_step=_after_failure(request, judgement, after, back if way_back else ""),
        command=way_back,
        undo=way_back,
    )


def _after_failure(request: Promotion, judgement: Judgement, after: str, back: str) -> str:
    """What comes of a failure by itself, and what a person does: a sync that has ended is not repeated."""
    puts_back = f"This puts {back} back." if back else ""
    if judgement.phase in ("Failed", "Error"):
        again = f"`{request.command(after)}` plans it once more."
        return f"Git asks for {after}, and the sync ended as {judgement.phase}: nothing repeats it. {again} {puts_back}".strip()
    if back:
        return f"Git asks for {after}, so Argo CD keeps trying. {puts_back}"
    return "Mend it in Git, then promote again."


def _taken_back(
    request: Promotion,
    plan: Plan,
    seen: list[_Seen],
    commit: Any,
    changed: str,
    *,
    by: tuple[str, str],
) -> Outcome:
    """A later commit changed what this run wrote: whatever runs now, Git does not ask for it."""
    after = str(plan.arguments["version_after"])
    sha, run = by
    what = f"Commit {sha}" if sha else "Somebody"
    who = f"{what}, of {run}," if run else what
    return Outcome(
        result=Result.FAILED,
        title=f"Git does not ask for {request.application} {after} in {request.target} any more",
        sentence=f"{who} changed it meanwhile: {changed}. "
        + " ".join(f"{s.name} on {s.cluster}: {_sentence(s.judgement.sentence)}" for s in seen),
        facts=(*_commit_facts(commit), *_placement_facts(seen)),
        tables=_tables(seen),
        next_step=f"See `gitops-nb report {run}`. A new promotion plans on what is there now, and brings it."
        if run
        else "Ask whoever changed it. A new promotion plans on what is there now, and brings it.",
        taken_back=changed,
    )


def _in_doubt(
    request: Promotion, plan: Plan, worst: _Seen, seen: list[_Seen], commit: Any
) -> Outcome:
    after, back = str(plan.arguments["version_after"]), version_back(plan)
    return Outcome(
        result=Result.IN_DOUBT,
        title=f"{request.application} {after} is in Git, and nothing shows that it runs in {request.target}"
        if worst.judgement.unseen
        else f"{request.application} {after} is not in force in {request.target} yet",
        sentence=f"After {_took(worst.seconds)}: {worst.judgement.sentence}.",
        facts=(
            Fact("Version before", before_in_words(plan)),
            *_commit_facts(commit),
            *_placement_facts(seen),
        ),
        tables=_tables(seen),
        next_step=f"{_sentence(worst.judgement.unseen)} Mend that, then let verify run again with the command below; nothing is applied twice."
        if worst.judgement.unseen
        else "Look at Argo CD, then let verify run again with the command below; nothing is applied twice.",
        undo=request.command(back) if back else "",
    )


def _commit_facts(commit: Any) -> tuple[Fact, ...]:
    if not commit:
        return ()
    return (Fact("Commit", str(commit["revision"])), Fact("Parent", str(commit["parent"])))


def _placement_facts(seen: list[_Seen]) -> tuple[Fact, ...]:
    """What Argo CD says of each Application, and where the version was seen."""
    facts: list[Fact] = []
    for s in seen:
        said = s.judgement
        health = said.health or "no health"
        if said.sync == "Unknown" and said.health:
            health += " at an earlier comparison"
        at = ", ".join(revision[:12] for revision in said.revision.split(",")) or "no revision"
        text = f"{said.sync or 'no sync status'}, {health}, at {at}"
        facts.append(Fact(f"{s.name} on {s.cluster}", text))
        if said.carriers:
            facts.append(Fact("Seen in", ", ".join(said.carriers)))
        if said.others:
            facts.append(Fact("Runs something else", ", ".join(said.others)))
    return tuple(facts)


def _tables(seen: list[_Seen]) -> tuple[Table, ...]:
    rows = tuple(row for s in seen for row in s.pods)
    return (Table("Pods", ("Pod", "Image", "State", "Restarts"), rows),) if rows else ()


def _pods(snapshot: Snapshot | None) -> tuple[tuple[str, str, str, str], ...]:
    """Name, image, state and restarts of each pod."""
    rows: list[tuple[str, str, str, str]] = []
    for item in snapshot.workloads if snapshot else ():
        if item.get("kind") != "Pod":
            continue
        statuses = (item.get("status") or {}).get("containerStatuses") or ()
        waiting = [
            str(reason)
            for s in statuses
            if (reason := ((s.get("state") or {}).get("waiting") or {}).get("reason"))
        ]
        ready = bool(statuses) and all(s.get("ready") for s in statuses)
        containers = (item.get("spec") or {}).get("containers") or ()
        image = ", ".join(c.get("image") or "" for c in containers)
        state = waiting[0] if waiting else "ready" if ready else "not ready"
        restarts = sum(int(s.get("restartCount") or 0) for s in statuses)
        rows.append((item["metadata"]["name"], image, state, str(restarts)))
    return tuple(sorted(rows))


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") or not text else ".")


def _took(seconds: int) -> str:
    return (
        str(timedelta(seconds=seconds))
        if seconds >= 3600
        else f"{seconds // 60} min {seconds % 60} s"
        if seconds >= 60
        else f"{seconds} s"
    )
