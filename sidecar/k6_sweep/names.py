"""The registry and the project page: here, and copied from here by `make docs`. The version is in pyproject.toml.

While nothing is published, both have names that cannot be registered (RFC 2606), and messages show how to build.
`python -m docs.names --registry … --project …` replaces them; the release workflow does that before it builds.
"""

from typing import Final

REGISTRY: Final = "registry.example"
PROJECT: Final = "https://k6-sweep.example"


def is_published(registry: str = REGISTRY) -> bool:
    """Return whether the image and the packages can be downloaded."""
    return not registry.endswith(".example")


def image() -> str:
    """Return the full name of this version's image."""
    from importlib.metadata import version  # it takes 20 ms, and a waiting sidecar needs no version

    return f"{REGISTRY}/k6-sweep:{version('k6-sweep')}"


def how_to_install(extra: str, registry: str = REGISTRY) -> str:
    """Return the command that installs an extra."""
    if is_published(registry):
        return f"pip install 'k6-sweep[{extra}]'"
    return f"pip install '.[{extra}]' in a checkout of k6-sweep"


def how_to_build() -> str:
    """Return what to do for an image while none is published."""
    return (
        f"no image is published, so build one: docker build -t {image()} . (or buildah bud) in a checkout of k6-sweep, "
        "with your registry in place of this one; then push it"
    )
