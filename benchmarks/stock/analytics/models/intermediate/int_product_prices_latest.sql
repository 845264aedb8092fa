select distinct stock_code, description, category, list_price, effective_on
from {{ ref('stg_products') }}
