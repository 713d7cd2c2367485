"""Exports of DevLake, Four Keys and incident tools become facts; what is wrong is named, and nothing is written."""

from __future__ import annotations

import csv
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
import yaml

from gitops_nb.catalog.load import read_model
from gitops_nb.cli.dora import import_facts
from gitops_nb.dora import joining, stored
from gitops_nb.dora.fact_tables import CHANGE_DEPLOYMENT, DEPLOYMENT, frame
from gitops_nb.dora.facts import CONFIGURATION
from gitops_nb.dora.importing import KINDS, import_files
from gitops_nb.dora.importing_rows import Columns, ImportMap, Reading
from gitops_nb.dora.store import FactStore, Merged
from gitops_nb.errors import ConfigurationError, UsageError
from gitops_nb.model import parse_time
from tests.dora.test_store import tree

HERE = Path(__file__).parent / "imports"
NOW_S = int(datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp())
DEVLAKE = ["cicd_deployment_commits.csv", "project_mapping.csv", "incidents.csv"]
FOUR_KEYS = ["deployments.jsonl", "changes.jsonl", "incidents.jsonl"]
LARGE_S = 10**9


def sha(number):
    """The commit id of that number in the files."""
    return "a" * 39 + str(number)


def seconds(text):
    """Epoch seconds of a time in the files."""
    return int(parse_time(text).timestamp())


def reading(mapping=None, **changes):
    """What a mapping file of the folder, or its content, says about a fleet of two services."""
    found = read_model(HERE / mapping, ImportMap) if mapping else ImportMap()
    return Reading.of(
        found.model_copy(update=changes),
        environments=("staging", "production"),
        services=("checkout", "catalog"),
        default_environment="production",
        now_s=NOW_S,
    )


def paths(folder, names):
    """Files of a folder of examples."""
    return [HERE / folder / name for name in names]


def rows(store, table, *columns):
    """Rows of a table in order, as tuples; an unknown time is None."""
    found = store.read(table)[list(columns)].to_dict("records")
    return [tuple(None if pd.isna(v) else v for v in row.values()) for row in found]


@pytest.fixture
def store(tmp_path):
    """A store that nothing was written to."""
    return FactStore(tmp_path / "facts")


def test_the_command_takes_the_kinds_that_there_are():
    """No kind without a reader, no reader without its kind."""
    (kind,) = (one for one in import_facts.params if one.name == "kind")
    assert tuple(kind.type.choices) == tuple(KINDS)


def test_devlake_becomes_deployments_and_incidents(store):
    """Services are projects, commits of one deployment are one, its failures and returns are told, times are UTC."""
    done = import_files("devlake", paths("devlake", DEVLAKE), store, reading("devlake/map.yaml"))
    assert rows(store, "deployment", "service", "environment", "deployment_id", "version", "outcome", "trigger", "is_censored") == [
        ("catalog", "production", "devlake:run-8", "b" * 39 + "1", "succeeded", "promotion", True),
        ("checkout", "production", "devlake:run-2", sha(1), "succeeded", "promotion", True),
        ("checkout", "production", "devlake:run-3", sha(3), "succeeded", "promotion", False),
        ("checkout", "production", "devlake:run-4", sha(4), "failed", "promotion", False),
        ("checkout", "production", "devlake:run-5", sha(1), "succeeded", "rollback", False),
        ("checkout", "staging", "devlake:run-1", sha(1), "succeeded", "promotion", True),
    ]  # fmt: skip
    third = store.read("deployment").set_index("deployment_id").loc["devlake:run-3"]
    assert third["started_s"] == seconds("2026-09-09T08:00:00Z")
    assert third["finished_s"] == seconds("2026-09-09T08:07:00Z")
    assert rows(store, "incident", "service", "incident_id", "environment", "started_s", "resolved_s", "severity") == [
        ("catalog", "github:GithubIssue:1:9", "production", seconds("2026-09-12T10:00:00Z"), seconds("2026-09-12T11:00:00Z"), "sev1"),
        ("checkout", "jira:JiraIssue:1:501", "production", seconds("2026-09-09T09:00:00Z"), seconds("2026-09-09T09:40:00Z"), "High"),
        ("checkout", "jira:JiraIssue:1:502", "production", seconds("2026-09-11T09:00:00Z"), None, "Low"),
    ]  # fmt: skip
    assert done.environments == {"TESTING": 1}
    assert done.left_out == {
        "deployments with the result (none)": 1,
        "rows of github:GithubRepo:1:99, which is in no project": 1,
    }
    assert done.strangers == {}
    ledger = rows(store, "exclusion", "reason", "service", "environment", "detail")
    assert ledger == [("environment is not in the fleet", "catalog", "TESTING", "run-7")]


