"""Finds what a sweep would stumble over, before one is wanted."""

from k6_sweep.cluster.connector import Connector
from k6_sweep.errors import SweepError
from k6_sweep.settings.all import Settings
from k6_sweep.sweep.preflight import preflight


def problems_of(settings: Settings) -> list[str]:
    """Return a sentence for each thing that is not as it must be."""
    try:
        return list(preflight(settings, Connector(settings)).warnings)
    except SweepError as error:
        return [str(error)]
