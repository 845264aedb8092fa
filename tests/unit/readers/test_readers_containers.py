"""Packed deliveries read as their plain content does, or are refused: whole, bounded, and without leaving a trace."""

import codecs
import gzip
import io
import itertools
import random
import resource
import signal
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st
from shop import OpenSales, Shop, sales

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.feed.feed import Files, seconds
from platform_assets.engine.feed.formats import Csv, Format
from platform_assets.engine.readers import Reader, open_reader, text
from platform_assets.engine.readers.limits import LIMITS, Limits
from platform_assets.engine.readers.packing import zip as archives
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished, StorageError

Row = tuple[Any, ...]
PLAIN = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * 7919) for n in range(5000))


def zst(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zst,
    ".zip": lambda content: zipped({"a.csv": content}),
}


def opened(folder: Path, content: bytes, name: str, form: Format | None = None, limits: Limits = LIMITS) -> Reader:
    copy = folder / "copy"
    copy.write_bytes(content)
    return open_reader(copy, name, Files("*", format=form), limits=limits)


def rows_of(reader: Reader) -> list[Row]:
    """(line, fields) of all records, which are sound and reconcile."""
    rows: list[Row] = []
    for batch in reader.batches({name: name for name in reader.header}):
        assert batch.malformed.is_empty()
        assert batch.frame.columns == ["_line", *reader.header]
        rows += batch.frame.rows()
    reader.reconcile(len(rows))
    return rows


def read(folder: Path, content: bytes, name: str, form: Format | None = None) -> list[Row]:
    return rows_of(opened(folder, content, name, form))


def plain_copies(folder: Path) -> list[Path]:
    return list(folder.glob(".claiming-*"))


@pytest.mark.parametrize("suffix", PACKINGS)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.ndjson"])
def test_what_is_packed_reads_as_its_content_does(tmp_path: Path, name: str, suffix: str) -> None:
    content = {
        "a.csv": 'a,b\r\n1,"x\ny"\n\n3,é\n',
        "a.tsv": "a\tb\n1\t2\n",
        "a.ndjson": '{"a":1,"b":"é"}\n{"a":2,"b":null}\n',
    }[name].encode()
    packed = PACKINGS[suffix](content) if suffix != ".zip" else zipped({name: content})
    assert read(tmp_path, packed, name + suffix) == read(tmp_path, content, name) != []
    assert read(tmp_path, packed, (name + suffix).upper()) == read(tmp_path, content, name)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_members_and_frames_one_after_another_are_one_content(tmp_path: Path, suffix: str) -> None:
    pieces = [b"a,b\n1", b"", b",2\n3,4\n", PLAIN[4:]]
    packed = b"".join(map(PACKINGS[suffix], pieces))
    assert read(tmp_path, packed, f"a.csv{suffix}") == read(tmp_path, b"".join(pieces), "a.csv")


@pytest.mark.parametrize("suffix", PACKINGS)
def test_what_holds_nothing_has_no_header(tmp_path: Path, suffix: str) -> None:
    for packed in (b"", PACKINGS[suffix](b""), zipped({}) if suffix == ".zip" else b""):
        reader = opened(tmp_path, packed, f"a.csv{suffix}")
        assert reader.header == ()
        reader.reconcile(0)


@pytest.mark.parametrize("suffix", PACKINGS)
def test_what_stops_short_is_unfinished_wherever_it_does(tmp_path: Path, suffix: str) -> None:
    packed = PACKINGS[suffix](PLAIN)
    for kept in (4, 5, 9, 12, 30, 400, len(packed) // 2, len(packed) - 9, len(packed) - 1):
        with pytest.raises(DeliveryUnfinished, match=r"ends before its (content|directory) does"):
            opened(tmp_path, packed[:kept], f"a.csv{suffix}")
    assert plain_copies(tmp_path) == []


@pytest.mark.parametrize("suffix", PACKINGS)
def test_what_is_no_such_file_is_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DeliveryRefused, match=r"damaged (gzip|zstd|zip)"):
        opened(tmp_path, b"a,b\n1,2\n", f"a.csv{suffix}")


