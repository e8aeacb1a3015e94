"""Checks of `doctor` that look at what runs: processes, queues, replicas, webhooks, backups."""

from collections import Counter
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.catalog import process_queries
from service.catalog.process_queries import Seen
from service.catalog.session import make_engine, make_read_sessions
from service.catalog.tables import utc_now
from service.cli.console import command_name
from service.cli.finding import Check, bad, good, note
from service.observing.installation import AUDIT, BACKUP
from service.settings import Settings

CLOCK_OFF_S = 5.0
CLOCK_FAR_OFF_S = 60.0
LAGS_S = 10.0
STARTS_S = 60.0
WAITS_S = 600.0
"""A job that waits for so long has no worker, or too few."""
OLD_BACKUP_S = 2 * 86400.0
OLD_AUDIT_S = 8 * 86400.0
WANTED = {"worker": "worker", "tuner": "worker --tuner", "courier": "worker --courier"}

DatabaseCheck = Callable[[Session, Settings], Check]


def of_database(name: str) -> Callable[[DatabaseCheck], Callable[[Settings], Check]]:
    """Hand a session to a check; without a database there is nothing to check."""

    def decorate(check: DatabaseCheck) -> Callable[[Settings], Check]:
        def run(settings: Settings) -> Check:
            if (
                settings.database_url is None
                and not (settings.data_dir / "reelseek.sqlite").exists()
            ):
                return note(name, "not started yet")
            engine = make_engine(settings.sqlalchemy_url)
            try:
                with make_read_sessions(engine)() as session:
                    return check(session, settings)
            except SQLAlchemyError:
                return note(name, "the database cannot be asked; see above")
            finally:
                engine.dispose()

        return run

    return decorate


@of_database("Clock")
def check_clock(session: Session, _settings: Settings) -> Check:
    """Do this machine and the database agree on the time? Leases go by the database's clock."""
    before = utc_now()
    there = process_queries.read_clock(session)
    after = utc_now()
    off_s = max((before - there).total_seconds(), (there - after).total_seconds(), 0.0)
    finding = f"{off_s:.1f} s from the database's"
    mend = "set both clocks by NTP: expiry of keys and links goes by this one."
    if off_s > CLOCK_FAR_OFF_S:
        return bad("Clock", finding, mend)
    if off_s > CLOCK_OFF_S:
        return note("Clock", finding, mend)
    return good("Clock", finding)


@of_database("Processes")
def check_processes(session: Session, _settings: Settings) -> Check:
    """Does each kind of process run, and was it heard of lately?"""
    seen = process_queries.read_processes(session)
    alive = Counter(one.kind for one in seen if one.is_alive)
    silent = [one for one in seen if not one.is_alive]
    if not alive:
        mend = f"start it: `{command_name()} serve`, or the processes one by one."
        return note("Processes", _last_words(silent) or "none runs", mend)
    finding = ", ".join(f"{number} {kind}" for kind, number in sorted(alive.items()))
    missing = [f"`{command_name()} {how}`" for kind, how in WANTED.items() if not alive[kind]]
    if missing:
        if max(one.age_s for one in seen if one.is_alive) < STARTS_S:
            return note("Processes", f"{finding}; the others may still be starting")
        return bad("Processes", finding, f"start what is missing: {', '.join(missing)}.")
    versions = {one.version for one in seen if one.is_alive}
    if len(versions) > 1:
        mend = "finish the update: restart the processes of the older version."
        return note("Processes", f"{finding}; versions {', '.join(sorted(versions))}", mend)
    if silent:
        return note("Processes", f"{finding}; {_last_words(silent)}")
    return good("Processes", finding)


def _last_words(silent: list[Seen]) -> str:
    """Say of whom nothing was heard; a process that stops in good order takes its row back."""
    told = [f"{one.kind} {one.pid} on {one.host} {one.silent_s / 60:.0f} min ago" for one in silent]
    return f"silent since: {', '.join(told[:3])}" if told else ""


@of_database("Queues")
def check_queues(session: Session, _settings: Settings) -> Check:
    """Is work taken up?"""
    queues = process_queries.read_queues(session)
    late = {kind: one for kind, one in queues.items() if one.age_s > WAITS_S and one.queued}
    waiting = ", ".join(f"{one.queued} {kind}" for kind, one in queues.items() if one.queued)
    if late:
        oldest = max(one.age_s for one in late.values())
        running = sum(one.running for one in late.values())
        finding = f"waiting: {waiting}; the oldest for {oldest / 60:.0f} min, {running} in work"
        mend = "start more workers of this kind, or see in their log why they do not get on."
        return note("Queues", finding, mend) if running else bad("Queues", finding, mend)
    return good("Queues", f"waiting: {waiting}" if waiting else "nothing waits")


@of_database("Replicas")
def check_replicas(session: Session, _settings: Settings) -> Check:
    """Are the indexes of all API processes fresh?"""
    apis = [
        one for one in process_queries.read_processes(session) if one.kind == "api" and one.is_alive
    ]
    stale = [
        f"{one.pid} on {one.host}: {one.facts.get('failure') or 'behind or loading'}"
        for one in apis
        if not one.facts.get("is_ready") or one.facts.get("lag_s", 0.0) > LAGS_S
    ]
    if stale:
        mend = "its log says why (`replica_`); restarting that process loads its index anew."
        return bad("Replicas", "; ".join(stale), mend)
    return good("Replicas", f"{len(apis)} fresh") if apis else note("Replicas", "no API runs")


@of_database("Webhooks")
def check_webhooks(session: Session, _settings: Settings) -> Check:
    """Do those who want to be told of events take what they are told?"""
    failing = process_queries.failing_webhooks(session)
    if failing:
        told = "; ".join(f"{webhook_id} {why}" for webhook_id, why in failing[:3])
        mend = "mend its receiver; its deliveries say what it answered."
        return note("Webhooks", told, mend)
    number = process_queries.count_webhooks(session)["enabled"]
    return good("Webhooks", f"{number} that take what they are told" if number else "none")


@of_database("Backup")
def check_backup(session: Session, _settings: Settings) -> Check:
    """When was the last backup made?"""
    last = process_queries.last_run(session, BACKUP)
    mend = f"make one every day: `{command_name()} backup FOLDER`, on another disk."
    if last is None:
        return note("Backup", "never made by this command", mend)
    age_s = (process_queries.read_clock(session) - last.finished_at).total_seconds()
    finding = f"{age_s / 3600:.0f} hours old, in {last.result.get('folder')}"
    return note("Backup", finding, mend) if age_s > OLD_BACKUP_S else good("Backup", finding)


@of_database("Audit")
def check_audit(session: Session, _settings: Settings) -> Check:
    """When was it last proved that database and files agree?"""
    last = process_queries.last_run(session, AUDIT)
    if last is None:
        return note("Audit", "never done", f"run `{command_name()} audit` every week.")
    violations = int(last.result.get("violations", 0))
    if violations:
        mend = f"run `{command_name()} audit`; docs/operations.md says what each finding means."
        return bad("Audit", f"{violations} promises were broken", mend)
    age_s = (process_queries.read_clock(session) - last.finished_at).total_seconds()
    finding = f"nothing wrong {age_s / 86400:.0f} days ago"
    if age_s > OLD_AUDIT_S:
        return note("Audit", finding, f"run `{command_name()} audit` every week.")
    return good("Audit", finding)
