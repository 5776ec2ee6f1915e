"""The example DAG in a real Airflow: ``tox -e airflow``."""
