{{ members('stg_products', ['stg_sales'], 'product', 'product_name', ['brand', 'path']) }}
