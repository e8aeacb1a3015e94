"""Small datasets in the layouts that the large ones are handed round in, with real videos."""

import csv
import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.factories_video import draw_number, make_video

CODECS = {".avi": "mpeg4"}
STEP = 1000
"""The frames of video i are numbered from i times this."""


@dataclass(frozen=True)
class Made:
    """A dataset on disk.

    Attributes:
        annotations: folder with its annotation files.
        videos: folder with its videos.
        texts: what each video of the test split should be asked by, in the order of the split.
        files: the file of each, relative to `videos`.
        trained: the same as `texts` for the training split, which has no videos.
    """

    annotations: Path
    videos: Path
    texts: dict[str, tuple[str, ...]]
    files: tuple[str, ...]
    trained: dict[str, tuple[str, ...]]


def write_videos(folder: Path, files: Sequence[str]) -> None:
    """Write a video of two seconds for each name; frame n of video i shows STEP i + n."""
    for number, name in enumerate(files):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)

        def pattern(frame: int, width: int, height: int, first: int = STEP * number):
            return draw_number(first + frame, width, height)

        make_video(path, pattern=pattern, codec=CODECS.get(path.suffix, "libx264"))


def make_msrvtt(folder: Path) -> Made:
    """Write 1k-A: the test csv in one folder, captions and the 9k list in another."""
    texts = {"video9770": ("a person, connecting something",), "video7020": ("a dog runs",)}
    trained = {"video1": ("a cat", "the cat plays"), "video0": ("a red ball",)}
    rows = [(f"ret{i}", f"msr{n[5:]}", n, *t) for i, (n, t) in enumerate(texts.items())]
    _write_csv(folder / "a" / "MSRVTT_JSFUSION_test.csv",
               ("key", "vid_key", "video_id", "sentence"), rows)  # fmt: skip
    _write_csv(folder / "a" / "MSRVTT_train.9k.csv", ("video_id",), [(name,) for name in trained])
    sentences = [
        {"caption": caption, "video_id": name, "sen_id": number}
        for name, captions in {**texts, **trained, "video5": ("not listed",)}.items()
        for number, caption in enumerate(captions)
    ]
    videos = [{"video_id": name, "split": "train", "id": 0} for name in (*texts, *trained)]
    _write_json(folder / "b" / "MSRVTT_data.json",
                {"info": {}, "videos": videos, "sentences": sentences})  # fmt: skip
    return Made(folder, folder / "all", texts, ("video9770.mp4", "deeper/video7020.mkv"), trained)


def make_didemo(folder: Path) -> Made:
    """Write DiDeMo: several descriptions a video, which are one paragraph."""
    stems = ("12090392@N02_13482799053_87ef417396", "1@N00_2_3")
    test = [
        {"description": "a dog runs", "video": f"{stems[0]}.mov", "times": [[0, 0]]},
        {"description": "cat jumps", "video": f"{stems[1]}.avi", "times": [[1, 2]]},
        {"description": "the ball\nmoves ", "video": f"{stems[0]}.mov", "times": [[3, 3]]},
    ]
    _write_json(folder / "test_data.json", test)
    _write_json(folder / "train_data.json", [{"description": "a ball", "video": "x_y_z.3gp"}])
    return Made(
        folder,
        folder / "videos",
        {stems[0]: ("a dog runs the ball moves",), stems[1]: ("cat jumps",)},
        (f"{stems[0]}.mov.mp4", f"{stems[1]}.avi"),
        {"x_y_z": ("a ball",)},
    )


MSVD_TEXTS = {"-4wsuPCjDBc_5_15": ("a cat plays", "a cat runs", "the cat"), "abc_0_9": ("a dog",)}
MSVD_TRAINED = {"xyz_1_2": ("a red ball moves",)}
MSVD_FILES = ("-4wsuPCjDBc_5_15.avi", "YouTubeClips/abc_0_9.avi")


def make_msvd(folder: Path) -> Made:
    """Write MSVD as retrieval papers hand it round: lists, and a pickle of words as Python 2."""
    folder.mkdir(parents=True)
    captions = {n: [t.split() for t in texts] for n, texts in (MSVD_TEXTS | MSVD_TRAINED).items()}
    (folder / "raw-captions.pkl").write_bytes(pickle.dumps(captions, protocol=2))
    (folder / "test_list.txt").write_text("\n".join(MSVD_TEXTS) + "\n")
    (folder / "train_list.txt").write_text("\n".join(MSVD_TRAINED))
    return Made(folder, folder / "v", MSVD_TEXTS, MSVD_FILES, MSVD_TRAINED)


