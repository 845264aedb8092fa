{# How keys are written. Both sides of a join go through the same macro, or they do not meet. #}

{% macro blank_to_null(column) -%}
    nullif(trim({{ column }}), '')
{%- endmacro %}

{# The tills write 85123A and 85123a for the same article. #}
{% macro stock_code_key(column) -%}
    upper({{ blank_to_null(column) }})
{%- endmacro %}

{# Sales exports passed through floating point: 17850.0 is customer 17850. #}
{% macro customer_id_key(column) -%}
    case
        when trim({{ column }}) like '%.0'
            then {{ blank_to_null("substring(trim(" ~ column ~ "), 1, length(trim(" ~ column ~ ")) - 2)") }}
        else {{ blank_to_null(column) }}
    end
{%- endmacro %}
