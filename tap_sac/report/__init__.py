"""The report on how SAC answers, in a closed grammar, so it can be shared outside a company."""
