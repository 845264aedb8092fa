"""The sample world: a retailer that delivers order lines, products and customers into a landing folder.

Belongs here: what the retailer delivers, day by day, and the account of what is wrong in it on purpose. It imports
nothing of the platform, and asks neither environment nor clock.
A day's bytes follow from (seed, rows_per_day, dirt, day) alone, never from the window it is simulated in;
memory follows a chunk of lines (and the places of planted ones), never a file.
"""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from filecmp import cmp
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Final

import polars as pl

ORDER_LINES: Final = "retail/order_lines"
PRODUCTS: Final = "retail/products"
CUSTOMERS: Final = "retail/customers"
ACCOUNT: Final = ".simulated/planted.json"
REJECTIONS: Final = ("quantity", "unit_price", "invoiced_at", "unit_price_negative")

Customer = dict[str, str]

_CHUNK = 65_536
_INVOICES = 900_000  # six digits: 100000 to 999999
_INVOICE_LINES = (21, 4, 1, 33, 12, 2, 27, 8, 64, 17, 1, 38, 6, 24, 3, 45, 14, 30, 9, 41)
_MAX_ROWS = _INVOICES // len(_INVOICE_LINES) * sum(_INVOICE_LINES) - 2
_ARTICLES = 997  # prime and above any invoice's length: steps through it never meet the same article twice
_WEEKDAYS = (1.0, 1.05, 1.0, 1.2, 0.95, 0.0, 0.6)  # Saturdays are closed
_MONTHS = (0.85, 0.85, 0.95, 0.9, 1.0, 0.95, 0.95, 0.95, 1.1, 1.15, 1.35, 1.2)
_PACKS = (1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 6, 6, 6, 8, 10, 12, 12, 12, 16, 24, 24, 36, 48)
_PENCE = (42, 85, 125, 165, 210, 295, 375, 495, 850, 1275)
# Dirt is dealt in this order: of 20 dirty lines 5 are rejected, 4 repeated, 5 returns, 6 without customer.
_KINDS = dict(zip("qpindrm", (*REJECTIONS, "duplicates", "returns", "missing_customer"), strict=True))
_DEAL = tuple(_KINDS[letter] for letter in "mrqdmrpmdrimrdnmrdqm")
_BROKEN = {
    "quantity": ("twelve", "1O", "6.5", "2 pcs"),
    "unit_price": ("4.2.5", "£3.50", "1,25", "tbc"),
    "invoiced_at": ("0000-00-00 00:00:00", "31/12/2010 10:00", "2011-02-30 09:15:00"),
    "unit_price_negative": ("-11062.06", "-0.85"),
}
_ITEMS = {
    "Kitchen": ("CAKE TIN", "TEA TOWEL", "LUNCH BAG", "MUG, LARGE", "TRAY, BREAKFAST IN BED"),
    "Home": ("T-LIGHT HOLDER", "DOORMAT", 'FRAME 7" SINGLE SIZE', "HOT WATER BOTTLE", "CUSHION"),
    "Stationery": ("GIFT WRAP", "BIRTHDAY CARD", "NOTEBOOK", "PENCILS, SET OF 12", "RECIPE BOX"),
    "Garden": ("WATERING CAN", "PARASOL", "BUNTING", 'WINDMILL 12"'),
}
_LOOKS, _MOTIFS, _FIRST, _LAST = (
    words.split()
    for words in (
        "WHITE RED BLUE PINK IVORY VINTAGE RETRO RUSTIC KNITTED SILVER WOODEN ENAMEL PAISLEY POLKADOT",
        "HEART LANTERN OWL SPACEBOY WOODLAND DOLLY ROSE STAR UNION REGENCY BIRD ALPHABET STRAWBERRY",
        "Amira Ben Chloe Dev Elena Finn Grace Hugo Isla Jonas Kavya Liam Mara Noah Orla Priya Ruth Sam",
        "Abbott Baker Costa Doyle Evans Fischer Grant Hughes Iqbal Jensen Keller Lopez Moore Novak Owen",
    )
)
_COUNTRIES = ("United Kingdom",) * 27 + ("Germany", "France", "EIRE", "Spain", "Netherlands", "Italy")
_SEGMENTS = ("retail", "retail", "retail", "wholesale", "trade")


