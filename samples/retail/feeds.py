"""The sample retailer: order lines daily, price list weekly, customers daily.

Belongs here: what the retailer delivers and promises. Elsewhere: its models (dbt/), what its marts promise (marts.py).
"""

from datetime import date, datetime
from decimal import Decimal

from platform_assets import Cadence, Contract, Feed, Field, Files, Rejects, hours


class OrderLines(Contract):
    """Lines of retail invoices, as the shop's till exports them every night.

    Grain: invoice line. Currency: GBP. Times: local time of the shop, Europe/London.
    """

    invoice_no: str = Field(
        source="InvoiceNo",
        str_matches=r"^[A-Z]?[0-9]{6}$",
        description="Invoice number; a leading C marks a cancellation, a leading A an adjustment",
    )
    stock_code: str = Field(source="StockCode", description="Code of the article sold")
    description: str = Field(source="Description", nullable=True, description="Article text as typed at the till")
    quantity: int = Field(
        source="Quantity",
        in_range={"min_value": -1_000_000, "max_value": 1_000_000},
        description="Units sold; negative for a return",
    )
    invoiced_at: datetime = Field(
        source="InvoiceDate",
        format="%Y-%m-%d %H:%M:%S",
        timezone="Europe/London",
        description="Instant the invoice was issued",
    )
    unit_price: Decimal = Field(
        source="UnitPrice",
        in_range={"min_value": 0, "max_value": 1_000_000},
        description="Price of one unit, GBP",
    )
    customer_id: str = Field(
        source="CustomerID",
        nullable=True,
        pii="pseudonym",
        description="Customer number as exported, such as 17850.0",
    )
    country: str = Field(source="Country", description="Country the invoice was sent to")


class Products(Contract):
    """The full price list, published every Monday. Grain: article and week. Currency: GBP."""

    stock_code: str = Field(description="Code of the article")
    description: str = Field(description="Catalogue text of the article")
    category: str = Field(description="Product category")
    list_price: Decimal = Field(ge=0, description="List price of one unit, GBP")
    effective_on: date = Field(description="First day the price holds, shop time")


class Customers(Contract):
    """New and changed customers. Grain: customer and change; the latest `updated_at` holds."""

    customer_id: str = Field(pii="pseudonym", description="Customer number")
    name: str = Field(pii="secret", description="Full name")
    email: str = Field(
        pii="secret", str_matches=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", nullable=True, description="E-mail address"
    )
    country: str = Field(description="Country of residence")
    segment: str = Field(description="Segment the sales team put the customer in")
    registered_on: date = Field(description="Day the customer registered")
    updated_at: datetime = Field(format="%Y-%m-%dT%H:%M:%SZ", description="Instant of the change")


ORDER_LINES = Feed(
    name="order_lines",
    source=Files("retail/order_lines/*.csv", "retail/order_lines/*.csv.gz"),
    contract=OrderLines,
    event_time="invoiced_at",
    on_restatement="replace",
    on_drift="add",
    tolerate=Rejects(rate=0.05, rows=25),
    delivered=Cadence(cron="0 6 * * 1-6", within=hours(3), timezone="Europe/London"),
    owner="team:sales",
)

PRODUCTS = Feed(
    name="products",
    source=Files("retail/products/*.parquet"),
    contract=Products,
    event_time="effective_on",
    on_drift="fail",
    delivered=Cadence(cron="0 6 * * 1", within=hours(12), timezone="Europe/London"),
    owner="team:merchandising",
)

CUSTOMERS = Feed(
    name="customers",
    source=Files("retail/customers/*.ndjson"),
    contract=Customers,
    event_time="updated_at",
    on_drift="rescue",
    tolerate=Rejects(rate=0.01, rows=10),
    delivered=Cadence(cron="0 6 * * 1-6", within=hours(12), timezone="Europe/London"),
    owner="team:crm",
)
