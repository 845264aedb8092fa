{#
    Pre-hook of fct_order_lines, in the transaction of its insert: delete every delivery whose rows in the fact are
    no longer what a full refresh would write. The model then loads whatever accepted delivery is missing.
    State is compared with the ledger rather than with a watermark: a watermark cannot see that rows have left.

      left     superseded, or committed again under a higher revision
      freed    later deliveries that repeat lines of one that left (or of an earlier one that came back changed):
               who bears such a line first may have changed. Found by invoice and instant, a superset that stays
               small; the instant lets the scan skip all other days.
#}
{% macro retire_changed_deliveries() -%}
{%- if is_incremental() -%}
delete from {{ this }}
where _delivery_id in (
    with accepted as (
        select delivery_id, revision
        from {{ source('platform', 'deliveries') }}
        where status = 'accepted'
    ),

    loaded as (
        select distinct _delivery_id, _revision
        from {{ this }}
    ),

    left_the_fact as (
        select loaded._delivery_id
        from loaded
        left join accepted
            on loaded._delivery_id = accepted.delivery_id
            and loaded._revision = accepted.revision
        where accepted.delivery_id is null
    ),

    {#- Deliveries newer than all loaded ones have no later delivery to take lines from. #}
    came_back as (
        select accepted.delivery_id as _delivery_id
        from accepted
        left join loaded
            on accepted.delivery_id = loaded._delivery_id
            and accepted.revision = loaded._revision
        where loaded._delivery_id is null
            and accepted.delivery_id < (select max(_delivery_id) from loaded)
    ),

    touched as (
        select invoice_no, invoiced_at, _delivery_id
        from {{ this }}
        where _delivery_id in (select _delivery_id from left_the_fact)
        union
        select invoice_no, invoiced_at, _delivery_id
        from {{ ref('int_order_lines_classified') }}
        where _delivery_id in (select _delivery_id from came_back)
    ),

    {#- Raw, not a view over it: DuckDB would compute a view used twice once and whole, and prune nothing. #}
    freed as (
        select later._delivery_id
        from touched
        inner join {{ source('retail', 'order_lines') }} as later
            on touched.invoiced_at = later.invoiced_at
            and touched.invoice_no = {{ blank_to_null('later.invoice_no') }}
            and touched._delivery_id < later._delivery_id
    )

    select _delivery_id from left_the_fact
    union
    select _delivery_id from freed
)
{%- endif -%}
{%- endmacro %}
