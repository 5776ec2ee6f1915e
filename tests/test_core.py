"""The SDK's own tests of a tap, on the sample tenant."""

from singer_sdk.testing import SuiteConfig, get_tap_test_class

from tap_sac.demo.company import models
from tap_sac.tap import TapSAC
from tests.helpers.warehouse import prefix

# SAC has these for subscribers alone, and a test must not leave subscriptions.
UNREAD = [f"{prefix(model)}_fact_data_difference" for model in models()]

TestTapSAC = get_tap_test_class(
    TapSAC,
    config={"demo": True},
    suite_config=SuiteConfig(ignore_no_records_for_streams=UNREAD),
)
