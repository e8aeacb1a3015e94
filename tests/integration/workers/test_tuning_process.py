"""The process of a tuning run: killed anywhere, it ends in the same candidate."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from model.bundle import load_bundle
from model.bundle_files import bundle_digest
from tests.factories_tuning import CHOICES, REPOSITORY, child_command, make_tuning_folder
from tests.servers import is_gone
from workers.tuning.events import (
    CheckpointSaved,
    Done,
    Failed,
    LeftOutPair,
    Notice,
    Planned,
    StageBegan,
    StepTaken,
    Stopped,
    read_estimate,
    read_event,
    to_line,
)
from workers.tuning.folder import (
    BUNDLE,
    CLIPS,
    REPORT,
    RUN,
    TRAINED,
    forget,
    read_pair_lines,
    read_plan,
    write_pairs,
    write_plan,
)
from workers.tuning.process import attempt


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Sums depend on how many threads share them: here as many as the processes have."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run from start to end: its folder before, and what it said."""
    folder = make_tuning_folder(tmp_path_factory.mktemp("undisturbed"))
    fresh = folder.with_name("fresh")
    shutil.copytree(folder, fresh)
    events = work(folder)
    return fresh, folder, events


def work(run):
    """Do the work of the process here, and return what it says."""
    events = []
    assert attempt([str(run)], events.append) == 0
    return events


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def start(run):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        child_command(run), stdout=subprocess.PIPE, text=True, env=environment, cwd=REPOSITORY
    )


def until(process, is_it):
    """Return what it says up to the event that is waited for, or to its end."""
    events = []
    for line in process.stdout:
        event = read_event(line)
        assert event is not None, line
        events.append(event)
        if is_it(event):
            break
    return events


def test_a_run_leaves_a_candidate_a_report_and_nothing_else(undisturbed):
    _, folder, events = undisturbed
    assert [stage.stage for stage in of(StageBegan, events)] == [
        "preparing", "training", "evaluating",
    ]  # fmt: skip
    (planned,) = of(Planned, events)
    assert (planned.steps, planned.batch, planned.clips, planned.captions) == (8, 4, 4, 8)
    steps = of(StepTaken, events)
    assert [step.step for step in steps] == list(range(1, 9))
    assert steps[-1].eta_s == 0
    assert steps[0].pairs_per_s > 0
    assert steps[0].loss == pytest.approx(sum(steps[0].losses.values()))
    assert [saved.step for saved in of(CheckpointSaved, events)] == list(range(8))
    assert events[-1] == Done(digest=bundle_digest(folder / BUNDLE), report=folder / REPORT)
    report = json.loads((folder / REPORT).read_text())
    assert report["verdict"] == "not_enough_to_tell"
    assert report["held_out"]["texts"] == 4
    assert load_bundle(folder / BUNDLE).spec.has_retriever
    names = {path.name for path in folder.iterdir()}
    assert names == {"plan.json", "pairs.jsonl", BUNDLE, REPORT}
    assert work(folder) == [events[-1]]  # started again, it only says so


@pytest.mark.slow
def test_killed_at_random_steps_it_comes_to_the_same_numbers(undisturbed, tmp_path):
    fresh, _, expected = undisturbed
    run = tmp_path / "run"
    shutil.copytree(fresh, run)
    losses = {step.step: step.losses for step in of(StepTaken, expected)}
    draw = random.Random(4)
    for _ in range(3):
        last = draw.randrange(1, 7)
        process = start(run)
        seen = until(process, lambda e, n=last: isinstance(e, StepTaken) and e.step >= n)
        process.kill()
        process.communicate()
        assert all(losses[step.step] == step.losses for step in of(StepTaken, seen))
    process = start(run)
    rest = until(process, lambda event: isinstance(event, Done))
    assert process.communicate()[0] == ""
    assert process.returncode == 0
    assert of(Planned, rest)[0].first_step > 0
    assert all(losses[step.step] == step.losses for step in of(StepTaken, rest))
    assert rest[-1].digest == expected[-1].digest


