"""Image references: which name the same repository, and which show a version."""

from __future__ import annotations

import pytest

from gitops_nb.argo.images import is_alike, is_neighbour, is_same_name, parse_image, shows

DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.mark.parametrize(
    "registry", ["registry.example", "registry:5000", "localhost", "localhost:5000", "10.0.0.1:80"]
)
def test_a_registry_is_no_part_of_the_repository(registry):
    """What has a dot or a port, or is localhost, is a registry; a first name without is part of the path."""
    assert is_same_name(f"{registry}/checkout", "checkout")
    assert is_same_name(f"{registry}/checkout", "mirror.internal/checkout")
    assert is_same_name(f"{registry}/checkout", "mirror.internal/shop/checkout")
    assert not is_same_name(f"{registry}/checkout", "mirror.internal/billing")
    assert not is_same_name("shop/checkout", "billing/checkout")


def test_repositories_of_one_last_name_are_alike_however_deep():
    """The last name decides; the folders above may differ in number and name."""
    assert is_alike("mirror.internal/cache/shop/eu/checkout", "registry.example/checkout")
    assert is_alike("checkout", "registry.example/shop/eu/checkout")
    assert not is_alike("registry.example/shop/checkout/api", "registry.example/shop/checkout/web")


def test_neighbours_stand_in_one_folder():
    """Two names without any folder stand in none."""
    assert is_neighbour("registry.example/shop/checkout", "registry.example/shop/worker")
    assert not is_neighbour("registry.example/shop/checkout", "registry.example/billing/worker")
    assert not is_neighbour("checkout", "worker")


@pytest.mark.parametrize(
    ("reference", "version", "shown"),
    [
        (f"mirror.internal/shop/web:v2@{DIGEST}", f"registry.example/shop/web:v2@{DIGEST}", True),
        (f"mirror.internal/shop/web:v2@{DIGEST}", f"registry.example/shop/web:v2@{OTHER}", False),
        (f"shop/web:v1@{DIGEST}", f"registry.example/shop/web:v2@{DIGEST}", True),
        ("shop/web:v2", f"registry.example/shop/web:v2@{DIGEST}", True),
        (f"shop/web@{DIGEST}", f"registry.example/shop/web@{OTHER}", False),
        (f"shop/web:v2@{DIGEST}", "registry.example/shop/web:v2", True),
        ("shop/web:v2", "registry.example/shop/web:v1", False),
        ("shop/web:v2", "registry.example/billing/web:v2", False),
        (f"shop/web:v2@{DIGEST}", f"v2@{DIGEST}", True),
        (f"shop/web:v2@{DIGEST}", DIGEST, True),
        (f"shop/web:v2@{OTHER}", f"v2@{DIGEST}", False),
    ],
)
def test_a_digest_decides_where_both_have_one(reference, version, shown):
    """Tag, digest, both or the whole reference name a version; of two digests nothing else excuses the difference."""
    assert shows(parse_image(reference), version) is shown


@pytest.mark.parametrize(
    ("reference", "version"),
    [("shop/web", ""), ("shop/web:v2", ""), ("shop/web:v2", "v2@"), (f"shop/web@{DIGEST}", f"@{DIGEST}")],
)  # fmt: skip
def test_half_a_reference_shows_nothing(reference, version):
    """An empty version is shown by nothing, and neither is one that lacks its tag or its digest."""
    assert not shows(parse_image(reference), version)
