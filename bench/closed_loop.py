"""The closed loop on camera footage, over HTTP, as an admin goes through it.

    python bench/closed_loop.py --clips FOLDER [--steps N] [--json]

FOLDER holds videos and `captions.jsonl`, one object a line: {"file": ..., "captions": [...]}, with
three captions each. Uploads the clips, imports the captions, tunes with a third of the captions
held out, keeps those as an evaluation set, runs it, activates the candidate, runs the set again
after the switch, goes back and runs it once more. All clips are seen in training: this shows that
held-out paraphrases of known footage are found, not how other footage would be.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from _server import serving

from service.catalog.session import upgrade
from service.settings import Settings

VARIABLE = "REELSEEK_BENCH_CLIPS"
LISTING = "captions.jsonl"
ENDED = {"done", "failed", "cancelled"}
POLL_S = 1.0
SHOWN = ("R@1", "R@5", "R@10", "MdR")


def main() -> None:
    """Go round once and print what each step gave."""
    options = _options()
    if options.clips is None:
        print(f"nothing measured: give --clips FOLDER, or set {VARIABLE}")
        return
    with tempfile.TemporaryDirectory(prefix="reelseek-bench-") as folder:
        settings = Settings(data_dir=Path(folder), bundle=None, database_url=None)
        upgrade(settings.sqlalchemy_url)
        with (
            serving(settings, with_workers=True) as server,
            httpx.Client(
                base_url=f"http://127.0.0.1:{server.port}", headers=server.headers, timeout=120
            ) as client,
        ):
            found = go_round(client, options)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print_rows(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    clips = os.environ.get(VARIABLE)
    parser.add_argument("--clips", type=Path, default=Path(clips) if clips else None)
    parser.add_argument("--steps", type=int, help="by the pairs if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON, for machines")
    return parser.parse_args()


def go_round(client: httpx.Client, options: argparse.Namespace) -> dict[str, Any]:
    """Upload, caption, tune, compare, activate, search, go back."""
    upload_all(client, options.clips)
    imported = ask(
        client,
        "POST",
        "/v1/captions/import?format=jsonl",
        content=(options.clips / LISTING).read_bytes(),
    )
    wanted = {"hold_out": "captions", "held_out_share": 1 / 3, "seed": options.seed}
    if options.steps:
        wanted["steps"] = options.steps
    plan = ask(client, "POST", "/v1/tunings", json={**wanted, "dry_run": True})
    began = time.monotonic()
    asked = ask(client, "POST", "/v1/tunings", json=wanted)
    tuning = wait(client, f"/v1/tunings/{asked['id']}")
    tuned_s = time.monotonic() - began
    queries = [
        {"text": query["text"], "video_id": query["video_id"]}
        for query in tuning["report"]["held_out"]["queries"]
    ]
    made = ask(
        client, "POST", "/v1/evaluation-sets", json={"name": "paraphrases", "queries": queries}
    )
    rows = {"before": run_set(client, made["id"])}
    before = next(one for one in models(client) if one["state"] == "active")
    activate(client, tuning["candidate_version"]["id"])
    rows["after"] = run_set(client, made["id"])
    activate(client, before["id"])
    rows["gone back"] = run_set(client, made["id"])
    return {
        "imported": imported["imported"],
        "plan": plan,
        "tuned_s": round(tuned_s),
        "verdict": tuning["report"]["verdict"],
        "why": tuning["report"]["why"],
        "calibration": tuning["report"]["calibration"],
        "gate": tuning["report"]["held_out"]["streams"],
        "queries": len(queries),
        "runs": rows,
    }


def upload_all(client: httpx.Client, folder: Path) -> None:
    """Upload every video that the listing names, and wait until all are searchable."""
    lines = (folder / LISTING).read_text(encoding="utf-8").splitlines()
    for name in (json.loads(line)["file"] for line in lines if line.strip()):
        with (folder / name).open("rb") as file:
            ask(client, "POST", "/v1/videos", files={"file": (name, file)})
    while any(
        ask(client, "GET", f"/v1/videos?state={state}")["videos"]
        for state in ("queued", "processing")
    ):
        time.sleep(POLL_S)


def models(client: httpx.Client) -> list[Any]:
    """Return the models."""
    found: list[Any] = ask(client, "GET", "/v1/models")["models"]
    return found


def activate(client: httpx.Client, model_id: str) -> None:
    """Switch to a model."""
    asked = ask(client, "POST", f"/v1/models/{model_id}/activate")
    wait(client, f"/v1/activations/{asked['activation_id']}")


def run_set(client: httpx.Client, set_id: str) -> Mapping[str, Any]:
    """Run an evaluation set, and return the figures by way to search."""
    asked = ask(client, "POST", f"/v1/evaluation-sets/{set_id}/runs")
    run = wait(client, f"/v1/evaluation-runs/{asked['id']}")
    streams = run["figures"]["streams"]
    return {one["stream"]: one for one in streams if one["target"] == "video"}


def wait(client: httpx.Client, path: str) -> Any:
    """Wait until something has ended well.

    Raises:
        SystemExit: it has ended, but not well.
    """
    while (found := ask(client, "GET", path))["state"] not in ENDED:
        time.sleep(POLL_S)
    if found["state"] != "done":
        raise SystemExit(f"{path} ended as {json.dumps(found, indent=2)}")
    return found


def ask(client: httpx.Client, method: str, path: str, **options: Any) -> Any:
    """Send a request that must succeed."""
    response = client.request(method, path, **options)
    if not response.is_success:
        raise SystemExit(f"{method} {path}: {response.status_code} {response.text}")
    return response.json()


def print_rows(found: Mapping[str, Any]) -> None:
    """Print what the docs show."""
    print(f"{found['imported']} captions; tuning took {found['tuned_s']} s; plan: {found['plan']}")
    print(f"verdict: {found['verdict']}: {found['why']}")
    print(f"calibration: {found['calibration']}")
    print("| | stream | " + " | ".join(SHOWN) + " |")
    print("|---|---|" + "---|" * len(SHOWN))
    for name, streams in found["runs"].items():
        for stream, figures in streams.items():
            values = " | ".join(str(figures[metric]) for metric in SHOWN)
            print(f"| {name} | {stream} | {values} |")


if __name__ == "__main__":
    main()
