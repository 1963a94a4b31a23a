"""Pulling while somebody prunes images; runs alone, as it does to every pull of the engine what it does to its own."""

from __future__ import annotations

from ci.settings import capture
from ci.world.engine import Engine, endpoint
from tests.engine.conftest import docker
from tests.engine.test_registry_copy import client, layer, published
from tests.faults.front import front
from tests.unit.registry_replies import Reply


def test_a_pull_outlives_a_prune_in_its_middle(registry: str) -> None:
    digest = published(client(registry), "team/app", layer(), layer(3_000_000))
    pruned = list[str]()

    def prune_once(method: str, path: str) -> Reply | None:
        if method == "GET" and "/blobs/" in path and not pruned:
            pruned.append(path)
            docker("image", "prune", "--force", "--filter", "label=nobody-has-this-label")
        return None

    with front(int(registry.rpartition(":")[2]), prune_once) as door:
        name = f"127.0.0.1:{door.port}/team/app@{digest}"
        try:
            image = Engine(endpoint(capture())).pull(name, "linux/amd64")
            assert pruned
            assert image.id == digest
            assert len([path for _, path in door.asked if path == pruned[0]]) > 1  # the first pull failed
        finally:
            docker("rmi", "--force", name, check=False)
