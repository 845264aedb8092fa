with lines as (
    select customer_id, invoice_no, line_kind, line_amount, sale_date
    from {{ ref('fct_order_lines') }}
    where customer_id is not null
),

-- As of the data, not of the clock: a rebuild of old data gives the old answer.
as_of as (
    select max(sale_date) as as_of_date
    from {{ ref('fct_order_lines') }}
    where line_kind = 'sale'
),

measured as (
    select
        customer_id,
        max(case when line_kind = 'sale' then sale_date end) as last_ordered_on,
        count(distinct case when line_kind = 'sale' then invoice_no end) as frequency,
        cast(sum(line_amount) as decimal(18, 4)) as monetary
    from lines
    group by customer_id
),

buyers as (
    select
        measured.customer_id,
        as_of.as_of_date,
        cast({{ dbt.datediff('measured.last_ordered_on', 'as_of.as_of_date', 'day') }} as bigint) as recency_days,
        measured.frequency,
        measured.monetary
    from measured
    cross join as_of
    where measured.frequency > 0
),

-- rank() - 1 is how many customers do strictly worse: equal customers score alike, which ntile() does not promise.
ranked as (
    select
        customer_id,
        as_of_date,
        recency_days,
        frequency,
        monetary,
        rank() over (order by recency_days desc) - 1 as less_recent,
        rank() over (order by frequency) - 1 as less_frequent,
        rank() over (order by monetary) - 1 as less_valuable,
        count(*) over () as customers
    from buyers
)

select
    customer_id,
    as_of_date,
    recency_days,
    frequency,
    monetary,
    cast(1 + floor(5.0 * less_recent / customers) as integer) as r_score,
    cast(1 + floor(5.0 * less_frequent / customers) as integer) as f_score,
    cast(1 + floor(5.0 * less_valuable / customers) as integer) as m_score
from ranked
