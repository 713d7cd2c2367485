"""One deployment from several sources: a commit of the configuration, its sync, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from gitops_nb.dora.definition import Moment
from gitops_nb.dora.fact_tables import FactTables
from gitops_nb.dora.facts import CONFIGURATION
from gitops_nb.dora.store import FactStore

SOURCES = (CONFIGURATION, "argocd", "opentofu", "run ledger", "github", "devlake", "four keys")
"""Where deployments come from, the one that tells most of a service and environment first."""
SYNCED_BY = ("argocd", "run ledger")
"""Sources that tell what became of a revision of the configuration."""
_PLACE = ["service", "environment"]
_TIMES = ["synced_s", "healthy_s", "degraded_s"]
_NO_CHANGE = ("removal", "resync", "heal")


def deployments_of(store: FactStore, services: Sequence[str] | None = None) -> pd.DataFrame:
    """The stored deployments, one source per service and environment."""
    return one_source(store.read("deployment", services), store.read("sync", services))


def one_source(deployment: pd.DataFrame, sync: pd.DataFrame) -> pd.DataFrame:
    """One source per service and environment: a commit and its sync are one deployment, not two.

    What Argo CD and our own runs did about a revision is added to the deployments that it brought: all that it
    contains and that no revision synced before contained were synced with it. How it went is told of the newest of
    them, the version that ran: a revision that could only fail to be synced is a deployment that did not go well.
    Going back to a revision that contains less, and forth again, without a commit, are deployments of their own.

    Args:
        deployment: Of all sources.
        sync: What synced revisions contain; one that is not in it stands for itself.
    """
    rank = deployment["source"].map({name: place for place, name in enumerate(SOURCES)})
    rank = rank.fillna(len(SOURCES)).astype("int64")
    best = rank.groupby([deployment["service"], deployment["environment"]]).transform("min")
    chosen = deployment[rank == best].reset_index(drop=True)
    more = deployment[deployment["source"].isin(SYNCED_BY) & (rank != best)]
    if more.empty:
        return chosen
    placed = _place(more, sync, chosen)
    reached = placed[placed["outcome"] != "failed"]
    told = _tell(chosen, placed, reached)
    returned = _returns(chosen, reached[reached["place"].notna()])
    return pd.concat([told, returned], ignore_index=True) if len(returned) else told


def at_moment(tables: FactTables, moment: Moment) -> FactTables:
    """The facts with deployments, and the changes that came with them, at another moment, where it is known."""
    deployment = tables.deployment
    if moment is Moment.COMMITTED:
        return tables
    at_s = deployment["synced_s"].fillna(deployment["finished_s"])
    if moment is Moment.HEALTHY:
        at_s = deployment["healthy_s"].fillna(at_s)
    moved = deployment.assign(finished_s=at_s.astype("int64"))
    key = [*_PLACE, "deployment_id"]
    times = moved.drop_duplicates(key).set_index(key)["finished_s"]
    arrived = tables.change_deployment
    found = times.reindex(pd.MultiIndex.from_frame(arrived[key])).to_numpy()
    arrived = arrived.assign(
        finished_s=arrived["finished_s"].where(pd.isna(found), found).astype("int64")
    )
    return replace(tables, deployment=moved, change_deployment=arrived)


def _place(more: pd.DataFrame, sync: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """Syncs in order of time, with the revision of the newest deployment that each contains, and its position."""
    key = [*_PLACE, "revision"]
    found = more.merge(sync, on=key, how="left")
    contained = found["contained"].fillna(found["revision"])
    positions = chosen.drop_duplicates(key, keep="last").set_index(key)["position"]
    places = pd.MultiIndex.from_frame(found[_PLACE].assign(revision=contained))
    # A hook that failed after the sync leaves Healthy resources: its end is when it went wrong.
    is_bad = (found["outcome"] == "degraded") & found["degraded_s"].isna()
    found = found.assign(
        contained=contained,
        place=positions.reindex(places).astype("Int64").to_numpy(),
        degraded_s=found["degraded_s"].mask(is_bad, found["finished_s"]),
    )
    return found.sort_values(["finished_s", "deployment_id"], ignore_index=True)


def _tell(chosen: pd.DataFrame, placed: pd.DataFrame, reached: pd.DataFrame) -> pd.DataFrame:
    """The deployments with when they were synced, and whether that went well."""
    key = [*_PLACE, "contained"]
    failed_s = placed[placed["outcome"] == "failed"].groupby(key)["finished_s"].min()
    seen = reached.groupby(key)[_TIMES].min().join(failed_s.rename("failed_s"), how="outer")
    places = pd.MultiIndex.from_frame(chosen[[*_PLACE, "revision"]])
    own = seen.reindex(places).reset_index(drop=True).astype("Int64")
    only_failed = own["failed_s"].notna() & own["synced_s"].isna()
    trouble_s = own["degraded_s"].where(~only_failed, own["failed_s"])
    is_change = ~chosen["trigger"].isin(_NO_CHANGE)
    outcome = chosen["outcome"].where(~(trouble_s.notna() & is_change), "degraded")
    later = _with_a_later_one(chosen, reached[reached["place"].notna()])
    is_own = own["synced_s"].notna()
    return chosen.assign(
        synced_s=own["synced_s"].where(is_own, later["synced_s"]),
        healthy_s=own["healthy_s"].where(is_own, later["healthy_s"]),
        degraded_s=trouble_s,
        outcome=outcome.astype("str"),
    )


def _with_a_later_one(chosen: pd.DataFrame, reached: pd.DataFrame) -> pd.DataFrame:
    """When each deployment was synced with a later one: by the first sync of a revision that contains it.

    What the first sync that anybody saw contains besides its own may have been there for long.
    """
    reached = reached.assign(place=reached["place"].astype("int64"))
    highest = reached.groupby(_PLACE)["place"].cummax()
    before = highest.groupby([reached[name] for name in _PLACE]).shift(fill_value=-1)
    # Only a sync that goes further than all before it brings something new.
    brings = reached[reached["place"] > before][[*_PLACE, "place", "is_seed", *_TIMES]]
    known = brings.assign(
        **{name: brings[name].astype("Int64").mask(brings["is_seed"]) for name in _TIMES}
    )
    asked = chosen[[*_PLACE, "position"]].assign(index=chosen.index)
    asked = asked[chosen["source"] == CONFIGURATION].sort_values("position")
    found = pd.merge_asof(
        asked,
        known.sort_values("place"),
        left_on="position",
        right_on="place",
        by=_PLACE,
        direction="forward",
    )
    return found.set_index("index")[_TIMES].reindex(chosen.index).astype("Int64")


def _returns(chosen: pd.DataFrame, reached: pd.DataFrame) -> pd.DataFrame:
    """Syncs of revisions that contain less than one before (rollbacks), and those that go forth again."""
    groups = [reached[name] for name in _PLACE]
    place = reached["place"].astype("int64")
    highest = place.groupby(groups).cummax().groupby(groups).shift(fill_value=-1)
    current = place.groupby(groups).shift(fill_value=-1)
    is_return = (place <= highest) & (place != current) & ~reached["trigger"].isin(_NO_CHANGE)
    rows = reached[is_return & ~reached["is_seed"]]
    # It follows the newest that ran, and is of the version that the revision contains.
    key = [*_PLACE, "revision"]
    named = chosen.drop_duplicates(key, keep="last").set_index(key)[["version", "is_comparable"]]
    versions = named.reindex(pd.MultiIndex.from_frame(rows[[*_PLACE, "contained"]]))
    goes_back = place.loc[rows.index] < current.loc[rows.index]
    found = rows.assign(
        position=highest.loc[rows.index],
        version=versions["version"].to_numpy(),
        is_comparable=versions["is_comparable"].to_numpy(dtype=bool),
        trigger=goes_back.map({True: "rollback", False: "promotion"}).astype("str"),
    )
    return found[list(chosen.columns)].astype(chosen.dtypes.to_dict())