@pytest.mark.parametrize("suffix", PACKINGS)
def test_with_any_bit_flipped_it_is_never_read_as_something_else(tmp_path: Path, suffix: str) -> None:
    packed, bits = PACKINGS[suffix](PLAIN), random.Random(1)
    expected, refused = read(tmp_path, packed, f"a.csv{suffix}"), 0
    for _ in range(100):
        damaged = bytearray(packed)
        damaged[bits.randrange(len(packed))] ^= 1 << bits.randrange(8)
        try:
            assert read(tmp_path, bytes(damaged), f"a.csv{suffix}") == expected  # a bit of no meaning, as of a date
        except (DeliveryRefused, DeliveryUnfinished):
            refused += 1
    assert refused > 90
    assert plain_copies(tmp_path) == []


@pytest.mark.parametrize("suffix", [".gz", ".zip"])
def test_a_wrong_checksum_is_refused_before_any_row(tmp_path: Path, suffix: str) -> None:
    packed = bytearray(PACKINGS[suffix](PLAIN))
    packed[-6 if suffix == ".gz" else packed.find(b"PK\1\2") + 16] ^= 1  # the CRC in the trailer, in the directory
    with pytest.raises(DeliveryRefused, match=r"damaged .*CRC"):
        opened(tmp_path, bytes(packed), f"a.csv{suffix}")


def bomb(suffix: str) -> bytes:
    """800 MB, but cheaply made."""
    block, times = b"1,1\n" * (2 << 20), 100
    if suffix != ".zip":
        return PACKINGS[suffix](block) * times
    deflate = zlib.compressobj(wbits=-15)
    packed = bytearray(
        zipped(
            {"a.csv": (deflate.compress(block) + deflate.flush(zlib.Z_FULL_FLUSH)) * times + deflate.flush()},
            zipfile.ZIP_STORED,
        )
    )
    # What was stored is said to be deflated, in the member's own header and in the directory.
    for start, method, size in ((0, 8, 22), (packed.rfind(b"PK\1\2"), 10, 24)):
        struct.pack_into("<H", packed, start + method, zipfile.ZIP_DEFLATED)
        struct.pack_into("<L", packed, start + size, len(block) * times)
    return bytes(packed)