@pytest.mark.slow
def test_asked_to_stop_it_ends_after_the_step_with_a_checkpoint(undisturbed, tmp_path):
    fresh, _, expected = undisturbed
    run = tmp_path / "run"
    shutil.copytree(fresh, run)
    write_plan(run, replace(read_plan(run), checkpoint_every_s=3600.0))
    process = start(run)
    seen = until(process, lambda event: isinstance(event, StepTaken))
    process.send_signal(signal.SIGTERM)
    seen += until(process, lambda event: isinstance(event, Stopped))
    assert process.wait() == 0
    process.stdout.close()
    stopped = seen[-1]
    assert of(CheckpointSaved, seen)[-1].step == stopped.step == of(StepTaken, seen)[-1].step
    rest = work(run)
    assert of(Planned, rest)[0].first_step == stopped.step
    assert rest[-1].digest == expected[-1].digest


@pytest.mark.slow
def test_killed_while_it_compares_it_does_not_train_again(undisturbed, tmp_path):
    fresh, _, expected = undisturbed
    run = tmp_path / "run"
    shutil.copytree(fresh, run)
    process = start(run)
    until(process, lambda event: event == StageBegan(stage="evaluating"))
    process.kill()
    process.communicate()
    assert (run / TRAINED).exists()
    rest = work(run)
    assert not of(StepTaken, rest)
    assert rest[-1].digest == expected[-1].digest


def test_what_a_power_cut_left_of_the_trained_bundle_is_trained_again(undisturbed, tmp_path):
    fresh, folder, expected = undisturbed
    run = tmp_path / "run"
    shutil.copytree(fresh, run)
    shutil.copytree(folder / BUNDLE, run / TRAINED)
    with (run / TRAINED / "model.safetensors").open("r+b") as stream:
        stream.truncate(100)
    (run / "bundle.partial").mkdir()
    assert work(run)[-1].digest == expected[-1].digest