def make_msvd_as_text(folder: Path) -> Made:
    """Write MSVD as first published: captions a line each, and the numbers of the videos."""
    lines = [f"{n} {t}" for n, ts in (MSVD_TEXTS | MSVD_TRAINED).items() for t in ts]
    folder.mkdir(parents=True)
    header = "# MSR Video Description Corpus\n\n"
    (folder / "AllVideoDescriptions.txt").write_text(header + "\n".join(lines) + "\n")
    _write_mapping(folder)
    return Made(folder, folder / "v", MSVD_TEXTS, ("vid1301.avi", "vid1302.avi"), MSVD_TRAINED)


def make_msvd_as_table(folder: Path) -> Made:
    """Write MSVD as the spreadsheet of all languages."""
    columns = ("VideoID", "Start", "End", "WorkerID", "Source", "AnnotationTime", "Language",
               "Description")  # fmt: skip
    rows = [
        (*name.rsplit("_", 2), "1", "clean", "2", "English", text)
        for name, texts in (MSVD_TEXTS | MSVD_TRAINED).items()
        for text in texts
    ]
    other = ("abc", "0", "9", "1", "clean", "2", "Slovene", "pes teče")
    _write_csv(folder / "MSR Video Description Corpus.csv", columns, [*rows, other])
    _write_mapping(folder)
    return Made(folder, folder / "v", MSVD_TEXTS, MSVD_FILES, MSVD_TRAINED)


def make_lsmdc(folder: Path) -> Made:
    """Write LSMDC: tabs, no header, and a folder for each film."""
    films = ("1004_Juno", "3009_BATTLE_LOS_ANGELES")
    clips = [f"{films[0]}_00.00.32.161-00.00.37.086", f"{films[1]}_01.49.22.010-01.49.25.020"]
    texts = {
        clips[0]: ('SOMEONE runs, "then" jumps.',),
        clips[1]: ("The dog's ball… café.",),
    }
    names = ("LSMDC16_challenge_1000_publictect.csv", "LSMDC16_annos_training.csv")
    trained = {"0001_American_Beauty_00.00.51.926-00.00.54.129": ("SOMEONE plays.",)}
    folder.mkdir(parents=True)
    for name, split in zip(names, (texts, trained), strict=True):
        lines = ["\t".join([n, "0", "1", "0", "1", t[0]]) for n, t in split.items()]
        (folder / name).write_bytes(("\r\n".join(lines) + "\r\n").encode("cp1252"))
    files = tuple(f"{film}/{clip}.avi" for film, clip in zip(films, clips, strict=True))
    return Made(folder, folder / "avi", texts, files, trained)


def make_activitynet(folder: Path) -> Made:
    """Write ActivityNet Captions: sentences with times, which are one paragraph."""
    names = ("v_uqiMw7tQ1Cc", "v_bXdq2zI1Ms0")
    val = {
        names[0]: {"duration": 2, "timestamps": [[0, 1], [1, 2]],
                   "sentences": ["A dog runs.", " Then a cat jumps. "]},
        names[1]: {"duration": 2, "timestamps": [[0, 2]], "sentences": ["A ball."]},
    }  # fmt: skip
    _write_json(folder / "captions" / "val_1.json", val)
    train = {"v_x": {"duration": 1, "timestamps": [[0, 1]], "sentences": ["The cat."]}}
    _write_json(folder / "captions" / "train.json", train)
    texts = {names[0]: ("A dog runs. Then a cat jumps.",), names[1]: ("A ball.",)}
    files = (f"{names[0]}.mkv", f"more/{names[1].removeprefix('v_')}.mp4")
    return Made(folder, folder / "videos", texts, files, {"v_x": ("The cat.",)})


MAKERS: dict[str, tuple[str, Callable[[Path], Made]]] = {
    "msrvtt": ("msrvtt", make_msrvtt),
    "didemo": ("didemo", make_didemo),
    "msvd": ("msvd", make_msvd),
    "msvd as text": ("msvd", make_msvd_as_text),
    "msvd as table": ("msvd", make_msvd_as_table),
    "lsmdc": ("lsmdc", make_lsmdc),
    "activitynet": ("activitynet", make_activitynet),
}
"""Name of the dataset and what writes it, by the name of the layout."""


def _write_mapping(folder: Path) -> None:
    names = dict(zip(MSVD_TEXTS, ("vid1301", "vid1302"), strict=True)) | {"xyz_1_2": "vid7"}
    lines = [f"{name} {number}" for name, number in reversed(names.items())]
    (folder / "youtube_mapping.txt").write_text("\n".join(lines) + "\n")


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)
