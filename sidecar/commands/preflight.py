"""Finds what a sweep would stumble over, before one is wanted."""

from sidecar.errors import SweepError
from sidecar.settings import Settings
from sidecar.sweep.link import Connector
from sidecar.sweep.preflight import preflight


def problems_of(settings: Settings) -> list[str]:
    """Return a sentence for each thing that is not as it must be."""
    try:
        return list(preflight(settings, Connector(settings)).warnings)
    except SweepError as error:
        return [str(error)]
