select
    nullif(trim(InvoiceNo), '') as invoice_no,
    upper(nullif(trim(StockCode), '')) as stock_code,
    nullif(trim(Description), '') as description,
    cast(Quantity as bigint) as quantity,
    InvoiceDate as invoiced_at,
    cast(UnitPrice as decimal(18, 4)) as unit_price,
    cast(cast(CustomerID as bigint) as varchar) as customer_id,
    Country as country
from {{ source('raw', 'raw_order_lines') }}