def test_devlake_as_json_is_the_same(store, tmp_path):
    """A JSON list of the same rows, null for no value, gives the same facts."""
    import_files("devlake", paths("devlake", DEVLAKE), store, reading("devlake/map.yaml"))
    other = FactStore(tmp_path / "other")
    files = []
    for path in paths("devlake", DEVLAKE):
        with path.open(newline="", encoding="utf-8") as file:
            content = [
                {n: None if v == "NULL" else v for n, v in row.items()}
                for row in csv.DictReader(file)
            ]
        files.append(tmp_path / path.with_suffix(".json").name)
        files[-1].write_text(json.dumps(content))
    import_files("devlake", files, other, reading("devlake/map.yaml"))
    for table in ("deployment", "incident", "exclusion"):
        pd.testing.assert_frame_equal(store.read(table), other.read(table))


def test_a_scope_of_two_projects_needs_a_word(store, tmp_path):
    """It is named at each of its rows, and the mapping decides."""
    shutil.copytree(HERE / "devlake", tmp_path / "devlake")
    files = [tmp_path / "devlake" / name for name in DEVLAKE]
    with files[1].open("a", encoding="utf-8") as file:
        file.write("platform,cicd_scopes,github:GithubRepo:1:12\n")
    with pytest.raises(
        UsageError, match=r"commits\.csv:9: .*1:12' is of catalog and platform"
    ) as told:
        import_files("devlake", files, store, reading("devlake/map.yaml"))  # fmt: skip
    assert len(told.value.message.splitlines()) == 2
    assert not store.folder.exists()
    known = {"Catalog Team": "catalog", "github:GithubRepo:1:12": "catalog"}
    import_files("devlake", files, store, reading("devlake/map.yaml", services=known))
    assert store.services("deployment") == ("catalog", "checkout")


@pytest.mark.parametrize("deployments", ["deployments.jsonl", "deployments.csv"])
def test_four_keys_becomes_deployments_with_their_changes(store, deployments):
    """Each change has its first deployment, an incident the one that brought its root cause; what has no lead time is listed."""
    names = [deployments, *FOUR_KEYS[1:]]
    import_files("four-keys", paths("four_keys", names), store, reading("four_keys/map.yaml"))
    assert rows(store, "deployment", "deployment_id", "service", "environment", "finished_s", "version", "is_censored") == [
        ("four keys:github/d1", "checkout", "production", seconds("2026-09-07T08:00:00Z"), sha(1), True),
        ("four keys:github/d2", "checkout", "production", seconds("2026-09-08T08:00:00Z"), sha(3), False),
        ("four keys:github/d3", "checkout", "production", seconds("2026-09-09T08:00:00Z"), sha(4), False),
    ]  # fmt: skip
    assert rows(store, "change_deployment", "sha", "deployment_id", "authored_s") == [
        (sha(2), "four keys:github/d2", seconds("2026-09-08T06:00:00Z")),
        (sha(3), "four keys:github/d2", seconds("2026-09-08T07:00:00Z")),
    ]
    assert rows(store, "exclusion", "reason", "sha") == [
        ("contained in the first recorded deployment (seed)", sha(1)),
        ("no time is known for the change", sha(5)),
        ("written after its deployment (clock)", sha(4)),
    ]
    assert rows(store, "incident", "incident_id", "deployment_id", "resolved_s") == [
        ("github/31", "four keys:github/d2", seconds("2026-09-08T09:00:00Z")),
        ("pagerduty/P1", "", None),
    ]


