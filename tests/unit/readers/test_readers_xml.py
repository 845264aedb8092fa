"""XML deliveries: records by their path, fields by theirs; nothing is lost, nothing outside the file is read."""

import codecs
import random
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import examples
from shop import Shop

from platform_assets.engine.feed.feed import Files, seconds
from platform_assets.engine.feed.formats import Xml
from platform_assets.engine.readers import open_reader
from platform_assets.engine.readers.limits import LIMITS, Limits
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished

Row = dict[str, Any]


def read(
    folder: Path,
    content: str | bytes,
    records: str = "orders/order",
    wanted: tuple[str, ...] = (),
    limits: Limits = LIMITS,
) -> tuple[list[int], list[Row]]:
    """The lines and the rows (what is NULL left out), reconciled."""
    copy = folder / "copy"
    copy.write_bytes(content.encode() if isinstance(content, str) else content)
    reader = open_reader(copy, "a.xml", Files("*", format=Xml(records=records)), wanted, limits=limits)
    frames = [batch.frame for batch in reader.batches({name: name for name in reader.header})]
    rows = pl.concat(frames) if frames else pl.DataFrame({"_line": []})
    reader.reconcile(rows.height)
    fields = [{name: value for name, value in row.items() if value is not None} for row in rows.iter_rows(named=True)]
    return [row.pop("_line") for row in fields], fields


def order(content: str, attributes: str = "") -> str:
    return f"<orders><order{attributes}>{content}</order></orders>"


@pytest.fixture(params=[1, 7, 1 << 20], ids=["single bytes", "tiny chunks", "real chunks"])
def limits(request: pytest.FixtureRequest) -> Limits:
    """Deliveries cross the borders of chunks, wherever these fall."""
    return Limits(markup_at_once=request.param)


FIELDS: dict[str, tuple[str, tuple[str, ...], Row]] = {
    "children and attributes": (order("<sku>A</sku>", ' id="7"'), (), {"@id": "7", "sku": "A"}),
    "an attribute of a child": (order('<price in="GBP">3</price>'), (), {"price": "3", "price/@in": "GBP"}),
    "text as it is written": (order("<sku> A\n b </sku>"), (), {"sku": " A\n b "}),
    "blanks are text": (order("<sku>  </sku>"), (), {"sku": "  "}),
    "blanks over lines are layout": (order("<sku>\n  </sku><b>1</b>"), (), {"b": "1"}),
    "empty is NULL": (order("<sku/><b></b><c>1</c>"), (), {"c": "1"}),
    "nil is NULL": (
        order(
            '<sku x:nil="true">5</sku><b x:nil="false">1</b>', ' xmlns:x="http://www.w3.org/2001/XMLSchema-instance"'
        ),
        (),
        {"b": "1"},
    ),
    "entities and CDATA": (
        order("<sku>&lt;&#65;&amp;<![CDATA[<order>&amp;]]></sku>"),
        (),
        {"sku": "<A&<order>&amp;"},
    ),
    "comments and instructions": (
        order("<!-- <order> --><sku>a<!-- <order> -->b</sku><?order <order> ?>"),
        (),
        {"sku": "ab"},
    ),
    "repeated children": (order("<tag>a</tag><tag/><tag>b</tag>"), (), {"tag": '["a",null,"b"]'}),
    "repeated children with attributes": (
        order('<tag n="1">a</tag><tag>b</tag>'),
        (),
        {"tag": '[{"@n":"1","#text":"a"},"b"]'},
    ),
    "an element with children, not asked for": (
        order('<to id="1"><city>Ulm</city><zip/></to>'),
        (),
        {"to": '{"@id":"1","city":"Ulm","zip":null}'},
    ),
    "a path into an element": (
        order('<to id="1"><city>Ulm</city><zip>8</zip></to>'),
        ("to/city",),
        {"to/@id": "1", "to/city": "Ulm", "to/zip": "8"},
    ),
    "a deep path": (
        order("<a><b><c>1</c></b><d><e>2</e></d></a>"),
        ("A/B/C",),
        {"a/b/c": "1", "a/d": '{"e":"2"}'},
    ),
    "a path into what is only text": (order("<to>Ulm</to>"), ("to/city",), {"to": "Ulm"}),
    "a path into what is repeated": (
        order("<line><sku>a</sku><n>1</n></line><line><sku>b</sku></line>"),
        ("line/sku",),
        {"line/sku": '["a","b"]', "line/n": '["1",null]'},
    ),
    "mixed content": (order("<note>see <b>x</b> there</note>"), (), {"note": '{"b":"x","#text":"see  there"}'}),
    "a record that is only text": (order("5"), (), {"#text": "5"}),
    "namespaces": (
        '<o:orders xmlns:o="urn:o" xmlns:p="urn:p"><o:order p:id="1"><p:sku>A</p:sku></o:order></o:orders>',
        (),
        {"@id": "1", "sku": "A"},
    ),
    "attributes that only differ in their namespace": (
        order("<sku>A</sku>", ' id="1" p:id="2" xmlns:p="urn:p"'),
        (),
        {"@id": "1", "@p:id": "2", "sku": "A"},
    ),
    "attributes that only differ in their namespace, whichever comes first": (
        order("<sku>A</sku>", ' p:id="2" q:no="4" id="1" xmlns:p="urn:p" xmlns:q="urn:q" p:no="3"'),
        (),
        {"@p:id": "2", "@q:no": "4", "@id": "1", "@p:no": "3", "sku": "A"},
    ),
    "where a schema lies says nothing of the record": (
        order("<sku>A</sku>", ' x:schemaLocation="a b" xmlns:x="http://www.w3.org/2001/XMLSchema-instance"'),
        (),
        {"sku": "A"},
    ),
    "an inner element of the record's name": (
        order("<order><order>1</order></order>"),
        (),
        {"order": '{"order":"1"}'},
    ),
}


