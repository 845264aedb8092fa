with registered as (
    select customer_id, country, segment, registered_on
    from {{ ref('int_customers_latest') }}
),

traded as (
    select
        customer_id,
        country,
        max(invoiced_at) as last_traded_at,
        min(case when line_kind = 'sale' then sale_date end) as first_ordered_on,
        max(case when line_kind = 'sale' then sale_date end) as last_ordered_on,
        count(distinct case when line_kind = 'sale' then invoice_no end) as orders
    from {{ ref('fct_order_lines') }}
    where customer_id is not null
    group by customer_id, country
),

-- A few customers move: the country they traded from last counts; the name breaks a tie.
ranked as (
    select
        customer_id,
        country,
        row_number() over (partition by customer_id order by last_traded_at desc, country) as recency
    from traded
),

ordered as (
    select
        customer_id,
        min(first_ordered_on) as first_ordered_on,
        max(last_ordered_on) as last_ordered_on,
        sum(orders) as orders
    from traded
    group by customer_id
),

known as (
    select customer_id from registered
    union
    select customer_id from ordered
)

select
    known.customer_id,
    coalesce(registered.country, ranked.country) as country,
    registered.segment,
    registered.registered_on,
    registered.customer_id is not null as is_registered,
    ordered.first_ordered_on,
    ordered.last_ordered_on,
    cast(coalesce(ordered.orders, 0) as bigint) as orders
from known
left join registered on known.customer_id = registered.customer_id
left join ordered on known.customer_id = ordered.customer_id
left join ranked
    on known.customer_id = ranked.customer_id
    and ranked.recency = 1
