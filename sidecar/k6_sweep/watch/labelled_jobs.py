"""Of several Jobs with the same labels, the one that a watcher waits for."""

from k6_sweep.kube.controllers import Job
from k6_sweep.kube.follow import Changed, Listed
from k6_sweep.kube.pods import dig


class LabelledJobs:
    """Tracks the Jobs that labels match: the newest counts, if it was not over before the watcher started.

    Jobs of earlier tests may have the same labels and exist for a long time. A sweep because of one of them would
    delete keys that the present test still uses.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, object] = {}
        self._earlier: set[str] | None = None
        """The uids of Jobs that were over at the first list."""

    def current(self, news: Listed | Changed) -> object | None:
        """Take in news of the Jobs; return the one that counts, as the API shows it, or None."""
        if isinstance(news, Listed):
            self._jobs = {_uid(each): each for each in news.objects}
            if self._earlier is None:
                self._earlier = {uid for uid, each in self._jobs.items() if Job.read(each).over}
        elif news.deleted:
            self._jobs.pop(_uid(news.object), None)
        else:
            self._jobs[_uid(news.object)] = news.object
        present = [each for uid, each in self._jobs.items() if uid not in (self._earlier or ())]
        return max(present, key=lambda each: str(dig(each, "metadata", "creationTimestamp") or ""), default=None)


def _uid(raw: object) -> str:
    return str(dig(raw, "metadata", "uid") or "")
