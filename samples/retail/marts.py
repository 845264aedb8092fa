"""What the retailer's marts promise. Money is GBP; days are the shop's, Europe/London.

Belongs here: contracts of marts, the one declaration of their columns. Elsewhere: how they are computed (dbt/).
"""

from datetime import date, datetime
from decimal import Decimal

from platform_assets import Chart, Contract, Field, Mart, Product

_LINE_KINDS = ["sale", "return", "cancellation", "adjustment", "write_off"]


class FctOrderLines(Contract):
    """Accepted invoice lines. Grain: invoice line, each counted once however often it was delivered."""

    invoice_no: str = Field()
    stock_code: str = Field()
    description: str = Field(nullable=True)
    line_kind: str = Field(isin=_LINE_KINDS)
    is_goods: bool = Field()
    quantity: int = Field()
    unit_price: Decimal = Field(ge=0)
    line_amount: Decimal = Field()
    sale_date: date = Field()
    invoiced_at: datetime = Field()
    customer_id: str = Field(nullable=True, pii="pseudonym", str_matches=r"^[0-9]+$")
    country: str = Field()


class FctReturns(Contract):
    """Returned and cancelled lines with the latest earlier sale of the same article to the same customer."""

    invoice_no: str = Field()
    stock_code: str = Field()
    line_kind: str = Field(isin=["return", "cancellation"])
    is_goods: bool = Field()
    customer_id: str = Field(nullable=True, pii="pseudonym")
    country: str = Field()
    units_returned: int = Field(ge=0)
    refund_amount: Decimal = Field(ge=0)
    returned_on: date = Field()
    sale_invoice_no: str = Field(nullable=True)
    sold_on: date = Field(nullable=True)
    sale_unit_price: Decimal = Field(nullable=True, ge=0)
    days_since_sale: int = Field(nullable=True, ge=0)


class DimProducts(Contract):
    """Price history. Grain: article and period of one price; `valid_to` is exclusive, NULL while it holds."""

    stock_code: str = Field()
    description: str = Field()
    category: str = Field()
    list_price: Decimal = Field(ge=0)
    valid_from: date = Field()
    valid_to: date = Field(nullable=True)
    is_current: bool = Field()
    last_listed_on: date = Field()


class DimCustomers(Contract):
    """Customers, without names or addresses. Grain: customer."""

    customer_id: str = Field(pii="pseudonym")
    country: str = Field(nullable=True)
    segment: str = Field(nullable=True)
    registered_on: date = Field(nullable=True)
    is_registered: bool = Field()
    first_ordered_on: date = Field(nullable=True)
    last_ordered_on: date = Field(nullable=True)
    orders: int = Field(ge=0)


class DailySales(Contract):
    """What a day's invoices come to. Grain: day with at least one line."""

    sale_date: date = Field()
    orders: int = Field(ge=0)
    order_lines: int = Field(ge=1)
    customers: int = Field(ge=0)
    units_sold: int = Field(ge=0)
    units_returned: int = Field(ge=0)
    gross_revenue: Decimal = Field(ge=0)
    returns_value: Decimal = Field(le=0)
    adjustments_value: Decimal = Field()
    net_revenue: Decimal = Field()
    listed_revenue: Decimal = Field(nullable=True)
    revenue_at_list_price: Decimal = Field(nullable=True, ge=0)
    discount_value: Decimal = Field(nullable=True)


class CustomerValue(Contract):
    """Recency, frequency and monetary value. Grain: customer who bought; scores are fifths, 5 the best."""

    customer_id: str = Field(pii="pseudonym")
    as_of_date: date = Field()
    recency_days: int = Field(ge=0)
    frequency: int = Field(ge=1)
    monetary: Decimal = Field()
    r_score: int = Field(in_range={"min_value": 1, "max_value": 5})
    f_score: int = Field(in_range={"min_value": 1, "max_value": 5})
    m_score: int = Field(in_range={"min_value": 1, "max_value": 5})


FCT_ORDER_LINES = Mart("fct_order_lines", FctOrderLines)
FCT_RETURNS = Mart("fct_returns", FctReturns)
DIM_PRODUCTS = Mart("dim_products", DimProducts)
DIM_CUSTOMERS = Mart("dim_customers", DimCustomers)
DAILY_SALES = Mart(
    "daily_sales",
    DailySales,
    headline=("sale_date", "orders", "units_sold", "gross_revenue", "returns_value", "net_revenue"),
)
CUSTOMER_VALUE = Mart("customer_value", CustomerValue)

# Who works with the shop's numbers may know its customers' numbers; names and e-mail addresses are in no mart. With
# "pseudonym" in the place of "keep" readers get codes that stand for customers, once PLATFORM_PSEUDONYM_KEY is set.
RETAIL = Product("retail", personal={"customer_id": "keep"})

REVENUE_BY_DAY = Chart(
    "daily_sales",
    x="sale_date",
    y=("gross_revenue", "returns_value", "net_revenue"),
    title="Revenue by day, with returns",
    unit="GBP",
)
TOP_PRODUCTS = Chart("fct_order_lines", x="description", y="line_amount", top=10, title="Top products", unit="GBP")
CUSTOMERS_BY_VALUE = Chart(
    "customer_value", x="frequency", y="monetary", kind="scatter", by="m_score", title="Customers by value", unit="GBP"
)
COUNTRIES = Chart(
    "fct_order_lines",
    x="invoiced_at",
    y="line_amount",
    kind="bar",
    by="country",
    per="week",
    title="Countries by week",
    unit="GBP",
)
