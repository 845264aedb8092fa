select
    stock_code,
    description,
    category,
    list_price,
    valid_from,
    valid_to,
    valid_to is null as is_current,
    last_listed_on
from {{ ref('int_product_price_periods') }}
