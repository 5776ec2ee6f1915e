"""dlt's rest_api source, extract step: run by an environment of its own."""

import sys
import tempfile

import dlt
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator
from dlt.sources.rest_api import rest_api_source

url = sys.argv[1]
source = rest_api_source(
    {
        "client": {
            "base_url": url.removesuffix("FactData"),
            "paginator": JSONLinkPaginator(next_url_path="'@odata.nextLink'"),
        },
        "resources": [
            {"name": "fact_data", "endpoint": {"path": "FactData", "data_selector": "value"}}
        ],
    }
)
with tempfile.TemporaryDirectory() as folder:
    pipeline = dlt.pipeline("benchmark", pipelines_dir=folder, destination="duckdb")
    pipeline.extract(source)
