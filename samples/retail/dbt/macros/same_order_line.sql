{# The columns in which two order lines must agree to be the same line of the same invoice. #}
{% macro same_order_line(a, b) -%}
    {{ a }}.invoice_no = {{ b }}.invoice_no
    and {{ a }}.invoiced_at = {{ b }}.invoiced_at
    and {{ a }}.stock_code = {{ b }}.stock_code
    and {{ a }}.quantity = {{ b }}.quantity
    and {{ a }}.unit_price = {{ b }}.unit_price
    {#- Staging leaves no empty strings, so '' can stand for NULL. #}
    and coalesce({{ a }}.description, '') = coalesce({{ b }}.description, '')
    and coalesce({{ a }}.customer_id, '') = coalesce({{ b }}.customer_id, '')
    and coalesce({{ a }}.country, '') = coalesce({{ b }}.country, '')
{%- endmacro %}
