"""How the time to find a mutant is counted and told; one mutant is really hunted."""

from __future__ import annotations

import msgspec
import pytest
from fdspec.fuzz.judgement import Key
from fdspec.fuzz.power import Hunted, bars, fingerprint, hunt, inexpressible, main, page, read, rows_of
from fdspec.impls.mutants.tables import everything
from fdspec.impls.protocol.values import Profile

KEY = Key("LC03", "take", "message/stream/testee")


def hunted(mutant="mutant:message.a", seed=0, seconds=1.0, programs=10, operations=0, code="x"):
    return Hunted(mutant, seed, code, seconds, programs, None if seconds is None else KEY, operations)


def test_the_median_is_over_the_seeds_and_a_hunt_in_vain_is_endless():
    (row,) = rows_of([hunted(seed=seed, seconds=at) for seed, at in enumerate([5.0, None, 1.0])])
    assert (row.median, row.worst, row.mutant) == (5.0, None, "message.a")
    (row,) = rows_of([hunted(seed=seed, seconds=at) for seed, at in enumerate([None, None, 1.0])])
    assert row.median is None


def test_the_slowest_comes_first_and_one_that_was_never_found_before_it():
    rows = rows_of([hunted("mutant:a", seconds=1.0), hunted("mutant:b", seconds=None), hunted("mutant:c", seconds=9.0)])
    assert [row.mutant for row in rows] == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("seconds", "operations", "reached"),
    [
        (1.0, 6, [True] * 3),
        (61.0, 6, [False, True, True]),
        (None, 0, [False, False, True]),
        (1.0, 7, [True, True, False]),
    ],
)
def test_each_bar_is_missed_by_what_misses_it(seconds, operations, reached):
    assert list(bars(rows_of([hunted(seconds=seconds, operations=operations)])).values()) == reached


def test_one_of_twenty_may_be_slow():
    rows = rows_of([hunted(f"mutant:m{number}", seconds=61.0 if number == 0 else 1.0) for number in range(20)])
    assert all(bars(rows).values())


def test_the_page_tells_what_is_missed_and_what_cannot_be_expressed():
    text = page(rows_of([hunted(seconds=None)]), 5, {"message.late": "it shows with time alone"})
    assert "**missed**" in text
    assert "| message.a | not found | not found | 10 |  |  |" in text
    assert "| message.late | it shows with time alone |" in text


def test_kept_results_are_of_this_code_alone_and_a_cut_line_is_left_out(tmp_path):
    path = tmp_path / "power.jsonl"
    lines = [hunted(), hunted(seed=1, code="y"), hunted(seed=2)]
    path.write_bytes(b"\n".join(map(msgspec.json.encode, lines))[:-9])
    assert list(read(path, "x")) == [("mutant:message.a", 0)]
    assert read(tmp_path / "none", "x") == {}
    assert len(fingerprint()) == 12


def test_what_cannot_be_expressed_is_a_mutant_and_has_a_reason():
    for name, why in inexpressible().items():
        assert name in everything()
        assert len(why) > 20


def test_a_mutant_is_found_and_made_small():
    found = hunt("mutant:message.truncation-leaks", Profile.MESSAGE, 0, 60)
    assert found.seconds is not None
    assert 0 < found.operations <= 6


def test_no_mutant_of_that_name_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["-k", "no-such-mutant"])
    assert ended.value.code == 2
    assert "no mutant is chosen" in capsys.readouterr().err
