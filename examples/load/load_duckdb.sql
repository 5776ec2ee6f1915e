-- Replace a table by the Parquet files of a run of tap-sac, in a transaction of its own.
CREATE SCHEMA IF NOT EXISTS sac;
CREATE OR REPLACE TABLE sac.sales_planning_fact_data AS
SELECT * EXCLUDE (_sdc_table_version) FROM read_parquet('parquet/tap-sac--sales_planning_fact_data-*.parquet')
WHERE _sdc_table_version = (
  SELECT max(_sdc_table_version) FROM read_parquet('parquet/tap-sac--sales_planning_fact_data-*.parquet')
);
