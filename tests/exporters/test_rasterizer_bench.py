"""The command that measures training steps."""

import json

import pytest
from keepworld_exporters.bench_splats import main


def test_each_size_and_count_is_a_row_whose_parts_make_its_pace(capsys):
    assert main(["--sizes", "32x32", "48x16", "--counts", "50", "80", "--repeat", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["size"], row["splats"]) for row in rows] == [
        ("32x32", 50),
        ("32x32", 80),
        ("48x16", 50),
        ("48x16", 80),
    ]
    for row in rows:
        assert row["reference_cpu_ms"] is None or row["reference_cpu_ms"] > 0
        assert row["steps_per_s"] == pytest.approx(1000 / (row["draw_ms"] + row["loss_ms"] + row["back_ms"]))


@pytest.mark.parametrize(
    "wrong", [["--sizes", "0x32"], ["--sizes", "99999x32"], ["--counts", "1000000000"], ["--repeat", "0"]]
)
def test_what_would_not_fit_is_refused_before_anything_runs(wrong, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(wrong)
    assert stopped.value.code == 2
    assert wrong[1] in capsys.readouterr().err
