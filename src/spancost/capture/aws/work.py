"""Work that one call starts and whose size the answer of a later call tells.

The later answer is fetched again and again, by polling and page by page: its first sight in this process is what is
charged. Ids are kept as hashes, for some thousands of jobs.
"""

from __future__ import annotations

from typing import Any, Final

from spancost.capture.aws.jobs import Jobs, Learned
from spancost.capture.aws.sizes import Facts

AMOUNTS: Final = "aws.work.amounts"
"""tuple of numbers: one per piece of finished work that this answer is the first to show; empty if it shows none."""
KIND: Final = "aws.work.kind"
"""tuple of str: what was asked for when the work was started; absent where that is not known."""
ELSEWHERE: Final = "aws.work.elsewhere"
"""True: this process did not see the work begin. The process that did may charge it too."""
_ASKED: Final = "aws.work.asked"
"""Id of the job that a call asks about, from the request to the answer only."""


class Work:
    """The jobs of one service."""

    __slots__ = ("_ended", "_kinds")

    def __init__(self) -> None:
        self._kinds: Learned[tuple[str, ...]] = Learned()
        self._ended = Jobs()

    def begin(self, job_id: Any, kind: tuple[str, ...] = ()) -> None:
        """Remember that a job was started, and what it is to do."""
        if isinstance(job_id, str):
            self._kinds.note(job_id, kind)

    def settle(self, job_id: Any) -> None:
        """Remember that a job was charged when it was started."""
        if isinstance(job_id, str):
            self._ended.first_time(job_id)

    def end(self, facts: Facts, job_id: Any, amount: Any) -> None:
        """Note the size of a finished job unless an answer before this one has shown it."""
        facts.setdefault(AMOUNTS, ())
        if not isinstance(job_id, str) or not self._ended.first_time(job_id):
            return
        facts[AMOUNTS] = (*facts[AMOUNTS], amount)
        kind = self._kinds.get(job_id)
        if kind is None:
            facts[ELSEWHERE] = True
        else:
            facts[KIND] = kind


def ask(facts: Facts, job_id: Any) -> None:
    """Note for `asked` which job a call asks about, where its answer does not say so."""
    facts[_ASKED] = job_id


def asked(facts: Facts) -> Any:
    """Return the job that the call asked about, and forget it."""
    return facts.pop(_ASKED, None)
