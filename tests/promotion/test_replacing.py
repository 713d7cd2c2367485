"""Sync options that replace objects, however they are written; and what nobody can tell is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gitops_nb.ports import Snapshot
from gitops_nb.promotion.replacing import ANNOTATION, Replacing, replaced_by_sync

PATCH = [
    {
        "op": "add",
        "path": "/metadata/annotations/argocd.argoproj.io~1sync-options",
        "value": "Replace=true",
    }
]


class Git:
    """A repository of one folder."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def blobs(self, _: str, commit: str, place: str) -> dict[str, str]:
        return {path: f"100644 {path}" for path in self.files}

    def contents(self, _: str, ids: list[str]) -> tuple[bytes, ...]:
        return tuple(self.files[one] for one in ids)


def found(files: dict[str, str | bytes], **spec: Any) -> Replacing:
    """What is found in files of an Application's folder, and in its own words."""
    git = Git(
        {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    )
    application = {"metadata": {"name": "web"}, "spec": spec}
    snapshot = Snapshot("web", application, ())
    return replaced_by_sync(git, snapshot, repository="r", tip="t", places=("apps",))  # type: ignore[arg-type]  # two methods are asked


def annotated(value: str, key: str = ANNOTATION) -> str:
    return f"kind: Service\nmetadata:\n  annotations:\n    {key}: {value}\n"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.yaml", annotated("Replace=true")),
        ("a.yaml", annotated(">-\n      Prune=false,\n      Replace=true")),
        ("a.yaml", annotated("|\n      Force=true")),
        ("a.yaml", annotated('"Repl\\u0061ce=true"')),
        ("a.yaml", annotated("Replace=true", '"argocd.argoproj.io/sync\\x2doptions"')),
        ("a.yaml", annotated("Replace=true", '"argocd.argoproj.io/sync-\\\n      options"')),
        ("a.yaml", "x: &x Replace=true\n" + annotated("*x")),
        ("a.yaml", f"x: &k {ANNOTATION}\nmetadata:\n  annotations:\n    *k : Replace=true\n"),
        ("a.yaml", f"metadata:\n  annotations:\n    ? {ANNOTATION}\n    : Replace=true\n"),
        ("a.yaml", f"x: &x {{{ANNOTATION}: Replace=true}}\nmetadata:\n  annotations:\n    <<: *x\n"),
        ("a.json", json.dumps({"metadata": {"annotations": {ANNOTATION: "Replace=true"}}}, indent=1).replace(": \"R", ":\n\"R")),
        ("Kustomization", f"commonAnnotations:\n  {ANNOTATION}: >\n    Replace=true\n"),
        ("deploy.txt", annotated("Replace=true")),
        ("readme.md", annotated("Replace=true")),
        ("templates/a.md", "# {{ if .on }}\n" + annotated("Replace=true") + "{{ end }}\n"),
        ("k.yaml", json.dumps({"patches": [{"patch": json.dumps(PATCH)}]})),
        ("k.yaml", "patches:\n- patch: |-\n    metadata:\n      annotations:\n        argocd.argoproj.io/sync-options: >-\n          Replace=true\n"),
        ("patch.yaml", json.dumps(PATCH)),
        ("values.yaml", f"extra: [{{key: {ANNOTATION}, value: Replace=true}}]\n"),
        ("templates/a.yaml", "{{- if .on }}\n" + annotated("Replace=true") + "{{- end }}\n"),
        ("a.jsonnet", f"{{metadata: {{annotations: {{'{ANNOTATION}': 'Replace=true'}}}}}}"),
    ],
)  # fmt: skip
def test_an_option_is_found_as_kubernetes_reads_it(path: str, text: str) -> None:
    """Folded, escaped, by an alias, in a patch, in a file of any name: the sync replaces all the same."""
    said = found({path: text})
    assert [one for one in said.found if one.endswith(f" in {path}")], said


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("templates/a.yaml", "{{- if .on }}\n" + annotated("{{ .Values.options }}") + "{{- end }}\n"),
        ("templates/a.yaml", "{{- if .on }}\n" + annotated(">-\n      {{ .Values.o }}") + "{{- end }}\n"),
        ("templates/a.yaml", "{{- if .on }}\n" + annotated("Prune=false,\n      {{ .Values.o }}") + "{{- end }}\n"),
        ("a.yaml", annotated("'{{ .Values.options }}'")),
        ("a.jsonnet", f"{{metadata: {{annotations: {{'{ANNOTATION}': 'Repl' + 'ace=true'}}}}}}"),
        ("a.libsonnet", f"{{ [k]: {{ '{ANNOTATION}': o }} }}"),
        ("k.yaml", f"replacements:\n- targets:\n  - fieldPaths: ['metadata.annotations.[{ANNOTATION}]']\n"),
        ("templates/a.yaml", "{{- if .on }}\nmetadata:\n  annotations:\n    {{ printf \"argocd.argoproj.io/%s-options\" \"sync\" }}: Replace=true\n{{- end }}\n"),
        ("templates/a.yaml", "{{- if .on }}\nmetadata:\n  annotations:\n    {{ include \"opts\" . }}: {{ .Values.o }}\n{{- end }}\n"),
        ("templates/a.yaml", "metadata:\n  annotations:\n    '{{ include `opts` . }}': Replace=true\n"),
        ("templates/a.yaml", "{{- if .on }}\nmetadata:\n  annotations: {{ dict (print \"a\" \"b\") \"Replace=true\" | toYaml }}\n{{- end }}\n"),
        ("a.jsonnet", "{ metadata: { annotations: { ['argocd.argoproj.io/sync' + '-options']: 'Replace=true' } } }"),
        ("values.yaml", f"annKey: {ANNOTATION}\nannVal: Replace=true\n"),
        ("k.yaml", json.dumps([{"op": "copy", "from": "/a", "path": PATCH[0]["path"]}])),
    ],
)  # fmt: skip
def test_what_nobody_can_tell_is_said(path: str, text: str) -> None:
    """Options that something fills in are not "nothing"."""
    said = found({path: text})
    assert said == Replacing((), (f"{path} names sync options that cannot be read",))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.yaml", annotated("Replace=false")),
        ("a.yaml", annotated("Prune=false,ServerSideApply=true")),
        ("a.yaml", "# " + annotated("Replace=true").replace("\n", "\n# ")),
        ("templates/a.yaml", "{{- if .on }}\n" + annotated("Prune=false  # stays") + "{{- end }}\n"),
        ("templates/a.yaml", "{{- if .on }}\nkind: Service\n{{- end }}\n"),
        ("templates/a.yaml", "{{- if .on }}\nmetadata:\n  annotations:\n    {{- range $k, $v := .Values.a }}\n    {{ $k }}: {{ $v | quote }}\n    {{- end }}\n{{- end }}\n"),
        ("templates/a.yaml", "{{- if .on }}\nmetadata:\n  annotations: {{ toYaml .Values.a | nindent 4 }}\ndata:\n  {{ include \"x.name\" . }}.conf: a\n{{- end }}\n"),
        ("README.md", f"Set `{ANNOTATION}: Replace=true` where a Job has to be made anew.\n"),
        ("a.jsonnet", f"{{annotations: {{'{ANNOTATION}': 'Prune=false'}}}}"),
    ],
)  # fmt: skip
def test_other_options_and_words_replace_nothing(path: str, text: str) -> None:
    """What is there for something else stays without a word."""
    assert found({path: text}) == Replacing()


def test_the_applications_own_sources_are_read_too() -> None:
    """Parameters, values, patches and annotations of its own end in the same objects."""
    name = "service.annotations.argocd\\.argoproj\\.io/sync-options"
    for source in (
        {"helm": {"parameters": [{"name": name, "value": "Replace=true"}]}},
        {"helm": {"values": annotated(">-\n      Replace=true")}},
        {"helm": {"valuesObject": {"annotations": {ANNOTATION: "Replace=true"}}}},
        {"kustomize": {"commonAnnotations": {ANNOTATION: "Replace=true"}}},
        {"kustomize": {"patches": [{"patch": json.dumps(PATCH)}]}},
    ):
        assert found({}, source=source).found == ("Replace=true in its sources",), source
    plain = {"helm": {"parameters": [{"name": name, "value": "Prune=false"}]}}
    assert found({}, source=plain) == Replacing()


def test_aliases_of_aliases_are_looked_at_once() -> None:
    """A file of a few lines that stands for millions of values does not keep anybody waiting."""
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    text = "\n".join(lines) + f"\nmetadata: {{annotations: {{{ANNOTATION}: Replace=true}}}}\n"
    assert found({"a.yaml": text}).found
