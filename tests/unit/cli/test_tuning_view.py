"""How the command shows tuning runs."""

from service.cli.tuning_view import print_report

BASE_WITHOUT_JOINT_SPACE = {
    "state": "done",
    "candidate_version": {"name": "tuned-1"},
    "report": {
        "verdict": "not_enough_to_tell",
        "why": "The base model has no joint space.",
        "held_out": {
            "streams": [
                {
                    "stream": "dual_stream",
                    "direction": "t2v",
                    "metric": "R@1",
                    "base": None,
                    "candidate": 25.0,
                    "difference": None,
                    "low": None,
                    "high": None,
                }
            ]
        },
    },
}


def test_a_base_that_cannot_search_has_no_figures(capsys):
    print_report(BASE_WITHOUT_JOINT_SPACE)

    printed = capsys.readouterr().out
    assert "25.000" in printed
    assert printed.split("R@1")[1].split()[:4] == ["-", "25.000", "-", "-"]
    assert "models use tuned-1" in printed