def test_an_export_that_goes_on_keeps_what_came_before(store, tmp_path):
    """A later file with newer rows: the first deployment stays the only first one, each change keeps its first deployment."""
    lines = (HERE / "four_keys/deployments.jsonl").read_text().splitlines()
    early, late = tmp_path / "early.jsonl", tmp_path / "late.jsonl"
    early.write_text("\n".join(lines[:2]))
    late.write_text(lines[2])
    changes = HERE / "four_keys/changes.jsonl"
    import_files("four-keys", [early, changes], store, reading("four_keys/map.yaml"))
    import_files("four-keys", [late, changes], store, reading("four_keys/map.yaml"))
    whole = FactStore(tmp_path / "whole")
    both = [HERE / "four_keys/deployments.jsonl", changes]
    import_files("four-keys", both, whole, reading("four_keys/map.yaml"))
    for table in ("deployment", "change_deployment", "exclusion", "change"):
        pd.testing.assert_frame_equal(store.read(table), whole.read(table))


def test_jira_rows_are_read_by_the_mapping(store):
    """Own columns, words and local times; duplicates are one, also when what they are merged into is not in the file."""
    done = import_files("incidents", [HERE / "jira.csv"], store, reading("jira.yaml"))
    found = rows(
        store,
        "incident",
        "service",
        "incident_id",
        "environment",
        "started_s",
        "resolved_s",
        "severity",
        "source",
    )
    assert found == [
        ("catalog", "SHOP-3", "staging", seconds("2026-10-26T08:00:00Z"), None, "Low", "jira"),
        ("catalog", "SHOP-4", "production", seconds("2026-10-26T08:50:00Z"), seconds("2026-10-26T10:00:00Z"), "Medium", "jira"),
        # From before to after the clocks went back: five hours, not four.
        ("checkout", "SHOP-1", "production", seconds("2026-10-24T21:10:00Z"), seconds("2026-10-25T02:30:00Z"), "Highest", "jira"),
        ("checkout", "SHOP-3", "staging", seconds("2026-10-26T08:00:00Z"), None, "Low", "jira"),
    ]  # fmt: skip
    assert done.environments == {"LAB": 1}
    assert [row[0] for row in rows(store, "exclusion", "detail")] == ["SHOP-6"]
    assert store.ends() == {"incidents jira": NOW_S}


def test_servicenow_rows_that_come_twice_are_one(store):
    """The same number twice, once without an end, and its child: one incident that has ended."""
    import_files("incidents", [HERE / "servicenow.csv"], store, reading("servicenow.yaml"))
    assert rows(store, "incident", "incident_id", "started_s", "resolved_s", "severity") == [
        ("INC0010001", seconds("2026-10-20T08:00:00Z"), seconds("2026-10-20T09:00:00Z"), "1 - High")
    ]


def test_incidents_that_were_merged_since_are_not_there_twice(store, tmp_path):
    """A later export tells that two are one, and of another service: the older rows go, those of others stay."""
    head = "number,cmdb_ci,u_environment,opened_at,resolved_at,severity,parent_incident\n"
    line = "{},{},production,2026-10-20 08:00:00,,,{}\n"
    export = tmp_path / "october.csv"
    export.write_text(head + line.format("A", "checkout", "") + line.format("B", "checkout", "") + line.format("C", "checkout", ""))  # fmt: skip
    import_files("incidents", [export], store, reading("servicenow.yaml"))
    again = tmp_path / "november.csv"
    again.write_text(head + line.format("A", "checkout", "") + line.format("B", "checkout", "A") + line.format("C", "catalog", ""))  # fmt: skip
    other = reading("servicenow.yaml", source="another tool")
    import_files("incidents", [export], store, other)
    import_files("incidents", [again], store, reading("servicenow.yaml"))
    found = rows(store, "incident", "source", "service", "incident_id")
    assert sorted(found) == [
        *(("another tool", "checkout", name) for name in "ABC"),
        ("servicenow", "catalog", "C"),
        ("servicenow", "checkout", "A"),
    ]


