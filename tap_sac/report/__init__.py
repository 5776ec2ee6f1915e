"""The tenant's report: how SAC answers, in a closed grammar, so that it may leave a company."""
