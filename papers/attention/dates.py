"""A generated task, learned character by character: dates in many written forms, to be put in ISO's one (2026-01-31).

A source determines its target. Slashes after day or month mean month/day/year, dots day.month.year, and two digits of a
year stand for the only one from FIRST to LAST that ends in them.
"""

from datetime import date
from typing import NamedTuple

import numpy as np

FIRST, LAST = date(1950, 1, 1), date(2049, 12, 31)
DAYS = LAST.toordinal() - FIRST.toordinal() + 1
HELD_OUT = 0.1  # of the dates, for the test

FORMS = (
    "{day} {month} {year}",
    "{day} {short_month} {year}",
    "{day}. {month} {year}",
    "{nth} {month} {year}",
    "{nth} of {short_month}. {year}",
    "the {nth} of {month}, {year}",
    "the {ordinal} of {month}, {year}",
    "{month} the {ordinal}, {year}",
    "{month} {day}, {year}",
    "{short_month} {nth}, {year}",
    "{short_month}. {day} '{year2}",
    "{weekday}, {day} {month} {year}",
    "{short_weekday} {short_month} {day2} {year}",
    "{short_weekday}, {nth} {month} '{year2}",
    "{day2}-{short_month}-{year2}",
    "{day}.{month_number}.{year}",
    "{day2}.{month2}.{year2}",
    "{month_number}/{day}/{year}",
    "{month2}/{day2}/{year2}",
    "{year}/{month2}/{day2}",
    "{year}, {month} {nth}",
    "{year}{month2}{day2}",
)
CASES = (str, str.lower, str.upper)

# fmt: off
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
BELOW_TWENTY = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth",
    "tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth",
    "seventeenth", "eighteenth", "nineteenth",
)
# fmt: on
ORDINALS = (*BELOW_TWENTY, "twentieth", *(f"twenty-{unit}" for unit in BELOW_TWENTY[:9]), "thirtieth", "thirty-first")
SUFFIXES = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}  # all others: th


class Pairs(NamedTuple):
    """Written dates and, at the same place, what they mean: "the third of March, 1987" and "1987-03-03"."""

    sources: list[str]
    targets: list[str]


def generate(train: int, test: int, seed: int) -> tuple[Pairs, Pairs]:
    """So many training and test pairs, drawn evenly over dates, forms and cases; no test date occurs in training."""
    if min(train, test) < 1:
        raise ValueError(f"train={train}, test={test}: at least one pair each")
    rng = np.random.default_rng(seed)
    days = FIRST.toordinal() + rng.permutation(DAYS)
    held_out = round(HELD_OUT * DAYS)
    return draw(days[held_out:], train, rng), draw(days[:held_out], test, rng)


def draw(days: np.ndarray, n: int, rng: np.random.Generator) -> Pairs:
    """n pairs on `days` (ordinals of dates), with replacement."""
    dates = [date.fromordinal(day) for day in rng.choice(days, n).tolist()]
    forms = rng.integers(len(FORMS), size=n).tolist()
    cases = rng.integers(len(CASES), size=n).tolist()
    sources = [CASES[c](write(FORMS[f], day)) for day, f, c in zip(dates, forms, cases, strict=True)]
    return Pairs(sources, [day.isoformat() for day in dates])


def write(form: str, day: date) -> str:
    """The date in one of FORMS: `write("{day} {short_month} {year}", date(1987, 3, 14))` is "14 Mar 1987"."""
    return form.format(**fields(day))


def fields(day: date) -> dict[str, str]:
    """What the names in FORMS stand for."""
    month, weekday = MONTHS[day.month - 1], WEEKDAYS[day.weekday()]
    return {
        "day": f"{day.day}",
        "day2": f"{day.day:02}",
        "nth": f"{day.day}{SUFFIXES.get(day.day, 'th')}",
        "ordinal": ORDINALS[day.day - 1],
        "month": month,
        "short_month": month[:3],
        "month_number": f"{day.month}",
        "month2": f"{day.month:02}",
        "year": f"{day.year}",
        "year2": f"{day.year % 100:02}",
        "weekday": weekday,
        "short_weekday": weekday[:3],
    }
