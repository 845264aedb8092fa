select customer_id, country, segment, registered_on
from {{ ref('stg_customers') }}
qualify row_number() over (partition by customer_id order by updated_at desc) = 1
