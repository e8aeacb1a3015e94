"""Copies on this machine stay while they are used, and go when there are too many."""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from service.errors import StorageFullError
from service.storage.cache import KEPT_S, Cache

HOLD = """
import sys
from pathlib import Path
from service.storage.cache import Cache
with Cache(Path(sys.argv[1]), limit_bytes=100).hold("held", lambda file: file.write(b"x" * 60)):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", limit_bytes=100)


def hold(cache, name, content=b"content", **options):
    return cache.hold(name, lambda file: file.write(content), **options)


def read(cache, name, content=b"content", **options):
    with hold(cache, name, content, **options) as path:
        return path.read_bytes()


def files_in(cache):
    return [path for path in cache._folder.glob("??/*") if path.is_file()]  # noqa: SLF001


def test_a_file_is_fetched_once(cache):
    assert read(cache, "a", b"first") == b"first"
    assert read(cache, "a", b"never asked for") == b"first"
    assert read(cache, "a", b"part", part="0-4") == b"part"
    assert len(files_in(cache)) == 2


def test_the_copies_used_least_recently_go_first(cache):
    for number in range(4):
        read(cache, f"{number}", b"x" * 30)
        time.sleep(0.02)  # so that their times differ
        read(cache, "0")  # used again and again

    cache.make_room(0)
    assert read(cache, "0", b"gone") == b"x" * 30
    assert read(cache, "1", b"gone") == b"gone"
    assert sum(path.stat().st_size for path in files_in(cache)) <= 100


def test_a_copy_in_use_stays_whatever_the_limit(cache):
    with ExitStack() as stack:
        paths = [stack.enter_context(hold(cache, f"{n}", b"x" * 80)) for n in range(3)]
        cache.make_room(1000)
        assert all(path.exists() for path in paths)
        cache.forget("0")
        assert paths[0].exists()
    cache.make_room(1000)
    assert files_in(cache) == []


def test_a_copy_in_use_by_another_process_stays_until_that_dies(cache, tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "cache"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with other:
        assert other.stdout.readline() == b"held\n"
        cache.make_room(1000)
        assert len(files_in(cache)) == 1
        other.kill()
        other.wait()
    cache.make_room(1000)
    assert files_in(cache) == []


def test_what_a_killed_process_left_half_written_is_no_copy(cache):
    read(cache, "a", b"whole")
    (path,) = files_in(cache)
    path.rename(f"{path}~draft")
    (path.parent / f"{path.name}~lock").touch()
    assert read(cache, "a", b"again") == b"again"
    assert files_in(cache) == [path]


def test_a_fetch_that_fails_leaves_nothing(cache):
    def fail(file):
        file.write(b"half")
        raise StorageFullError("no room")

    with pytest.raises(StorageFullError), cache.hold("a", fail):
        pass
    assert files_in(cache) == []
    assert read(cache, "a") == b"content"


def test_forgotten_copies_are_fetched_again(cache):
    read(cache, "a", b"old")
    read(cache, "a", b"part of old", part="0-11")
    read(cache, "b", b"other")
    cache.forget("a")
    assert read(cache, "a", b"new") == b"new"
    assert read(cache, "b", b"new") == b"other"


def test_copies_that_nobody_uses_go_after_a_week(cache):
    read(cache, "a", b"x")
    read(cache, "b", b"x")
    old = next(path for path in files_in(cache))
    then = time.time() - KEPT_S - 60
    os.utime(old, (then, then))
    cache.make_room(0)
    assert old not in files_in(cache)
    assert len(files_in(cache)) == 1


def test_many_threads_fetch_a_file_once_and_always_read_all_of_it(cache):
    fetched, wrong = Counter(), []

    def use(number):
        name = f"{number % 3}"
        content = name.encode() * 40

        def fetch(file):
            fetched[name] += 1
            file.write(content)

        for _round in range(20):
            with cache.hold(name, fetch) as path:
                if path.read_bytes() != content:
                    wrong.append(path)
            cache.make_room(50)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert set(fetched) == {"0", "1", "2"}
