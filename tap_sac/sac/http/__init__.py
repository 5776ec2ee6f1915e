"""HTTP: requests, retries, answers and refusals."""