@pytest.mark.slow
def test_the_process_dies_with_the_one_that_started_it(undisturbed, tmp_path):
    fresh, _, _ = undisturbed
    run = tmp_path / "run"
    shutil.copytree(fresh, run)
    code = f"import subprocess; print(subprocess.Popen({child_command(run)!r}).pid, flush=True)\n"
    parent = subprocess.Popen(
        [sys.executable, "-c", code + "import time; time.sleep(600)"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    pid = int(parent.stdout.readline())
    until(parent, lambda event: isinstance(event, StageBegan))
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 60
    while not is_gone(pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_two_processes_share_the_training_and_begin_again_where_memory_does_not_suffice(
    undisturbed, tmp_path
):
    fresh, _, _ = undisturbed
    run = tmp_path / "run"
    shutil.copytree(fresh, run)
    done = subprocess.run(
        [sys.executable, REPOSITORY / "tests" / "tuning_crowd.py", run],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        cwd=REPOSITORY,
        check=True,
    )
    events = [read_event(line) for line in done.stdout.splitlines()]
    assert [step.step for step in of(StepTaken, events)] == list(range(1, 9))
    assert [notice.reason for notice in of(Notice, events)] == ["micro_batch_halved"]
    assert of(Done, events) == [events[-1]]


def test_a_pair_that_is_deleted_meanwhile_is_not_trained_on_any_more(undisturbed, tmp_path):
    fresh, _, expected = undisturbed
    run = tmp_path / "run"
    shutil.copytree(fresh, run)
    write_plan(run, replace(read_plan(run), choices=replace(CHOICES, batch=2)))
    events, clips = [], []

    def say(event):
        events.append(event)
        if isinstance(event, StepTaken):
            clips.append(len(list((run / CLIPS).glob("*.npy"))))
            if event.step == 3:
                forget(run, [0, 1])

    assert attempt([str(run)], say) == 0
    assert clips == [4, 4, 4, 3, 3, 3, 3, 3]
    (notice,) = of(Notice, events)
    assert notice.reason == "pairs_forgotten"
    assert "From step 4 on 3 of 4 clips" in notice.text
    assert events[-1].digest != expected[-1].digest
    assert not [event for event in events if isinstance(event, Failed)]


def test_pairs_that_were_deleted_before_were_never_there(undisturbed, tmp_path):
    fresh, _, _ = undisturbed
    run = tmp_path / "run"
    shutil.copytree(fresh, run)
    forget(run, [0, 1, 8, 9])
    events = work(run)
    (planned,) = of(Planned, events)
    assert (planned.clips, planned.captions) == (3, 6)
    assert json.loads((run / REPORT).read_text())["held_out"]["texts"] == 2
    assert b"wobbledog" not in (run / BUNDLE / "tokenizer.json").read_bytes()


def test_a_damaged_checkpoint_is_passed_over_and_said(undisturbed, tmp_path):
    fresh, _, expected = undisturbed
    run = tmp_path / "run"
    shutil.copytree(fresh, run)

    def die_at_four(event):
        if isinstance(event, StepTaken) and event.step == 4:
            raise RuntimeError("here")

    with pytest.raises(RuntimeError, match="here"):
        attempt([str(run)], die_at_four)
    (run / RUN / "step-00000003" / "run.safetensors").write_bytes(b"x")
    events = work(run)
    assert [notice.reason for notice in of(Notice, events)] == ["checkpoint_damaged"]
    assert of(Planned, events)[0].first_step == 2
    assert events[-1].digest == expected[-1].digest


def test_clips_that_cannot_be_decoded_and_negative_pairs_are_left_out_and_said(
    undisturbed, tmp_path
):
    fresh, _, _ = undisturbed
    run = tmp_path / "run"
    shutil.copytree(fresh, run)
    broken = tmp_path / "broken"
    broken.write_bytes(b"x")
    lines = read_pair_lines(run)
    lines[2:4] = [replace(line, path=broken) for line in lines[2:4]]
    lines[4] = replace(lines[4], is_negative=True)
    write_pairs(run, lines)
    events = work(run)
    assert [one.ordinal for one in of(LeftOutPair, events)] == [2, 3]
    assert [notice.reason for notice in of(Notice, events)] == ["negatives_not_trained"]
    (planned,) = of(Planned, events)
    assert (planned.clips, planned.captions, planned.left_out) == (3, 5, 1)


def test_what_cannot_be_done_is_said_with_a_reason(undisturbed, tmp_path):
    fresh, _, _ = undisturbed

    def failure(change):
        run = tmp_path / f"run {len(list(tmp_path.iterdir()))}"
        shutil.copytree(fresh, run)
        change(run)
        (said,) = of(Failed, work(run))
        assert not (run / BUNDLE).exists()
        return said

    said = failure(lambda run: (run / "plan.json").write_text("{}"))
    assert said.reason == "bad_folder"
    assert "plan.json" in said.detail
    said = failure(lambda run: write_plan(run, replace(read_plan(run), base_digest="x")))
    assert said.reason == "bad_folder"
    said = failure(lambda run: write_pairs(run, read_pair_lines(run)[-2:]))
    assert said.reason == "too_few_pairs"
    lost = tmp_path / "lost.mp4"
    said = failure(
        lambda run: write_pairs(run, [replace(each, path=lost) for each in read_pair_lines(run)])
    )
    assert said.reason == "undecodable"
    frozen = replace(CHOICES, frozen=("nothing",))
    said = failure(lambda run: write_plan(run, replace(read_plan(run), choices=frozen)))
    assert said.reason == "bad_choices"
    assert "no weight's name begins with 'nothing'" in said.detail


def test_deletions_that_leave_one_clip_end_the_run(undisturbed, tmp_path):
    fresh, _, _ = undisturbed
    run = tmp_path / "run"
    shutil.copytree(fresh, run)
    events = []

    def say(event):
        events.append(event)
        if isinstance(event, StepTaken) and event.step == 1:
            forget(run, range(6))

    assert attempt([str(run)], say) == 0
    assert events[-1].reason == "too_few_pairs"
    assert len(of(StepTaken, events)) == 1


def test_an_estimate_measures_a_step_and_leaves_nothing(undisturbed):
    fresh, _, _ = undisturbed
    before = set(fresh.iterdir())
    said = []
    assert attempt(["--estimate", str(fresh)], said.append) == 0
    (found,) = said
    assert (found.steps, found.batch, found.clips, found.captions) == (8, 4, 4, 8)
    assert found.new_words > 0
    assert found.seconds == pytest.approx(8 * found.step_s)
    assert found.step_s > 0
    assert found.decode_s > 0
    assert read_estimate(to_line(found)) == found
    assert set(fresh.iterdir()) == before
