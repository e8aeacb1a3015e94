"""Files of captions: all or nothing, or all that is good; and what goes out comes in unchanged."""

import io
import json
import threading
from uuid import uuid4

import pytest
from sqlalchemy import select

from service import videos
from service.captions import importing
from service.captions.exporting import export_captions
from service.captions.importing import OnError, import_captions
from service.captions.lines import CaptionFormat
from service.catalog.caption_tables import Caption, CaptionSource
from service.catalog.tables import Video
from service.errors import ConflictError, InvalidInputError, InvalidLinesError, NotFoundError

AWKWARD = [
    ("a cat", None, None),
    ('=SUM("a"), b; c', 0.0, 1.5),
    ("1 < 2 && 3 --> 2", 1.001, 2.5),
    ("<b>bold</b> {\\an8} {i} &amp; &lt;", 1.001, 2.5),
    ("00:00:01,000 --> 00:00:02,000", 2.0, 7.999),
    ("猫 👩\u200d🔧 é NOTE", 7.0, 8.0),
    ("42", 0.0, 7.0),
    ("x" * 2000, 4.0, 8.0),
]


@pytest.fixture
def take(sessions):
    """Import a text: `take("text", "csv", video_id=...)`."""

    def take(content, form="jsonl", **options):
        data = content if isinstance(content, bytes) else content.encode()
        return import_captions(sessions, io.BytesIO(data), CaptionFormat(form), **options)

    return take


@pytest.fixture
def give(read_sessions):
    """Export: `give("csv", video_id=...)`."""

    def give(form, **options):
        return "".join(export_captions(read_sessions, CaptionFormat(form), **options))

    return give


@pytest.fixture
def texts(sessions):
    """The texts of all captions, in the order in which they were written."""

    def texts():
        with sessions() as session:
            return session.scalars(select(Caption.text).order_by(Caption.created_at)).all()

    return texts


def lines(*objects):
    return "".join(json.dumps(one) + "\n" for one in objects)


def counts(done):
    return done.num_imported, done.num_unchanged, done.num_skipped


@pytest.fixture
def awkward_id(make_video, say):
    """A video of which awkward things are said."""
    video_id = make_video()
    for caption in AWKWARD:
        say(video_id, *caption)
    return video_id


@pytest.mark.parametrize("form", CaptionFormat)
def test_what_goes_out_comes_in_unchanged(awkward_id, take, give, sessions, form):
    of_one = {"video_id": awkward_id} if form.needs_video else {}
    file = give(form, **of_one)

    assert counts(take(file, form, **of_one)) == (0, len(AWKWARD), 0)
    with sessions.begin() as session:
        for one in session.scalars(select(Caption)):
            session.delete(one)
    assert counts(take(file, form, **of_one)) == (len(AWKWARD), 0, 0)
    assert give(form, **of_one) == file
    with sessions() as session:
        found = session.execute(select(Caption.text, Caption.start_s, Caption.end_s)).all()
        assert {*map(tuple, found)} == {*AWKWARD}
        assert {*session.scalars(select(Caption.source))} == {CaptionSource.IMPORTED}


@pytest.mark.parametrize("form", CaptionFormat)
def test_nothing_goes_out_as_a_file_that_can_be_read(make_video, take, give, form):
    of_one = {"video_id": make_video()}

    assert counts(take(give(form, **of_one), form, **of_one)) == (0, 0, 0)


def test_a_file_keeps_its_order_and_is_longer_than_a_batch(make_video, take, give, texts):
    video_id = make_video()
    said = [f"text {n}" for n in range(2 * importing.BATCH + 5)]
    content = lines(*({"video": str(video_id), "text": text} for text in said))

    assert counts(take(content)) == (len(said), 0, 0)
    assert texts() == said
    assert [json.loads(line)["caption"] for line in give("jsonl").splitlines()] == said
    assert counts(take(give("csv"), "csv")) == (0, len(said), 0)


def test_videos_are_named_by_id_digest_file_or_title(make_video, take, sessions):
    video_id = make_video(file_name="cat.mp4", title="My cat")
    with sessions() as session:
        sha256 = session.get_one(Video, video_id).sha256
    names = [str(video_id), str(video_id).upper(), sha256, "cat.mp4", "My cat", " cat.mp4 "]

    done = take(lines(*({"video": name, "text": f"{n}"} for n, name in enumerate(names))))

    assert counts(done) == (len(names), 0, 0)


def test_a_name_of_two_videos_or_of_none_is_a_wrong_line(make_video, take):
    first = make_video(file_name="cat.mp4", title="one")
    make_video(file_name="cat.mp4", title="two")
    deleted = uuid4()
    content = lines(
        {"video": "cat.mp4", "text": "a"},
        {"video": "dog.mp4", "text": "b"},
        {"video": str(deleted), "file": "one", "text": "the file is tried, too"},
        {"text": "c"},
        {"video": "a\0b\ud800", "text": "d"},
        {"video": "one", "text": "the title of one"},
    )

    done = take(content, on_error=OnError.SKIP)

    assert (done.num_imported, [bad.line for bad in done.skipped]) == (2, [1, 2, 4, 5])
    reasons = [bad.reason for bad in done.skipped]
    assert "2 videos are called" in reasons[0]
    assert "no video 'dog.mp4'" in reasons[1]
    assert "names no video" in reasons[2]
    assert first


