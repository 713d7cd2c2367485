"""The real kubectl is the judge of what a file says, before an edit and after it."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gitops_nb.edits import edit_scalar, is_text, kubernetes_objects
from gitops_nb.edits.keys import show
from gitops_nb.errors import UsageError
from tests.conftest import SEED
from tests.edits.generated import NEW, at, fits, leaves, manifest, same
from tests.edits.test_quoting import texts

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        shutil.which("kubectl") is None,
        reason="no kubectl: how files are read was NOT judged by it",
    ),
]
FILES = 2_000
AT_ONCE = 250
LARGE = 64 * 1024 * 1024
HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: wrapped}\n"
_DECODER = json.JSONDecoder()


def kubectl(*arguments: str) -> tuple[list[Any], str]:
    """The objects that kubectl reads, and what it refused."""
    done = subprocess.run(
        ("kubectl", *arguments, "--dry-run=client", "-o", "json"),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    found, start = [], 0
    while start < len(done.stdout.rstrip()):
        value, start = _DECODER.raw_decode(done.stdout, start)
        found.append(value)
        while done.stdout[start : start + 1].isspace():
            start += 1
    return found, done.stderr


def read_all(folder: Path, files: dict[str, bytes]) -> dict[str, Any]:
    """What kubectl reads of many files that hold an object of the same name each; without those that it refuses."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.yaml").write_bytes(content)
    found, _ = kubectl("create", "--validate=false", "-f", str(folder))
    return {value["metadata"]["name"]: _own(value) for value in found}


def _own(value: Any) -> Any:
    """Without the namespace of the context, which kubectl adds."""
    metadata = {k: v for k, v in value["metadata"].items() if k != "namespace"}
    return {**value, "metadata": metadata}


def _ours(content: bytes) -> Any:
    try:
        (value,) = kubernetes_objects(content)
    except UsageError:
        return None
    return _own(value)


def test_generated_files_are_read_and_edited_as_kubectl_reads_them(tmp_path, record_property):
    """Both read the same or both refuse; after an edit kubectl reads one other leaf, and that one as the new text."""
    edits = 0
    for first in range(0, FILES, AT_ONCE):
        files = {f"f{n}": manifest(n, SEED).encode() for n in range(first, first + AT_ONCE)}
        before = read_all(tmp_path / "files", files)
        wanted: dict[str, Any] = {}
        edited: dict[str, bytes] = {}
        for name, content in files.items():
            own = _ours(content)
            assert (own is None) == (name not in before), (name, content)
            if own is None:
                continue
            assert same(own, before[name]), (name, content)
            chosen = random.Random(name)
            for path in chosen.sample(paths := leaves(before[name]["data"], ("data",)), len(paths)):
                new = chosen.choice(NEW)
                try:
                    edited[name] = edit_scalar(content, show(path), "value", new)
                except UsageError:
                    continue
                wanted[name] = path, new
                break
        after = read_all(tmp_path / "files", edited)
        for name, (path, new) in wanted.items():
            assert name in after, edited[name]
            assert fits(after[name], before[name], path, new), (files[name], edited[name])
        edits += len(edited)
    record_property("cases", edits)
    assert edits > FILES / 4


def test_what_is_written_without_quotes_is_text_to_kubectl(tmp_path, record_property):
    """Of many texts that look like something else, those that stay bare are read as themselves."""
    bare = sorted({text for text in texts(random.Random(SEED), 60_000) if is_text(text)})
    lines = "".join(f"  k{at}: {text}\n" for at, text in enumerate(bare))
    path = tmp_path / "texts.yaml"
    path.write_text(f"{HEAD}data:\n{lines}")
    (found,), refused = kubectl("create", "--validate=false", "-f", str(path))
    assert not refused
    assert found["data"] == {f"k{at}": text for at, text in enumerate(bare)}
    record_property("cases", len(bare))


def test_every_real_file_is_read_and_edited_as_kubectl_reads_it(shared, tmp_path, record_property):
    """All files of the shared data, as they are where they have a kind, else in a ConfigMap; three edits of each."""
    files = sorted(
        path
        for path in (shared / "data/gitops").rglob("*")
        if path.suffix in (".yaml", ".yml", ".json") and path.is_file()
    )
    edits = read = 0
    for path in files:
        content = path.read_bytes()
        judged = _judge(tmp_path, content)
        if judged is None:
            content = _wrapped(path, content)
            judged = _judge(tmp_path, content)
        try:
            own = _flat(kubernetes_objects(content, max_bytes=LARGE))
        except UsageError:
            own = None
        assert (own is None) == (judged is None), path
        if own is None or judged is None:
            continue
        read += 1
        assert same(own, judged), path
        edits += _edit(tmp_path, path, content, judged)
    record_property("cases", edits)
    assert read > 400
    assert edits > 400


def _edit(folder: Path, path: Path, content: bytes, judged: list[Any]) -> int:
    """Edits up to three leaves, each where one document alone has it; how many it were."""
    chosen = random.Random(path.name)
    done = 0
    places = [(n, leaf) for n, value in enumerate(judged) for leaf in leaves(value)]
    for number, leaf in chosen.sample(places, min(30, len(places))):
        if leaf[:1] in (("apiVersion",), ("kind",), ("metadata",)) or done == 3:
            continue
        new = chosen.choice(NEW)
        try:
            edited = edit_scalar(content, show(leaf), "value", new)
        except UsageError:
            continue
        after = _judge(folder, edited)
        assert after is not None, (path, leaf)
        assert fits(after, judged, (number, *leaf), new), (
            path,
            leaf,
            at(judged[number], leaf),
            new,
        )
        done += 1
    return done


def _judge(folder: Path, content: bytes) -> list[Any] | None:
    """What kubectl reads of a file, whether the server has its kinds or not; None where it refuses it."""
    path = folder / ("file.json" if content.lstrip()[:1] == b"{" else "file.yaml")
    path.write_bytes(content)
    found, refused = kubectl("create", "--validate=false", "-f", str(path))
    if refused:
        found, refused = kubectl("annotate", "--local", "--overwrite", "-f", str(path), "judge=kubectl")  # fmt: skip
        if refused:
            return None
        for value in found:
            del value["metadata"]["annotations"]["judge"]
    return _flat(found)


def _flat(values: Any) -> list[Any]:
    """Lists taken apart, as kubectl does, without what it adds to the metadata."""
    every = [
        item
        for value in values
        for item in (value["items"] if str(value.get("kind", "")).endswith("List") else [value])
    ]
    return [_bare(value) for value in every]


def _bare(value: Any) -> Any:
    metadata = {k: v for k, v in (value.get("metadata") or {}).items() if k != "namespace"}
    if not metadata.get("annotations", True):
        del metadata["annotations"]
    return {**value, "metadata": metadata}


def _wrapped(path: Path, content: bytes) -> bytes:
    if path.suffix == ".json":
        head = (
            b'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "wrapped"}, "data": '
        )
        return head + content.strip() + b"}"
    text = re.sub(r"\A(?:#.*\n|\s*\n)*---[ ]*\n", "", content.decode(errors="replace"))
    return (HEAD + "data:\n" + re.sub(r"^(?=.)", "  ", text, flags=re.MULTILINE)).encode()
