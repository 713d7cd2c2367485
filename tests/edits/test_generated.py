"""Random edits of random files: one leaf changes for every reader, one token of the bytes, or the edit is refused."""

from __future__ import annotations

import random

import pytest
import yaml

from gitops_nb.edits import edit_scalar, kubernetes_objects
from gitops_nb.edits.keys import show
from gitops_nb.errors import UsageError
from tests.conftest import SEED
from tests.edits.generated import NEW, at, fits, leaves, manifest


@pytest.mark.parametrize("files", [400, pytest.param(20_000, marks=pytest.mark.torture)])
def test_one_leaf_changes_for_every_reader(files, record_property):
    """Kubernetes' values, PyYAML's where it reads the file, and all bytes around the token are as before."""
    edited = refused = 0
    for number in range(files):
        text = manifest(number, SEED).encode()
        try:
            (before,) = kubernetes_objects(text)
        except UsageError:
            continue
        chosen = random.Random(number)
        for path in chosen.sample(paths := leaves(before), min(4, len(paths))):
            part = chosen.choice(("value", "tag"))
            new = chosen.choice(NEW)
            try:
                after = edit_scalar(text, show(path), part, new)
            except UsageError:
                refused += 1
                continue
            edited += 1
            old = at(before, path)
            (value,) = kubernetes_objects(after)
            wanted = new if part == "value" else _with_version(str(old), new)
            assert fits(value, before, path, wanted), (number, path, new)
            _same_to_pyyaml(text, after, path, wanted)
            _one_token(text, after, wanted)
    record_property("cases", edited)
    assert edited > files / 4
    assert refused


def _with_version(image: str, new: str) -> str:
    name = image.partition("@")[0]
    if ":" in name.rpartition("/")[2]:
        name = name.rpartition(":")[0]
    return image[: len(name) + 1] + new


def _one_token(before: bytes, after: bytes, wanted: str) -> None:
    shorter = min(len(before), len(after))
    start = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    rest = shorter - start
    end = next((i for i in range(rest) if before[-1 - i] != after[-1 - i]), rest)
    changed = after[start : len(after) - end].decode(errors="replace")
    assert changed.strip(' "') in wanted, (before, after)


def _same_to_pyyaml(before: bytes, after: bytes, path: tuple[str | int, ...], wanted: str) -> None:
    try:
        old, new = (next(yaml.safe_load_all(each)) for each in (before, after))
        at(old, path)
    except (yaml.YAMLError, ValueError, KeyError, TypeError):
        return  # PyYAML knows no local tags and refuses tabs; a key may have another name there
    assert fits(new, old, path, wanted), (before, after)