@pytest.mark.parametrize(
    ("kind", "names", "mapping"),
    [
        ("devlake", [f"devlake/{name}" for name in DEVLAKE], "devlake/map.yaml"),
        ("four-keys", [f"four_keys/{name}" for name in FOUR_KEYS], "four_keys/map.yaml"),
        ("incidents", ["jira.csv"], "jira.yaml"),
    ],
)
def test_the_same_files_twice_change_no_byte(store, kind, names, mapping):
    """Neither a table nor until when incidents are known: an old file says nothing newer."""
    files = [HERE / name for name in names]
    assert import_files(kind, files, store, reading(mapping)).merged.added > 0
    before = tree(store.folder)
    later = reading(mapping)
    later = Reading(later.environments, later.services, later.mapping, NOW_S + 86_400, later.zone)
    assert import_files(kind, files, store, later).merged == Merged()
    assert tree(store.folder) == before


COMMITS = (HERE / "devlake/cicd_deployment_commits.csv").read_text().splitlines()
JIRA = (HERE / "jira.csv").read_text().splitlines()


@pytest.mark.parametrize(
    "case",
    [
        ("devlake", "devlake/map.yaml", "c.csv", [COMMITS[0], COMMITS[3].replace("2026-09-09T08:05:00.000+00:00", "yesterday")], r"c\.csv:2: finished_date: 'yesterday' is no time"),
        ("devlake", "devlake/map.yaml", "c.csv", [*COMMITS[:2], COMMITS[3].replace("2026-09-09T08:05", "2126-09-09T08:05")], r"c\.csv:3: finished_date: .* is in the future"),
        ("devlake", "devlake/map.yaml", "c.csv", [COMMITS[0], COMMITS[3].replace("2026-09-09T08:05", "2026-09-08T08:05")], r"c\.csv:2: finished_date is before started_date"),
        ("devlake", "devlake/map.yaml", "c.csv", [COMMITS[0], COMMITS[3].replace(sha(2), "")], r"c\.csv:2: commit_sha: it has no value"),
        ("devlake", "devlake/map.yaml", "c.csv", [COMMITS[0].replace(",result,", ",outcome,"), COMMITS[1]], r"c\.csv:1: no column result"),
        ("devlake", "devlake/map.yaml", "c.csv", ["a,b", "1,2"], r"c\.csv:1: none of cicd_deployment_commits"),
        ("devlake", "devlake/map.yaml", "c.csv", COMMITS[:2], r"c\.csv:2: nothing says whose 'github:GithubRepo:1:11' is"),
        ("devlake", "devlake/map.yaml", "c.csv", [COMMITS[0], COMMITS[1] + ",more"], r"c\.csv:2: more fields than the header has"),
        ("devlake", "devlake/map.yaml", "c.csv", [], r"c\.csv:1: no header"),
        ("devlake", "devlake/map.yaml", "c.json", ["{"], r"c\.json:1: cannot be read as JSON"),
        ("devlake", "devlake/map.yaml", "c.json", ["[1]"], r"c\.json: \[0\]: no object"),
        ("devlake", "devlake/map.yaml", "c.json", ["[" * 100_000], r"c\.json: cannot be read: maximum recursion"),
        ("incidents", "jira.yaml", "i.csv", [JIRA[0].replace("Created", "Raised"), JIRA[1]], r"i\.csv:1: no column Created"),
        ("devlake", "devlake/map.yaml", "none.csv", None, r"none\.csv: cannot be read"),
        ("four-keys", None, "d.jsonl", ['{"deploy_id": "1"}'], "the mapping names no service"),
        ("four-keys", "four_keys/map.yaml", "d.jsonl", ['{"deploy_id": "1"}'], r"d\.jsonl:1: no column source, time_created, main_commit"),
        ("four-keys", "four_keys/map.yaml", "d.jsonl", ["", '{"source": "s", "deploy_id": "1", "time_created": "2026-09-09 08:00:00", "main_commit": null}'], r"d\.jsonl:2: main_commit: it has no value"),
        ("four-keys", "four_keys/map.yaml", "d.csv", ["source,deploy_id,time_created,main_commit,changes", "s,1,2026-09-09 08:00:00,a,[x"], r"d\.csv:2: changes: '\[x' is no list"),
        ("incidents", None, "i.csv", JIRA, "the mapping names no columns"),
        ("incidents", "servicenow.yaml", "i.csv", JIRA, r"i\.csv:1: no column number, opened_at"),
        ("incidents", "jira.yaml", "i.csv", [JIRA[0], JIRA[1].replace("24/Oct/26 11:30 PM", "2026-10-24 23:30")], r"i\.csv:2: Created: '2026-10-24 23:30' is not like %d/%b/%y"),
        ("incidents", "jira.yaml", "i.csv", [JIRA[0], JIRA[1].replace("24/Oct/26 11:30 PM", "29/Mar/26 2:30 AM")], r"i\.csv:2: Created: .* never was in Europe/Berlin"),
        ("incidents", "jira.yaml", "i.csv", [JIRA[0], JIRA[1].replace("25/Oct/26", "23/Oct/26")], r"i\.csv:2: Resolved is before Created"),
        ("incidents", "jira.yaml", "i.csv", [JIRA[0], JIRA[1].replace("Checkout API", "")], r"i\.csv:2: Component/s: it has no value"),
        ("incidents", "jira.yaml", "i.csv", [*JIRA[:2], JIRA[1].replace("PRD", "STG")], r"i\.csv:3: 'SHOP-1' is in staging here, and in production at i\.csv:2"),
        ("incidents", "jira.yaml", "i.csv", [JIRA[0], JIRA[1] + "SHOP-2", JIRA[2]], r"i\.csv:2: SHOP-2 and SHOP-1 are merged into each other"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_is_written(store, tmp_path, case):
    """File, line and what is wrong; the store is not even made."""
    kind, mapping, name, content, message = case
    path = tmp_path / name
    if content is not None:
        path.write_text("".join(f"{line}\n" for line in content))
    with pytest.raises(UsageError, match=message):
        import_files(kind, [path], store, reading(mapping))
    assert not store.folder.exists()


def test_up_to_twenty_rows_are_named_at_once(store, tmp_path):
    """The first 20 with their lines, and how many more there are, over all files."""
    path = tmp_path / "c.csv"
    path.write_text("\n".join([COMMITS[0], *[COMMITS[1].replace(sha(1), "")] * 25]))
    files = [path, HERE / "devlake/project_mapping.csv"]
    with pytest.raises(UsageError) as told:
        import_files("devlake", files, store, reading("devlake/map.yaml"))
    lines = told.value.message.splitlines()
    assert len(lines) == 21
    assert lines[0] == "c.csv:2: commit_sha: it has no value"
    assert lines[-1] == "and 5 more"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"environment": "prod"}, "unknown environment 'prod'"),
        ({"environments": {"PRD": "prod"}}, "unknown environment 'prod'"),
        ({"time_zone": "Berlin"}, "'Berlin' is no IANA time zone"),
    ],
)
def test_a_mapping_that_does_not_fit_the_fleet_is_named(changes, message):
    """Environments and time zone are checked before a row is read."""
    with pytest.raises(UsageError, match=message):
        reading("jira.yaml", **changes)