def test_a_line_of_many_captions_is_wrong_once(make_video, take):
    make_video(file_name="a.mp4")
    content = lines(
        {"file": "a.mp4", "captions": ["one", "two"]},
        {"file": "gone.mp4", "captions": ["three", "four", "five"]},
    )

    done = take(content, on_error=OnError.SKIP)

    assert counts(done) == (2, 0, 1)
    assert [bad.line for bad in done.skipped] == [2]


def test_a_file_of_one_video_is_about_it_alone(make_video, take):
    video_id, _other = make_video(file_name="a.mp4"), make_video(file_name="b.mp4")
    content = "text,video\none,\ntwo,a.mp4\nthree,b.mp4\n"

    done = take(content, "csv", video_id=video_id, on_error=OnError.SKIP)

    assert counts(done) == (2, 0, 1)
    assert "another video" in done.skipped[0].reason


WRONG = lines(
    {"video": "clip.mp4", "text": "good"},
    {"video": "clip.mp4", "text": ""},
    {"video": "clip.mp4", "text": "late", "start_s": 1, "end_s": 100},
    {"video": "clip.mp4", "text": "good"},
    {"video": "clip.mp4", "text": "also good"},
)


def test_a_wrong_line_keeps_everything_out(make_video, take, texts):
    make_video()

    with pytest.raises(InvalidLinesError, match="2 lines are wrong, so nothing") as failure:
        take(WRONG)

    assert [bad.line for bad in failure.value.lines] == [2, 3]
    assert "the video after 8 s" in failure.value.lines[1].reason
    assert texts() == []


def test_a_wrong_line_can_be_left_out(make_video, take, texts):
    make_video()

    assert counts(take(WRONG, on_error=OnError.SKIP)) == (2, 1, 2)
    assert texts() == ["good", "also good"]


def test_cues_lie_within_the_video(make_video, take, sessions):
    video_id = make_video()
    content = (
        "WEBVTT\n\n00:00.000 --> 00:08.400\nall of it\n\n00:07.000 --> 00:08.300\nthe end\n\n"
        "00:09.000 --> 00:10.000\nbehind it\n"
    )

    done = take(content, "vtt", video_id=video_id, on_error=OnError.SKIP)

    assert [bad.line for bad in done.skipped] == [9]
    with sessions() as session:
        found = session.execute(select(Caption.text, Caption.start_s, Caption.end_s)).all()
    assert {*map(tuple, found)} == {("all of it", None, None), ("the end", 7.0, 8.0)}


def test_files_without_a_video_are_refused(make_video, take, give):
    for form in ("vtt", "srt"):
        with pytest.raises(InvalidInputError, match="say which"):
            take("WEBVTT\n", form)
        with pytest.raises(InvalidInputError, match="say which"):
            give(form)
    for form in CaptionFormat:
        with pytest.raises(NotFoundError):
            take("WEBVTT\n", form, video_id=uuid4())
        with pytest.raises(NotFoundError):
            give(form, video_id=uuid4())
    assert make_video()


def test_an_unknown_length_is_said(make_video, give, sessions):
    video_id = make_video()
    with sessions.begin() as session:
        session.get_one(Video, video_id).duration_s = None

    with pytest.raises(ConflictError):
        give("vtt", video_id=video_id)


@pytest.mark.parametrize("content", [b"\xff\xfev\0i\0", b"\x89PNG\r\n\x1a\n", b"\0" * 100])
@pytest.mark.parametrize("form", CaptionFormat)
def test_a_file_of_another_kind_is_refused(make_video, take, texts, form, content):
    with pytest.raises(InvalidInputError):
        take(content, form, video_id=make_video())
    assert texts() == []


def test_a_file_has_a_bound(make_video, take, texts, monkeypatch):
    monkeypatch.setattr(importing, "MAX_CAPTIONS", 2)
    content = "text\n1\n2\n3\n"

    with pytest.raises(InvalidInputError, match="more than 2 captions"):
        take(content, "csv", video_id=make_video())
    assert texts() == []


def test_the_same_file_twice_at_once_is_taken_once(make_video, take, texts):
    one, other = make_video(file_name="a.mp4"), make_video(file_name="b.mp4")
    entries = [{"video": str(v), "text": f"{n}"} for n in range(20) for v in (one, other)]
    contents = [lines(*entries), lines(*entries[::-1])]
    done = []
    threads = [
        threading.Thread(target=lambda c=content: done.append(take(c))) for content in contents * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(texts()) == 40
    assert sorted(counts(one)[0] for one in done) == [0, 0, 0, 40]


def test_a_deleted_video_takes_no_captions(make_video, take, sessions):
    video_id = make_video(file_name="a.mp4")
    videos.delete_video(sessions, video_id)

    done = take(lines({"video": "a.mp4", "text": "x"}), on_error=OnError.SKIP)

    assert counts(done) == (0, 0, 1)
