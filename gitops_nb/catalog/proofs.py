"""How a promoted value shows in a cluster, where a person has to say so."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from gitops_nb.catalog.fields import Strict, worded


class VersionProof(Strict):
    """How the platform shows a promoted value that the tag of no image shows, or only that of some."""

    image: str | None = Field(
        default=None,
        min_length=1,
        description="Image name whose running containers have the value as tag or digest.",
    )
    label: str | None = Field(
        default=None, min_length=1, description="Label of the running pods that holds the value."
    )
    annotation: str | None = Field(
        default=None,
        min_length=1,
        description="Annotation of the running pods that holds the value.",
    )
    object: str | None = Field(
        default=None,
        pattern=worded(
            r"^[A-Z][A-Za-z0-9]*/[a-z0-9][a-z0-9.-]*\Z",
            "a kind and a name, for example ConfigMap/checkout-settings",
        ),
        description="An object that the Application manages, ConfigMap/checkout, with `field`.",
    )
    field: str | None = Field(
        default=None, min_length=1, description="Where in the object the value stands: data.level."
    )
    text: str = Field(
        default="{value}", description="What stands there; {value} is the promoted value."
    )
    workloads: tuple[str, ...] = Field(
        default=(),
        description="Workloads that have to show it, Deployment/checkout; by default all of the Application.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [self.image, self.label, self.annotation, self.object]
        if sum(way is not None for way in ways) != 1:
            raise ValueError("give one of image, label, annotation, or object with field")
        if (self.object is None) != (self.field is None):
            raise ValueError("object and field belong together")
        if self.object is not None and self.object.startswith("Secret/"):
            raise ValueError("Secrets are not read")
        if "{value}" not in self.text:
            raise ValueError("text has no {value}, so it would hold for every value")
        return self
