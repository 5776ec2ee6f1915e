"""dlt's rest_api source, run by an environment of its own: extracted only, or loaded as well.

Takes the address of the facts and, to load them, a destination (postgres, duckdb), its credentials
and a write disposition (replace, merge). The table is ``benchmark.fact_data``.
"""

import sys
import tempfile

import dlt
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator
from dlt.sources.rest_api import rest_api_source

# Not from benchmarks.tenant, because the tap is not installed where this runs.
KEY = ["Version", "Date", "Account", "CostCenter", "Product", "Region", "Customer", "Currency"]


def main() -> None:
    """Run the pipeline."""
    url, *load = sys.argv[1:]
    resource = {"name": "fact_data", "endpoint": {"path": "FactData", "data_selector": "value"}}
    if load:
        resource |= {"write_disposition": load[2], "primary_key": KEY}
    client = {
        "base_url": url.removesuffix("FactData"),
        "paginator": JSONLinkPaginator(next_url_path="'@odata.nextLink'"),
    }
    source = rest_api_source({"client": client, "resources": [resource]})
    with tempfile.TemporaryDirectory() as folder:
        if not load:
            dlt.pipeline("benchmark", pipelines_dir=folder, destination="duckdb").extract(source)
            return
        destination = getattr(dlt.destinations, load[0])(credentials=load[1])
        dlt.pipeline(
            "benchmark", pipelines_dir=folder, destination=destination, dataset_name="benchmark"
        ).run(source).raise_on_failed_jobs()


main()
