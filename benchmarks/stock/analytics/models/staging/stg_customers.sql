select
    cast(customer_id as varchar) as customer_id,
    country,
    segment,
    registered_on,
    updated_at
from {{ source('raw', 'raw_customers') }}
