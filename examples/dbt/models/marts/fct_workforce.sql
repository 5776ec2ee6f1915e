select * from {{ ref('stg_workforce') }}
