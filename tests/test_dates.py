"""The generated dates: every form is written as people write it, and none can be read in two ways."""

import time
from datetime import date

import pytest

from papers.attention.dates import DAYS, FIRST, FORMS, HELD_OUT, LAST, fields, generate, write

WRITTEN = (
    "3 March 1987",
    "3 Mar 1987",
    "3. March 1987",
    "3rd March 1987",
    "3rd of Mar. 1987",
    "the 3rd of March, 1987",
    "the third of March, 1987",
    "March the third, 1987",
    "March 3, 1987",
    "Mar 3rd, 1987",
    "Mar. 3 '87",
    "Tuesday, 3 March 1987",
    "Tue Mar 03 1987",
    "Tue, 3rd March '87",
    "03-Mar-87",
    "3.3.1987",
    "03.03.87",
    "3/3/1987",
    "03/03/87",
    "1987/03/03",
    "1987, March 3rd",
    "19870303",
)


@pytest.mark.parametrize(("form", "written"), list(zip(FORMS, WRITTEN, strict=True)))
def test_forms(form: str, written: str) -> None:
    assert write(form, date(1987, 3, 3)) == written


@pytest.mark.parametrize(
    ("day", "form", "written"),
    [
        (date(2049, 12, 31), "{weekday} the {ordinal}", "Friday the thirty-first"),
        (date(1969, 7, 20), "{weekday} the {ordinal}", "Sunday the twentieth"),
        (date(2000, 2, 29), "{weekday} the {ordinal}", "Tuesday the twenty-ninth"),
        (date(2026, 1, 12), "{weekday} the {ordinal}", "Monday the twelfth"),
        (date(1987, 3, 4), "{day}.{month_number}.{year}", "4.3.1987"),
        (date(1987, 3, 4), "{month_number}/{day}/{year}", "3/4/1987"),
        (date(2005, 3, 4), "{month2}/{day2}/{year2}", "03/04/05"),
        (date(2005, 3, 4), "{day2}.{month2}.{year2}", "04.03.05"),
    ],
)
def test_written(day: date, form: str, written: str) -> None:
    assert write(form, day) == written


def test_ordinal_suffixes() -> None:
    suffixes = [write("{nth}", date(2026, 1, day))[-2:] for day in range(1, 32)]
    assert [day for day, suffix in enumerate(suffixes, 1) if suffix == "st"] == [1, 21, 31]
    assert [day for day, suffix in enumerate(suffixes, 1) if suffix == "nd"] == [2, 22]
    assert [day for day, suffix in enumerate(suffixes, 1) if suffix == "rd"] == [3, 23]
    assert suffixes.count("th") == 24


def test_no_source_has_two_targets() -> None:
    """Over all dates and forms, even when capitals are ignored."""
    meaning: dict[str, int] = {}
    for ordinal in range(FIRST.toordinal(), LAST.toordinal() + 1):
        words = fields(date.fromordinal(ordinal))
        for form in FORMS:
            source = form.format(**words).lower()
            if meaning.setdefault(source, ordinal) != ordinal:
                pytest.fail(f"{source}: {date.fromordinal(ordinal)} and {date.fromordinal(meaning[source])}")
    assert len(meaning) > 0.99 * DAYS * len(FORMS)  # May is as long as its abbreviation


def test_pairs_are_dates_in_range_in_every_form_and_case() -> None:
    train, test = generate(20_000, 2_000, seed=0)
    assert [len(texts) for texts in (*train, *test)] == [20_000, 20_000, 2_000, 2_000]
    used = set()
    for source, target in zip(*test, strict=True):
        day = date.fromisoformat(target)
        assert FIRST <= day <= LAST
        assert target == day.isoformat()
        manners = {
            (form, case) for form in FORMS for case in (str, str.lower, str.upper) if case(write(form, day)) == source
        }
        assert manners
        used |= manners
    assert {form for form, _ in used} == set(FORMS)
    assert {case for _, case in used} == {str, str.lower, str.upper}
    assert len(set(train.targets)) > 0.4 * DAYS  # 20,000 draws of 33,000 dates give 15,000 of them
    assert len({target[:4] for target in train.targets}) == LAST.year - FIRST.year + 1


@pytest.mark.parametrize("seed", [0, 1])
def test_no_test_date_occurs_in_training(seed: int) -> None:
    train, test = generate(200_000, 20_000, seed)
    assert set(train.targets).isdisjoint(test.targets)
    assert len(set(test.targets)) == pytest.approx(HELD_OUT * DAYS, rel=0.01)  # the draws leave out 0.4 %


def test_the_seed_decides() -> None:
    assert generate(100, 10, seed=0) == generate(100, 10, seed=0)
    assert generate(100, 10, seed=0) != generate(100, 10, seed=1)


def test_fifty_thousand_pairs_take_less_than_two_seconds() -> None:
    began = time.process_time()  # the machine may be busy with something else
    generate(50_000, 1_000, seed=0)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(("train", "test"), [(0, 5), (5, 0), (-1, 5)])
def test_no_pairs_are_refused(train: int, test: int) -> None:
    with pytest.raises(ValueError, match=rf"^train={train}, test={test}: at least one pair each$"):
        generate(train, test, seed=0)
