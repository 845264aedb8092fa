with ordered as (
    select
        customer_id,
        max(country) as country,
        min(case when line_kind = 'sale' then sale_date end) as first_ordered_on,
        max(case when line_kind = 'sale' then sale_date end) as last_ordered_on,
        count(distinct case when line_kind = 'sale' then invoice_no end) as orders
    from {{ ref('fct_order_lines') }}
    where customer_id is not null
    group by customer_id
)

select
    coalesce(registered.customer_id, ordered.customer_id) as customer_id,
    coalesce(registered.country, ordered.country) as country,
    registered.segment,
    registered.registered_on,
    registered.customer_id is not null as is_registered,
    ordered.first_ordered_on,
    ordered.last_ordered_on,
    coalesce(ordered.orders, 0) as orders
from {{ ref('int_customers_latest') }} as registered
full outer join ordered on registered.customer_id = ordered.customer_id