_UNPACK_A_BOMB = """
import sys
from pathlib import Path
from platform_assets.engine.feed.feed import Files
from platform_assets.engine.readers import open_reader
from platform_assets.engine.readers.limits import LIMITS, Limits
from platform_assets.errors import DeliveryRefused
try:
    open_reader(Path(sys.argv[1]), sys.argv[2], Files("*"))
except DeliveryRefused as error:
    print(error.what)
# Not what getrusage says: a child's peak starts there at its parent's.
print("peak_kb", next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize("suffix", PACKINGS)
def test_a_bomb_is_refused_in_bounded_memory_and_space(tmp_path: Path, suffix: str) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(bomb(suffix))
    # What is unpacked is a third of the bomb at most.
    with subprocess.Popen(
        [sys.executable, "-c", _UNPACK_A_BOMB, str(copy), f"a.csv{suffix}"],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300 << 20, 300 << 20)),
    ) as process:
        assert process.stdout is not None
        said, _, peak_kb = process.stdout.read().decode().partition("peak_kb")
    assert process.returncode == 0
    assert "unpacks to more than 300 times its size" in said
    assert int(peak_kb) < 500 << 10
    assert plain_copies(tmp_path) == []


def test_a_bomb_of_many_members_is_one_too(tmp_path: Path) -> None:
    limits = Limits(unpacked=1 << 20)
    with pytest.raises(DeliveryRefused, match=r"[2-9]\.csv: unpacks to more than 300 times its size"):
        opened(tmp_path, zipped({f"{n}.csv": b"1,1\n" * (1 << 18) for n in range(10)}), "a.zip", limits=limits)


def test_a_bomb_packed_twice_is_one_too(tmp_path: Path) -> None:
    limits = Limits(unpacked=1 << 20)
    inner = gzip.compress(b"1,1\n" * (1 << 18)) * 20
    assert len(inner) < 1 << 20
    with pytest.raises(DeliveryRefused, match="unpacks to more than 300 times its size"):
        opened(tmp_path, zipped({"a.csv.gz": inner}), "a.zip", limits=limits)


# Plain copies


@pytest.mark.parametrize("suffix", PACKINGS)
def test_the_plain_copy_is_gone_with_the_reader(tmp_path: Path, suffix: str) -> None:
    reader = opened(tmp_path, PACKINGS[suffix](PLAIN), f"a.csv{suffix}")
    (copy,) = plain_copies(tmp_path)
    assert copy.read_bytes() == PLAIN
    assert len(rows_of(reader)) == 5000
    del reader
    assert plain_copies(tmp_path) == []


@pytest.mark.parametrize("suffix", PACKINGS)
def test_the_plain_copy_is_gone_when_its_content_is_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DeliveryRefused, match="byte 5 is not utf-8"):
        opened(tmp_path, PACKINGS[suffix](b"a,b\nn\xe9,1\n"), f"a.csv{suffix}")
    assert plain_copies(tmp_path) == []


_DIE_READING = """
import os, signal, sys
from pathlib import Path
from platform_assets.engine.feed.feed import Files
from platform_assets.engine.readers import open_reader
reader = open_reader(Path(sys.argv[1]), "a.csv.gz", Files("*"), scratch=Path(sys.argv[2]))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_sweep_spares_the_plain_copy_in_use_and_takes_that_of_a_killed_process(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")
    scratch = archive.root / "sales"
    scratch.mkdir(parents=True)
    packed = tmp_path / "copy"
    packed.write_bytes(gzip.compress(PLAIN))
    killed = subprocess.run([sys.executable, "-c", _DIE_READING, str(packed), str(scratch)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left_behind,) = plain_copies(scratch)
    reader = open_reader(packed, "a.csv.gz", Files("*"), scratch=scratch)
    archive.sweep()
    assert not left_behind.exists()
    assert len(rows_of(reader)) == 5000


def test_a_full_disk_is_no_fault_of_the_delivery(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    packed = gzip.compress(PLAIN)
    copy = tmp_path / "copy"
    copy.write_bytes(packed)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(PLAIN) // 2, before[1]))
        with pytest.raises(StorageError):
            open_reader(copy, "a.csv.gz", Files("*"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert plain_copies(tmp_path) == []


# Encodings


@pytest.mark.parametrize("size", [7, 8 << 20])
@pytest.mark.parametrize("suffix", ["", *PACKINGS])
@pytest.mark.parametrize(
    ("mark", "encoding", "found"),
    [
        (b"", "utf-8", "utf-8"),
        (codecs.BOM_UTF8, "utf-8", "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16-le", "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be", "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le", "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be", "utf-32-be"),
    ],
)
def test_the_byte_order_mark_tells_the_encoding(
    tmp_path: Path, mark: bytes, encoding: str, found: str, suffix: str, size: int
) -> None:
    limits = Limits(at_once=size)
    content = mark + "a,b\nné,𝄞\n".encode(encoding)
    reader = opened(tmp_path, PACKINGS[suffix](content) if suffix else content, f"a.csv{suffix}", limits=limits)
    assert reader.dialect["encoding"] == found
    assert rows_of(reader) == [(2, "né", "𝄞")]


@pytest.mark.parametrize(
    ("content", "byte"),
    [(b"a,b\nn\xe9,1\n", 5), (b"\xff\xfea\x00\n\x00\x00\xd8", 6), (b"a\n\xed\xa0\x80\n", 2), (b"a\n\xc3", 2)],
)
def test_what_has_no_mark_and_is_not_utf_8_is_refused_saying_what_to_declare(
    tmp_path: Path, content: bytes, byte: int
) -> None:
    with pytest.raises(DeliveryRefused, match=f"byte {byte} is not utf-") as refused:
        opened(tmp_path, content, "a.csv")
    assert ("encoding" in refused.value.remedy, refused.value.guess) == (True, True)


def chunks_of(folder: Path, content: bytes, size: int, encoding: str | None = None) -> list[bytes]:
    (folder / "copy").write_bytes(content)
    return list(text.Text(folder / "copy", encoding, Limits(at_once=size)).chunks())


@given(content=st.binary(max_size=60) | st.text(max_size=40).map(str.encode), size=st.sampled_from([3, 8, 8 << 20]))
@example(content=b"x\r\ny\rz\r\n", size=3)
def test_utf_8_is_what_decoding_says_it_is_and_arrives_unchanged_in_whole_lines(
    tmp_path: Path, content: bytes, size: int
) -> None:
    if any(content.startswith(mark) for mark, name in text.MARKS if name != "utf-8-sig"):
        return
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        with pytest.raises(DeliveryRefused, match=f"byte {error.start} is not utf-8"):
            chunks_of(tmp_path, content, size)
        return
    chunks = chunks_of(tmp_path, content, size)
    assert b"".join(chunks) == content.removeprefix(codecs.BOM_UTF8)
    for chunk, following in itertools.pairwise(chunks):
        assert chunk.endswith((b"\n", b"\r"))
        assert not (chunk.endswith(b"\r") and following.startswith(b"\n"))


@given(content=st.text("aé𝄞\r\n", max_size=40), size=st.sampled_from([3, 8, 8 << 20]))
def test_every_encoding_arrives_as_the_same_text(tmp_path: Path, content: str, size: int) -> None:
    for encoding in ("utf-16", "utf-16-be", "utf-32"):
        assert b"".join(chunks_of(tmp_path, content.encode(encoding), size, encoding)) == content.encode()


# Archives of several members


def test_members_are_read_one_after_another_and_every_row_is_placed(shop: Shop) -> None:
    shop.declare(contract=OpenSales, source=Files("sales/*.zip", settle=seconds(0)))
    receipt = shop.load(
        "a.zip",
        zipped(
            {
                "one.csv": sales("S1,1", "S2,x").encode(),
                "two.csv.gz": gzip.compress(b"quantity,sku,price,sold_at,email\n3,S3,,,\n\nx,S4,,,\n"),
                "empty.csv": sales().encode(),
                "three.csv": sales("S5,5", "bad,6").encode(),
            }
        ),
    )
    assert (receipt.status, receipt.read, receipt.accepted, receipt.rejected) == ("accepted", 6, 3, 3)
    assert [(part.name, part.records) for part in receipt.parts] == [
        ("one.csv", 2),
        ("two.csv.gz", 2),
        ("empty.csv", 0),
        ("three.csv", 2),
    ]
    assert shop.rows() == [("S1", 1), ("S3", 3), ("S5", 5)]
    assert [receipt.place(line) for line, *_ in shop.rejected()] == [
        ("sales/a.zip/one.csv", 3),
        ("sales/a.zip/two.csv.gz", 4),
        ("sales/a.zip/three.csv", 3),
    ]
    assert shop.receipts() == [receipt]
    assert shop.reconciles()
    assert shop.leftovers() == []


def test_a_packed_delivery_is_loaded_once_and_leaves_nothing_behind(shop: Shop) -> None:
    shop.declare(source=Files("sales/*.csv.*", settle=seconds(0)))
    receipt = shop.load("a.csv.zst", zst(sales("S1,1", "S2,2").encode()))
    assert (receipt.status, receipt.read, receipt.parts) == ("accepted", 2, ())
    assert shop.load("b.csv.zst", zst(sales("S1,1", "S2,2").encode())).status == "duplicate"
    assert shop.skus() == ["S1", "S2"]
    assert shop.leftovers() == []


@pytest.mark.parametrize("suffix", PACKINGS)
def test_a_packed_delivery_that_stops_short_is_waited_for_and_then_quarantined(shop: Shop, suffix: str) -> None:
    shop.declare(source=Files(f"sales/*{suffix}", settle=seconds(0), patience=seconds(60)))
    shop.deliver(f"a.csv{suffix}", PACKINGS[suffix](sales("S1,1").encode() * 50)[:-20])
    assert "ends before its" in shop.ingest().unfinished[f"sales/a.csv{suffix}"]
    assert shop.receipts() == []
    shop.clock.ahead += seconds(120)
    (receipt,) = shop.ingest().receipts
    assert (receipt.status, shop.skus(), shop.leftovers()) == ("quarantined", [], [])


def test_lines_name_rows_across_members(tmp_path: Path) -> None:
    reader = opened(tmp_path, zipped({"1.csv": b"a\n\nx\ny\n", "2.csv": b"a\n", "3.csv": b"a\nz\n"}), "a.zip")
    assert rows_of(reader) == [(3, "x"), (4, "y"), (6, "z")]
    assert [(part.name, part.lines_before, part.records) for part in reader.parts] == [
        ("1.csv", 0, 2),
        ("2.csv", 4, 0),
        ("3.csv", 4, 1),
    ]


def test_many_members_take_little_space_at_a_time(tmp_path: Path) -> None:
    members = {f"{n}.csv": b"a\n%d\n" % n for n in range(40)}
    reader = opened(tmp_path, zipped(members), "a.zip")
    copies = [len(plain_copies(tmp_path)) for _ in reader.batches({"a": "a"})]
    assert len(copies) == 40
    assert max(copies) <= archives._KEPT_OPEN + 1
    assert [value for _, value in rows_of(reader)] == [f"{n}" for n in range(40)]
    del reader
    assert plain_copies(tmp_path) == []


def test_members_may_have_their_columns_in_any_order(tmp_path: Path) -> None:
    assert read(tmp_path, zipped({"1.csv": b"a,b\n1,2\n", "2.csv": b"b,a\n2,1\n"}), "a.zip") == [
        (2, "1", "2"),
        (4, "1", "2"),
    ]


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        (b"a,c\n1,2\n", "2.csv: has other columns than 1.csv: lacks b; has besides c"),
        (b"a,b,c\n1,2,3\n", "2.csv: has other columns than 1.csv: has besides c"),
        (b"a,b,b\n1,2,3\n", "2.csv: has other columns than 1.csv: one of them twice"),
        (b"", "2.csv: has other columns than 1.csv: it is empty"),
    ],
)
def test_members_of_other_columns_are_refused(tmp_path: Path, second: bytes, problem: str) -> None:
    with pytest.raises(DeliveryRefused) as refused:
        opened(tmp_path, zipped({"1.csv": b"a,b\n1,2\n", "2.csv": second}), "a.zip")
    assert refused.value.what == problem


def test_objects_lack_keys_in_a_member_as_they_do_in_a_file(tmp_path: Path) -> None:
    packed = zipped({"1.ndjson": b'{"a":1}\n', "2.ndjson": b'{"b":2}\n'})
    assert read(tmp_path, packed, "a.zip") == [(1, "1", None), (2, None, "2")]


def test_members_of_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefused, match=r"2\.ndjson: is ndjson, but 1\.csv is csv"):
        opened(tmp_path, zipped({"1.csv": b"a\n1\n", "2.ndjson": b'{"a":1}\n'}), "a.zip")
    with pytest.raises(DeliveryRefused, match=r"2\.pdf: format of '2\.pdf' is not known"):
        opened(tmp_path, zipped({"1.csv": b"a\n1\n", "2.pdf": b"%PDF"}), "a.zip")
    with pytest.raises(DeliveryRefused, match=r"2\.zip: is an archive in an archive"):
        opened(tmp_path, zipped({"1.csv": b"a\n1\n", "2.zip": zipped({})}), "a.zip")


def test_the_declared_format_is_that_of_the_members(tmp_path: Path) -> None:
    packed = zipped({"1.csv": "a~b\né~2\n".encode("latin-1")})
    reader = opened(tmp_path, packed, "a.zip", Csv(delimiter="~", encoding="latin-1"))
    assert (reader.format, reader.dialect["delimiter"], reader.dialect["encoding"]) == ("csv", "~", "latin-1")
    assert rows_of(reader) == [(2, "é", "2")]


def test_what_differs_between_members_is_told(tmp_path: Path) -> None:
    packed = zipped({"1.csv": b"a,b\n1,2\n", "2.csv": codecs.BOM_UTF8 + b"a,b\n1,2\n"})
    assert opened(tmp_path, packed, "a.zip").dialect["encoding"] == "utf-8, utf-8-sig"


def test_parquet_members_are_read(tmp_path: Path) -> None:
    def parquet(*values: int) -> bytes:
        written = io.BytesIO()
        pl.DataFrame({"n": values}).write_parquet(written)
        return written.getvalue()

    packed = zipped({"1.parquet": parquet(1, 2), "k=v/2.parquet": parquet(3)})
    assert read(tmp_path, packed, "a.zip") == [(1, 1), (2, 2), (3, 3)]


def test_folders_hidden_files_and_what_a_desktop_adds_are_left_out_and_counted(tmp_path: Path) -> None:
    members = {
        "x/": b"",
        "x/.DS_Store": b"?",
        "__MACOSX/x/._1.csv": b"?",
        ".git/config.csv": b"?",
        "x/1.csv": b"a\n1\n",
    }
    reader = opened(tmp_path, zipped(members), "a.zip")
    assert reader.dialect["members left out"] == "4"
    assert [part.name for part in reader.parts] == ["x/1.csv"]
    assert rows_of(reader) == [(2, "1")]


@pytest.mark.parametrize("name", ["a*.csv", "x[1].csv", "k=v/a.csv", "a'\"b.csv", "new\nline.csv", "é ü.csv"])
def test_a_member_is_that_member_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    (tmp_path / "ab.csv").write_bytes(b"a\n9\n")
    reader = opened(tmp_path, zipped({name: b"a\n1\n"}), "a.zip")
    assert rows_of(reader) == [(2, "1")]
    assert [part.name for part in reader.parts] == [name]


@pytest.mark.parametrize(
    "name", ["../a.csv", "x/../../a.csv", "/etc/a.csv", "..\\a.csv", "\\a.csv", "C:/a.csv", "C:\\a.csv"]
)
def test_names_that_leave_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DeliveryRefused, match="leaves the archive by its name") as refused:
        opened(tmp_path, zipped({"1.csv": b"a\n1\n", name: b"a\n1\n"}), "a.zip")
    assert refused.value.what.startswith(name)


def with_member(edit: Callable[[zipfile.ZipInfo], None], content: bytes = b"a\n1\n") -> bytes:
    packed = io.BytesIO()
    member = zipfile.ZipInfo("m.csv")
    edit(member)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(member, content)
    return packed.getvalue()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    packed = with_member(lambda member: setattr(member, "external_attr", (kind | 0o644) << 16), b"/etc/passwd")
    with pytest.raises(DeliveryRefused, match=r"m\.csv: is a link or no regular file"):
        opened(tmp_path, packed, "a.zip")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    packed = bytearray(with_member(lambda _: None))
    packed[6] |= 1  # in the member's own header
    packed[packed.find(b"PK\1\2") + 8] |= 1  # in the directory
    with pytest.raises(DeliveryRefused, match=r"m\.csv: is encrypted"):
        opened(tmp_path, bytes(packed), "a.zip")


def test_other_methods_than_deflate_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefused, match=r"m\.csv: is not packed by deflate"):
        opened(tmp_path, zipped({"m.csv": b"a\n1\n"}, zipfile.ZIP_LZMA), "a.zip")


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("m.csv", b"a\n1\n")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("m.csv", b"a\n1\n")
    with pytest.raises(DeliveryRefused, match=r"m\.csv: is there twice"):
        opened(tmp_path, packed.getvalue(), "a.zip")


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    packed = bytearray(zipped({"1.csv": b"a\n1\n", "2.csv": b"a\n22222\n"}, zipfile.ZIP_STORED))
    packed[packed.find(b"22222")] ^= 1
    with pytest.raises(DeliveryRefused, match=r"2\.csv: damaged zip: Bad CRC-32"):
        opened(tmp_path, bytes(packed), "a.zip")