def test_the_mapping_of_the_docs_is_one():
    """Every key of the model stands in the example of docs/dora.md, which reads as such a file."""
    text = (HERE.parents[2] / "docs/dora.md").read_text(encoding="utf-8")
    (block,) = [part for part in text.split("```yaml\n")[1:] if part.startswith("kind: ImportMap")]
    example = yaml.safe_load(block.split("```")[0])
    assert set(example) == set(ImportMap.model_fields)
    assert set(example["columns"]) == set(Columns.model_fields)
    ImportMap.model_validate(example)


def test_a_mapping_with_an_unknown_key_is_named(tmp_path):
    """With file and line."""
    path = tmp_path / "map.yaml"
    path.write_text("source: jira\ncolumn: {id: Key}\n")
    with pytest.raises(ConfigurationError, match=r"map\.yaml:2: column"):
        read_model(path, ImportMap)


def test_a_time_without_an_offset_needs_a_zone():
    """Where neither says one, it is refused; with an offset none is needed."""
    plain = reading()
    assert plain.moment("2026-09-09T10:00:00+02:00") == seconds("2026-09-09T08:00:00Z")
    with pytest.raises(ValueError, match="has no offset, and the mapping no time_zone"):
        plain.moment("2026-09-09 10:00:00")
    berlin = reading(time_zone="Europe/Berlin")
    # What tools write for "never" is no time, also where it leaves the calendar in UTC.
    with pytest.raises(ValueError, match="before 1990"):
        berlin.moment("0001-01-01 00:00:00")
    with pytest.raises(ValueError, match="in the future"):
        reading(time_zone="America/New_York").moment("9999-12-31 23:59:59")
    assert berlin.moment("2026-09-09 10:00:00") == seconds("2026-09-09T08:00:00Z")


