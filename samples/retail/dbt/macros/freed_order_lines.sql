{#
    Deliveries that repeat lines of one that left fct_order_lines, or of an earlier one that came back changed: who bears
    such a line first may have changed. Found by invoice and instant, a superset that stays small; the instant lets the
    scan skip all other days. For retire_deliveries.
#}
{% macro freed_order_lines() -%}
{%- if is_incremental() %}
    select later._delivery_id
    from (
        select invoice_no, invoiced_at, _delivery_id
        from {{ this }}
        where _delivery_id in (select _delivery_id from left_the_table)
        union
        select invoice_no, invoiced_at, _delivery_id
        from {{ ref('int_order_lines_classified') }}
        where _delivery_id in (select _delivery_id from came_back)
    ) as touched
    {#- Raw, not a view over it: DuckDB would compute a view used twice once and whole, and prune nothing. #}
    inner join {{ source('retail', 'order_lines') }} as later
        on touched.invoiced_at = later.invoiced_at
        and touched.invoice_no = {{ blank_to_null('later.invoice_no') }}
        and touched._delivery_id < later._delivery_id
{%- endif -%}
{%- endmacro %}
