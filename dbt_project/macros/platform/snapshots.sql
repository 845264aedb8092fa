{#
    Macros for a feed whose every delivery is a full list (docs/how-to/snapshots.md): its lists, the rows of the newest, and
    from when to when each row was in its lists as it is.

    relation: raw or a model on it, with the columns _delivery_id and _line. feed: the feed's name.
    at: when a list is of. `file_date`: the date in the file's name, `arrived_at`: when the producer wrote the file,
        `committed_at`: when it was taken in. By default the date in the name, where the feed declares `Files(dated=…)`,
        else when it was taken in. A correction is of when its file first came. Of lists of one moment the last counts.
#}
{% macro latest_snapshot(relation, feed, at=none) -%}
(
    select snapshot_rows.*
    from {{ relation }} as snapshot_rows
    inner join (
        select
            delivery_id,
            row_number() over (order by listed_at desc) as how_new
        from {{ snapshot_lists(feed, at) }} as lists
    ) as newest
        on snapshot_rows._delivery_id = newest.delivery_id
        and newest.how_new = 1
)
{%- endmacro %}

{#
    A row per key and interval in which the key's `columns` did not change: valid_from (the first list that has it so),
    valid_to (the first that no longer does; NULL while it lasts) and is_current. A key that is not in a list ends its
    interval, and begins another when it comes back. A row whose key has a NULL is in none.

    key, columns: names; a change of one of the `columns` ends an interval.
#}
{% macro snapshot_history(relation, feed, key, columns, at=none) -%}
{%- set key = [key] if key is string else key -%}
{%- set columns = [columns] if columns is string else columns -%}
(
    with lists as (
        select
            delivery_id,
            listed_at,
            row_number() over (order by listed_at) as list_no,
            lead(listed_at) over (order by listed_at) as next_listed_at
        from {{ snapshot_lists(feed, at) }} as each_list
    ),

    entries as (
        select
            {%- for name in key + columns %}
            snapshot_rows.{{ name }},
            {%- endfor %}
            lists.list_no,
            lists.listed_at,
            lists.next_listed_at,
            {#- Where the feed allows a key twice in a list, its last line counts. #}
            row_number() over (
                partition by lists.list_no{% for name in key %}, snapshot_rows.{{ name }}{% endfor %}
                order by snapshot_rows._line desc
            ) as copy_no
        from {{ relation }} as snapshot_rows
        inner join lists
            on snapshot_rows._delivery_id = lists.delivery_id
        where {% for name in key %}snapshot_rows.{{ name }} is not null{{ ' and ' if not loop.last }}{% endfor %}
    ),

    compared as (
        select
            {%- for name in key + columns %}
            {{ name }},
            {%- endfor %}
            {%- for name in columns %}
            lag({{ name }}) over (partition by {{ key | join(', ') }} order by list_no) as was_{{ loop.index }},
            {%- endfor %}
            lag(list_no) over (partition by {{ key | join(', ') }} order by list_no) as last_list_no,
            list_no,
            listed_at,
            next_listed_at
        from entries
        where copy_no = 1
    ),

    numbered as (
        select
            {%- for name in key + columns %}
            {{ name }},
            {%- endfor %}
            list_no,
            listed_at,
            next_listed_at,
            sum(
                case
                    when last_list_no is null or last_list_no <> list_no - 1 then 1
                    {%- for name in columns %}
                    when {{ name }} <> was_{{ loop.index }} then 1
                    when {{ name }} is null and was_{{ loop.index }} is not null then 1
                    when {{ name }} is not null and was_{{ loop.index }} is null then 1
                    {%- endfor %}
                    else 0
                end
            ) over (
                partition by {{ key | join(', ') }}
                order by list_no
                rows between unbounded preceding and current row
            ) as interval_no
        from compared
    ),

    bounded as (
        select
            {%- for name in key + columns %}
            {{ name }},
            {%- endfor %}
            min(listed_at) over (partition by {{ key | join(', ') }}, interval_no) as valid_from,
            next_listed_at as valid_to,
            row_number() over (partition by {{ key | join(', ') }}, interval_no order by list_no desc) as from_the_end
        from numbered
    )

    select
        {%- for name in key + columns %}
        {{ name }},
        {%- endfor %}
        valid_from,
        valid_to,
        case when valid_to is null then true else false end as is_current
    from bounded
    where from_the_end = 1
)
{%- endmacro %}

{# The lists that count, one per moment: delivery_id and listed_at. A list without a row is one of them, too. #}
{% macro snapshot_lists(feed, at=none) -%}
{%- set at = snapshot_moment(feed, at) -%}
(
    select
        delivery_id,
        listed_at
    from (
        select
            deliveries.delivery_id,
            deliveries.listed_at,
            row_number() over (
                partition by deliveries.listed_at
                order by deliveries.place desc, deliveries.delivery_id desc
            ) as how_new
        from (
            select
                came.delivery_id,
                {#- The order of files, not of ids: a correction keeps the place of what it corrects. #}
                coalesce(places.place, came.delivery_id) as place,
                {% if at == 'file_date' -%}
                {#- A renamed file is of the day that its name says now. #}
                coalesce(named.file_date, came.file_date) as listed_at
                {%- else -%}
                coalesce(first_came.{{ at }}, came.{{ at }}) as listed_at
                {%- endif %}
            from {{ source('platform', 'deliveries') }} as came
            left join (
                select
                    filled_by,
                    place,
                    delivery_id as newest,
                    row_number() over (partition by filled_by order by place) as nth
                from {{ source('platform', 'slots') }}
            ) as places
                on came.delivery_id = places.filled_by
                and places.nth = 1
            left join {{ source('platform', 'deliveries') }} as named
                on places.newest = named.delivery_id
            left join {{ source('platform', 'deliveries') }} as first_came
                on places.place = first_came.delivery_id
            where came.feed = '{{ feed }}'
                and came.status = 'accepted'
        ) as deliveries
        where deliveries.listed_at is not null
    ) as ranked
    where how_new = 1
)
{%- endmacro %}

{# Which column of the ledger says when a list is of; wrong names are errors that say what there is. #}
{% macro snapshot_moment(feed, at) -%}
{%- if not execute -%}
    {{ return(at or 'committed_at') }}
{%- endif -%}
{%- set feeds = {} -%}
{%- for each in graph.sources.values() if each.schema == 'raw' -%}
    {%- do feeds.update({each.name: each.columns.keys() | list}) -%}
{%- endfor -%}
{%- if feed not in feeds -%}
    {{ exceptions.raise_compiler_error("no feed is called '" ~ feed ~ "'; feeds are: " ~ feeds.keys() | sort | join(', ')) }}
{%- endif -%}
{%- set dated = '_file_date' in feeds[feed] -%}
{%- if at is not none and at not in ('file_date', 'arrived_at', 'committed_at') -%}
    {{ exceptions.raise_compiler_error("at='" ~ at ~ "' is none of file_date, arrived_at and committed_at") }}
{%- endif -%}
{%- if at == 'file_date' and not dated -%}
    {{ exceptions.raise_compiler_error("at='file_date': the files of '" ~ feed ~ "' have no date: declare Files(…, dated=…), or say at='arrived_at'") }}
{%- endif -%}
{{ return(at or ('file_date' if dated else 'committed_at')) }}
{%- endmacro %}