def test_a_member_that_was_packed_half_written_is_refused_for_it_will_not_change(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefused, match=r"1\.csv\.gz: the compressed file ends before its content does"):
        opened(tmp_path, zipped({"1.csv.gz": gzip.compress(PLAIN)[:500]}), "a.zip")


def test_what_is_wrong_in_a_member_names_it(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefused, match=r"2\.csv: byte 2 is not utf-8"):
        opened(tmp_path, zipped({"1.csv": b"a\n1\n", "2.csv": b"a\n\xff\n"}), "a.zip")


def test_the_directory_of_an_archive_within_is_not_taken_for_its_own(tmp_path: Path) -> None:
    within = zipped({"inner.csv": b"a\n1\n"})
    packed = zipped({"inner.zip": within, "2.csv": b"a\n2\n"}, zipfile.ZIP_STORED)
    cut = packed[: packed.find(within) + len(within)]
    assert zipfile.is_zipfile(io.BytesIO(cut))  # it would be read as the archive within
    with pytest.raises(DeliveryUnfinished, match="ends before its directory does"):
        opened(tmp_path, cut, "a.zip")


def test_an_archive_with_a_comment_is_read(tmp_path: Path) -> None:
    packed = io.BytesIO(zipped({"1.csv": b"a\n1\n"}))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.comment = b"by the nightly export"
    assert read(tmp_path, packed.getvalue(), "a.zip") == [(2, "1")]


def test_an_archive_written_to_a_pipe_is_read(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.written = b""

        def writable(self) -> bool:
            return True

        def write(self, piece: Any) -> int:
            self.written += bytes(piece)
            return len(piece)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.csv", PLAIN)
    assert len(read(tmp_path, pipe.written, "a.zip")) == 5000


def test_the_large_form_of_the_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
        packed = zipped({"1.csv": b"a\n1\n", "2.csv": b"a\n2\n"})
    assert b"PK\6\6" in packed
    assert read(tmp_path, packed, "a.zip") == [(2, "1"), (4, "2")]


@pytest.mark.parametrize("large_form_from", [1, 1 << 16])
def test_a_directory_of_too_many_members_is_refused_without_reading_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large_form_from: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", large_form_from)
        packed = zipped({f"{n}.csv": b"" for n in range(2_001)}, zipfile.ZIP_STORED)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(DeliveryRefused, match="an archive of 2001 members, more than 2000"):
        opened(tmp_path, packed, "a.zip")