@dataclass(frozen=True)
class Planted:
    """What one delivered file holds. `lines`: kind -> physical line numbers (1-based; the header is line 1).

    The figures are the file's own: a redelivered file's rows are accepted once, under the name it repeats.
    """

    rows: int  # data rows = accepted + rejected + duplicates
    accepted: int  # with returns and lines without customer
    rejected: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REJECTIONS, 0))
    duplicates: int = 0
    returns: int = 0
    missing_customer: int = 0
    lines: dict[str, list[int]] = field(default_factory=dict)
    redelivery_of: str | None = None
    version: int = 1


@dataclass(frozen=True)
class Sample:
    """What a landing folder now holds (`files`, by path under it) and what this call `wrote`."""

    files: dict[str, Planted]
    wrote: tuple[str, ...]

    @property
    def redelivered(self) -> tuple[str, ...]:
        return tuple(name for name, file in self.files.items() if file.redelivery_of)

    @property
    def restated(self) -> tuple[str, ...]:
        return tuple(name for name, file in self.files.items() if file.version > 1 and not file.redelivery_of)


def simulate(
    landing: Path,
    *,
    days: int,
    rows_per_day: int,
    seed: int,
    dirt: float,
    until: date,
    restated: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Sample:
    """Deliver the `days` calendar days ending with `until` into `landing`; what is already there stays.

    `rows_per_day` is exact: the data rows of a day's order lines before duplicates are planted among them
    (demand shows in the quantities). `dirt` is the share of these rows that get one kind of dirt each.
    With dirt, about one day a month is delivered again under another name. One is restated: the call that
    goes on to a later `until`, two days or more past a day already there, replaces its file, unless
    `restated` is off. Raises ValueError for figures out of range and for a landing of another world.
    """
    if days < 1 or not 1 <= rows_per_day <= _MAX_ROWS or not 0 <= dirt <= 1:
        raise ValueError(
            f"days={days} must be 1 or more, rows_per_day={rows_per_day} 1 to {_MAX_ROWS}, "
            f"dirt={dirt} 0 to 1; nothing was written"
        )
    world = {"seed": seed, "rows_per_day": rows_per_day, "dirt": dirt}
    account = landing / ACCOUNT
    before = json.loads(account.read_text("utf-8")) if account.exists() else {**world, "files": {}}
    if (there := {key: before[key] for key in world}) != world:
        raise ValueError(f"{landing} holds the sample world {there}, not {world}; choose another folder")
    held = {name: Planted(**file) for name, file in before["files"].items()}
    files, wrote, past = dict(held), list[str](), 0

    def deliver(name: str, write: Callable[[Path], Planted], *, replace: bool = False) -> None:
        if not replace and name in files and (landing / name).exists():
            return
        with _atomically(landing / name, replace=replace) as (temporary, changed):
            files[name] = write(temporary)
        if changed:
            wrote.append(name)
            if progress:
                progress(f"{name}: {past} of {days} days")

    write_day = partial(_write_order_lines, seed=seed, rows_per_day=rows_per_day, dirt=dirt)
    window = [until - timedelta(days=back) for back in reversed(range(days))]
    for day in _mondays(window):
        deliver(f"{PRODUCTS}/{day}.parquet", partial(_write_products, day=day, seed=seed))
    for day in window:
        past += 1
        first = all(path.name >= f"{day}" for path in (landing / CUSTOMERS).glob("*.ndjson"))
        deliver(f"{CUSTOMERS}/{day}.ndjson", partial(_write_customers, day=day, seed=seed, everyone=first))
        if _trading(day):
            name = _order_lines(day)
            version = files[name].version if name in files else 1
            deliver(name, partial(write_day, day=day, version=version))
    for day in _redelivered(window, seed, files) if dirt else ():
        name = _order_lines(day)
        write = partial(_write_copy, landing=landing, name=name, of=files[name])
        deliver(f"{ORDER_LINES}/{day}_resent.csv", write)
    goes_on = before.get("until", "9999") < until.isoformat()
    for day in _restated(until, seed, held, files) if dirt and restated and goes_on else ():
        deliver(_order_lines(day), partial(write_day, day=day, version=2), replace=True)

    last = max(until.isoformat(), before.get("until", ""))
    told = {
        **world,
        "days": days,
        "until": last,
        "files": {name: asdict(file) for name, file in files.items()},
    }
    with _atomically(account, replace=True) as (temporary, _):
        temporary.write_text(json.dumps(told), "utf-8")
    return Sample(files, tuple(wrote))


# ---- days and chance


def _rng(*of: object) -> random.Random:
    return random.Random("/".join(map(str, of)))  # noqa: S311 - a sample, not a secret


def _trading(day: date) -> bool:
    return day.weekday() != 5


def _order_lines(day: date) -> str:
    return f"{ORDER_LINES}/{day}.csv"


def _mondays(window: list[date]) -> list[date]:
    """The days of a price list: every Monday, from the one at or before the first day."""
    first = window[0] - timedelta(days=window[0].weekday())
    return [first + timedelta(days=ahead) for ahead in range(0, (window[-1] - first).days + 1, 7)]


def _day_of_month(seed: int, day: date, purpose: str) -> date:
    """The month's trading day that is restated (in its first third) or redelivered (in its second)."""
    first = {"restated": 1, "redelivered": 12}[purpose]
    chosen = day.replace(day=first + _rng(seed, purpose).randrange(9))
    return chosen if _trading(chosen) else chosen + timedelta(days=1)


def _redelivered(window: list[date], seed: int, files: dict[str, Planted]) -> list[date]:
    steady = [day for day in window if _trading(day) and day != _day_of_month(seed, day, "restated")]
    days = [day for day in steady if day == _day_of_month(seed, day, "redelivered") and day < window[-1]]
    if not days and len(window) >= 3 and not any(file.redelivery_of for file in files.values()):
        return steady[:1]  # a short world has its redelivery too
    return days


def _restated(until: date, seed: int, held: dict[str, Planted], files: dict[str, Planted]) -> list[date]:
    """Of the days held before this call and over for two days: a redelivered day keeps its one version."""
    copied = {file.redelivery_of for file in files.values()}
    names = [name for name in sorted(held) if name.startswith(ORDER_LINES) and not held[name].redelivery_of]
    versions = {date.fromisoformat(Path(name).stem): held[name].version for name in names if name not in copied}
    due = [day for day in versions if day + timedelta(days=1) < until]
    days = [day for day in due if day == _day_of_month(seed, day, "restated")]
    if not days and all(versions[day] == 1 for day in due):
        return due[:1]  # a short world has its restatement too
    return [day for day in days if versions[day] == 1]


def _mixed(counter: pl.Expr, salt: int) -> pl.Expr:
    """64 well-spread bits per counter: splitmix64, whose arithmetic is the same wherever it runs."""
    bits = counter * pl.lit(0x9E3779B97F4A7C15, pl.UInt64) + pl.lit(salt, pl.UInt64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        bits = bits.xor(bits // pl.lit(1 << shift, pl.UInt64)) * pl.lit(factor, pl.UInt64)
    return bits


def _draw(bits: str, shift: int, size: int) -> pl.Expr:
    """16 of the bits as a number below `size` (at most 65,536)."""
    return pl.col(bits) // (1 << shift) % 65_536 * size // 65_536


def _draw_early(bits: str, shift: int, size: int) -> pl.Expr:
    """As `_draw`, but low numbers are the likelier: a few articles and customers make most of the trade."""
    sixteen = pl.col(bits) // (1 << shift) % 65_536
    return sixteen * sixteen * size // (1 << 32)


def _pick(table: list[str] | pl.Series, index: pl.Expr) -> pl.Expr:
    return pl.lit(pl.Series(values=table, dtype=pl.String)).gather(index)


# ---- products


@cache
def _articles(seed: int) -> pl.DataFrame:
    """Every article, best sellers first."""
    rng = _rng(seed, "articles")
    items = [(item, category) for category, items in _ITEMS.items() for item in items]
    goods = rng.sample(list(product(_LOOKS, _MOTIFS, items)), _ARTICLES)
    codes = rng.sample(range(20_000, 90_000), _ARTICLES)
    return pl.DataFrame(
        {
            "stock_code": [f"{code}{rng.choice(('', '', '', 'A', 'B'))}" for code in codes],
            "description": [f"{look} {motif} {item}" for look, motif, (item, _) in goods],
            "category": [category for _, _, (_, category) in goods],
        }
    )


def _week(day: date) -> int:
    return (day.toordinal() - 1) // 7


@cache
def _pence(seed: int, week: int) -> list[int]:
    """Every article's list price in a week; each is repriced every 5 to 15 weeks."""
    rng, prices = _rng(seed, "prices"), list[int]()
    for article in range(_ARTICLES):
        base, every, offset = rng.choice(_PENCE), rng.randrange(5, 16), rng.randrange(15)
        change = _rng(seed, "price", article, (week + offset) // every).randrange(-8, 13)
        prices.append(base + base * change // 100)
    return prices


def _write_products(path: Path, *, day: date, seed: int) -> Planted:
    prices = pl.Series([Decimal(pence) / 100 for pence in _pence(seed, _week(day))], dtype=pl.Decimal(18, 4))
    _articles(seed).with_columns(list_price=prices, effective_on=day).write_parquet(path)
    return Planted(rows=_ARTICLES, accepted=_ARTICLES)


# ---- customers


def _customer(seed: int, number: int, registered: date) -> Customer:
    rng = _rng(seed, "customer", number)
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    return {
        "customer_id": f"{number}",
        "name": f"{first} {last}",
        "email": f"{first}.{last}.{number}@example.com".lower(),
        "country": rng.choice(_COUNTRIES),
        "segment": rng.choice(_SEGMENTS),
        "registered_on": f"{registered}",
        "updated_at": f"{registered}T{rng.randrange(7, 22):02}:{rng.randrange(60):02}:00Z",
    }


@cache
def _regulars(seed: int) -> list[Customer]:
    since, rng = date(2004, 1, 5), _rng(seed, "customers")
    return [_customer(seed, n, since + timedelta(days=rng.randrange(2000))) for n in range(12_346, 16_346)]


@cache
def _newcomers(seed: int, day: date) -> list[Customer]:
    first = 20_000 + 2 * (day.toordinal() - 730_000)
    return [_customer(seed, first + i, day) for i in range(_rng(seed, "newcomers", day).randrange(3))]


def _everyone(seed: int, day: date) -> list[Customer]:
    """Whoever may buy on `day`: the regulars, and who registered within the last quarter."""
    quarter = (day - timedelta(days=back) for back in range(90, -1, -1))
    return [*_regulars(seed), *(customer for then in quarter for customer in _newcomers(seed, then))]


def _changes(seed: int, day: date) -> list[Customer]:
    """The day's newcomers, and some regulars with another e-mail address or segment."""
    rng, changes = _rng(seed, "changes", day), list(_newcomers(seed, day))
    for customer in rng.sample(_regulars(seed), 6):
        at = f"{day}T{rng.randrange(7, 22):02}:{rng.randrange(60):02}:{rng.randrange(60):02}Z"
        user = customer["email"].partition("@")[0]
        segment = {"retail": "trade", "trade": "wholesale", "wholesale": "retail"}[customer["segment"]]
        another = rng.choice(({"email": f"{user}.{day:%y%m%d}@example.com"}, {"segment": segment}))
        changes.append({**customer, **another, "updated_at": at})
    return changes


def _write_customers(path: Path, *, day: date, seed: int, everyone: bool) -> Planted:
    customers = _everyone(seed, day) if everyone else _changes(seed, day)
    path.write_text("".join(json.dumps(customer) + "\n" for customer in customers), "utf-8")
    return Planted(rows=len(customers), accepted=len(customers))


# ---- order lines


def _write_order_lines(path: Path, *, day: date, seed: int, rows_per_day: int, dirt: float, version: int) -> Planted:
    """A day's file; version 2 has two lines more at its end and a hundredth of the clean quantities mended.

    A line is a function of its number, so a file is written in chunks and a duplicate is its number again.
    """
    rows, rng = rows_per_day, _rng(seed, "order_lines", day)
    line_of = _line_writer(day, seed, rows, rng.getrandbits(64))
    offset, dirty = rng.randrange(len(_DEAL)), rng.sample(range(rows), round(rows * dirt))
    plan = [(i, _DEAL[(offset + deal) % len(_DEAL)]) for deal, i in enumerate(dirty)]
    # A duplicate follows its original anywhere later: behind the line numbered `behind`.
    repeats = pl.DataFrame(
        [(i, rng.randrange(i, rows)) for i, kind in plan if kind == "duplicates"],
        schema={"i": pl.UInt64, "behind": pl.UInt64}, orient="row",
    ).with_columns(kind=pl.lit("duplicates"))  # fmt: skip
    touched = [(i, kind, rng.choice(_BROKEN.get(kind, ("",)))) for i, kind in plan if kind != "duplicates"]
    if version > 1:
        taken, mended = set(dirty), rng.sample(range(rows), min(rows, max(3, rows // 100)))
        touched += [(i, "mended", "") for i in mended if i not in taken]
    changes = pl.DataFrame(touched, schema={"i": pl.UInt64, "kind": pl.String, "value": pl.String}, orient="row")

    lines: dict[str, list[int]] = {kind: [] for kind in _KINDS.values()}
    total = rows + (2 if version > 1 else 0)
    line = 2
    with path.open("wb") as file:
        for start in range(0, total, _CHUNK):
            end = min(start + _CHUNK, total)
            numbers = pl.select(i=pl.int_range(start, end, dtype=pl.UInt64))
            own = changes.filter(pl.col("i").is_between(start, end, closed="left"))
            again = repeats.filter(pl.col("behind").is_between(start, end, closed="left"))
            chunk = numbers.join(own, on="i", how="left", maintain_order="left")
            if len(again):
                chunk = pl.concat([chunk.with_columns(behind=pl.col("i")), again], how="diagonal")
                chunk = chunk.sort("behind", maintain_order=True)
            for at, kind in chunk.with_row_index("line", line).select("line", "kind").drop_nulls().iter_rows():
                if kind in lines:
                    lines[kind].append(at)
            _dirtied(line_of(chunk)).write_csv(file, include_header=start == 0)
            line += len(chunk)

    rejected = {kind: len(lines[kind]) for kind in REJECTIONS}
    repeated, returns, missing = (len(lines[kind]) for kind in ("duplicates", "returns", "missing_customer"))
    accepted = total - sum(rejected.values())
    return Planted(line - 2, accepted, rejected, repeated, returns, missing, lines, version=version)


def _line_writer(day: date, seed: int, rows: int, salt: int) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Makes the clean order lines of a chunk of numbers `i`, keeping its order, `kind` and `value`."""
    cycle = sum(_INVOICE_LINES)
    place = [(n, j) for n, size in enumerate(_INVOICE_LINES) for j in range(size)]
    invoice_in_cycle = pl.lit(pl.Series([n for n, _ in place], dtype=pl.UInt64))
    line_in_invoice = pl.lit(pl.Series([j for _, j in place], dtype=pl.UInt64))
    invoices_per_day = ((rows + 1) // cycle + 1) * len(_INVOICE_LINES)
    first_invoice = day.toordinal() * invoices_per_day

    pence, customers = _pence(seed, _week(day)), _everyone(seed, day)
    _rng(seed, "crowd").shuffle(customers)  # so that the best customers are not the oldest
    demand = _WEEKDAYS[day.weekday()] * _MONTHS[day.month - 1] * 1.02 ** ((day - date(2011, 1, 1)).days / 365)
    quantities = [f"{_PACKS[int(len(_PACKS) * (n / 240) ** (1 / demand))]}" for n in range(240)]
    codes, texts = _articles(seed)["stock_code"], _articles(seed)["description"]
    texts = pl.concat([texts, texts, texts + " "])
    prices = [f"{p / 100}" for off in (0, 0, 0, 0, 0, 10) for p in (q - q * off // 100 for q in pence)]
    minutes = [f"{day} {minute // 60:02}:{minute % 60:02}:00" for minute in range(8 * 60, 20 * 60)]
    buyers = [f"{customer['customer_id']}.0" for customer in customers]
    countries = [customer["country"] for customer in customers]

    def write(chunk: pl.DataFrame) -> pl.DataFrame:
        i, j, begun = pl.col("i"), pl.col("j"), (pl.col("i") - pl.col("j")).cast(pl.Float64) / rows
        # Of the day from 0 to 1: rises throughout, slowest at two o'clock, which is the busiest therefore.
        time = begun + 1.2 * begun * (1 - begun) * (1 - 2 * begun)
        return (
            chunk.with_columns(
                j=line_in_invoice.gather(i % cycle),
                invoice=i // cycle * len(_INVOICE_LINES) + invoice_in_cycle.gather(i % cycle),
                bits=_mixed(i, salt),
            )
            .with_columns(invoice_bits=_mixed(pl.col("invoice"), salt ^ 0xFFFF))
            .with_columns(
                article=(_draw_early("invoice_bits", 0, _ARTICLES) + j * (1 + _draw("invoice_bits", 16, 7)))
                % _ARTICLES,
                buyer=_draw_early("invoice_bits", 32, len(buyers)),
            )
            .select(
                "kind",
                "value",
                InvoiceNo=((pl.col("invoice") + first_invoice) % _INVOICES + 100_000).cast(pl.String),
                StockCode=_pick(codes, pl.col("article")),
                Description=_pick(texts, pl.col("article") + _draw("bits", 0, 3) * _ARTICLES),
                Quantity=_pick(quantities, _draw("bits", 16, len(quantities))),
                InvoiceDate=_pick(minutes, (time * len(minutes)).floor().clip(0, len(minutes) - 1).cast(pl.UInt32)),
                UnitPrice=_pick(prices, pl.col("article") + _draw("bits", 32, 6) * _ARTICLES),
                CustomerID=_pick(buyers, pl.col("buyer")),
                Country=_pick(countries, pl.col("buyer")),
            )
        )

    return write


def _dirtied(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines with the dirt of their `kind` applied, in the columns of the file."""
    if lines["kind"].null_count() == len(lines):
        return lines.drop("kind", "value")
    kind, value = pl.col("kind"), pl.col("value")

    def where(*kinds: str) -> pl.Expr:
        return kind.is_in(kinds)

    quantity = (
        pl.when(where("returns")).then(pl.lit("-") + pl.col("Quantity"))
        .when(where("mended")).then(pl.lit("1") + pl.col("Quantity"))
        .when(where("quantity")).then(value).otherwise("Quantity")
    )  # fmt: skip
    return lines.with_columns(
        InvoiceNo=pl.when(where("returns")).then(pl.lit("C") + pl.col("InvoiceNo")).otherwise("InvoiceNo"),
        Quantity=quantity,
        InvoiceDate=pl.when(where("invoiced_at")).then(value).otherwise("InvoiceDate"),
        UnitPrice=pl.when(where("unit_price", "unit_price_negative")).then(value).otherwise("UnitPrice"),
        CustomerID=pl.when(where("missing_customer")).then(None).otherwise("CustomerID"),
    ).drop("kind", "value")


# ---- files


def _write_copy(path: Path, *, landing: Path, name: str, of: Planted) -> Planted:
    shutil.copyfile(landing / name, path)
    return Planted(**{**asdict(of), "redelivery_of": name})


@contextmanager
def _atomically(path: Path, *, replace: bool) -> Iterator[tuple[Path, list[Path]]]:
    """A temporary file to write, which then appears at `path` at once; yields also where it says if it did.

    The same bytes leave the file as it is; other bytes need `replace`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, changed = path.with_name(f".{path.name}.tmp"), list[Path]()
    try:
        yield temporary, changed
        there = path.exists()
        if there and cmp(temporary, path, shallow=False):
            return
        if there and not replace:
            raise ValueError(f"{path} is not of this sample world and was kept; choose another folder")
        temporary.replace(path)
        changed.append(path)
    finally:
        temporary.unlink(missing_ok=True)
