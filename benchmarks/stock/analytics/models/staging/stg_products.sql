select
    upper(nullif(trim(stock_code), '')) as stock_code,
    description,
    category,
    list_price,
    cast(effective_on as date) as effective_on
from {{ source('raw', 'raw_products') }}