@pytest.mark.parametrize("case", FIELDS)
def test_fields(tmp_path: Path, limits: Limits, case: str) -> None:
    content, wanted, fields = FIELDS[case]
    assert read(tmp_path, content, wanted=wanted, limits=limits) == ([1], [fields])


def test_only_elements_at_the_declared_path_are_records_and_lines_are_those_of_their_tags(
    tmp_path: Path, limits: Limits
) -> None:
    content = (
        '<?xml version="1.0"?>\r\n<order>\n<head><order>x</order></head>\r<orders>\n<order\nid="1"/>'
        "<item><order/></item><order id='2'>\n</order></orders>\n\n<orders><order id='3'/></orders></order>\n"
    )
    lines, rows = read(tmp_path, content, "order/orders/order", limits=limits)
    assert rows == [{"@id": "1"}, {"@id": "2"}, {"@id": "3"}]
    assert lines == [5, 6, 9]


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
def test_the_encoding_is_the_one_the_document_declares(tmp_path: Path, limits: Limits, codec: str) -> None:
    name = codec.removesuffix("-sig")
    content = f'<?xml version="1.0" encoding="{name}"?><bücher><büch titel="Ä">é</büch></bücher>'.encode(codec)
    assert read(tmp_path, content, "bücher/büch", limits=limits) == ([1], [{"@titel": "Ä", "#text": "é"}])


def test_utf16_without_a_mark_is_read(tmp_path: Path) -> None:
    for codec in ("utf-16-le", "utf-16-be"):
        content = '<?xml version="1.0" encoding="utf-16"?>' + order("<sku>é</sku>")
        assert read(tmp_path, content.encode(codec))[1] == [{"sku": "é"}]


@pytest.mark.parametrize("encoding", ["gb2312", "nonsense"])
def test_an_encoding_that_cannot_be_read_is_refused(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(DeliveryRefused, match="encoding") as refused:
        read(tmp_path, f'<?xml version="1.0" encoding="{encoding}"?>' + order(""))
    assert refused.value.line == 1


def test_undeclared_records_are_refused_with_the_elements_that_repeat(tmp_path: Path) -> None:
    content = "<export><orders>" + "<o:order xmlns:o='u'><tag/><tag/></o:order>" * 3 + "</orders></export>"
    with pytest.raises(
        DeliveryRefused, match=r"export/orders/order \(3 times\), export/orders/order/tag \(2"
    ) as refused:
        read(tmp_path, content, "")
    assert "Xml(records='export/orders/order')" in refused.value.remedy


@pytest.mark.parametrize(("records", "missing"), [("shop/order", "shop"), ("orders/items/item", "orders/items")])
def test_a_path_that_is_not_there_is_refused(tmp_path: Path, records: str, missing: str) -> None:
    with pytest.raises(DeliveryRefused, match=f"no element {missing}; the outermost is orders"):
        read(tmp_path, order(""), records)


def test_no_record_where_there_could_be_some_is_an_empty_delivery(tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("<export><orders/></export>")
    form = Files("*", format=Xml(records="export/orders/order"))
    assert open_reader(tmp_path / "copy", "a.xml", form).header == ()
    (tmp_path / "copy").write_text("")
    assert open_reader(tmp_path / "copy", "a.xml", form).header == ()


BILLION_LAUGHS = "<!DOCTYPE orders [<!ENTITY a 'lol'><!ENTITY b '&a;&a;&a;&a;'>]>" + order("<sku>&b;</sku>")
OUTSIDE = "<!DOCTYPE orders [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>" + order("<sku>&a;</sku>")


@pytest.mark.parametrize("content", [BILLION_LAUGHS, OUTSIDE, "<!DOCTYPE orders SYSTEM 'http://x/'>" + order("")])
@pytest.mark.parametrize("records", ["orders/order", ""])
def test_document_types_are_refused(tmp_path: Path, content: str, records: str) -> None:
    with pytest.raises(DeliveryRefused, match="document type"):
        read(tmp_path, content, records)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("<orders>\n<order></orders>", 2),
        ("<orders>\n\n<order a=1/></orders>", 3),
        ("<orders/>\n<orders/>", 2),
        ("<orders>\n&nbsp;</orders>", 2),
        ("order\n1", 1),
        (b"<orders>\n<order>\xff</order></orders>", 2),
    ],
)
def test_what_is_not_xml_is_refused_with_its_line(
    tmp_path: Path, limits: Limits, content: str | bytes, line: int
) -> None:
    with pytest.raises(DeliveryRefused, match="not XML") as refused:
        read(tmp_path, content, limits=limits)
    assert refused.value.line == line


