"""The Data Export Service: its endpoints, entity sets and subscriptions."""