def test_an_environment_is_an_exact_word_in_any_case():
    """PRODUCTION is production; preproduction and production-eu are nobody's."""
    plain = reading()
    assert plain.environment("PRODUCTION") == "production"
    for name in ("preproduction", "production-eu", "prod", ""):
        assert plain.environment(name) is None


def _tell(store, source, service="checkout"):
    """Puts one deployment of a source into the store."""
    row = {"deployment_id": f"{source}:1", "service": service, "environment": "production", "version": "v1", "revision": "c", "started_s": LARGE_S, "finished_s": LARGE_S, "outcome": "succeeded", "trigger": "promotion", "source": source}  # fmt: skip
    store.merge("deployment", frame(DEPLOYMENT, [row]))


def test_a_place_that_a_better_source_tells_of_is_left_out(store):
    """Its deployments are counted once; other places and the incidents are imported."""
    _tell(store, CONFIGURATION)
    done = import_files("devlake", paths("devlake", DEVLAKE), store, reading("devlake/map.yaml"))
    places = rows(store, "deployment", "service", "environment", "source")
    assert places == [
        ("catalog", "production", "devlake"),
        ("checkout", "production", CONFIGURATION),
        ("checkout", "staging", "devlake"),
    ]
    text = f"deployments of checkout in production, which {CONFIGURATION} tells of"
    assert done.left_out[text] == 4
    assert len(store.read("incident")) == 3


def test_two_tools_never_count_one_place_twice(store):
    """DevLake comes before Four Keys, whichever was imported first, and changes go with their deployments."""
    import_files("four-keys", paths("four_keys", FOUR_KEYS), store, reading("four_keys/map.yaml"))
    selected, _ = stored.select(store)
    assert set(selected.change_deployment["sha"]) == {sha(2), sha(3)}
    import_files("devlake", paths("devlake", DEVLAKE), store, reading("devlake/map.yaml"))
    one = joining.deployments_of(store)
    place = one[(one["service"] == "checkout") & (one["environment"] == "production")]
    assert set(place["source"]) == {"devlake"}
    assert stored.select(store)[0].change_deployment.empty


def test_changes_of_an_application_repository_stay_as_they_are(store):
    """What was collected by the commit graph is not touched by what imported changes go by."""
    _tell(store, CONFIGURATION)
    row = {"service": "checkout", "environment": "production", "repository": "shop", "sha": sha(9), "deployment_id": "older", "authored_s": LARGE_S, "finished_s": LARGE_S}  # fmt: skip
    store.merge("change_deployment", frame(CHANGE_DEPLOYMENT, [row]))
    assert len(stored.select(store)[0].change_deployment) == 1
