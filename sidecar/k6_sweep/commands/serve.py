"""`k6-sweep serve`: sweeps when it is asked over HTTP."""

from k6_sweep.commands.context import Context
from k6_sweep.errors import SettingsError
from k6_sweep.report import Report
from k6_sweep.sweep.guard import check_breadth, check_namespace


def serve(context: Context) -> Report:
    """Serve until a signal comes; then end the sweep that runs, within the grace period."""
    check_breadth(context.settings)
    check_namespace(context.settings.allowed_namespace, context.pod.namespace)
    try:
        from k6_sweep.commands.serving import serve_until_told  # noqa: PLC0415  # needs the packages of the extra `api`
    except ModuleNotFoundError as error:
        raise SettingsError([f"{error.name} is missing; install k6-sweep with the extra [api]"]) from error
    return serve_until_told(context)
