-- Name and e-mail end here: nothing downstream of this model may see them.
with ranked as (
    select
        customer_id,
        country,
        segment,
        registered_on,
        updated_at,
        row_number() over (
            partition by customer_id
            order by updated_at desc, _delivery_id desc, _line desc
        ) as recency
    from {{ ref('stg_retail__customers') }}
)

select
    customer_id,
    country,
    segment,
    registered_on,
    updated_at
from ranked
where recency = 1