def test_a_document_that_is_cut_off_anywhere_is_unfinished(tmp_path: Path) -> None:
    content = ('<?xml version="1.0"?>' + order("<sku>é</sku><!-- x --><![CDATA[y]]>", ' id="1"')).encode()
    for end in range(1, len(content)):
        with pytest.raises(DeliveryUnfinished):
            read(tmp_path, content[:end])


def test_a_count_of_start_tags_without_the_parser_must_agree(tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("<orders><order a='1'/><!-- <order/> --><order a='2'/></orders>")
    reader = open_reader(tmp_path / "copy", "a.xml", Files("*", format=Xml(records="orders/order")))
    with pytest.raises(DeliveryRefused, match="2 records were delivered but 1 understood"):
        reader.reconcile(1)


def test_limits(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefused, match="nested more than 100 deep"):
        read(tmp_path, order("<a>" * 200 + "</a>" * 200))
    with pytest.raises(DeliveryRefused, match="more than 10000 different fields"):
        read(tmp_path, order("".join(f"<a{at}/>" for at in range(10_001))))
    limits = Limits(markup_at_once=100, record=1000)
    with pytest.raises(DeliveryRefused, match="a record is longer"):
        read(tmp_path, order("<a>x</a>" * 500), limits=limits)
    with pytest.raises(DeliveryRefused, match="a tag, comment or the like is longer"):
        read(tmp_path, order(f"<a b='{'x' * 5000}'/>"), limits=limits)


@settings(max_examples=examples(60))
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["sku", "@id", "price", "@n"]),
            st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=1),
        ),
        min_size=1,
    )
)
def test_what_a_library_wrote_is_read_as_it_was_given(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row]
) -> None:
    root = ElementTree.Element("orders")
    for row in rows:
        given = ElementTree.SubElement(root, "order")
        for name, value in row.items():
            if name.startswith("@"):
                given.set(name[1:], value)
            else:
                ElementTree.SubElement(given, name).text = value
    content = ElementTree.tostring(root, encoding=random.Random(len(rows)).choice(["utf-8", "us-ascii"]))
    try:
        ElementTree.fromstring(content)
    except ElementTree.ParseError:  # a character that XML has no way to write
        return
    if any(rows):
        assert read(tmp_path_factory.mktemp("xml"), codecs.BOM_UTF8 * content.isascii() + content)[1] == rows


def test_a_feed_loads_nested_xml_and_names_the_line_of_a_rejected_row(shop: Shop) -> None:
    form = Xml(records="export/sale")
    shop.declare(source=Files("sales/*.xml", "sales/*.xml.gz", settle=seconds(0), format=form))
    sale = "<sale>\n<sku>S{}</sku><quantity>{}</quantity><price/><sold_at/><email/>\n</sale>"
    receipt = shop.load("a.xml", f"<export>\n{sale.format(1, 1)}{sale.format(2, 'two')}</export>")
    assert (receipt.accepted, receipt.rejected) == (1, 1)
    assert dict(receipt.dialect) == {"encoding": "utf-8", "records": "export/sale"}
    ((line,),) = shop.query("SELECT _line FROM quarantine.sales")
    assert line == 4
    assert shop.reconciles()
