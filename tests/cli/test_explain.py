"""``fdspec explain``: what it tells of requirements, of what was left out, and of defects."""

from __future__ import annotations

from fdspec.conformance.defects import read_defects


def test_a_requirement_stands_in_its_section_with_its_outcomes_and_peers(fdspec):
    done = fdspec("explain", "T12")
    assert done.returncode == 0
    for expected in (
        "  section   Truncation\n",
        "  subject   kernel\n",
        "  permitted short: ",
        "  elsewhere FreeBSD\n",
    ):
        assert expected in done.stdout


def test_what_was_left_out_has_its_reason(fdspec):
    done = fdspec("explain", "T18")
    assert done.returncode == 0
    assert done.stdout.startswith("left out T18\n  ")
    assert "security module" in done.stdout


def test_a_defect_and_its_cases_know_one_another(fdspec):
    done = fdspec("explain", "D002", "ctrunc.room-is-a-limit")
    assert done.returncode == 0
    defect, _, case = done.stdout.partition("\ncase ")
    assert defect.startswith("defect D002\n")
    assert "CVE-2014-3635" in defect
    assert "  case      ctrunc.room-is-a-limit: " in defect
    assert "  catches   D002, dbus: " in case


def test_every_defect_can_be_explained(fdspec):
    ids = [one.id for one in read_defects().defect]
    done = fdspec("explain", *ids)
    assert done.returncode == 0
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("defect ")] == ids


def test_an_unknown_id_has_its_nearest(fdspec):
    done = fdspec("explain", "D999")
    assert done.returncode == 2
    assert "no case, requirement or defect is called 'D999'" in done.stderr
    assert done.stdout == ""
