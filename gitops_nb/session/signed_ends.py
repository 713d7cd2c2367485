"""Which runs ended as their journals say, by a runner's signature: what a folder says alone was seen by nobody.

For lists of many runs: each ledger is read once, from its newest record back to the oldest of the runs, and only signatures of these
runs' ends are checked. Nobody is asked over the network; whether a key counted, and all the rest, is for ``verify`` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import ConfigurationError, GitOpsError, UnavailableError
from gitops_nb.model import parse_time
from gitops_nb.record import dsse
from gitops_nb.record.dsse import MalformedError
from gitops_nb.record.fold import RunState
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.ledger import Entry, Phase, ledger_name, newest_of, parse_entry
from gitops_nb.session.stores import reports_store


def unsigned_ends(workspace: Workspace, states: Iterable[RunState]) -> frozenset[str]:
    """Those of the runs that ended, and of whose end with its newest record no runner's signature is there."""
    ended = [state for state in states if state.ended and state.opened]
    by_ledger: dict[tuple[str, str], list[RunState]] = {}
    for state in ended:
        name = ledger_name(state.environment, is_sandbox=state.is_sandbox)
        by_ledger.setdefault((name, state.environment), []).append(state)
    if not by_ledger:
        return frozenset()
    keys_in = runner_keys(workspace)
    signed: set[str] = set()
    for (name, environment), some in by_ledger.items():
        runs = {state.run: state for state in some}
        signed |= _signed(workspace, name, runs, keys_in(environment))
    return frozenset(state.run for state in ended if state.run not in signed)


def _signed(
    workspace: Workspace, name: str, states: Mapping[str, RunState], key_of: Callable[[str], str]
) -> set[str]:
    since = min(parse_time(state.started) for state in states.values())
    found: set[str] = set()
    try:
        for slot, content in newest_of(reports_store(workspace), name, states, since=since):
            try:
                entry = parse_entry(slot, content)
            except MalformedError:
                continue
            said = entry.predicate.get("journal")
            head = said.get("head") if isinstance(said, Mapping) else None
            if entry.phase is not Phase.END or head != states[entry.run].head:
                continue
            if is_signed(entry, key_of):
                found.add(entry.run)
    except UnavailableError:
        return set(states)  # the store is away: nothing is said of any of them
    except GitOpsError:
        return found  # what is no record of a ledger vouches for nobody
    return found


def is_signed(entry: Entry, key_of: Callable[[str], str]) -> bool:
    """Whether the key that a record of a ledger names counts there, and signed it."""
    key = key_of(entry.keyid)
    return bool(key) and dsse.is_signed_by(entry.envelope, dsse.raw_ed25519(key))


def runner_keys(workspace: Workspace) -> Callable[[str], Callable[[str], str]]:
    """For an environment: the public key of a runner that counts there, by its fingerprint; "" for one that does not.

    trust.yaml is read where it is needed: this machine's own key, where it is not listed, counts everywhere.
    """
    own = open_runner_key(workspace.root).public
    is_sandbox = workspace.mode == "sandbox"

    @cache
    def listed() -> Mapping[str, tuple[str, Callable[[str], bool]]]:
        from gitops_nb.catalog.load import load_catalog  # a list of one's own runs does without

        try:
            runners = load_catalog(workspace.runbooks).trust.runners
        except ConfigurationError:
            runners = ()
        return {dsse.fingerprint(one.key): (one.key, one.is_trusted_in) for one in runners}

    def keys_in(environment: str) -> Callable[[str], str]:
        def key_of(keyid: str) -> str:
            is_own = keyid == dsse.fingerprint(own)
            if is_own and is_sandbox:
                return own
            key, counts_in = listed().get(keyid, ("", None))
            if counts_in is not None:
                return key if counts_in(environment) else ""
            return own if is_own else ""

        return key_of

    return keys_in
