"""What the hooks remember between calls: bounded, and first for one only."""

from __future__ import annotations

import threading

from spancost.capture.aws.jobs import Jobs, Learned


def test_a_job_is_seen_for_the_first_time_once() -> None:
    jobs = Jobs()
    assert [jobs.first_time(job) for job in ("a", "b", "a", "b", "c")] == [True, True, False, False, True]


def test_the_newest_4096_jobs_are_remembered_and_no_more_than_twice_that() -> None:
    jobs = Jobs()
    for number in range(50_000):
        assert jobs.first_time(f"job-{number}")
    assert not any(jobs.first_time(f"job-{number}") for number in range(50_000 - 4096, 50_000))
    assert len(jobs._young) + len(jobs._old) <= 2 * 4096  # pyright: ignore[reportPrivateUsage]


def test_one_of_many_threads_is_the_first() -> None:
    jobs = Jobs()
    start = threading.Barrier(8)
    firsts: list[bool] = []

    def ask() -> None:
        start.wait()
        firsts.extend(jobs.first_time(number) for number in range(500))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(firsts) == 500


def test_what_was_learned_last_counts_and_is_kept_a_while() -> None:
    learned: Learned[str] = Learned()
    learned.note("stream", "PROVISIONED")
    learned.note("stream", "ON_DEMAND")
    assert (learned.get("stream"), learned.get("other")) == ("ON_DEMAND", None)
    for number in range(4096):
        learned.note(number, "x")
    assert learned.get("stream") == "ON_DEMAND"
    for number in range(3 * 4096):
        learned.note(number, "x")
    assert learned.get("stream") is None
