"""Schedules and spans of time in words: "Monday to Saturday 06:00 London".

Belongs here: from a cron expression and a span to what people say. Elsewhere: moments (ticks.py).
"""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

_DAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    *("", "January", "February", "March", "April", "May", "June", "July", "August", "September", "October"),
    *("November", "December"),
)
_MOST_TIMES: Final = 4


def span_in_words(span: timedelta) -> str:
    """Such as "3 h", "1 h 30 min" or "2 days"."""
    seconds = round(span.total_seconds())
    days, rest = divmod(seconds, 86_400)
    if days >= 2 and not rest:
        return f"{days} days"
    hours, rest = divmod(seconds, 3_600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{number} {unit}" for number, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if number]
    return " ".join(parts) or "0 min"


def schedule_in_words(cron: str, timezone: str) -> str:
    """What the expression of five fields says, and where; one that few words cannot say stays as it is."""
    minute, hour, day, month, weekday = cron.split()
    times, days = _times(minute, hour), _days(day, month, weekday)
    zone = timezone.rpartition("/")[2].replace("_", " ")
    if times is None or days is None:
        return f"cron {cron} {zone}"
    if times.startswith("every"):
        return f"{times}, {days}" * (days != "every day") + times * (days == "every day")
    return f"{days} {times} {zone}"


def _times(minute: str, hour: str) -> str | None:
    step = re.fullmatch(r"\*/([0-9]+)", minute)
    if hour == "*" and (minute == "*" or step):
        return "every minute" if step is None else f"every {step[1]} minutes"
    if hour == "*" and minute.isdecimal():
        return f"every hour at :{int(minute):02}"
    step = re.fullmatch(r"\*/([0-9]+)", hour)
    if step and minute.isdecimal():
        return f"every {step[1]} hours at :{int(minute):02}"
    hours, minutes = hour.split(","), minute.split(",")
    if not all(each.isdecimal() for each in (*hours, *minutes)) or len(hours) * len(minutes) > _MOST_TIMES:
        return None
    return _and([f"{int(h):02}:{int(m):02}" for h in hours for m in minutes])


def _days(day: str, month: str, weekday: str) -> str | None:
    months = _named(month, _MONTHS)
    weekdays = _named(weekday, _DAYS)
    if months is None or weekdays is None or not re.fullmatch(r"\*|[0-9]+(,[0-9]+)*|L", day):
        return None
    if day == "*":
        found = weekdays or "every day"
    else:
        dates = "the last day" if day == "L" else f"day {_and(day.split(','))}"
        found = f"{dates} of the month" + (f", and {weekdays}" if weekdays else "")
    return f"{found} in {months}" if months else found


def _named(field: str, names: Sequence[str]) -> str | None:
    """The field's days or months in words, "" for all of them; None where it is more than a list or a range."""
    if field == "*":
        return ""
    said = []
    for part in field.split(","):
        ends = [_number(each, names) for each in part.split("-")]
        if len(ends) > 2 or any(each is None for each in ends):
            return None
        said.append(" to ".join(names[each] for each in ends if each is not None))
    return _and(said)


def _number(text: str, names: Sequence[str]) -> int | None:
    if text.isdecimal():
        return int(text) if int(text) < len(names) else None
    return next((at for at, name in enumerate(names) if name and name[:3].casefold() == text.casefold()), None)


def _and(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
